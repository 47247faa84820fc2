"""§4.8 with two dozen members: what it costs to know of each other, and how fast news travels.

`python -m tools.gossip 64 20` measures more of them.
"""

from __future__ import annotations

import pytest

from tools.gossip import measure


@pytest.mark.parametrize("seed", [1, 2])
def test_two_dozen_nodes_at_rest_say_little_and_all_know_what_changes_within_seconds(seed: int) -> None:
    measured = measure(24, seed)
    assert 500 < measured.bytes_of["gossip"] < 5_000
    assert 4_000 < measured.bytes_of["probes"] <= 2 * 100 * 44 * 1.1, "a hundred probes a second and as many answers"
    assert 0 < measured.policy_s < 1.0
    assert measured.life_s < 1.0
    assert measured.record_s < 8.0
    assert 0.3 < measured.suspected_s < 1.0
    assert measured.cleared_s < 0.5

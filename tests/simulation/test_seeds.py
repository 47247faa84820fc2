"""Many random runs: whatever goes wrong, the promises hold. A seed that ever failed stays, with a line of history."""

from __future__ import annotations

from collections import Counter

import pytest

from dynazmq.simulator.simulation import run_seed

SEEDS = range(1, 81)
_AT_ONCE = 8


@pytest.mark.parametrize("first", SEEDS[::_AT_ONCE])
def test_the_promises_hold(first: int) -> None:
    for seed in range(first, first + _AT_ONCE):
        report = run_seed(seed)
        assert report.ok, f"\n{report}"

"""Some thousands of frames that nobody should send, to a node with SQLite beneath and to a client. The campaign: tools/fuzz."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.fuzz.client import FuzzedClient
from tools.fuzz.node import FuzzedNode


@pytest.mark.parametrize("seed", [1, 2])
def test_no_frame_ends_a_node_and_nothing_is_stored_or_said_that_nobody_would_take(seed: int, tmp_path: Path) -> None:
    node = FuzzedNode(tmp_path, seed)
    node.play(2_000)
    node.close()
    assert node.found.ended == []
    assert node.found.unsendable == []
    assert node.found.stored
    assert node.found.messages > 1_000


def test_no_frame_ends_a_client() -> None:
    client = FuzzedClient(1)
    client.play(3_000)
    assert client.found.ended == []
    assert client.found.outcomes["done"] > 100

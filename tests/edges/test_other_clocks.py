"""Clients whose clock is another one than the node's: how late their frames are is told by the frames alone."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from dynazmq.config import NodeConfig
from dynazmq.dynamo.messages import Get
from dynazmq.dynamo.node import Node
from dynazmq.storage.memory import MemoryStorage
from dynazmq.wire.codec import FROM_CLIENT, Envelope, encode
from dynazmq.wire.gate import Gate

BUDGET_MS = 5_000
DAY_MS = 86_400_000


class Host:
    """A node, by its own clock; and how much of its budget each request of a client still had when it was worked on."""

    def __init__(self) -> None:
        config = NodeConfig(
            name="a", cluster="t", cluster_id=1, secret=b"s" * 32, data_dir="", endpoint="ipc://a",
            members={"a": "ipc://a"}, partitions=8,
        )  # fmt: skip
        self.node = Node(config, MemoryStorage(), Random(1), 10_000.0, 1_700_000_000_000)
        self.gate = Gate(self.node, 1, lambda identity: None)
        self.node.receive = lambda sender, message: self.left.append(message.budget_ms)  # type: ignore[method-assign]
        self.left: list[int] = []

    def hear(self, at_ms: int, sent_ms: int, client: bytes = b"c") -> int:
        """The age, in ms, of a frame that comes at this time by the node's clock and was sent at that by the client's."""
        self.node.runtime.now = 10_000.0 + at_ms / 1000
        message: Any = Get(1, "default", b"k", 0, 0, 0, BUDGET_MS)
        for frame in encode(Envelope(FROM_CLIENT, 1, 0, 0, sent_ms), [message]):
            self.gate.work(self.gate.open(client, frame), lambda: False)
        return BUDGET_MS - self.left.pop()


@pytest.mark.parametrize("ahead_ms", [DAY_MS, -9_000_000 + 1])
def test_a_frame_is_as_late_as_it_comes_after_the_quickest_of_its_client(ahead_ms: int) -> None:
    host, theirs = Host(), 10_000_000 + ahead_ms
    assert host.hear(3, theirs) == 0, "of the first nothing is known"
    assert host.hear(1_001, theirs + 1_000) == 0, "it was quicker"
    assert host.hear(2_301, theirs + 2_000) == 300
    assert host.hear(3_001, theirs + 3_000) == 0
    assert host.hear(2_500, theirs + DAY_MS, b"another") == 0


def test_a_client_whose_host_was_suspended_is_served_again_soon() -> None:
    """Its clock stood still meanwhile: by the quickest frame of before all its requests would be out of time for ever."""
    host, theirs = Host(), 10_000_000 + DAY_MS
    assert [host.hear(at, theirs + at) for at in range(0, 30_000, 1_000)] == [0] * 30
    ages = [host.hear(at, theirs + at - 60_000) for at in range(90_000, 130_000, 1_000)]
    assert ages[0] == 60_000
    assert ages[21:] == [0] * 19


@pytest.mark.parametrize("sent_ms", [0, 1 << 63, (1 << 64) - 1])
def test_who_has_no_clock_is_never_late(sent_ms: int) -> None:
    host = Host()
    assert [host.hear(at, sent_ms) for at in (0, 1_000, 20_000, 3_600_000)] == [0] * 4

"""One node among peers that are not there: a test speaks for them, and sees all that the node says."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar

from dynazmq.config import NodeConfig, Timing
from dynazmq.dynamo.messages import Decided, DecidedReply, Get, Message, Probe, ProbeReply, Put
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import EMPTY, Siblings, actor_id, decode, encode, put
from dynazmq.simulator.world.disk import Disk

NAMES = ("a", "b", "c", "d", "e")
CLIENT = b"a client"
QUIET = Timing(anti_entropy_interval_ms=0)
M = TypeVar("M")


class LoneNode:
    """The node `name`. Its peers answer probes, unless they are in `away`, and confirm what is decided, unless they shall not
    (`confirm`); all else the test says for them."""

    def __init__(self, name: str = "a", members: tuple[str, ...] = NAMES, **config: Any) -> None:
        self.name = name
        self.now, self.wall_ms = 100.0, 1_700_000_000_000
        self.away: set[str] = set()
        self.confirm = True
        self.disk = Disk()
        endpoints = {each: f"ipc://{each}" for each in members}
        self.config = NodeConfig(
            name=name, cluster="t", cluster_id=1, secret=b"s" * 32, data_dir="", endpoint=endpoints[name], members=endpoints,
            partitions=16, **{"timing": QUIET, **config},
        )  # fmt: skip
        self._random = Random(1)
        self.node = self.start()
        for _ in range(15):
            self.turn(0.1)

    def start(self) -> Node:
        """A new life, on the disk as it is."""
        self.node = Node(self.config, self.disk, Random(self._random.random()), self.now, self.wall_ms)
        self.node.membership.settle()  # nobody answers here who could know of a newer ring
        self.node.vouches.sure = True  # nor of a newer disk
        self.disk.commit()
        return self.node

    # --- keys -------------------------------------------------------------------------------------------------------------

    def walk(self, key: bytes) -> tuple[str, ...]:
        ring = self.node.membership.ring
        return ring.walk(ring.partition_of(place("default", key)))

    def key(self, rank: int) -> bytes:
        """A key in whose preference list the node stands at this place: 0 to 2 are primaries."""
        return next(key for i in range(1000) if self.walk(key := b"key %d" % i)[rank] == self.name)

    def peers(self, key: bytes) -> list[str]:
        return [each for each in self.walk(key) if each != self.name]

    def stored(self, key: bytes) -> Siblings:
        return decode(self.disk.committed().get((place("default", key), "default", key), b""))

    # --- turns ------------------------------------------------------------------------------------------------------------

    def turn(self, seconds: float = 0.001) -> list[tuple[Address, Message]]:
        """Time passes; what is said comes back, probes and gossip left out."""
        self.now += seconds
        self.node.tick(self.now, self.wall_ms + int(self.now * 1000))
        return self.flush()

    def flush(self) -> list[tuple[Address, Message]]:
        self.disk.commit()
        said = [(to, message) for to, messages in self.node.drain().items() for message in messages]
        for to, message in said:
            if isinstance(message, Probe) and to not in self.away:
                self.node.receive(to, ProbeReply(message.sequence))
            if isinstance(message, Decided) and to not in self.away and self.confirm:
                self.node.receive(to, DecidedReply(message.request_id))
                said += self.flush()
        return [(to, message) for to, message in said if type(message).__name__ not in ("Probe", "GossipDigest", "GossipDelta")]

    def hear(self, sender: Address, message: Message) -> list[tuple[Address, Message]]:
        self.node.receive(sender, message)
        return self.flush()

    def pass_time(self, seconds: float) -> list[tuple[Address, Message]]:
        said = []
        for _ in range(round(seconds * 100)):
            said += self.turn(0.01)
        return said


def of(kind: type[M], said: list[tuple[Address, Message]]) -> list[tuple[Address, M]]:
    """The messages of one kind among what was said."""
    return [(to, message) for to, message in said if isinstance(message, kind)]


def a_put(key: bytes, value: bytes | None = b"v", **fields: Any) -> Put:
    message = Put(1, "default", key, value, b"", b"w" * 16, 0, 0, 0, 0, 0, 2000)
    for name, field in fields.items():
        setattr(message, name, field)
    return message


def a_get(key: bytes, **fields: Any) -> Get:
    message = Get(1, "default", key, 0, 0, 0, 2000)
    for name, field in fields.items():
        setattr(message, name, field)
    return message


def written(*writes: tuple[str, bytes], state: Siblings = EMPTY, covering: bool = False) -> Siblings:
    """A state in which these nodes have written these values, one beside the other or one over the other."""
    for node, value in writes:
        seen = state.context if covering else EMPTY.context
        state, _, _ = put(state, seen, actor_id(node, "epoch"), value, value[:16].ljust(16, b"."), 1)
    return state


def bytes_of(*writes: tuple[str, bytes], covering: bool = False) -> bytes:
    return encode(written(*writes, covering=covering))

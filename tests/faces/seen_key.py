"""A cluster of five looked at through one key, for tests of `explain`: what each node tells, changed as a test wants it."""

from __future__ import annotations

import json
from typing import Any

from dynazmq.client.inspect.explain import explain
from dynazmq.client.inspect.explained import Explanation
from dynazmq.client.inspect.looked import Told
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import LookTell, StatusReply, Topology
from dynazmq.dynamo.values.ring import Ring, place
from dynazmq.dynamo.values.versions import EMPTY, Siblings, actor_id, encode, put

NAMES = ("n1", "n2", "n3", "n4", "n5")
KEY = b"cart:42"
AT_MS = 1_700_000_000_000


def wrote(node: str, value: bytes | None, *over: Siblings, at_ms: int = AT_MS) -> Siblings:
    """A node's write over, or with no `over` beside nothing at all."""
    state = over[0] if over else EMPTY
    return put(state, state.context, actor_id(node, "e1"), value, (value or b"-")[:16].ljust(16, b"."), at_ms)[0]


class SeenKey:
    """n1 n2 n3 are the key's primaries, n4 n5 its fallbacks. All are up and hold nothing until a test says otherwise."""

    def __init__(self, n: int = 3, r: int = 2, w: int = 2, buckets: tuple[Any, ...] = ()) -> None:
        partition = Ring(1, NAMES * 24).partition_of(place("default", KEY))
        turned = NAMES[-partition % 5 :] + NAMES[: -partition % 5]
        self.ring = Ring(5, turned * 24)
        assert self.ring.walk(partition) == NAMES
        self.n, self.r, self.w, self.buckets = n, r, w, list(buckets)
        self.own: dict[str, bytes] = dict.fromkeys(NAMES, b"")
        self.damaged: set[str] = set()
        self.hints: dict[str, list[list[Any]]] = {name: [] for name in NAMES}
        self.away: dict[str, str] = {}  # node → why it tells nothing
        self.sees = {name: dict.fromkeys(NAMES, "up") for name in NAMES}
        self.cannot_store: dict[str, str] = {}  # node → why
        self.entropy: dict[str, dict[str, Any]] = {name: {"on": True, "paused": False} for name in NAMES}

    def hold(self, state: Siblings, *names: str) -> None:
        for name in names:
            self.own[name] = encode(state)

    def hint(self, holder: str, target: str, state: Siblings, age_ms: int = 18_000) -> None:
        self.hints[holder].append([target, encode(state), age_ms])

    def kill(self, name: str, *, noticed: bool = True, why: str = "no connection") -> None:
        self.away[name] = why
        for each in self.sees.values() if noticed else ():
            each[name] = "down"

    def topology(self, name: str) -> Topology:
        members = [[each, f"ipc:///{each}", 1, self.sees[name][each]] for each in NAMES]
        return Topology(1, "t", 7, name, self.ring.to_wire(), members, self.buckets, self.n, self.r, self.w, 1 << 20)

    def told(self, name: str) -> Told:
        if name in self.away:
            return Told(error=self.away[name])
        own = b"" if name in self.damaged else self.own[name]
        look = LookTell(1, own, name in self.damaged, self.hints[name])
        status = {"anti_entropy": self.entropy[name], "cannot_store": self.cannot_store.get(name)}
        return Told(look, self.topology(name), StatusReply(1, json.dumps(status).encode()))

    def explain(self, bucket: str = "default") -> Explanation:
        return explain(View.of(self.topology("n1")), bucket, KEY, {name: self.told(name) for name in NAMES})

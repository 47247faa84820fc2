"""A client's core on a bench: time is a number, the nodes are whatever the test says that they answer."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from dynazmq.client.core.core import ClientCore
from dynazmq.client.core.requests import Options, Request, get_request, put_request
from dynazmq.client.values.view import Link, View
from dynazmq.dynamo.messages import Failure, GetReply, PutReply, Topology, TopologyRequest
from dynazmq.dynamo.values.ring import Ring

CLUSTER_ID = 0xC1


def link_of(name: str) -> Link:
    return f"ipc://{name}"


def topology(
    names: list[str],
    *,
    version: int = 1,
    away: tuple[str, ...] = (),
    cluster_id: int = CLUSTER_ID,
    buckets: tuple[tuple[Any, ...], ...] = (),
    held: tuple[tuple[str, int, int, int], ...] | None = None,
    n: int = 3,
    partitions: int = 12,
) -> Topology:
    """What any of these nodes would answer; n3 is at ipc://n3. held: what the ring has of buckets, if not that."""
    quorums = held if held is not None else tuple(sorted((name, *rest[:3]) for name, *rest in buckets))
    ring = Ring(version, tuple(names[i % len(names)] for i in range(partitions)), quorums=quorums)
    members = [[name, link_of(name), 1, "down" if name in away else "up"] for name in names]
    policies, n = [[*bucket] for bucket in buckets], min(n, len(names))
    quorum = min(2, n)
    return Topology(0, "tested", cluster_id, names[0], ring.to_wire(), members, policies, n, quorum, quorum, 1 << 20)


class Bench:
    """Drives a core as sync.py and asynchronous.py do. Everything sent is kept as it was when it left."""

    def __init__(self, nodes: int = 5, seed: int = 1, **changes: Any) -> None:
        self.names = [f"n{i + 1}" for i in range(nodes)]
        self.now = 100.0
        self.core = ClientCore([link_of(name) for name in self.names], None, Random(seed), self.now)
        self.ended: list[Request] = []
        self.asked: list[tuple[float, Link]] = []
        self.core.tick(self.now)
        assert self.sent() == []
        self.asked.clear()
        self.learn(**changes)

    def learn(self, name: str = "n1", **changes: Any) -> None:
        self.core.receive(link_of(name), [topology(self.names, **changes)], self.now)

    @property
    def view(self) -> View:
        assert self.core.view is not None
        return self.core.view

    def preference(self, request: Request) -> list[Link]:
        """All nodes, in the order of this request's key."""
        return [link_of(name) for name in self.view.ring.walk(self.view.ring.partition_of(request.place))]

    # --- what a caller does -----------------------------------------------------------------------------------------------

    def put(self, key: str = "k", timeout: float = 2.0, **options: Any) -> Request:
        request = put_request(Options().with_(timeout=timeout, **options), self.view, key, b"v", None)
        return self.start(request)

    def get(self, key: str = "k", timeout: float = 2.0, **options: Any) -> Request:
        return self.start(get_request(Options().with_(timeout=timeout, **options), self.view, key))

    def start(self, request: Request) -> Request:
        request.notify = self.ended.append
        self.core.start(request, self.now)
        return request

    # --- what the network does --------------------------------------------------------------------------------------------

    def sent(self) -> list[tuple[Link, Any]]:
        """Requests that have left since the last call; when and whom the core asked for the topology is in `asked`."""
        requests = []
        for link, messages in self.core.drain().items():
            for message in messages:
                if isinstance(message, TopologyRequest):
                    self.asked.append((self.now, link))
                else:
                    requests.append((link, replace(message)))  # type: ignore[type-var]
        return requests

    def only_sent(self) -> tuple[Link, Any]:
        ((link, message),) = self.sent()
        return link, message

    def wait(self, seconds: float) -> None:
        """Time passes, and the core is called when it asks to be."""
        end = self.now + seconds
        while (due := self.core.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.core.tick(self.now)
        self.now = end
        self.core.tick(self.now)

    def answer(self, link: Link, request: Request) -> None:
        request_id = request.message.request_id
        reply: Any = GetReply(request_id, [b"v"], [["n1", 1, 0]], b"", ["n1"])
        if hasattr(request.message, "write_id"):
            reply = PutReply(request_id, b"", ["n1", "n2"], [])
        self.core.receive(link, [reply], self.now)

    def refuse(self, link: Link, request: Request, code: int, required: int = 0, received: int = 0) -> None:
        failure = Failure(request.message.request_id, code, required, received, 50, f"code {code}")
        self.core.receive(link, [failure], self.now)

    def lose(self, link: Link, *requests: Request) -> None:
        """The transport could not take these."""
        self.core.undeliverable(link, [request.message for request in requests], self.now)

"""Clients that read and write a few keys at random, one request at a time each, as programs do that meet on the same keys.

Contexts are used as real programs use them: from the read just made, from a read or a put of some time ago, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from dynazmq.client.values.context import Context
from dynazmq.simulator.cluster.client import Call, Client
from dynazmq.simulator.cluster.cluster import Cluster


@dataclass(slots=True, kw_only=True)
class Mix:
    """How the requests are mixed: weights."""

    get: float = 4.0
    put_blind: float = 1.0
    put_known: float = 2.0  # with the last context that the client has, be it old
    update: float = 3.0  # read, then put with the context of the read
    delete: float = 1.0

    def draw(self, random: Random) -> str:
        kinds = ("get", "put_blind", "put_known", "update", "delete")
        return random.choices(kinds, [getattr(self, kind) for kind in kinds])[0]


@dataclass(slots=True, kw_only=True)
class Load:
    """How many clients do how much. `levels`: options drawn from for each request, {} being the bucket's own."""

    clients: int = 3
    keys: int = 3
    requests: int = 40  # of each client
    think_s: float = 0.1  # mean pause between two requests
    timeout_s: float = 2.0
    mix: Mix = field(default_factory=Mix)
    page_keys: int = 0  # of one more client, who lists all keys again and again, so many at a time; 0: there is none
    put_levels: tuple[dict[str, Any], ...] = ({},)
    get_levels: tuple[dict[str, Any], ...] = ({},)

    @property
    def longest_s(self) -> float:
        """What a client needs whose every request is a read and a write, and both time out: it may be cut off from the start."""
        return self.requests * 2 * (self.timeout_s + self.think_s)


class Workload:
    """All clients of a run. They begin at once; `over` when each has made its requests."""

    def __init__(self, cluster: Cluster, load: Load) -> None:
        self.keys = [f"key-{i + 1}" for i in range(load.keys)]
        self._users = [
            _User(cluster, cluster.client(f"c{i + 1}", beside=cluster.names[i % len(cluster.names)]), load, self.keys)
            for i in range(load.clients)
        ]
        for user in self._users:
            user.begin()
        self._world, self._think_s = cluster.world, load.think_s
        if load.page_keys:
            self._list(cluster.client("lister", beside=cluster.names[-1]), load.page_keys)

    def _list(self, client: Client, page_keys: int) -> None:
        """Until the others have done with it."""
        if self.over:
            return
        listing = client.begin_keys(page_keys)

        def again() -> None:
            self._world.at(self._world.now + self._think_s, self._list, client, page_keys)

        if listing.done:  # too few nodes could be asked
            again()
        else:
            listing.then = again

    @property
    def over(self) -> bool:
        return all(user.left == 0 and user.call is None for user in self._users)


class _User:
    def __init__(self, cluster: Cluster, client: Client, load: Load, keys: list[str]) -> None:
        self.left = load.requests
        self.call: Call | None = None
        self._world = cluster.world
        self._client = client
        self._load = load
        self._keys = keys
        self._random = cluster.world.random(f"user {client.name}")
        self._known: dict[str, Context] = {}  # key → the newest context that was handed to this client
        self._written = 0

    def begin(self) -> None:
        self._client.connected()
        self._think()

    def _think(self) -> None:
        self.call = None
        if self.left:
            self._world.at(self._world.now + self._random.expovariate(1.0) * self._load.think_s, self._request)

    def _request(self) -> None:
        self.left -= 1
        key, kind = self._random.choice(self._keys), self._load.mix.draw(self._random)
        if kind in ("get", "update"):
            self._get(key, then_write=kind == "update")
        elif kind == "put_blind":
            self._put(key, self._value(), None)
        elif kind == "put_known":
            self._put(key, self._value(), self._known.get(key))
        elif key in self._known:
            self._put(key, None, self._known[key])
        else:
            self._get(key, then_write=False)

    def _value(self) -> str:
        self._written += 1
        return f"{self._client.name}-{self._written}"

    def _get(self, key: str, then_write: bool) -> None:
        options = self._random.choice(self._load.get_levels)
        self.call = call = self._client.begin_get(key, timeout=self._load.timeout_s, **options)

        def done() -> None:
            if call.request.error is None:
                self._known[key] = Context(call.request.reply.context)
                if then_write:
                    self._put(key, self._value(), self._known[key])
                    return
            self._think()

        self._follow(call, done)

    def _put(self, key: str, value: str | None, context: Context | None) -> None:
        options = self._random.choice(self._load.put_levels)
        self.call = call = self._client.begin_put(key, value, context, timeout=self._load.timeout_s, **options)

        def done() -> None:
            if call.request.error is None and self._random.random() < 0.5:
                self._known[key] = Context(call.request.reply.context)
            self._think()

        self._follow(call, done)

    def _follow(self, call: Call, done: Any) -> None:
        if call.done:  # refused before it left
            self._world.at(self._world.now, done)
        else:
            call.then = done

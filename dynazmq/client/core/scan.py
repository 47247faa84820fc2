"""The keys of a bucket: one merged walk around the ring over the pages of several nodes.

No node has all keys. For each partition, enough primaries are asked that each write that W of them have is with one of these:
N − W + 1, and R at least (`_enough`); fewer may miss what only the others hold. Their pages, all in the order of places, are
merged into one sequence without repeats. A key is live if somebody holds a value and nobody a tombstone; where they differ, a
get decides.

Members may come and go meanwhile. Each page is asked for by the ring that the client knows. A node that goes by a later one, or
has let go of what it is asked for, refuses and tells its ring (dynamo/replica/scans.py). Then others are asked, from the
position on that the walk has come to: places stay where they are.

It is no snapshot: a key that is written or deleted meanwhile may show or not. What only a hint holds shows once it is handed off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dynazmq.client.core.requests import Request
from dynazmq.client.values.view import Link, View
from dynazmq.dynamo.messages import ELSEWHERE, Scan
from dynazmq.dynamo.values.ring import Quorums
from dynazmq.errors import DynazmqError, InvalidRequest, ProtocolError, Unavailable

PAGE_KEYS = 1_000
_FAILURES_MAX = 4
"""In a row, without that the walk came on or a newer ring was learned."""

Position = tuple[int, bytes]
"""A place and a key: how far a walk has come."""


class _Stream:
    """One node's part of the walk."""

    __slots__ = ("after", "link", "more", "partitions", "rows")

    def __init__(self, link: Link, partitions: list[int], after: Position) -> None:
        self.link = link
        self.partitions = partitions
        self.after = after
        self.more = True
        self.rows: deque[Any] = deque()  # [place, key, live], ascending


class Scanner:
    """Alternates between `wanted`, whose requests are to be done, and `take`, which gives the keys that are certain by then."""

    def __init__(
        self,
        bucket: str,
        timeout: float,
        view: Callable[[], View],
        good: Callable[[Link], bool],
        replicas: int = 0,
        page_keys: int = PAGE_KEYS,
    ) -> None:
        """view: what the client knows by now. good: whether a node is believed to answer.

        replicas: how many primaries of each partition to ask, 0 for `_enough`. page_keys: how many keys to ask for at a time.
        """
        policy = view().policy(bucket)
        if isinstance(replicas, bool) or not isinstance(replicas, int) or not 0 <= replicas <= policy.n:
            raise InvalidRequest(f"replicas={replicas!r} is not in 0..{policy.n}; 0 stands for as many as are needed")
        self._bucket = bucket
        self._timeout = timeout
        self._newest = view
        self._view = view()  # that the streams were planned by
        self._wanted = replicas
        self._page_keys = page_keys
        self._good = good
        self._bad: set[Link] = set()
        self._position: Position = (-1, b"")
        self._failures = 0
        self._streams: list[_Stream] = []
        self._plan()

    @property
    def done(self) -> bool:
        return not any(stream.more or stream.rows for stream in self._streams)

    def wanted(self) -> list[Request]:
        """The next page of every node whose last one is used up. Raises Unavailable."""
        if self._is_outdated():
            self._plan()
        requests = []
        version = self._view.ring.version
        for stream in self._streams:
            if stream.more and not stream.rows:
                message = Scan(0, self._bucket, stream.partitions, *stream.after, self._page_keys, 0, version)
                request = Request(message, "", 0, self._timeout, "keys")
                request.only = stream.link
                requests.append(request)
        return requests

    def take(self, requests: Sequence[Request]) -> Iterator[tuple[bytes, bool]]:
        """(key, whether it is live for certain) of all keys before which no node has another. Raises a node's error for good."""
        by_link = {stream.link: stream for stream in self._streams}
        failed: DynazmqError | None = None
        for request in requests:
            assert request.only is not None
            stream = by_link[request.only]
            if request.error is not None:
                failed = request.error
                if not (request.refusal is not None and request.refusal.code == ELSEWHERE and self._is_outdated()):
                    self._bad.add(stream.link)
                continue
            page = request.reply
            behind = (page.next_place, page.next_key)
            if page.more and behind <= stream.after:
                failed = ProtocolError(f"{self._view.name_of(stream.link)} does not come on in the keys of {self._bucket!r}")
                self._bad.add(stream.link)
                continue
            stream.rows.extend(page.entries)
            stream.more, stream.after = page.more, behind
        if failed is not None:
            self._failures += 1
            if self._failures > _FAILURES_MAX and not self._is_outdated():
                raise failed
            self._plan()
            return
        before = self._position
        yield from self._merge()
        if self._position != before:
            self._failures = 0

    def _is_outdated(self) -> bool:
        """Whether the client has learned of a newer ring since the streams were planned."""
        return self._newest().ring.version > self._view.ring.version

    def _plan(self) -> None:
        """Who is asked for which partitions, from the position on. Raises Unavailable."""
        if self._is_outdated():
            self._failures = 0
            self._bad.clear()
        self._view = view = self._newest()
        policy, ring = view.policy(self._bucket), view.ring
        replicas = min(self._wanted, policy.n) or _enough(view, self._bucket)
        partitions: dict[Link, list[int]] = {}
        for partition in range(ring.partitions):
            if ring.places_of(partition)[1] < self._position[0]:
                continue
            links = [view.links[name] for name in ring.primaries(partition, policy.n) if name in view.links]
            alive = [link for link in links if self._good(link) and link not in self._bad]
            # Those that were thought to be away may have come back; those that failed just now have not.
            alive += [link for link in links if link not in alive and link not in self._bad]
            if len(alive) < replicas:
                text = f"the keys of partition {partition} need {replicas} of their primaries, {len(alive)} can be reached"
                raise Unavailable(text, replicas, len(alive))
            for link in alive[:replicas]:
                partitions.setdefault(link, []).append(partition)
        self._streams = [_Stream(link, each, self._position) for link, each in partitions.items()]

    def _merge(self) -> Iterator[tuple[bytes, bool]]:
        while True:
            waiting = [stream for stream in self._streams if stream.rows or stream.more]
            if not waiting or any(not stream.rows for stream in waiting):
                return
            position = min((stream.rows[0][0], stream.rows[0][1]) for stream in waiting)
            said = [stream.rows.popleft()[2] for stream in waiting if (stream.rows[0][0], stream.rows[0][1]) == position]
            self._position = position
            if any(said):
                yield position[1], all(said)


def _enough(view: View, bucket: str) -> int:
    """How many primaries of a partition have between them every write that W of them have: N − W + 1, and R at least.

    While a bucket is to have another W, some acknowledge by the one and some by the other, so the smaller of both counts (a node
    of an earlier release tells the larger as what is in force). And when W is larger than it was, what was acknowledged before is
    still with as few: R is enough for that, since an R for which it is not comes into force when all have it (ring.fills).
    """
    policy = view.policy(bucket)
    held = view.ring.quorums_of(bucket, Quorums(*view.default[:3]))
    wanted = view.wanted.get(bucket, policy)
    w = min(policy.w, held.w, wanted.w if wanted.n == policy.n else held.w)
    return max(policy.r, policy.n - w + 1)

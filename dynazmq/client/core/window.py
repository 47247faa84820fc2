"""How much of one client's work is under way at a time: what a node can have at once, and what waits here instead of there.

A program may ask for twenty thousand things in one breath, or for two hundred values of a megabyte. Sent at once they would lie
in queues in front of the nodes until their time is over, and each would be asked for again; so they wait in the client, which
costs nothing and can be told apart from a cluster that does not answer. For each node a *window* says how many requests and bytes
may be under way, as the window of a TCP connection does for what it has not seen acknowledged:

    a request has the bytes that it carries, a get those that its answer is expected to have, by what its bucket's had lately
    there is room while the requests are fewer than the limit, and the bytes with this one are no more; one alone always fits
    a node that says that it is overloaded halves its limit; each answer lets that grow again, slowly (AIMD, as TCP does)

What finds no room waits in the order in which it came, and its time begins when it is let in: `timeout` is for the cluster, not
for a queue of one's own making. While answers come the queue moves; when nothing was answered for as long as somebody in it has
time, that one ends as `Overloaded`: nothing of it was attempted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from dynazmq.client.core.requests import Request
from dynazmq.client.values.view import Link
from dynazmq.config import LINK_BYTES_MAX, LINK_REQUESTS_MAX
from dynazmq.dynamo.messages import Get, GetReply, Put

_SMALL_BYTES = 256
"""What any request costs beside its value: so that many small ones are counted by their number and not by their bytes."""

_LEAST = 4
"""Requests that a node gets however overloaded it is: fewer, and one slow put would hold up all others."""

_SHRINK_AGAIN_S = 0.1
"""One moment of overload is answered many times: it halves the limit once."""

_UNKNOWN_BYTES = LINK_BYTES_MAX // 16
"""What a get counts before any of its bucket was answered: sixteen of them show how large the others will be."""

RATE_BYTES_PER_S = 10 << 20
"""What a cluster can be expected to take or give at the least, for how long to wait for large values. Measured: 50 MB/s."""

_PATIENT_BYTES = 1 << 20
"""Less than this is no reason for more patience."""


class Window:
    """One node's: what is under way there, and how much may be."""

    __slots__ = ("bytes", "limit", "requests", "shrunk_at")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0
        self.limit = float(LINK_REQUESTS_MAX)
        self.shrunk_at = 0.0

    def grow(self) -> None:
        """A request was answered: with each window of them there is room for one more."""
        self.limit = min(self.limit + 1.0 / self.limit, LINK_REQUESTS_MAX)

    def shrink(self, now: float) -> None:
        """The node is overloaded."""
        if now - self.shrunk_at >= _SHRINK_AGAIN_S:
            self.limit = max(min(self.limit, self.requests) / 2, _LEAST)
            self.shrunk_at = now


class Windows:
    """One client's: a window for each node, and who waits for room. Pure: it is told the time."""

    def __init__(self, choose: Callable[[Request], Link | None], now: float) -> None:
        """choose: the node that a request is for, as things are now."""
        self._choose = choose
        self._windows: dict[Link, Window] = {}
        self._expected: dict[str, int] = {}  # bucket → bytes that a get brings: the most of late, forgotten slowly
        self._queues: dict[Link, deque[Request]] = {}  # who finds no room, by the node that it is for
        self._roomy: dict[Link, None] = {}  # nodes for which somebody waits, and there may be room now
        self._moved: dict[Link, None] = {}  # nodes to which nobody should go now
        self._answered_at = self._looked_at = now  # the other: for who has waited too long
        self._timeout_min = 60.0  # the shortest of any request that had to wait

    def __len__(self) -> int:
        """How many wait."""
        return sum(request.waiting for queue in self._queues.values() for request in queue)

    def enter(self, request: Request) -> bool:
        """Whether it may begin. If not it waits, and comes out of `ready` one day."""
        kind = request.message.__class__
        if kind is not Get and kind is not Put:
            return True  # what an operator asks is little, and must not wait behind the load
        link = self._choose(request)
        if link is None:
            return True
        window = self._windows.get(link)
        if window is None:
            window = self._windows[link] = Window()
        if link not in self._queues and self._finds_room(request, link, window):
            return True
        request.waiting = True
        self._queues.setdefault(link, deque()).append(request)
        self._timeout_min = min(self._timeout_min, request.timeout)
        return False

    def _finds_room(self, request: Request, link: Link, window: Window) -> bool:
        """Whether there was room; then it is taken, until `leave`."""
        message = request.message
        if message.__class__ is Get:
            size = _SMALL_BYTES + self._expected.get(message.bucket, _UNKNOWN_BYTES)
        else:
            size = _SMALL_BYTES + len(message.value or b"")
        if window.requests and (window.requests >= window.limit or window.bytes + size > LINK_BYTES_MAX):
            return False
        window.requests += 1
        window.bytes += size
        request.size = size
        request.room = link
        return True

    def leave(self, request: Request) -> None:
        """It has ended, whatever came of it."""
        request.waiting = False
        link, request.room = request.room, None
        if link is not None:
            window = self._windows[link]
            window.requests -= 1
            window.bytes -= request.size
            if link in self._queues:
                self._roomy[link] = None

    @property
    def may_begin(self) -> bool:
        """Whether `ready` could give somebody."""
        return bool(self._roomy or self._moved)

    def ready(self) -> Iterator[Request]:
        """Those for whom there is room now, which is taken. One that ends at once may make room for the next of them."""
        while self._moved:
            link = next(iter(self._moved))
            del self._moved[link]
            for request in self._queues.pop(link, ()):
                if request.waiting and self.enter(request):
                    yield self._begins(request)
        while self._roomy:
            link = next(iter(self._roomy))
            del self._roomy[link]
            window, queue = self._windows[link], self._queues.get(link)
            # What a get may bring is judged when it is let in: by then some of its bucket have been answered.
            while queue and (not queue[0].waiting or self._finds_room(queue[0], link, window)):
                request = queue.popleft()
                if request.waiting:
                    yield self._begins(request)
            if not queue:
                self._queues.pop(link, None)

    def _begins(self, request: Request) -> Request:
        request.waiting = False
        return request

    def look_again(self) -> None:
        """Something may have been cut off in the middle."""
        self._roomy.update(dict.fromkeys(self._queues))

    def expected_bytes(self, bucket: str) -> int:
        """What a get brings, as far as that is known."""
        return self._expected.get(bucket, _UNKNOWN_BYTES)

    # --- what is learned --------------------------------------------------------------------------------------------------

    def answered(self, request: Request, reply: Any, now: float) -> None:
        if request.room is not None:
            self._answered_at = self._looked_at = now
            window = self._windows[request.room]
            if window.limit < LINK_REQUESTS_MAX:
                window.grow()
            if reply.__class__ is GetReply:
                values = reply.values
                size = len(values[0]) if len(values) == 1 else sum(map(len, values))
                if size != self._expected.get(request.message.bucket):  # values of one bucket are often of one size
                    self._learn(request.message.bucket, size)

    def _learn(self, bucket: str, size: int) -> None:
        known = self._expected.get(bucket, 0)
        self._expected[bucket] = size if size > known else known - (known - size + 15) // 16

    def overloaded(self, link: Link, now: float) -> None:
        if (window := self._windows.get(link)) is not None:
            window.shrink(now)

    def avoided(self, link: Link) -> None:
        """Who waits for this node had better go elsewhere."""
        if link in self._queues:
            self._moved[link] = None

    def patience_s(self, link: Link) -> float:
        """How much longer than usual an answer of this node may take, since so much is under way there."""
        window = self._windows.get(link)
        return window.bytes / RATE_BYTES_PER_S if window is not None and window.bytes >= _PATIENT_BYTES else 0.0

    # --- time -------------------------------------------------------------------------------------------------------------

    def crowded_out(self, now: float) -> list[Request]:
        """Who has waited for as long as it has time, in which nothing was answered."""
        if not self._queues or now < self._looked_at + self._timeout_min:
            return []
        self._looked_at = now
        waiting = [request for queue in self._queues.values() for request in queue if request.waiting]
        return [request for request in waiting if now >= max(self._answered_at, request.started) + request.timeout]

    def next_deadline(self) -> float | None:
        """When to look for who may begin, or has waited too long; None while nobody waits."""
        if not self._queues:
            return None
        return 0.0 if self._roomy or self._moved else self._looked_at + self._timeout_min

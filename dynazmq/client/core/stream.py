"""Any number of items, taken from an iterator as there is room for them, and their outcomes as they come. Pure, for both faces.

Each item is a call of its own: its flow (flows.py), with its own requests, time and outcome. Many are under way at once:

    the iterator ──▶ taken, as long as few enough are ──▶ under way in the client's windows (window.py) ──▶ outcome ──▶ the caller

What is held is bounded by what is taken: an item counts until the caller has its outcome. So a caller who is slow is waited for,
and neither values that are still to be written nor results that nobody has looked at pile up.

The iterator, codecs and resolvers are the caller's code, which may take its time, call the same client, or raise. They run in
the caller's own thread or loop, never while a lock is held. When one raises, nothing more is begun; what is under way ends and is
told, and then the error is raised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from dynazmq.client.core.core import ClientCore
from dynazmq.client.core.flows import Begin, Flow
from dynazmq.client.core.requests import BATCH_IN_FLIGHT, Key, Request
from dynazmq.config import LINK_BYTES_MAX
from dynazmq.dynamo.messages import Get, Put
from dynazmq.errors import DynazmqError

STREAM_BYTES_MAX = 4 * LINK_BYTES_MAX
"""Of values, those that gets are expected to bring among them: enough to fill the windows of four nodes."""

T = TypeVar("T")


class _Call(Generic[T]):
    """What is done for one item. `left`: how many of its requests are awaited."""

    __slots__ = ("bytes", "flow", "key", "left", "outcome")

    def __init__(self, key: Key, flow: Flow[T]) -> None:
        self.key = key
        self.flow = flow
        self.left = 0
        self.bytes = 0
        self.outcome: T | DynazmqError | None = None


class Stream(Generic[T]):
    """The calls of one stream. Belongs to one thread or loop, but for `_answered`, which any thread may call."""

    def __init__(self, begin: Begin[T], expected_bytes: Callable[[str], int], ordered: bool) -> None:
        """begin: (key, flow) for an item. expected_bytes: what a get of a bucket is likely to bring.

        ordered: outcomes are told in the order of the items.
        """
        self.answered: deque[Request] = deque()  # whose calls can go on
        self.on_answer: Callable[[], None] | None = None
        self._begin = begin
        self._expected_bytes = expected_bytes
        self._ordered = ordered
        self._ended = False  # no more items
        self._error: Exception | None = None
        self._taken = 0
        self._bytes = 0
        self._waiting: dict[Request, _Call[T]] = {}
        self._in_order: deque[_Call[T]] = deque()
        self._outcomes: deque[_Call[T]] = deque()

    # --- taking -----------------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether another item should be taken."""
        return not self._ended and self._taken < BATCH_IN_FLIGHT and self._bytes < STREAM_BYTES_MAX

    def fill(self, items: Iterator[Any]) -> list[Request]:
        """Go on with what was answered and take what there is room for: the requests to be started now."""
        new = self.go_on()
        while self.has_room:
            try:
                item = next(items)
            except StopIteration:
                self.end()
            except Exception as error:
                self.end(error)
            else:
                new += self.take(item)
        return new

    def take(self, item: Any) -> list[Request]:
        """The requests of this item to be started now."""
        try:
            key, flow = self._begin(item)
        except Exception as error:
            self.end(error)
            return []
        call = _Call(key, flow)
        self._taken += 1
        if self._ordered:
            self._in_order.append(call)
        return self._advance(call)

    def end(self, error: Exception | None = None) -> None:
        """There are no more items. error: what the caller's code has raised; it is told the first one."""
        self._ended = True
        self._error = self._error or error

    # --- under way --------------------------------------------------------------------------------------------------------

    def go_on(self) -> list[Request]:
        """The next requests of those that were answered."""
        new: list[Request] = []
        while self.answered:
            call = self._waiting.pop(self.answered.popleft())
            call.left -= 1
            if not call.left:
                new += self._advance(call)
        return new

    def _advance(self, call: _Call[T]) -> list[Request]:
        """Up to the next requests that it wants done, or its end."""
        requests: list[Request] = []
        try:
            while not requests:
                requests = next(call.flow)
        except StopIteration as stop:
            call.outcome = stop.value
        except DynazmqError as error:
            call.outcome = error
        except Exception as error:  # a codec's: it would fail with the next ones as well
            self.end(error)
            self._drop(call)
            return []
        if call.outcome is not None:
            self._tell(call)
        for request in requests:
            self._weigh(call, request.message)
            self._waiting[request] = call
            request.notify = self._answered
        call.left = len(requests)
        return requests

    def _weigh(self, call: _Call[T], message: Any) -> None:
        size = 0
        if message.__class__ is Put:
            size = len(message.value or b"")
        elif message.__class__ is Get:
            size = self._expected_bytes(message.bucket)
        self._bytes += size - call.bytes
        call.bytes = size

    def _answered(self, request: Request) -> None:
        """Called in whatever thread has heard it."""
        self.answered.append(request)
        if self.on_answer is not None:
            self.on_answer()

    @property
    def under_way(self) -> list[Request]:
        """Those that nobody has answered."""
        return [request for request in self._waiting if not request.done]

    def recount(self, core: ClientCore, now: float) -> None:
        """Another thread was cut off in the middle of a step that may have been about these requests."""
        for request in self._waiting:
            if request.done:
                if request not in self.answered:
                    self._answered(request)
            elif not core.knows(request):
                core.start(request, now)

    # --- telling ----------------------------------------------------------------------------------------------------------

    def _tell(self, call: _Call[T]) -> None:
        if not self._ordered:
            self._outcomes.append(call)
            return
        while self._in_order and self._in_order[0].outcome is not None:
            self._outcomes.append(self._in_order.popleft())

    def _drop(self, call: _Call[T]) -> None:
        """It has no outcome: the caller's code has ended it."""
        self._taken -= 1
        self._bytes -= call.bytes
        if self._ordered:
            self._in_order.remove(call)
            self._tell(call)  # those behind it

    @property
    def waits(self) -> bool:
        """Whether the next outcome needs what is not there yet: an answer, or another item."""
        return not self.answered and not self._outcomes and (bool(self._waiting) or not self._ended)

    def outcomes(self) -> Iterator[tuple[Key, T | DynazmqError]]:
        """Those that are there."""
        while self._outcomes:
            call = self._outcomes.popleft()
            self._taken -= 1
            self._bytes -= call.bytes
            assert call.outcome is not None
            yield call.key, call.outcome

    def is_over(self) -> bool:
        """Raises what the caller's code has raised, when all else was told."""
        if not self._ended or self._waiting or self._outcomes:
            return False
        if self._error is not None:
            raise self._error
        return True

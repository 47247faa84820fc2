"""Whatever the nodes do, and whenever: each request ends once, in time, and its error claims no more than is known."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import count
from typing import Any

from client_bench import Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from dynazmq.client.core.requests import Request
from dynazmq.client.values.view import Link
from dynazmq.dynamo.messages import INVALID, NOT_YET, OVERLOADED, STORAGE, TIMEOUT, UNAVAILABLE, Put
from dynazmq.errors import WriteTimeout

UNDONE = (OVERLOADED, STORAGE, NOT_YET, UNAVAILABLE, INVALID)

timeouts = st.sampled_from([0.05, 0.3, 0.8, 2.0])
delays = st.sampled_from([0.0, 0.05, 0.29, 0.31, 3.0])
fates = st.one_of(
    st.just(("undeliverable", 0, 0.0)),
    st.just(("silence", 0, 0.0)),
    st.tuples(st.just("answer"), st.just(0), delays),
    st.tuples(st.just("refusal"), st.sampled_from([OVERLOADED, UNAVAILABLE, INVALID, TIMEOUT]), delays),
)
"""What becomes of one attempt, and how long that takes."""


class Attempt:
    def __init__(self, link: Link, message: Any) -> None:
        self.link = link
        self.message = message
        self.may_be_done = True  # until it is known that it was not


class World:
    """Nodes that treat each attempt as the schedule says; it begins anew when it is used up."""

    def __init__(self, nodes: int, schedule: list[tuple[str, int, float]]) -> None:
        self.bench = Bench(nodes)
        self.schedule = schedule
        self.attempts: dict[int, list[Attempt]] = {}
        self.requests: dict[int, Request] = {}
        self.ends: Counter[int] = Counter()
        self._fates = iter(())
        self._events: list[tuple[float, int, Any]] = []
        self._order = count()

    def begin(self, request: Request) -> None:
        request_id = request.message.request_id
        self.requests[request_id] = request
        self.attempts[request_id] = []
        request.notify = self._ended

    def _ended(self, request: Request) -> None:
        self.ends[request.message.request_id] += 1
        assert self.bench.now <= request.deadline + 1e-6

    def run(self, seconds: float) -> None:
        end = self.bench.now + seconds
        while True:
            self._carry()
            due = [end]
            if (core := self.bench.core.next_deadline()) is not None:
                due.append(core)
            if self._events:
                due.append(self._events[0][0])
            self.bench.wait(max(0.0, min(due) - self.bench.now))
            while self._events and self._events[0][0] <= self.bench.now:
                heappop(self._events)[2]()
            if self.bench.now >= end:
                return

    def _carry(self) -> None:
        """Until nothing more wants to leave: what cannot be delivered leaves again at once."""
        while sent := self.bench.sent():
            for link, message in sent:
                self._attempt(link, message)

    def _attempt(self, link: Link, message: Any) -> None:
        request = self.requests[message.request_id]
        attempt = Attempt(link, message)
        if isinstance(message, Put):
            self._check_age(request, message)
        self.attempts[message.request_id].append(attempt)
        fate, code, delay = self._next_fate()
        if fate == "undeliverable":
            attempt.may_be_done = False
            self.bench.lose(link, request)
        elif fate == "answer":
            self._later(delay, lambda: self.bench.answer(link, request))
        elif fate == "refusal":
            self._later(delay, lambda: self._refuse(attempt, request, code))

    def _refuse(self, attempt: Attempt, request: Request, code: int) -> None:
        # A refusal that comes when another node has been asked is not waited for any more, and counts for nothing.
        if code in UNDONE and request.link == attempt.link and attempt is self.attempts[request.message.request_id][-1]:
            attempt.may_be_done = False
        self.bench.refuse(attempt.link, request, code, 2, 1)

    def _check_age(self, request: Request, message: Put) -> None:
        earlier = self.attempts[message.request_id]
        assert all(attempt.message.write_id == message.write_id for attempt in earlier)
        if any(attempt.may_be_done for attempt in earlier):
            assert message.age_ms > (self.bench.now - request.started) * 1000 - 1
        else:
            assert message.age_ms == 0
        assert 0 < message.budget_ms <= (request.deadline - self.bench.now) * 1000 + 1

    def _later(self, delay: float, action: Any) -> None:
        heappush(self._events, (self.bench.now + delay, next(self._order), action))

    def _next_fate(self) -> tuple[str, int, float]:
        fate = next(self._fates, None)
        if fate is None:
            self._fates = iter(self.schedule)
            fate = next(self._fates)
        return fate


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.integers(1, 5),
    st.lists(fates, min_size=1, max_size=12),
    st.lists(st.tuples(st.booleans(), timeouts, st.sampled_from([0.0, 0.2])), min_size=1, max_size=4),
)
def test_every_request_ends_once_and_in_time_and_no_retry_passes_for_a_first_try(
    nodes: int, schedule: list[tuple[str, int, float]], calls: list[tuple[bool, float, float]]
) -> None:
    world = World(nodes, schedule)
    for number, (is_put, timeout, pause) in enumerate(calls):
        call = world.bench.put if is_put else world.bench.get
        world.begin(call(f"k{number}", timeout))
        world.run(pause)
    world.run(6.0)

    assert world.ends == dict.fromkeys(world.requests, 1)
    for request_id, request in world.requests.items():
        maybe = any(attempt.may_be_done for attempt in world.attempts[request_id])
        if request.error is not None and isinstance(request.message, Put) and maybe:
            assert isinstance(request.error, WriteTimeout), request.error
    core = world.bench.core
    assert core.next_deadline() is None
    assert (len(core), len(core._attempts), len(core._timers)) == (0, 0, 0)

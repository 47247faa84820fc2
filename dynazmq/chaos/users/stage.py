"""Plays several kinds of abuse beside each other, step by step, in one thread and within a part of a core.

Each is a generator: it does a little, and yields how many seconds it has nothing to do. What it holds open it lets go of in its
`finally`, so that it may be ended between any two steps.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Protocol

import zmq

from dynazmq.chaos.users.plan import Spell

Steps = Generator[float, None, None]

CORE_SHARE = 0.4
"""Of one core, that all of it together may take: the nodes are to be judged, and not the machine."""

_WINDOW_S = 1.0  # in which what was not used may be used later
_STEP_MAX_S = 0.2  # how long it goes on when it is told to end


@dataclass(slots=True)
class Scene:
    """What a kind of abuse has to do with: the nodes that there are now, chance, and where it says what it has tried."""

    cluster_id: int
    endpoints: Mapping[str, str]
    context: zmq.Context[zmq.Socket[bytes]]
    random: Random
    tally: Counter[str]


class Kind(Protocol):
    def __call__(self, scene: Scene) -> Steps:
        """Goes on until it is closed, or has done all that it does in a spell."""


class Clock(Protocol):
    """What there is of time. cpu: seconds of it that this process has used."""

    def now(self) -> float: ...

    def cpu(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


def row(
    kind: Kind, spells: Iterator[Spell], scene: Callable[[Spell], Scene], clock: Clock, tell: Callable[[str, bool], None]
) -> Steps:
    """One kind's spells, one after the other. tell: of each, when it begins and when it is over."""
    for spell in spells:
        yield spell.gap_s
        tell(spell.kind, True)
        try:
            yield from lasting(kind(scene(spell)), spell.lasting_s, clock)
        finally:
            tell(spell.kind, False)


def lasting(steps: Steps, seconds: float, clock: Clock) -> Steps:
    """For so long at most."""
    until = clock.now() + seconds
    try:
        for wait_s in steps:
            left = until - clock.now()
            if left <= 0:
                return
            yield min(wait_s, left)
            if clock.now() >= until:
                return
    finally:
        steps.close()


def play(rows: list[Steps], over: Callable[[], bool], clock: Clock, now_and_then: Callable[[], None]) -> None:
    """Until it is over, or all of them are. now_and_then: done between steps, several times a second."""
    order = count()
    due = [(clock.now(), next(order), steps) for steps in rows]
    share = Share(clock)
    try:
        while due and not over():
            at, _, steps = due[0]
            now_and_then()
            wait_s = max(at - clock.now(), share.owed())
            if wait_s > 0:
                clock.sleep(min(wait_s, _STEP_MAX_S))
                continue
            try:
                heapq.heapreplace(due, (clock.now() + next(steps), next(order), steps))
            except StopIteration:
                heapq.heappop(due)
    finally:
        for _, _, steps in due:
            steps.close()


class Share:
    """Of a core."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began, self._used = clock.now(), clock.cpu()

    def owed(self) -> float:
        """How long to do nothing, so that no more than the share was used of late; 0 or less when that is so."""
        now, used = self._clock.now(), self._clock.cpu()
        owed = (used - self._used) / CORE_SHARE - (now - self._began)
        if owed < -_WINDOW_S:  # who has slept for an hour may not work for one
            self._began, self._used = now - _WINDOW_S, used
        return owed

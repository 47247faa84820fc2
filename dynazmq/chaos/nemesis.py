"""Does what the plan says, beside the load, and knows at each moment what it has to undo.

Most faults go on beside others until their time is over. For those that must be alone (plan.ALONE) all others end first. Before a
disk is lost, the cluster must be whole: all up, no hint pending, all replicas equal. So what an earlier disk has lost is there
again, and fewer than W copies of anything can be gone (promise 1). If that takes too long, the strike is left out.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from dynazmq.chaos.hands import Hands
from dynazmq.chaos.members import Change
from dynazmq.chaos.plan import (
    ALONE,
    AWAY,
    CHANGES,
    CUTS,
    EXPEL,
    KILL,
    KILL_ALL,
    LOSING,
    PAUSE,
    REPLACE,
    ROLLING,
    STOP,
    SUPERVISOR,
    WIPE,
    Blow,
    Situation,
    Strike,
    aim,
)
from dynazmq.chaos.record import Record
from dynazmq.errors import DynazmqError

WHOLE_S = 25.0
"""So long the cluster may take to be whole before a disk is lost."""

_ROLL_S = 20.0
_TICK_S = 0.05
_OVER = "over: "
_BACK = {KILL: "start", STOP: "start", PAUSE: "resume", WIPE: "start", KILL_ALL: "start"}


class Happening(NamedTuple):
    """at: seconds since the run began."""

    at: float
    text: str


@dataclass(slots=True)
class Chronicle:
    """What was done to the cluster, and what is on now. Thread-safe."""

    record: Record
    done: Counter[str] = field(default_factory=Counter)  # kind → times
    left_out: Counter[str] = field(default_factory=Counter)
    happenings: list[Happening] = field(default_factory=list)
    _on: dict[int, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, text: str) -> None:
        with self._lock:
            self.happenings.append(Happening(self.record.now, text))

    def begin(self, text: str) -> int:
        with self._lock:
            number = next(self._numbers)
            self._on[number] = text
            self.happenings.append(Happening(self.record.now, text))
            return number

    def end(self, number: int) -> None:
        with self._lock:
            self.happenings.append(Happening(self.record.now, _OVER + self._on.pop(number)))

    @property
    def on(self) -> list[str]:
        with self._lock:
            return list(self._on.values())

    def was_paused(self, name: str, within_s: float) -> bool:
        """Whether a node was in the last so many seconds, or came out of it."""
        words = [each.text.removeprefix(_OVER).split() for each in self.during(self.record.now - within_s, self.record.now)]
        return any(said[0] == PAUSE and name in said for said in words)

    def during(self, began: float, ended: float, before_s: float = 0.0) -> list[Happening]:
        with self._lock:
            return [each for each in self.happenings if began - before_s <= each.at <= ended]


@dataclass(slots=True, eq=False)
class _On:
    """A blow that goes on until `due`."""

    blow: Blow
    number: int  # in the chronicle
    due: float
    fault: str = ""  # its id


class Nemesis(threading.Thread):
    """faults: ids of those that are to be healed yet. bug: what ended it although it is no error of the cluster's."""

    def __init__(
        self, hands: Hands, plan: Iterator[Strike], chronicle: Chronicle, *, n: int, r: int, w: int, until: float
    ) -> None:
        """until: of the monotonic clock."""
        super().__init__(name="chaos nemesis", daemon=True)
        self.faults: list[str] = []
        self.bug: BaseException | None = None
        self._hands = hands
        self._plan = plan
        self._chronicle = chronicle
        self._policy = {"n": n, "r": r, "w": w}
        self._begun_with = len(hands.members)
        self._until = until
        self._on: list[_On] = []
        self._change: Change | None = None
        self._away: list[str] = []  # nodes, each as often as it was taken away

    @property
    def away(self) -> list[str]:
        """Nodes that are to be brought back yet."""
        leaving = self._change.leaving if self._change is not None else frozenset()
        return [name for name in dict.fromkeys(self._away) if name not in leaving]

    @property
    def change(self) -> Change | None:
        """The one that is under way, or the last one."""
        return self._change

    def run(self) -> None:
        try:
            for strike in self._plan:
                self._wait(time.monotonic() + strike.gap_s)
                if self._over:
                    break
                self._strike(strike)
            self._wait(self._until)
            for on in list(self._on):
                self._end(on)
        except BaseException as bug:
            self.bug = bug

    @property
    def _over(self) -> bool:
        return not self._hands.go_on() or time.monotonic() >= self._until

    def _wait(self, until: float) -> None:
        """Ends what is due meanwhile."""
        while not self._over and (left := until - time.monotonic()) > 0:
            for on in [each for each in self._on if each.due <= time.monotonic()]:
                self._end(on)
            time.sleep(min(_TICK_S, left))

    # --- striking ---------------------------------------------------------------------------------------------------------

    def _strike(self, strike: Strike) -> None:
        if strike.kind in ALONE:
            for on in list(self._on):
                self._end(on)
        blow = aim(strike, self._situation())
        if blow is None:
            self._chronicle.left_out[strike.kind] += 1
            return
        try:
            if blow.kind in LOSING and (missing := self._hands.await_whole(WHOLE_S)):
                self._leave_out(blow, missing)
            elif not self._over:
                self._do(blow)
                self._chronicle.done[blow.kind] += 1
        except DynazmqError as error:
            self._leave_out(blow, str(error))

    def _leave_out(self, blow: Blow, why: str) -> None:
        self._chronicle.left_out[blow.kind] += 1
        self._chronicle.note(f"left out: {blow}: {why}")

    def _situation(self) -> Situation:
        leaving = self._change.leaving if self._change is not None else frozenset()
        members = tuple(name for name in self._hands.members if name not in leaving)
        away = frozenset(name for on in self._on if on.blow.kind in _BACK for name in on.blow.nodes)
        return Situation(
            members=members,
            **self._policy,
            begun_with=self._begun_with,
            away=away.intersection(members),
            cut=any(on.blow.kind in CUTS for on in self._on),
            changing=self._change is not None and self._change.is_alive(),
        )

    def _do(self, blow: Blow) -> None:
        """Raises DynazmqError."""
        if blow.fault is not None:
            on = self._begin(blow)
            try:
                on.fault = self._hands.put_on(blow.fault, blow.lasting_s)
                self.faults.append(on.fault)
            except DynazmqError:
                self._forget(on)
                raise
        elif blow.kind in CHANGES:
            self._change_members(blow)
        elif blow.kind == SUPERVISOR:
            self._kill_supervisor(blow)
        elif blow.kind == ROLLING:
            self._roll(blow)
        else:
            self._take_away(blow)

    def _begin(self, blow: Blow) -> _On:
        on = _On(blow, self._chronicle.begin(str(blow)), time.monotonic() + blow.lasting_s)
        self._on.append(on)
        return on

    def _forget(self, on: _On) -> None:
        self._on.remove(on)
        self._chronicle.end(on.number)

    def _end(self, on: _On) -> None:
        """What cannot be undone now is undone at the end of the run."""
        with suppress(DynazmqError):
            if on.fault:
                self._hands.heal([on.fault])
                self.faults.remove(on.fault)
            elif verb := _BACK.get(on.blow.kind):
                there = [name for name in on.blow.nodes if name in self._hands.members]
                if there:
                    self._hands.act(verb, there)
                for name in on.blow.nodes:
                    self._away.remove(name)
        self._forget(on)

    # --- each kind --------------------------------------------------------------------------------------------------------

    def _take_away(self, blow: Blow) -> None:
        """kill, stop, pause; all of them; or one with its disk."""
        verb = KILL if blow.kind == KILL_ALL else blow.kind
        assert verb in (*AWAY, WIPE)
        if blow.kind == WIPE:
            self._chronicle.record.robs(blow.nodes[0])
        on = self._begin(blow)
        self._away += blow.nodes
        try:
            self._hands.act(verb, blow.nodes)
        except DynazmqError:
            self._end(on)
            raise

    def _kill_supervisor(self, blow: Blow) -> None:
        """Nothing can be asked of anybody until there is another one."""
        self._hands.kill_supervisor()
        number = self._chronicle.begin(str(blow))
        try:
            self._pause(blow.lasting_s)
            self._hands.start_supervisor()
        finally:
            self._chronicle.end(number)

    def _roll(self, blow: Blow) -> None:
        number = self._chronicle.begin(str(blow))
        try:
            if stuck := self._hands.roll(_ROLL_S):
                self._chronicle.note(f"{blow} ended early: {stuck}")
        finally:
            self._chronicle.end(number)

    def _change_members(self, blow: Blow) -> None:
        victim = blow.nodes[0] if blow.nodes else ""
        if blow.kind in (REPLACE, EXPEL):
            self._chronicle.record.robs(victim)
            self._away.append(victim)
            self._hands.act(KILL, [victim])
        self._chronicle.note(f"members: {blow}")
        self._change = Change(self._hands.directory, blow.kind, victim, self._hands.go_on, self._chronicle.note)
        self._change.start()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._over and (left := until - time.monotonic()) > 0:
            time.sleep(min(_TICK_S, left))

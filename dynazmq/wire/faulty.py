"""Faults that people have switched on, done to one node: between it and its sockets, its clock and its disk.

DIR/faults.json says what is on. The node looks at the file every 50 ms, so a fault needs no message, reaches a node that was
paused as soon as it goes on, and outlives the processes. While there is no file this costs that look (2 µs) and nothing else:
frames go straight to the sockets.

What is *cut* is lost as in a network: the sender hears nothing. What is *slow* is held here and leaves in its order; the loop
wakes up for it (`due_at`). What is held when a link is cut is lost with it, and leaves at once when the link is fast again.
"""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from random import Random

from dynazmq.faults import Effects, Fault, describe, from_text

LOOK_S = 0.05
_FRAMES_HELD_MAX = 10_000
_BYTES_HELD_MAX = 64 << 20
"""Beyond these a frame is refused, as by a socket whose queue is full: memory is not filled for a slow link."""

Transport = Callable[[str, bytes], bool]
"""Sends a frame to a peer; False when it was refused."""

Log = Callable[[str, str, str], None]


class FaultyNode:
    """One node's. The loop calls `look` and `release` when their time has come; `now` is on its monotonic clock."""

    def __init__(
        self,
        name: str,
        path: Path,
        clock: Callable[[], float],
        random: Random,
        log: Log,
    ) -> None:
        """clock: the loop's."""
        self._name = name
        self._path = path
        self._clock = clock
        self._random = random
        self._log = log
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Fault] = {}
        self._on: dict[str, Fault] = {}
        self._held: dict[str, deque[tuple[float, bytes]]] = {}
        self._held_frames = self._held_bytes = 0
        self._transport: Transport = _nowhere
        self._counters: Counter[str] = Counter()
        self.send: Transport = _nowhere
        """What the node sends with."""
        self.effects = Effects(name)
        self.look_at = -math.inf
        self.due_at = math.inf
        """When a frame that is held is to leave."""

    def attach(self, transport: Transport, counters: Counter[str]) -> None:
        """transport: how a frame really leaves. counters: where those that are lost and late are counted."""
        self._transport, self._counters = transport, counters
        self.send = self._send if self.effects.network else transport

    # --- what is on -------------------------------------------------------------------------------------------------------

    def look(self, now: float, wall_s: float) -> bool:
        """Look at the file; whether something is otherwise than before."""
        self.look_at = now + LOOK_S
        stamp = _stamp(self._path)
        if stamp == self._stamp and wall_s < self.effects.ends_at:
            return False
        if stamp != self._stamp:
            self._stamp = stamp
            self._known = {fault.id: fault for fault in self._read()} if stamp else {}
        self._become(Effects(self._name, list(self._known.values()), wall_s), now)
        return True

    def _read(self) -> list[Fault]:
        try:
            return from_text(self._path.read_text())
        except (OSError, ValueError) as error:
            self._log("WARN", "fault", f"{self._path} cannot be read, so no fault is on: {error}")
            return []

    def _become(self, effects: Effects, now: float) -> None:
        before, self._on = self._on, {id_: self._known[id_] for id_ in effects.ids}
        for id_, fault in before.items():
            if self._on.get(id_) != fault:
                self._log("INFO", "fault", f"{id_} off: {describe(fault)}")
        for id_, fault in self._on.items():
            if before.get(id_) != fault:
                self._log("INFO", "fault", f"{id_} on: {describe(fault)}")
        self.effects = effects
        for peer, held in self._held.items():
            if not effects.link(peer).delay_s:
                self._held[peer] = deque((now, frame) for _, frame in held)
        self.release(now)
        self.send = self._send if effects.network else self._transport

    # --- frames -----------------------------------------------------------------------------------------------------------

    def _send(self, peer: str, frame: bytes) -> bool:
        link = self.effects.link(peer)
        if link.cut or (link.loss and self._random.random() < link.loss):
            self._counters["fault_frames_lost"] += 1
            return True
        if link.delay_s:
            return self._hold(peer, frame, link.delay_s + self._random.uniform(-link.jitter_s, link.jitter_s))
        return self._transport(peer, frame)

    def _hold(self, peer: str, frame: bytes, delay_s: float) -> bool:
        if self._held_frames >= _FRAMES_HELD_MAX or self._held_bytes + len(frame) > _BYTES_HELD_MAX:
            return False
        due = self._clock() + delay_s
        held = self._held.setdefault(peer, deque())
        if held:
            due = max(due, held[-1][0])  # what was sent later does not overtake
        held.append((due, frame))
        self._held_frames += 1
        self._held_bytes += len(frame)
        self._counters["fault_frames_late"] += 1
        self.due_at = min(self.due_at, due)
        return True

    def release(self, now: float) -> None:
        """Let go what is due."""
        for peer, held in self._held.items():
            while held and held[0][0] <= now:
                _, frame = held.popleft()
                self._held_frames -= 1
                self._held_bytes -= len(frame)
                if self.effects.link(peer).cut or not self._transport(peer, frame):
                    self._counters["fault_frames_lost"] += 1
        self._held = {peer: held for peer, held in self._held.items() if held}
        self.due_at = min((held[0][0] for held in self._held.values()), default=math.inf)


def _nowhere(_peer: str, _frame: bytes) -> bool:
    return False


def _stamp(path: Path) -> tuple[int, int] | None:
    """Which file it is, since it is only ever replaced whole; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino

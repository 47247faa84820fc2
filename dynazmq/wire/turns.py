"""How long the turns of a node's loop take, and with what. The longest of the last minute is what a client may have waited."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

TURN_S = 0.01
"""A turn begins nothing more when it has worked on messages for so long, nor when it has done what is due for as long."""

_WINDOW_S, _WINDOWS = 10.0, 6


class Turn(NamedTuple):
    """A long one: when it began, how long it took, its longest part and how long that took."""

    at: float
    took_s: float
    part: str
    part_s: float


class Turns:
    """One loop's. It begins a part (`begin`) and asks whether that has had its time (`hurry`).

    A loop turns thousands of times in a second: it reads its clock itself, and tells only of turns that are `notable`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + TURN_S
        self._longest: deque[Turn] = deque()  # of each ten seconds, the newest last
        self._window_ends = self._longest_s = 0.0  # of the present ten seconds

    def begin(self, now: float) -> None:
        self._until = now + TURN_S

    def hurry(self) -> bool:
        return self._clock() >= self._until

    def notable(self, began: float, ended: float) -> bool:
        """Whether a turn is longer than those of the last seconds, or the first one of the next."""
        return ended - began > self._longest_s or began >= self._window_ends

    def over(self, began: float, **parts: float) -> None:
        """A notable one is. parts: when each of them ended, in their order."""
        longest, part_s, since = "", 0.0, began
        for part, ended in parts.items():
            if ended - since >= part_s:
                longest, part_s = part, ended - since
            since = ended
        if began < self._window_ends:
            self._longest.pop()
        else:
            self._window_ends = began + _WINDOW_S
            if len(self._longest) == _WINDOWS:
                self._longest.popleft()
        self._longest_s = since - began
        self._longest.append(Turn(began, self._longest_s, longest, part_s))

    def report(self) -> dict[str, float | str]:
        """The longest of the last minute, for `status`."""
        now = self._clock()
        since = now - _WINDOW_S * _WINDOWS
        turns = (each for each in self._longest if each.at >= since)
        turn = max(turns, key=lambda each: each.took_s, default=Turn(now, 0.0, "", 0.0))
        return {"longest_ms": round(turn.took_s * 1000, 1), "part": turn.part, "part_ms": round(turn.part_s * 1000, 1)}

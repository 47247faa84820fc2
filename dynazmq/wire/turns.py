"""How long the turns of a node's loop take, and with what. The longest of the last minute is what a client may have waited.

How long one takes is the node's doing in part only: it waits for the disk, and for a processor that it shares. So the most that
one turn has *used* of the processor is known as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

TURN_S = 0.01
"""A turn begins nothing more when it has worked on messages for so long, nor when it has done what is due for as long."""

_WINDOW_S, _WINDOWS = 10.0, 6


class Peak(NamedTuple):
    """at: when it was. part: of a turn, the longest, and how long that took."""

    at: float
    seconds: float
    part: str = ""
    part_s: float = 0.0


_NONE = Peak(0.0, 0.0)


class Peaks:
    """The highest of each ten seconds in the last minute."""

    def __init__(self) -> None:
        self._peaks: deque[Peak] = deque()  # the newest last
        self._window_ends = 0.0
        self.highest_s = 0.0  # of the present ten seconds

    @property
    def ends_at(self) -> float:
        """When the next ten seconds begin."""
        return self._window_ends

    def notable(self, at: float, seconds: float) -> bool:
        """Whether it is higher than those of the last seconds, or the first one of the next."""
        return seconds > self.highest_s or at >= self._window_ends

    def add(self, peak: Peak) -> None:
        """A notable one."""
        if peak.at < self._window_ends:
            self._peaks.pop()
        else:
            self._window_ends = peak.at + _WINDOW_S
            if len(self._peaks) == _WINDOWS:
                self._peaks.popleft()
        self.highest_s = peak.seconds
        self._peaks.append(peak)

    def highest(self, now: float) -> Peak:
        since = now - _WINDOW_S * _WINDOWS
        return max((each for each in self._peaks if each.at >= since), key=lambda each: each.seconds, default=_NONE)


class Turns:
    """One loop's. It begins a part (`begin`) and asks whether that has had its time (`hurry`).

    A loop turns thousands of times in a second: it reads its clock itself, and tells only of turns that are `notable`.
    """

    def __init__(self, clock: Callable[[], float], used: Callable[[], float]) -> None:
        """used: seconds of a processor that the loop's thread has had so far."""
        self._clock, self._used = clock, used
        self._until = clock() + TURN_S
        self._used_before = used()
        self._longest, self._busiest = Peaks(), Peaks()

    def begin(self, now: float) -> None:
        self._until = now + TURN_S

    def hurry(self) -> bool:
        return self._clock() >= self._until

    def overdue(self) -> bool:
        """Whether as much time again has passed: even to take in what has to wait takes time, if there is much of it."""
        return self._clock() >= self._until + TURN_S

    def notable(self, began: float, ended: float) -> bool:
        """Whether a turn may be the longest or the busiest of these seconds: it has used at most what it took.

        Under load every second turn takes some milliseconds, and to look closely at each of them cost as much as reading a row.
        """
        return ended - began > self._busiest.highest_s or began >= self._longest.ends_at

    def woke(self) -> None:
        """The first thing of a turn."""
        self._used_before = self._used()

    def over(self, began: float, **parts: float) -> None:
        """A notable one is. parts: when each of them ended, in their order."""
        longest, part_s, since = "", 0.0, began
        for part, ended in parts.items():
            if ended - since >= part_s:
                longest, part_s = part, ended - since
            since = ended
        if self._longest.notable(began, since - began):
            self._longest.add(Peak(began, since - began, longest, part_s))
        used = self._used() - self._used_before
        if self._busiest.notable(began, used):
            self._busiest.add(Peak(began, used))

    def report(self) -> dict[str, float | str]:
        """The longest and the busiest of the last minute, for `status`."""
        now = self._clock()
        turn, busiest = self._longest.highest(now), self._busiest.highest(now)
        return {
            "longest_ms": round(turn.seconds * 1000, 1),
            "part": turn.part,
            "part_ms": round(turn.part_s * 1000, 1),
            "busiest_ms": round(busiest.seconds * 1000, 1),
        }

"""When things happened of which the order is known for certain, and the times from a clock that somebody may have set.

What was written first happened first. Where a later line has an earlier time, the clock was set back in between, and it is the
time before that is not believed: so what is newest stays newest, however wrong the clock was once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

LATE_S = 60.0
"""So much later than it happened something may be heard of, and written."""


def in_sequence(times: Sequence[float], slack_s: float = 0.0) -> list[float]:
    """The same, none of them later than one behind it but for the slack.

    slack_s: how much earlier something may have happened than what was written before it.
    """
    found = list(times)
    earliest = float("inf")
    for index in range(len(found) - 1, -1, -1):
        earliest = min(earliest, found[index])
        if found[index] - earliest > slack_s:
            found[index] = earliest
    return found


def in_order(written: Sequence[Item], at: Callable[[Item], float]) -> list[tuple[float, Item]]:
    """As they happened and when, from what was written as it was heard of, with its own time.

    Within LATE_S by their times; past that a clock was set, and what was written first was first.
    """
    times = in_sequence([at(item) for item in written], LATE_S)
    return sorted(zip(times, written, strict=True), key=lambda each: each[0])

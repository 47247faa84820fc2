"""How many hints there are for each target and how many bytes they hold, without counting them.

Totals are kept beside the hints: whoever writes one says what it held before and what it holds now. They are counted once, when
a store is opened, so nothing has to be stored for them, and a crash leaves nothing to repair.

    change     at each write, committed or not: reads of the turn see it at once
    committed  the turn's changes stay
    rollback   the targets that the turn has changed are what they were before it
"""

from __future__ import annotations

from collections.abc import Iterable

from dynazmq.dynamo.runtime import HintTotal

NONE = HintTotal(0, 0)


def hint_bytes(key: bytes, state: bytes) -> int:
    """What a hint counts for; nothing when it is none (a state of b"")."""
    return len(key) + len(state) if state else 0


class HintTotals:
    """Target → total. A target without hints is not in it."""

    __slots__ = ("_before", "_totals")

    def __init__(self, counted: Iterable[tuple[str, int, int]] = ()) -> None:
        """counted: (target, number, bytes) of what is stored; of one target perhaps in several parts."""
        self._totals: dict[str, HintTotal] = {}
        self._before: dict[str, HintTotal] = {}  # of the targets that this turn has changed
        for target, count, size in counted:
            known = self._totals.get(target, NONE)
            self._totals[target] = HintTotal(known.count + count, known.bytes + size)

    def of(self, target: str) -> HintTotal:
        return self._totals.get(target, NONE)

    def all(self) -> dict[str, HintTotal]:
        """In the order of the targets' names."""
        return dict(sorted(self._totals.items()))

    def change(self, target: str, before: int, after: int) -> None:
        """One of a target's hints counted for so many bytes and counts for others now; 0: there was, or is, none."""
        known = self._totals.get(target, NONE)
        self._before.setdefault(target, known)
        # Never below zero: damage in a running store can make a hint another length than the one that was counted.
        count = max(known.count + bool(after) - bool(before), 0)
        if count:
            self._totals[target] = HintTotal(count, max(known.bytes + after - before, 0))
        else:
            self._totals.pop(target, None)

    def committed(self) -> None:
        self._before.clear()

    def rollback(self) -> None:
        for target, total in self._before.items():
            if total.count:
                self._totals[target] = total
            else:
                self._totals.pop(target, None)
        self._before.clear()

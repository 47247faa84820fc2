"""Write ids that were overwritten at a replica not long ago (promise 6).

A retried put asks for its id first (`Recall`): its first try may have been stored, read and overwritten before the retry arrives,
and must not come back. Ids of live siblings are in the state itself, so only the overwritten ones need remembering. Where a try
was done all the same, by a node that was frozen with the request in its queue or cut off from all who knew, its dot is an *echo*
of a write that was overwritten under another: whoever remembers drops it, as one more dot that was overwritten, and with the next
merges it is gone everywhere.

The memory is bounded in number and in age, and is lost with the process. So it says how far back it reaches: of what came before,
"I do not know this id" means nothing.
"""

from __future__ import annotations

from collections import OrderedDict

from dynazmq.config import BUDGET_MS_MAX
from dynazmq.dynamo.versions import Dot

_REMEMBERED_MAX = 32_768
_REMEMBERED_S = BUDGET_MS_MAX / 1000


class Overwritten:
    """Write ids that were overwritten here, with their dots: the newest 32,768 of the last minute."""

    __slots__ = ("_dots", "since")

    def __init__(self, now: float) -> None:
        self._dots: OrderedDict[bytes, tuple[Dot, float]] = OrderedDict()
        self.since = now  # everything overwritten after this moment is remembered

    def add(self, write_id: bytes, dot: Dot, now: float) -> None:
        dots = self._dots
        dots[write_id] = (dot, now)
        if len(dots) > _REMEMBERED_MAX or now - next(iter(dots.values()))[1] > _REMEMBERED_S:
            _, (_, self.since) = dots.popitem(last=False)

    def __contains__(self, write_id: bytes) -> bool:
        return write_id in self._dots

    def forget(self, write_id: bytes) -> None:
        """What overwrote it was not stored after all."""
        self._dots.pop(write_id, None)

    def clear(self, now: float) -> None:
        self._dots.clear()
        self.since = now

    def find(self, write_id: bytes) -> Dot | None:
        found = self._dots.get(write_id)
        return found[0] if found is not None else None

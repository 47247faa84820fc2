"""Write ids that were overwritten at a replica not long ago (promise 6).

A retried put asks for its id first (`Recall`): its first try may have been stored, read and overwritten before the retry arrives,
and must not come back. Ids of live siblings are in the state itself, and so are those of writes that are known to have been
retried (versions.py): what is to be remembered here are writes that were overwritten while nobody knew yet that a retry would
come. The memory also tells that a sibling which comes from elsewhere is such a write under another dot; the state is then told,
and is what remembers from there on.

The memory is bounded in number, and is lost with the process. So it says how far back it reaches: of what came before, "I do not
know this id" means nothing, and a retry of it ends as unknown.
"""

from __future__ import annotations

from collections import OrderedDict

from dynazmq.dynamo.versions import Dot

_REMEMBERED_MAX = 32_768
"""8 MB. No age ends it: a retry comes within a minute, but the other dot of a write comes when a partition has healed."""


class Overwritten:
    """Write ids that were overwritten here, with their dots: the newest 32,768."""

    __slots__ = ("_dots", "since")

    def __init__(self, now: float) -> None:
        self._dots: OrderedDict[bytes, tuple[Dot, float]] = OrderedDict()
        self.since = now  # everything overwritten after this moment is remembered

    def add(self, write_id: bytes, dot: Dot, now: float) -> None:
        dots = self._dots
        dots[write_id] = (dot, now)
        if len(dots) > _REMEMBERED_MAX:
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

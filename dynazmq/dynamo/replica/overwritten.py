"""Write ids that were overwritten at a replica not long ago (promise 6).

A retried put asks for its id first (`Recall`): its first try may have been stored, read and overwritten before the retry arrives,
and must not come back. Ids of live siblings are in the state itself, and so are those of writes that are known to have been
retried (versions.py): what is to be remembered here are writes that were overwritten while nobody knew yet that a retry would
come. The memory also tells that a sibling which comes from elsewhere is such a write under another dot; the state is then told,
and is what remembers from there on.

The memory is bounded in number, and is lost with the process. So it says how far back it reaches: of what came before, "I do not
know this id" means nothing, and a retry of it ends as unknown. It is two generations of ids: the older is forgotten as a whole
when the newer is full. To forget them one by one, in their order, was a fortieth of what a node did for a put.
"""

from __future__ import annotations

from dynazmq.dynamo.runtime import Runtime
from dynazmq.dynamo.values.versions import Dot, Siblings

_GENERATION = 32_768
"""Ids, at least so many and at most twice as many are remembered: 7 to 14 MB. No age ends it: a retry comes within a minute, but
the other dot of a write comes when a partition has healed."""


class Overwritten:
    """Write ids that were overwritten here, in the own copies or in hints, with their dots: the newest 32,768 at least."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._newer: dict[bytes, Dot] = {}
        self._older: dict[bytes, Dot] = {}
        self._newer_since = runtime.now
        self.since = runtime.now  # everything overwritten after this moment is remembered

    # --- remembering ------------------------------------------------------------------------------------------------------

    def add(self, write_id: bytes, dot: Dot) -> None:
        """This write was overwritten in this turn."""
        if not write_id:
            return
        dots = self._newer
        if write_id in self._older:
            dots = self._older
        elif write_id not in dots:
            # One that is there already stays, whatever becomes of this turn: it was overwritten before.
            self._runtime.aborts.append((self._forget, write_id))
            if len(dots) >= _GENERATION:
                dots = self._begin_generation()
        dots[write_id] = dot

    def _begin_generation(self) -> dict[bytes, Dot]:
        self._older, self._newer = self._newer, {}
        self.since, self._newer_since = self._newer_since, self._runtime.now
        return self._newer

    def learn(self, before: Siblings, after: Siblings) -> None:
        """What was live in one state of a key and is not in the next."""
        if len(before.live) == len(after.live) == 1:  # the usual case
            old = before.live[0]
            if old.write_id != after.live[0].write_id:
                self.add(old.write_id, old[:2])
            return
        kept = {sibling.write_id for sibling in after.live}  # under whatever dot
        for sibling in before.live:
            if sibling.write_id not in kept:
                self.add(sibling.write_id, sibling.dot)

    def _forget(self, write_id: bytes) -> None:
        """What overwrote it was not stored after all."""
        self._newer.pop(write_id, None)
        self._older.pop(write_id, None)  # many writes of one turn may have begun a generation

    def clear(self) -> None:
        """A row was lost, and with it what had overwritten some of these."""
        self._newer, self._older = {}, {}
        self.since = self._newer_since = self._runtime.now

    # --- asking -----------------------------------------------------------------------------------------------------------

    def __contains__(self, write_id: bytes) -> bool:
        return write_id in self._newer or write_id in self._older

    def find(self, write_id: bytes) -> Dot | None:
        return self._newer.get(write_id) or self._older.get(write_id)

    def recognise(self, mine: Siblings, incoming: Siblings) -> Siblings:
        """`incoming`, which has learned of its writes that are remembered here as overwritten that they had another dot.

        So such a write was retried, and wherever it meets a state in which that other dot is overwritten it goes: in `mine`, if
        that is such a state. It may not be: what overwrote the write can be in another copy that this node keeps, or kept, for
        somebody. To say by memory alone that it is overwritten would leave nothing in its place (promise 6).
        """
        newer, older = self._newer, self._older
        for sibling in incoming.live:
            if sibling.write_id in newer or sibling.write_id in older:
                break
        else:
            return incoming  # the usual case
        had = {sibling.write_id for sibling in mine.live}  # it is back here: what overwrote it was lost
        again = [
            (sibling.write_id, *dot)
            for sibling in incoming.live
            if (dot := self.find(sibling.write_id)) is not None
            and sibling.write_id not in had
            # Under the dot that is remembered, or another that is covered here, it is no other try but a state of some time ago.
            and dot != sibling.dot
            and not mine.context.covers(sibling.actor, sibling.counter)
        ]
        if not again:
            return incoming
        self._runtime.counters["echoes_dropped"] += len(again)
        return incoming.with_tries(again)

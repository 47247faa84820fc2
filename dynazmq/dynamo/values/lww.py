"""Last write wins: buckets that keep one of concurrent writes and not all of them (`conflict="lww"`; the default is siblings).

The paper leaves a conflict to the application, or to the store, which "can only use simple policies, such as 'last write wins'"
(§2.3). Simple it is: a get finds one value or none, and nobody has to merge. The price: of two writes that did not know of each
other one is let go of, *though it was acknowledged*. Where clients read, change and write back at the same time that is most of
them (examples/04_last_write_wins.py counts). It is for values that replace the one before as a whole: a cache, a position.

**Which write is the last?** Each has a stamp, kept in its sibling's `wall_ms`: a hybrid logical clock (Kulkarni, Demirbas,
Madappa, Avva, Leone 2014), which follows causality where there is any and the wall clocks where there is none:

    stamp = max(wall clock in ms, 1 + the highest stamp that the coordinator holds or the writer was shown)

What the writer was shown is in its context, which carries the highest stamp as an entry of its own (`CLOCK`, an actor that issues
no dots). Joining two contexts takes the higher one, as a hybrid clock does with each message. So no clock, be it an hour behind,
lets a write lose to one that its writer has seen, or that its coordinator holds. What is lost all the same:

  - Of two writes that meet later the one with the higher stamp wins. A node whose clock is ahead wins against all who have not
    seen its writes.
  - A put replaces whatever its coordinator holds, seen by its caller or not. Promise 3, no silent overwrite, is given up.

**Why replicas agree.** Stamps rise along causality and dots decide ties, so the writes of a key have one order, and what a state
holds is the greatest write in its context. To merge two states is `sync` and then `latest`: the greater of two writes and the
union of their contexts. That is commutative, associative and idempotent, so replicas that saw the same writes are equal, to the
byte; and since the context covers what was let go of, it comes back from nowhere. Tombstones take part like any write.

Two things are outside this order: values from before their bucket became an lww one, stamped by wall clocks alone, and a retried
put with two dots (versions.py). With them two states may each cover what the other holds, and `sync` leaves nothing. Then
`latest` chooses among what they had: there always is a value, and states with equal contexts that meet become equal.

**Where it is done.** Where something is stored: a put at its coordinator, a merge at a replica, the repair by a get. A hint, and
what a node reads to answer somebody, is merged with `sync` alone: whoever stores what comes of it chooses, and counts once.

**What is counted.** `lww_discarded` of a node: the writes that it let go of though no write had seen them, since its start.
Summed over all nodes this is an upper bound of such writes: each replica at which the same two meet counts one. What a write that
is let go of had itself replaced is not counted again, though it is nowhere any more: with the third change of a cart the first
two are lost as well, and one is counted.
"""

from __future__ import annotations

from dynazmq.dynamo.messages.fields import COUNTER_MAX
from dynazmq.dynamo.values.versions import Context, Sibling, Siblings

CLOCK = "~lww"
"""The entry of a context that is no actor: its counter is the highest stamp among all that the context covers."""

STAMP_MAX = COUNTER_MAX - 1


def clock(seen: Context) -> int:
    """The highest stamp in a context; 0 for one of a bucket that keeps siblings."""
    return seen.vector.get(CLOCK, 0)


def at_least(seen: Context, stamp: int) -> Context:
    """The same dots, and the clock at this stamp or where it is if that is later."""
    if stamp <= clock(seen):
        return seen
    return Context({**seen.vector, CLOCK: stamp}, seen.cloud, seen.retried)


def stamp(known: Siblings, seen: Context, wall_ms: int) -> int:
    """Of a new write, by a caller who has seen this much, at a coordinator that knows this much."""
    before = max([clock(known.context), clock(seen), *(sibling.wall_ms for sibling in known.live)])
    return min(max(wall_ms, before + 1), STAMP_MAX)


def latest(merged: Siblings, *of: Siblings) -> tuple[Siblings, tuple[Sibling, ...]]:
    """The state with its last sibling alone, and those that were let go of. of: what it was merged from, if it was."""
    among = merged.live or [sibling for state in of for sibling in state.live]
    if not among:
        return merged, ()
    last = max(among, key=_order)
    return merged.with_live((last,)), tuple([sibling for sibling in merged.live if sibling is not last])


def _order(sibling: Sibling) -> tuple[int, str, int]:
    return sibling.wall_ms, sibling.actor, sibling.counter

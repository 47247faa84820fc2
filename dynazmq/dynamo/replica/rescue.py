"""What an old copy of a disk has taken since it was put back (stale_disks.py): it goes over to the empty one that takes its
place.

A node that reaches nobody serves by what it has, since it may be the last one. When its peers tell it that its disk is an old
copy, some writes may be acknowledged that nobody else has (promise 1). They are told by their dots: each life of a process issues
them under a name of its own, and the lives since the node was last sure of its disk are known (Identity.unproven).

Of a state with such a write that is kept which is surely so: those writes, and what is known to be overwritten. A value from
before that is still live beside them may be overwritten or deleted elsewhere, or not: it goes, and with it the knowledge of its
dot. So where the peers have it, it stays there, beside the new one at worst; and where they have forgotten it, it does not come
back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from dynazmq.dynamo.runtime import OwnRow, Row, Store
from dynazmq.dynamo.values.versions import EMPTY, Context, Siblings, decode, encode

_LAST_PLACE = (1 << 64) - 1
_ROWS = 256


def written_since(state: Siblings, name: str, epochs: Collection[str]) -> Siblings:
    """What is left of a state of node `name` when all goes that was written before these lives of it; EMPTY if nothing is."""
    live = tuple(sibling for sibling in state.live if _epoch_of(sibling.actor, name) in epochs)
    if not live:
        return EMPTY
    old = [sibling for sibling in state.live if sibling not in live]
    vector = dict(state.context.vector)
    for sibling in old:
        if sibling.counter <= vector.get(sibling.actor, 0):
            vector[sibling.actor] = sibling.counter - 1  # and with it later ones, which are then merely not known
    vector = {actor: counter for actor, counter in vector.items() if counter}
    cloud = state.context.cloud.difference([sibling.dot for sibling in old])
    retried = state.context.retried.difference([sibling.write_id for sibling in old])
    return Siblings(live, Context(vector, cloud, retried))


def _epoch_of(actor: str, name: str) -> str:
    """Of an actor of this node, be it as a stand-in (Identity.stand_in_actor); else ""."""
    who, _, life = actor.partition("~")
    return life.partition(".")[0] if who == name else ""


def rescued(store: Store, name: str, epochs: Collection[str]) -> Iterator[tuple[str, Row, bytes]]:
    """(target of a hint or "", row, state) of all in a store that these lives of a node have written. Raises StoreFailed."""
    pages: list[tuple[str, Callable[[Row], tuple[list[OwnRow], Row | None]]]] = [
        ("", lambda after: store.rows(0, _LAST_PLACE, after, _ROWS))
    ]
    for target in store.hint_totals():
        pages.append((target, lambda after, target=target: store.hints(target, after, _ROWS)))  # type: ignore[misc]
    for target, page in pages:
        after: Row | None = (-1, "", b"")
        while after is not None:
            found, after = page(after)
            for at, bucket, key, state in found:
                if state and (kept := written_since(decode(state), name, epochs)) is not EMPTY:
                    yield target, (at, bucket, key), encode(kept)

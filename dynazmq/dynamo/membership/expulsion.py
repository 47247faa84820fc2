"""§4.8.1 Expulsion: removing members by force, for they will not come back, and only when a majority of all members agrees.

A member that leaves is waited for. One that is *expelled* is not: nobody asks it for its data, and nobody hears it any more. So
two halves of a split cluster must not be able to expel each other. An expulsion takes two steps, each a kind of intent:

    expel   what an admin wants. It is gossiped, and nothing follows from it yet: the member is served and waited for as before
    gone    it has taken effect: whoever has seen that more than half of the ring's members know of it and are not expelled
            themselves makes it so. Those to be expelled count among the members, and never among those that agree

**Why no two contradictory expulsions take effect.** What a node knows only grows, and it agrees by saying that it knows *exactly*
this ring and these intents. Two majorities of one ring's members have a node in common, which knew the one set of intents first
and then the other, which therefore contains the first: its survivors are survivors of both. And a ring's next step is made when
all survivors, a majority, know the same (change.py); so the argument holds from ring to ring.

**Contradictions end.** Expulsions that together would leave no majority never take effect. If everybody, the accused included, is
there and knows of them, they are withdrawn. If somebody is away, an admin decides: he takes one back (`pardon`), or:

**Without a majority** nothing can be agreed, as when one of two members died, or three of five. An admin may then say `gone` at
once, on his own responsibility. Should the others live, there are two clusters; when they meet, one of them ends (`outweighs`):
the one whose expulsions were not agreed to by a majority, and of two such the smaller one.

**Taking back.** Until the ring is without it, nothing is final: an admin says that the member is in, and that outranks what was
said before (Intent.pardons). Afterwards it is forgotten, tombstones are collected that it may not have seen, and it must not
come back with its old disk.

**A pardon may come too late**: one of whom it speaks, or another of the expelled, has it on disk, and nobody else. None of them
is heard, and to him who is pardoned his pardon outranks what all others say: he would wait for ever to be let in. So members for
whom the removal is final say it again as of that pardon, which outranks it, and he ends (`upheld`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from dynazmq.dynamo.membership.change import EXPEL, GONE, IN, Intent, Intents, intents_digest
from dynazmq.dynamo.values.ring import Ring


class Vote(NamedTuple):
    """How an expulsion stands. expelled: whom it is about. voters: members that may agree. needed: so many of them must."""

    expelled: tuple[str, ...]
    voters: tuple[str, ...]
    needed: int

    @property
    def possible(self) -> bool:
        """Whether it can take effect at all."""
        return len(self.voters) >= self.needed


def vote(ring: Ring, intents: Intents) -> Vote | None:
    """None when nobody is to be expelled."""
    accused = tuple(sorted(name for name, intent in intents.items() if intent.kind == EXPEL))
    if not accused:
        return None
    voters = tuple(name for name in ring.members if name not in intents or intents[name].kind not in (EXPEL, GONE))
    return Vote(accused, voters, len(ring.members) // 2 + 1)


def objection(ring: Ring, intents: Intents, there: Collection[str]) -> str:
    """Why the expulsions among these intents cannot take effect, or "". there: members that can be asked now."""
    voted = vote(ring, intents)
    if voted is None:
        return ""
    members, names = len(ring.members), " ".join(voted.expelled)
    if not voted.possible:
        return (
            f"expelling {names} would leave {len(voted.voters)} of {members} members, and more than half ({voted.needed}) must "
            "agree to it"
        )
    present = [name for name in voted.voters if name in there]
    if len(present) < voted.needed:
        return (
            f"more than half of {members} members ({voted.needed}) must agree to expel {names}, and {len(present)} can be "
            f"reached: {' '.join(present) or 'none'}"
        )
    return ""


def taking_effect(ring: Ring, intents: Intents, knows: Callable[[str], bool]) -> list[Intent]:
    """The expulsions that have taken effect, as everybody will keep them; [] when none has.

    knows: whether a member is known to know this very ring and these very intents.
    """
    voted = vote(ring, intents)
    if voted is None or sum(map(knows, voted.voters)) < voted.needed:
        return []
    return [intents[name]._replace(kind=GONE, agreed=True) for name in voted.expelled]


def withdrawn(ring: Ring, intents: Intents, knows: Callable[[str], bool]) -> list[Intent]:
    """The pardons for those whom no majority can expel, when all members know of it; everybody makes the same."""
    voted = vote(ring, intents)
    if voted is None or voted.possible or not all(map(knows, ring.members)):
        return []
    return [pardon(intents[name]) for name in voted.expelled]


def pardon(intent: Intent) -> Intent:
    """The member stays, by the same writer."""
    return intent._replace(kind=IN, version=intent.version + 1, pardons=intent.pardons + 1, agreed=False)


def upheld(ring: Ring, intents: Intents, theirs: Intents, awaited: Collection[str]) -> list[Intent]:
    """The expulsions that are said again, since one that is gone knows of a pardon that came too late; everybody makes the same.

    awaited: members that are not known to know this very ring and these very intents. When there are none, nobody who is heard
    has that pardon, and none is taken any more.
    """
    if awaited or not ring.at_rest:
        return []
    late = {name: told.pardons for name, told in theirs.items() if name in intents and told.pardons > intents[name].pardons}
    final = [name for name in late if intents[name].kind == GONE and name not in ring.members]
    return [intents[name]._replace(pardons=late[name]) for name in final]


def outweighs(theirs: Intents, ours: Intents, them: str, us: str) -> bool:
    """Two sides have expelled each other, and `them` and `us` are one of each: whether it is ours that ends.

    It depends on what was decided alone, so both sides come to the same.
    """
    against_us, against_them = theirs.get(us), ours.get(them)
    if against_us is None or against_us.kind != GONE or (us in ours and ours[us].pardons > against_us.pardons):
        return False
    if against_them is None or against_us.agreed != against_them.agreed:
        return against_us.agreed
    return _weight(theirs) > _weight(ours)


def _weight(intents: Intents) -> tuple[int, bytes]:
    """Of the side that has decided this: fewer were expelled from the larger one. The digest breaks the tie.

    Pardons that came too late change nothing, or both sides might be outweighed, one before it has heard of them and one after.
    """
    given_up = {name: intent._replace(pardons=0) for name, intent in intents.items() if intent.kind == GONE and not intent.agreed}
    return -len(given_up), intents_digest(given_up)

"""Whether this node's disk is the newest that it had: an old copy that is put back is known by a number (§4.4, promise 4).

What was retired (tombstone_gc.py) is known by nobody any more: whoever puts back a disk from before, a backup or a snapshot,
would bring the values back whose tombstones are gone. No disk can tell that by itself, and its age says nothing. So each member
counts how often it has *vouched* that nothing old is left on it, and the others remember that count. A retirement goes like this:

    first asking     a member that is clear counts one more, stores that, and tells it in the next turn
    second asking    goes with all counts that were told; who is clear again has stored them
    retirement       so each member has in mind of each other a count that no disk from before the first asking has

A node that starts on rows of an earlier life asks its peers what they remember of it, before any state goes from it or to it.
What they told the life before counts for nothing: it may come late, from before a retirement.
They say so in gossip, and in short in each answer to a probe. Nothing but such answers makes a peer reachable (failure.py). So
nobody is taken for reachable, and waited for, who has not spoken, be gossip late or lost for as long as it likes (promise 2).

    nobody remembers more        it is *sure* of its disk, and takes part
    somebody remembers more      its disk is *old*: a copy from before a retirement, or from before several

What becomes of an old one depends on the others. If too many are sure of theirs for the old ones to be a majority, it is to be
*rebuilt*: whoever drives the node sets the disk aside and starts on an empty one, which the peers fill (Cassandra, which forgets
by age, leaves it to its operators never to put a disk back that is older than that). If a majority is old, the cluster was
restored from backups, and they are what is wanted: all of them are believed. That they may bring back what was deleted since is
said in the log. As long as it may be either, the node waits and serves nobody.

A node that can reach nobody serves clients by what it has, as always (promise 2); no peer gets any of it before it is heard. What
it takes in that time goes over to the disk that takes the old one's place (rescue.py). An empty disk cannot be old: it takes over
the count that the peers remember, together with their ring.

One word is enough to be sure, of a peer that is sure itself: it was asked in each retirement, or was told of all by who had been.
Where nobody is yet, since all start at once, a majority of the members must have been heard, itself counted, or all who can be
reached: if they were all old they would be believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgpack

from dynazmq.config import MEMBERS_MAX
from dynazmq.dynamo.membership.failure import UP, FailureDetector
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.records import in_reach
from dynazmq.dynamo.runtime import Address, Runtime

UNSURE, SURE, OLD = range(3)
"""What a node says of its own disk, on the wire."""

FOR_ANOTHER_LIFE = -1
"""What it says in a frame that was meant for another life, or comes from one: nothing that counts for this one (gate.py). When it
was sent, much may not have been forgotten yet; what it remembers stays true."""

_META = "vouches"
_NAMES_MAX = 2 * MEMBERS_MAX
_UNDER_WAY_S = 0.5
_ALONE_S = 0.3  # of a life in which nobody has answered: who is there mostly has by then


class Vouches:
    """One node's count, what it remembers of the others', and what follows for its disk."""

    def __init__(
        self, runtime: Runtime, identity: Identity, membership: Membership, failure: FailureDetector, *, empty: bool
    ) -> None:
        """empty: there is neither a row nor a hint on the disk."""
        self._runtime = runtime
        self._identity = identity
        self._membership = membership
        self._failure = failure
        self._empty = empty
        self.mine = 0
        """How often this node has vouched, this turn included."""
        self.stored = 0
        """The same as its disk knows. No more may be told: if the commit fails, others have heard of a disk that there is not."""
        self._known: dict[str, int] = {}  # the same of others
        self._remembered = 0  # the most that anybody else knows of this one
        self._heard: dict[str, int] = {}  # peer → what it says of its own disk, if it has answered in this life
        self.sure = empty or not failure.peers
        """Whether states may go to peers and come from them."""
        self.old = False
        self._ask_anew_at = 0.0
        self.rebuild = False
        """Whether the disk is to be set aside: this life is over."""
        self.reload()

    def reload(self) -> None:
        """What is stored: at the start, and after a failed commit."""
        raw = self._runtime.store.get_meta(_META)
        self.mine, known = msgpack.unpackb(raw) if raw is not None else (0, [])
        self.stored = self.mine
        self._known = dict(known)
        if self._remembered > self.mine and self.sure:
            self._take_over()
        if self.sure and not self.old:  # after the identity's own reload: that it is proven may have been lost with the turn
            self._identity.prove()

    def committed(self) -> None:
        self.stored = self.mine

    def _save(self) -> None:
        self._runtime.store.set_meta(_META, msgpack.packb([self.mine, self.rows()]))

    # --- counting (tombstone_gc.py) -----------------------------------------------------------------------------------------

    def vouch(self) -> int:
        """Count one more. It may be told when this turn is over and another has made it safe from loss of power."""
        self.mine += 1
        self._save()
        return self.mine

    def for_the_next_disk(self) -> dict[str, bytes]:
        """What is to be known on the disk that takes this one's place: it is none from before."""
        return {_META: msgpack.packb([self._remembered, self.rows()])}

    def rows(self) -> list[list[Any]]:
        """What is remembered of others: [name, count] each."""
        return [[name, count] for name, count in self._known.items()]

    def learn(self, rows: Iterable[Any]) -> bool:
        """Remember what others have counted, in this turn. Whether any of it is new."""
        newer = False
        for name, count in rows:
            known = self._known.get(name, 0)
            room = name in self._known or len(self._known) < _NAMES_MAX
            if count > known and room and in_reach(count, known) and name != self._runtime.name:
                self._known[name] = count
                newer = True
        if newer:
            self._save()
        return newer

    # --- what follows for this disk ---------------------------------------------------------------------------------------

    @property
    def says(self) -> int:
        """UNSURE, SURE or OLD. One that was believed though it is old says so for the rest of its life: others are in the same
        case, and count it among theirs."""
        if self.old:
            return OLD
        return SURE if self.sure and self._membership.settled else UNSURE

    @property
    def serves(self) -> bool:
        """Whether clients may be answered: it is sure, or can reach nobody whom it could ask."""
        waits = self._runtime.now - self._runtime.started < _ALONE_S
        return self.sure or not (self.old or waits or self._up())

    @property
    def trouble(self) -> str:
        """What an operator should know; "" when there is nothing."""
        if not self.old or self.sure:
            return ""
        counts = f"it has vouched {self.mine:,} times, a peer knows of {self._remembered:,}"
        return f"its disk is an old copy ({counts}): what was deleted since would come back"

    def _up(self) -> list[str]:
        return [name for name, peer in self._failure.peers.items() if peer.state == UP]

    def unheard(self) -> list[str]:
        """Whose word may still change something."""
        if self.sure or self.rebuild:
            return []
        return [name for name in self._failure.peers if self.old or self._heard.get(name, UNSURE) != SURE]

    def hear(self, sender: str, rows: list[Any], says: int) -> None:
        """What a peer remembers of all, and what it says of its own disk."""
        self.learn(rows)
        if says != FOR_ANOTHER_LIFE and (not self.old or self._runtime.now >= self._ask_anew_at):
            self._heard[sender] = says
        mine = max([count for name, count in rows if name == self._runtime.name], default=0)
        if mine > self._remembered and in_reach(mine, max(self._remembered, self.mine)):
            self._remembered = mine
        if self._remembered > self.mine:
            if self._empty:
                self._take_over()
            elif not self.old:
                self.old, self.sure = True, False
                # What others said of their disks they may have said before they heard what has just been heard here, and is told
                # with each question: they are asked anew, when no answer from before is under way any more.
                self._heard, self._ask_anew_at = {}, self._runtime.now + _UNDER_WAY_S
                self._runtime.counters["old_disks"] += 1
                self._runtime.note(self.trouble, "WARN")
        self.judge()

    def word_for(self, peer: Address) -> tuple[int, int]:
        """What a peer is told with each answer to its probes: the count that is remembered of it, and what this disk is."""
        return self._known.get(peer, 0) if isinstance(peer, str) else 0, self.says

    def hear_in_short(self, sender: Address, vouched: int, says: int) -> None:
        """Such a word. Whose disk is old goes on by gossip alone: who answers its questions there has heard first what it knows
        of all disks (`hear`), and who answers a probe may not have."""
        if isinstance(sender, str) and not self.old:
            self.hear(sender, [[self._runtime.name, vouched]], says)

    def _take_over(self) -> None:
        self.mine = self._remembered
        self._save()

    def judge(self) -> None:
        """Draw the conclusion, if there is one yet. Time passes as well: nobody waits for who is away."""
        if self.sure or self.rebuild:
            return
        others = [name for name in self._membership.members if name != self._runtime.name and name not in self._membership.gone]
        sure, old = (sum(self._heard.get(name) == says for name in others) for says in (SURE, OLD))
        members = len(others) + 1
        majority = members // 2 + 1
        if not self.old:
            heard = len(self._heard) > 0 and all(name in self._heard for name in self._up())
            told = sum(name in self._heard for name in others) + 1
            self.sure = sure > 0 or told >= majority or (heard and not self._failure.settling())
            if self.sure:
                self._identity.prove()
        elif old + 1 >= majority:
            self.sure = True
            self._take_over()
            text = "a majority of the members has old disks, so the cluster was restored, and this node goes by its own"
            self._runtime.note(f"{text}: what was deleted since may be back", "WARN")
        elif members - sure < majority:
            self.rebuild = True
            self._runtime.note(f"{sure} of {members} members know better: the disk is to be set aside", "WARN")

"""§4.8 Membership: who belongs, which ring they agree on, which policies buckets have. gossip.py spreads it.

Everything known here is a record (records.py) that only gets better, and which of two is better is decided by the record alone:

    member     (incarnation, heartbeat), only ever raised by the member itself
    ring       its version, the digest breaks a tie
    policies   what is wanted of each bucket: one version each, the writer's name breaks a tie; and so for
    intents    what admins want of each member (change.py)

so nothing goes back (I8), in whatever order gossip arrives. A node that hears of itself what it did not say refutes it with a
higher incarnation. Being away is no membership change (§4.8.1): a member that is down keeps its partitions.

Whoever speaks up under a name is a member of gossip, without any keys, until the ring gives it some. A member that was removed
is forgotten: at once if it is gone, else when it has said itself that nothing is left on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import Any

from dynazmq.config import BUCKETS_MAX, LWW, MEMBERS_MAX, SIBLINGS
from dynazmq.dynamo.membership.change import (
    BY_FORCE,
    FOR_EVER,
    GONE,
    IN,
    LEFT,
    NAMES_MAX,
    OUT,
    Intent,
    Side,
    concerned,
    goal,
    intents_digest,
    next_ring,
)
from dynazmq.dynamo.membership.expulsion import outweighs, taking_effect, upheld, withdrawn
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.founders import Founders
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.membership.in_force import InForce
from dynazmq.dynamo.membership.losses import Losses, declare, without_source
from dynazmq.dynamo.membership.records import ALIVE, DIGEST_BYTES, Kept, Member, Policy, in_reach, life_in_reach, policies_digest
from dynazmq.dynamo.runtime import Address, Runtime
from dynazmq.dynamo.values.ring import Quorums, Ring


class Membership:
    """The cluster as this node knows it. `ring`, `policies` and `intents` are replaced whole, never changed in place."""

    def __init__(self, runtime: Runtime, identity: Identity, failure: FailureDetector) -> None:
        self._runtime = runtime
        self._identity = identity
        self._failure = failure
        config = runtime.config
        self.default_policy = Policy(config.n, config.r, config.w)
        self.default_quorums = Quorums(config.n, config.r, config.w)
        self.policies: dict[str, Policy] = {}
        self.intents: dict[str, Intent] = {}
        self.losses = Losses()
        self.members: dict[str, Member] = {
            name: Member(name, endpoint, 0, 0, ALIVE) for name, endpoint in sorted(config.members.items())
        }
        self.founders = Founders(config)
        self.settled = self.founders.alone
        """Whether this ring may be relied on. A node that has not stored one asks first: the cluster's may be newer."""
        self.apart: dict[str, int] = {}
        """Peers that were met by a ring that does not fit this one, and its version: gossip brings both together."""
        self._outdated = False  # a newer one is known to be
        self._unsaved = False  # whether what is known is to be saved again, because a commit has failed
        self._stored = False  # whether it is on the disk
        self._target: tuple[bytes, Side] | None = None  # for what is known
        self._strangers: dict[str, str] = {}  # name → endpoint of some that are no members: they are told so
        self.gone: frozenset[str] = frozenset()  # who was expelled: what they ask and say of keys is not heard
        self.outcast = False
        """Whether this node is one of them. It serves nobody then, and may be pardoned yet."""
        self._released: Intent | None = None  # this node's word that nothing is left on it, once a member has told it again
        self._overruled = False  # whether another side of a split, which outweighs this one, has expelled this node
        self.news = True
        """Something has changed that others should hear of at once; gossip takes it back."""
        kept = self._reload()
        if kept is None:
            self.ring = self.founders.ring()
        self.in_force = InForce(self.ring, self.policies, self.default_policy).after(kept.least if kept else [], runtime)
        # Our own address may have changed since the last life; only we can say so.
        self.members[runtime.name] = Member(runtime.name, config.endpoint, identity.incarnation, 0, ALIVE, self.knowledge())
        self._watch()
        self._save()

    # --- asking -----------------------------------------------------------------------------------------------------------

    def policy(self, bucket: str) -> Policy:
        """What is in force for a bucket: its quorums are the ring's. `policies` has what is wanted."""
        return self.in_force.policy(bucket)

    def is_lww(self, bucket: str) -> bool:
        """Whether the last of concurrent writes wins in it."""
        return self.policy(bucket).conflict == LWW

    def quorum(self) -> int:
        """The most replicas that any bucket needs for a read or write."""
        return max(max(policy.r, policy.w) for policy in (self.default_policy, *self.policies.values()))

    def incarnation_of(self, name: str) -> int:
        """The newest life of a peer that is known here; 0 when none is."""
        member = self.members.get(name)
        return member.incarnation if member is not None else 0

    def endpoint_of(self, name: str) -> str:
        """Where it listens; "" if that is not known."""
        member = self.members.get(name)
        return member.endpoint if member is not None else self._strangers.get(name, "")

    def knowledge(self) -> bytes:
        """What this node says that it knows: it stands for ring, intents, policies and losses. A step rests on all of them."""
        known = self.ring.digest() + intents_digest(self.intents) + policies_digest(self.policies) + self.losses.digest()
        return hashlib.blake2b(known, digest_size=DIGEST_BYTES).digest()

    def met(self, peer: Address, ring_version: int) -> None:
        """A peer goes by a ring that is not near."""
        if isinstance(peer, str):
            self.apart[peer] = ring_version

    @property
    def expelled(self) -> bool:
        """Whether that is final: the ring does without it, and it may end."""
        return self._overruled or (self.outcast and self._runtime.name not in self.ring.members)

    def is_gone(self, name: Address) -> bool:
        """Whether a sender was removed for ever."""
        return name in self.intents and self.intents[str(name)].kind in FOR_EVER

    @property
    def standing(self) -> str:
        """joining, member, leaving or left."""
        me, ring = self._runtime.name, self.ring
        if me in ring.owners and (not ring.filling or me in ring.also):
            return "member"
        if me in ring.owners or (me in self.intents and self.intents[me].kind != IN):
            return "left" if self._has_left() else "leaving"
        return "joining"

    @property
    def emptied(self) -> bool:
        """Whether this node has said that nothing is left on it: from then on it keeps nothing for anybody."""
        mine = self.intents.get(self._runtime.name)
        return mine is not None and mine.kind == LEFT

    def _has_left(self) -> bool:
        """This node has said that nothing is left on it, and one who stays has heard it: it may end.

        He has told it again, or knows the same. Perhaps none ever will: nobody learns from who has left what it knows besides.
        """
        if not self.emptied or self._released == self.intents[self._runtime.name]:
            return self.emptied
        knowledge = self.knowledge()
        return any(self.members[name].knows == knowledge for name in self.ring.members if name in self.members)

    # --- what peers say ---------------------------------------------------------------------------------------------------

    def hear(self, name: str, incarnation: int) -> bool:
        """A frame of a peer's life has come: whether it is the peer's newest life, or a new one. False: from an earlier one, or
        from one that was expelled."""
        member = self.members.get(name)
        if member is None or name in self.gone or not life_in_reach(incarnation, member.incarnation):
            return False
        if incarnation > member.incarnation:
            self.members[name] = member._replace(incarnation=incarnation, heartbeat=0)
        return incarnation >= member.incarnation

    def beat(self, keys: int) -> Member:
        """This node's own record, one heartbeat on and as things now are. What it says that it knows is stored in this turn.

        keys: rows that it holds.
        """
        self.store_again()
        me = self.members[self._runtime.name]
        me = me._replace(incarnation=self._identity.incarnation, heartbeat=me.heartbeat + 1, knows=self.knowledge())
        me = me._replace(keys=keys)
        self.members[me.name] = me
        return me

    def learn_member(self, row: Any) -> None:
        told = Member(*row[: len(Member._fields)])
        if not told.sound or not life_in_reach(told.incarnation, self.incarnation_of(told.name)):
            self._runtime.counters["gossip_refused"] += 1
            return
        if told.name == self._runtime.name:
            self._hear_of_myself(told)
            return
        known = self.members.get(told.name)
        if known is None and (len(self.members) >= MEMBERS_MAX or self._is_forgotten(told.name)):
            self._runtime.counters["gossip_refused"] += 1
            if len(self._strangers) < MEMBERS_MAX:
                self._strangers[told.name] = told.endpoint
            return
        if known is not None and (told.incarnation, told.heartbeat) <= (known.incarnation, known.heartbeat):
            return
        self.members[told.name] = told
        if known is None or known.endpoint != told.endpoint:
            self._watch()
            self._save()

    def _hear_of_myself(self, told: Member) -> None:
        """Only this node speaks for itself; a rumour that is ahead of it is refuted (W16)."""
        me = self.members[told.name]
        if (told.incarnation, told.heartbeat) > (self._identity.incarnation, me.heartbeat):
            self._identity.refute(told.incarnation)
            heartbeat = me.heartbeat if self._identity.incarnation > told.incarnation else told.heartbeat + 1
            self.members[me.name] = me._replace(incarnation=self._identity.incarnation, heartbeat=heartbeat)
            self._runtime.note(f"refuted a rumour about this node: {told.status} in incarnation {told.incarnation}")

    def learn_ring(self, ring: Ring) -> None:
        fits = ring.partitions == self.ring.partitions or not self.ring.version
        if not fits or ring.rank <= self.ring.rank:
            return
        if in_reach(ring.version, self.ring.version):
            self._turn_to(ring)
        else:
            self._runtime.counters["gossip_refused"] += 1

    def doubt_ring(self, ring: Ring) -> None:
        """This ring is not to be learned. If it is newer, a node that has not stored one cannot rely on its own."""
        self._outdated = self._outdated or ring.rank > self.ring.rank

    def learn_policy(self, row: Any) -> None:
        bucket, *fields = row
        told = Policy(*fields[: len(Policy._fields)])  # surplus ones are a newer release's
        known = self.policies.get(bucket)
        room = known is not None or len(self.policies) < BUCKETS_MAX
        if not isinstance(bucket, str) or not told.sound or not room or not in_reach(told.version, known.version if known else 0):
            self._runtime.counters["gossip_refused"] += 1
        elif known is None or told.rank > known.rank:
            self._want(bucket, told)

    def learn_intents(self, rows: list[Any], teller: Address) -> None:
        """Raises ValueError, and then has learned none."""
        told = [Intent.from_wire(row) for row in rows]
        believed = [intent for intent in told if self._in_reach(intent)]
        self._runtime.counters["gossip_refused"] += len(told) - len(believed)
        self._decided(believed)
        if self.emptied and teller in self.ring.members and (mine := self.intents[self._runtime.name]) in told:
            self._released = mine

    def _in_reach(self, told: Intent) -> bool:
        known = self.intents.get(told.name)
        return in_reach(told.version, known.version if known else 0) and in_reach(told.pardons, known.pardons if known else 0)

    def learn_losses(self, row: list[Any]) -> None:
        """Raises ValueError."""
        told = Losses.from_wire(row)
        self._lost(self.losses.join(told.by_partition.values(), told.acknowledged))

    def learn_decision(self, intents: list[Any], policies: list[Any], losses: list[Any]) -> bool:
        """Whether this node has it, or a later word on the same; it is stored in this turn. Raises ValueError."""
        told = [intent for intent in map(Intent.from_wire, intents) if self._in_reach(intent)]
        self.learn_losses(losses)
        for row in policies:
            self.learn_policy(row)
        self._decided(told)
        self.store_again()
        known = self.intents
        heard = len(told) == len(intents) and all(each.name in known and known[each.name].rank >= each.rank for each in told)
        return heard and all(
            bucket in self.policies and self.policies[bucket].version >= Policy(*fields[: len(Policy._fields)]).version
            for bucket, *fields in policies
        )

    def hear_expelled(self, sender: str, rows: list[Any]) -> None:
        """Who is gone is not believed; but its side may have expelled us, or pardoned it too late. Raises ValueError."""
        theirs = {intent.name: intent for intent in map(Intent.from_wire, rows)}
        if not self._overruled and outweighs(theirs, self.intents, sender, self._runtime.name):
            self._overruled = True
            self._runtime.note(f"{sender} was expelled here, and this node there, by who outweighs us: it ends", "WARN")
        self._decided(filter(self._in_reach, upheld(self.ring, self.intents, theirs, self.awaited())))

    def estranged(self) -> list[str]:
        """Who was expelled without a majority, and may not know it: the two sides have to meet. Sorted."""
        return sorted(name for name in self._strangers if name in self.gone and not self.intents[name].agreed)

    def settle(self, ignorant: Collection[Address] = ()) -> None:
        """A peer knows no better ring: this one it is. A ring of version 0 is nobody's.

        ignorant: peers that rely on none, where nobody who was heard does (founders.py).
        """
        if ignorant and self.founders.unheard(ignorant):
            return
        if self.ring.version and not self.settled and not self._outdated:
            self.settled = True
            self._save()

    # --- what is decided here ---------------------------------------------------------------------------------------------

    def set_policy(self, bucket: str, n: int, r: int, w: int, conflict: str = SIBLINGS) -> Policy:
        """Want another policy for a bucket, unless it is wanted already; gossip carries it on, and the ring follows."""
        known = self.policies.get(bucket)
        if known is not None and (*known[:3], known.conflict) == (n, r, w, conflict):
            return known
        policy = Policy(n, r, w, known.version + 1 if known is not None else 1, self._runtime.name, conflict)
        self._want(bucket, policy)
        return policy

    def _want(self, bucket: str, policy: Policy) -> None:
        self.policies = {**self.policies, bucket: policy}
        self.in_force = self.in_force.followed_by(self.ring, self.policies, self._runtime.now)
        self._save()
        self.news = True

    def acknowledge_losses(self, version: int) -> None:
        """An admin knows what was lost with rings up to this version. Gossip carries it on."""
        self._lost(self.losses.join([], version))

    def _lost(self, losses: Losses) -> None:
        if losses != self.losses:
            self.losses = losses
            self._save()
            self.news = True

    def decide(self, wanted: Iterable[tuple[str, str, float, str]]) -> None:
        """Change intents here, (name, kind, weight, replaces) each; gossip carries them on and the ring follows."""
        self._decided([self._intent(*each) for each in wanted])

    def _intent(self, name: str, kind: str, weight: float, replaces: str) -> Intent:
        known = self.intents.get(name)
        if known is None:
            return Intent(name, kind, weight, replaces, 1, self._runtime.name)
        if kind in BY_FORCE:
            weight = known.weight  # which it has until it is gone, and again if it is pardoned
        if (known.kind == kind and known[2:4] == (weight, replaces)) or (kind, known.kind) == (OUT, LEFT):
            return known  # decided already; one that has left will not say so again
        pardoned = kind == IN and known.kind in BY_FORCE
        return Intent(name, kind, weight, replaces, known.version + 1, self._runtime.name, known.pardons + pardoned)

    def _decided(self, intents: Iterable[Intent]) -> None:
        newer = {i.name: i for i in intents if i.name not in self.intents or i.rank > self.intents[i.name].rank}
        if not newer or len(self.intents | newer) > NAMES_MAX:
            return
        self.intents = self.intents | newer
        for intent in newer.values():
            self._runtime.note(f"{intent.name} shall be {intent.kind}, says {intent.writer}")
        self._note_gone()
        self._forget_removed()
        self._watch()
        self._save()
        self.news = True

    def filled(self) -> None:
        """This node has all the keys that the change under way gives it."""
        self._say(filled=self.ring.digest())

    def unfilled_again(self) -> None:
        """It has not: what was said in this turn was not stored."""
        self._say(filled=b"")

    def leave(self) -> None:
        """This node was removed, and nothing is left on it. Not a word of its own record: an older one might come late."""
        mine = self.intents[self._runtime.name]
        if mine.kind == OUT:
            self.decide([(mine.name, LEFT, mine.weight, mine.replaces)])

    def _say(self, **changes: Any) -> None:
        me = self.members[self._runtime.name]
        if me._replace(**changes) != me:
            self.members[me.name] = me._replace(**changes)
            self.news = True

    # --- the ring follows (change.py) -------------------------------------------------------------------------------------

    def step(self) -> None:
        """Make the ring's next step if everybody concerned is known to be where this node is, itself included.

        An expulsion that has been agreed to takes effect first, and is then waited for to be known as well.
        """
        if not self.settled or not self._stored:
            return
        self._decided(taking_effect(self.ring, self.intents, self.knows))
        self._decided(withdrawn(self.ring, self.intents, self.knows))
        if not self._stored or self.outcast or self.awaited():
            return
        digest = self.ring.digest()
        ring = next_ring(self.ring, self.target(), self.default_quorums, lambda name: self.members[name].filled == digest)
        if ring is not None:
            self._turn_to(ring)

    def target(self) -> Side:
        """What intents and policies want."""
        known = self.knowledge()
        if self._target is None or self._target[0] != known:
            owners = goal(self.ring, self.intents, self.default_quorums.n, self.quorum())
            self._target = known, Side(owners, self.in_force.wanted)
        return self._target[1]

    @property
    def moving(self) -> bool:
        """Whether a change is under way or wanted."""
        return not self.ring.at_rest or self.target() != (self.ring.owners, self.ring.quorums)

    def awaited(self) -> list[str]:
        """Members that do not know this ring and these intents yet, as far as is known here."""
        return [name for name in concerned(self.ring, self.intents) if not self.knows(name)]

    def knows(self, name: str) -> bool:
        """Whether a member knows this ring and these intents, as far as is known here."""
        return name == self._runtime.name or (name in self.members and self.members[name].knows == self.knowledge())

    def unfilled(self, names: Iterable[str]) -> list[str]:
        """Those of them that have not confirmed for this ring."""
        digest = self.ring.digest()
        return sorted(name for name in names if name not in self.members or self.members[name].filled != digest)

    def _turn_to(self, ring: Ring) -> None:
        before, self.ring = self.ring, ring
        self.in_force = self.in_force.followed_by(self.ring, self.policies, self._runtime.now)
        self.settled = True
        what = "at rest" if ring.at_rest else "filling" if ring.filling else "flipped"
        self._runtime.note(f"ring {before.version} is now ring {ring.version}, {what}: {len(ring.members)} members")
        if not ring.at_rest and not ring.filling:
            self._declare_losses(ring)
        for bucket, n, r, w in sorted(set(ring.quorums).difference(before.quorums)):
            self._runtime.note(f"bucket {bucket} has n={n} r={r} w={w} now")
        self._forget_removed()
        self._watch()
        self._failure.changes += 1
        self._save()
        self.news = True

    def without_source(self) -> dict[int, int]:
        """partition → largest N of whose keys all old owners are gone, while a change is under way."""
        return without_source(self.ring, self.gone, self.in_force.held_counts())

    def _declare_losses(self, ring: Ring) -> None:
        """Its new owners are read from now on, and some of them had nobody to be filled from."""
        keys_of = {name: self.members[name].keys for name in sorted(self.gone) if name in self.members}
        if lost := declare(ring, self.gone, self.in_force.held_counts(), keys_of):
            self._runtime.note(f"{len(lost)} partitions are lost: all who held them are gone", "WARN")
            self._lost(self.losses.join(lost))

    def _note_gone(self) -> None:
        self.gone = frozenset([name for name, intent in self.intents.items() if intent.kind == GONE])
        self.outcast = self._runtime.name in self.gone

    def _forget_removed(self) -> None:
        for name in list(self.members):
            if name != self._runtime.name and self._is_forgotten(name):
                endpoint = self.members.pop(name).endpoint
                if len(self._strangers) < MEMBERS_MAX:
                    self._strangers[name] = endpoint

    def _is_forgotten(self, name: str) -> bool:
        """It was removed, the ring does without it, and it has said that nothing is left on it or need not be asked."""
        intent = self.intents.get(name)
        return intent is not None and intent.kind in FOR_EVER and name not in self.ring.members

    def _watch(self) -> None:
        """Judge all others but those that were expelled: nobody asks them for anything."""
        self._failure.watch([name for name in sorted(self.members) if name != self._runtime.name and name not in self.gone])

    # --- what is kept across restarts -------------------------------------------------------------------------------------
    # P2: a cluster whose nodes all died forms again from what each of them stored, without a seed.

    def committed(self) -> None:
        """What was saved is stored: this node knows it for good."""
        self._stored = not self._unsaved

    def store_again(self) -> None:
        """For who is about to say that it is on disk: a turn that failed may have learned it, and nothing is learned twice."""
        if self._unsaved:
            self._save()

    def _save(self) -> None:
        self._unsaved = self._stored = False
        least = self.in_force.to_keep(self._runtime)
        known = Kept(self.members, self.ring, self.policies, self.intents, self.settled, self.losses, least)
        self._runtime.store.set_meta("membership", known.pack())

    def turn_failed(self) -> None:
        """Nothing of this turn was stored, and nothing of it was said: both anew, when gossip says news again."""
        self._unsaved = self.news = True
        me = self.members[self._runtime.name]
        self.members[me.name] = me._replace(knows=b"")  # until it is stored: a life that ends now would not know it

    def _reload(self) -> Kept | None:
        """What was stored, laid over what the configuration said; None where nothing was."""
        raw = self._runtime.store.get_meta("membership")
        if raw is None:
            return None
        kept = Kept.unpack(raw)
        # Those that are not sound were let in by an earlier release. Whom they speak of will speak up again.
        self.members.update({name: member for name, member in kept.members.items() if member.sound})
        for name, endpoint in self._runtime.config.members.items():
            # The members' addresses are the supervisor's to give; a life of theirs is told by gossip anew.
            if name in self.members:
                self.members[name] = self.members[name]._replace(endpoint=endpoint, heartbeat=0)
        self.ring, self.policies, self.intents, self.losses = kept.ring, kept.policies, kept.intents, kept.losses
        self.settled = self.settled or kept.settled
        self._note_gone()
        self._forget_removed()
        return kept

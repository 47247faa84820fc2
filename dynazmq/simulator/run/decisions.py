"""What admins want, told to the nodes of a simulated cluster until one takes it.

An admin waits for a new node to make itself known before he asks for it, as the command line does, and asks the next node when
one does not take it. What all refuse is withdrawn, and a node that was to join and may not ends. What was taken is on two disks
when the admin hears of it, if there are so many members: the loss of one cannot lose it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dynazmq.dynamo.membership.change import BY_FORCE, EXPEL, FOR_EVER, GONE, IN, LEFT, OUT, Intent
from dynazmq.errors import InvalidRequest
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.simulator.cluster.process import CLIENT

_AGAIN_S = 0.4
_REFUSALS_MAX = 25

Intents = list[list[Any]]
"""[name, kind, weight, replaces] each, as messages.ChangeMembers carries them."""


_BECOMES = {OUT: LEFT, EXPEL: GONE}
"""What nodes make of an admin's word when it has come true."""


class Decision:
    """What one admin wants. at: the node that is told; "" while any will do."""

    def __init__(self, admin: str, intents: Intents, at: str = "") -> None:
        self.admin = admin
        self.intents = intents
        self.at = at
        self.refusals = 0
        self.hopeless = False  # it is withdrawn when it is refused, or when no admin insists on a node any more


class Taken(NamedTuple):
    """A decision that a node has taken. ranks: name → of the intent that it has made of it, or its beginning."""

    decision: Decision
    at: str
    ranks: dict[str, tuple[Any, ...]]


def _rank(known: Intent | None, name: str, kind: str, weight: float) -> tuple[Any, ...]:
    """Of an intent when it was decided: known is what the node has of that member by now.

    It is another admin's if it is of another kind, or another weight, and that one is acknowledged by itself (seeds 766, 202848).
    And it may have come true meanwhile, in a turn that is not stored yet (204568), or on the leaver's word, which is the next.
    """
    if known is not None and known.kind in (kind, _BECOMES.get(kind)) and (kind != IN or known.weight == weight):
        if known.kind == LEFT:
            return known._replace(version=known.version - 1, writer="").rank
        return known._replace(kind=kind, agreed=known.agreed and known.kind == kind).rank
    return Intent(name, kind, weight, "", 1, "").rank


class Decisions:
    """Those that no node has taken yet, and what is wanted in all."""

    def __init__(self, cluster: Cluster, taken: Callable[[Decision, str], None]) -> None:
        """taken: called when a node, the second argument, has taken one."""
        self.pending: list[Decision] = []
        self.taken: list[Taken] = []
        self.withdrawn = 0
        self.anywhere = False  # no admin insists on a node any more
        self._cluster = cluster
        self._world = cluster.world
        self._random = cluster.world.random("decisions")
        self._when_taken = taken

    def intents(self) -> dict[str, Intent]:
        """The last word on each member that any living node knows, but for those that were expelled.

        Nobody hears them: what they wanted of the others, as the smaller side of a split, will not be. Of one that does not know
        yet that it was expelled a pardon counts: it would wait for ever to be let in, and somebody has to see that.
        """
        members = self._cluster.ring.members
        alive = [(node.name, node.process.node.membership) for node in self._cluster.nodes if node.process.alive]
        gone = {
            name for by, membership in alive if by in members
            for name, intent in membership.intents.items() if intent.kind == GONE and name not in members
        }  # fmt: skip
        known: dict[str, Intent] = {}
        for name, membership in alive:
            for intent in membership.intents.values() if not membership.outcast else ():
                if name in gone and intent.kind != IN:
                    continue
                if intent.name not in known or intent.rank > known[intent.name].rank:
                    known[intent.name] = intent
        return known

    def wanted(self) -> list[str]:
        """Members when all is done that was decided, and all that is still to be decided. Sorted."""
        intents = self.intents()
        wanted = {name for name in self._cluster.ring.members if name not in intents}
        wanted |= {name for name, intent in intents.items() if intent.kind == IN}
        for decision in self.pending:
            for name, kind, *_ in decision.intents if not decision.hopeless else ():
                (wanted.add if kind == IN else wanted.discard)(name)
        return sorted(wanted)

    def by_force(self) -> set[str]:
        """Whom any living node takes for expelled, or an admin still wants to be. A pardon may follow: until all have heard of
        it, some do not serve with them."""
        known = [
            intent for node in self._cluster.nodes if node.process.alive
            for intent in node.process.node.membership.intents.values()
        ]  # fmt: skip
        told = {name for decision in self.pending for name, kind, *_ in decision.intents if kind == EXPEL}
        return told.union(intent.name for intent in known if intent.kind in BY_FORCE)

    def decide(self, admin: str, intents: Intents) -> None:
        decision = Decision(admin, intents)
        self.pending.append(decision)
        self.tell(decision)

    def tell(self, decision: Decision) -> None:
        """Ask a node that runs, and if it does not take it the next one. A name is not used twice."""
        intents = self.intents()
        if any(kind == IN and self._is_final(intents.get(name)) for name, kind, *_ in decision.intents):
            self._withdraw(decision)
            return
        if decision.hopeless and (self.anywhere or decision.at not in self._cluster.names):
            self._withdraw(decision)
            return
        cluster, removed = self._cluster, {name for name, kind, *_ in decision.intents if kind != IN}
        asked = [node.name for node in cluster.members if node.process.alive and node.name not in removed]
        if self.anywhere or decision.at not in cluster.names:
            decision.at = ""
        at = decision.at or (self._random.choice(asked) if asked else "")
        if not at or not self._knows(at, decision):
            self._world.at(self._world.now + _AGAIN_S, self.tell, decision)
            return
        cluster.network.beside[CLIENT + decision.admin] = at
        call = cluster.client(decision.admin).begin_change(decision.intents, at)

        def done() -> None:
            error = call.request.error
            if error is None:
                self.pending.remove(decision)
                taken = Taken(decision, at, self._ranks(decision, at))
                self.taken.append(taken)
                self._check_copies(taken)
                self._when_taken(decision, at)
                return
            if decision.refusals > _REFUSALS_MAX // 2:
                decision.at = ""
            if isinstance(error, InvalidRequest):
                decision.refusals += 1
            if decision.refusals > _REFUSALS_MAX or (decision.hopeless and decision.refusals):
                self._withdraw(decision)
            else:
                self._world.at(self._world.now + _AGAIN_S, self.tell, decision)

        if call.done:
            done()
        else:
            call.then = done

    def _ranks(self, decision: Decision, at: str) -> dict[str, tuple[Any, ...]]:
        """As it was decided. The node may have died since it said so, or have heard another admin's later word.

        Where another admin has wanted something else of that member, a second copy of the request may have decided it anew after
        him: what is known now is not what was acknowledged (seed 615588).
        """
        node = self._cluster.node(at) if at in self._cluster.names else None
        known = node.process.node.membership.intents if node is not None and node.process.alive else {}
        others = [*self.pending, *(taken.decision for taken in self.taken)]
        contested = {name for other in others if other.admin != decision.admin for name, *_ in other.intents}
        return {
            name: _rank(None if name in contested else known.get(name), name, kind, weight)
            for name, kind, weight, _ in decision.intents
        }

    def _is_final(self, intent: Intent | None) -> bool:
        """No name is used twice; who is gone may be pardoned as long as the ring has it."""
        return intent is not None and intent.kind in FOR_EVER and intent.name not in self._cluster.ring.owners

    def _check_copies(self, taken: Taken) -> None:
        """It is on as many disks as its acknowledgement says, or those were lost since (I15)."""
        last = self.intents()
        members = [name for name in self._cluster.ring.members if name not in last or last[name].kind not in BY_FORCE]
        stored = [(node.name, node.intents()) for node in self._cluster.nodes]
        holders = [
            holder for holder, intents in stored
            if all(name in intents and intents[name].rank >= rank for name, rank in taken.ranks.items())
        ]  # fmt: skip
        history = self._cluster.history
        if len(holders) + len(history.robbed) < min(2, len(members)):
            history.broken.append(f"I15: {taken.at} has acknowledged {taken.decision.intents}, which {holders} have on disk")

    def lost(self) -> list[Taken]:
        """What was taken, and no living node knows of; no later word on the same member, either."""
        last = {name: intent.rank for name, intent in self.intents().items()}
        return [taken for taken in self.taken if any(last.get(name, (-1,)) < rank for name, rank in taken.ranks.items())]

    def _knows(self, at: str, decision: Decision) -> bool:
        """Whether those who are to join have made themselves known there: they are waited for, and not asked for in vain."""
        known = self._cluster.node(at).process.node.membership.members if at in self._cluster.names else {}
        return decision.refusals > 0 or all(name in known for name, kind, *_ in decision.intents if kind == IN)

    def _withdraw(self, decision: Decision) -> None:
        """The nodes refuse it. Who was to join ends; at once if nobody has decided anything of it."""
        self.pending.remove(decision)
        self.withdrawn += 1
        decided = self.intents()
        for name, kind, *_ in decision.intents:
            if kind == IN and name in self._cluster.names and name not in (*self._cluster.ring.members, *decided):
                self._cluster.end(name)

"""How changes of members come to their end in a simulated cluster.

While a run goes on, who has left is ended, as the supervisor does. When its faults are over, all that admins have begun is seen
through: what they decided is taken by some node, and decided again where the loss of a disk has lost it; who is dead for good is
removed, since a change waits for everybody of whom nobody has said that he is gone; and in the end all who run are the ring's
members, and know of each other and of nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from dynazmq.dynamo.membership.change import BY_FORCE, EXPEL, GONE, IN, OUT, Intent
from dynazmq.dynamo.membership.expulsion import vote
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.run.decisions import Decisions

_OVER_S = 120.0


class Ends:
    """Ends who has left, and in the end whatever was begun."""

    def __init__(self, cluster: Cluster, decisions: Decisions, members_min: int, count: Callable[[str], None]) -> None:
        """members_min: never fewer. count: is told what was done beside what admins wanted."""
        self._cluster = cluster
        self._decisions = decisions
        self._members_min = members_min
        self._count = count

    # --- who has left -----------------------------------------------------------------------------------------------------

    def left(self) -> Iterator[NodeHandle]:
        return (node for node in self._cluster.nodes if self.has_left(node))

    def has_left(self, node: NodeHandle) -> bool:
        if node.process.state != "up" or node.name in self._cluster.ring.members:
            return False
        return node.process.node.membership.standing == "left"

    def end(self, node: NodeHandle) -> None:
        """Nothing is left on it (C15), but for what a disk that was set back shows again: others have it."""
        if (left := len(node.process.disk.committed()) + node.hints()) and node.name not in self._cluster.history.robbed:
            self._cluster.history.broken.append(f"I11: {node} has left, and holds {left} rows and hints")
        self._cluster.watch.figures["left"] += 1
        self._cluster.end(node.name)

    # --- when the faults are over -----------------------------------------------------------------------------------------

    def see_through(self, dead: Collection[str], expelled: Iterable[NodeHandle]) -> None:
        """All faults end, what admins wanted is done, and who is none of the members has ended. Raises Unsettled.

        dead: for good, and members still; who is removed meanwhile drops out. expelled: started again after they were removed.
        """
        cluster, decisions = self._cluster, self._decisions
        cluster.end_faults(cluster.names)
        decisions.anywhere = True
        for node in expelled:
            if node.name not in cluster.watch.departed:
                cluster.end(node.name)
        self._remove_without_majority(dead)
        self._all_taken("admins' decisions are taken")
        self._decide_again()
        self._ask_to_stay(dead)
        self._remove(dead)
        for name in self._never_let_in():
            decisions.decide("admin-1", [[name, EXPEL, 1.0, ""]])
        self._all_taken("the dead are removed")
        for name in [name for name in cluster.names if self._is_gone(name)]:
            cluster.end(name)
        cluster.wait(self._over, "the change of members is over", _OVER_S, cluster.unchanged)
        cluster.wait(self._known, "everybody knows all members and no others", why=cluster.unchanged)

    def _remove(self, dead: Iterable[str] = ()) -> None:
        """Who is dead for good, or has no process: until nobody wants it any more.

        A pardon that another admin was told at the other side of a split may come later than the removal, which it takes back
        (seed 320173). Whoever looks at the cluster sees that it waits for somebody dead, and removes him once more.
        """
        for name in sorted({*dead, *(set(self._decisions.wanted()) - set(self._cluster.names))}):
            if name in self._decisions.wanted():
                self._decisions.decide("admin-1", [[name, EXPEL, 1.0, ""]])

    def _remove_without_majority(self, dead: Iterable[str]) -> None:
        """Where too few are left to agree that the dead are gone, as where one of two members died, an admin says so at once.

        Nodes refuse anything less (expulsion.py). And it is said before all else is waited for: another decision may have been
        told to the only member that is left, which has nobody to confirm it as long as the dead one counts (seed 403444).
        """
        ring, intents = self._cluster.ring, self._decisions.intents()
        lost = sorted(set(dead).intersection(ring.members))
        voted = vote(ring, {**intents, **{name: Intent(name, EXPEL, 1.0, "", 1, "") for name in lost}})
        if lost and voted is not None and not voted.possible:
            self._decisions.decide("admin-1", [[name, GONE, 1.0, ""] for name in lost])
            self._count("removed without a majority")

    def _all_taken(self, what: str) -> None:
        self._cluster.wait(lambda: not self._decisions.pending, what)

    def _decide_again(self) -> None:
        """A decision that the loss of two disks has lost; by nothing less may one be (P1)."""
        for taken in self._decisions.lost():
            if len(self._cluster.history.robbed) < 2:
                self._cluster.history.broken.append(f"I11: {taken.at} has taken {taken.decision.intents}, and nobody knows of it")
            if all(name in self._cluster.names for name, kind, *_ in taken.decision.intents if kind == IN):
                self._decisions.decide(taken.decision.admin, taken.decision.intents)
                self._count("decided again")
        self._all_taken("lost decisions are taken again")

    def _ask_to_stay(self, dead: Collection[str]) -> None:
        """Decisions that met late may leave fewer members than are needed: none is followed until somebody decides otherwise.

        So is nothing where another member than the leaver is dead for good: he is waited for, and to remove him too is refused,
        since too few would be left (seed 411978).
        """
        intents, there = self._decisions.intents(), [name for name in self._cluster.names if name not in dead]
        leaving = [name for name in there if name in intents and intents[name].kind == OUT]
        while leaving and len(set(self._decisions.wanted()).intersection(there)) < self._members_min:
            self._decisions.decide("admin-1", [[leaving.pop(), IN, 1.0, ""]])
            self._count("asked to stay")
        self._all_taken("who has to stay stays")

    def _known(self) -> bool:
        return all(node.process.node.membership.members.keys() == set(self._cluster.names) for node in self._cluster.nodes)

    def _never_let_in(self) -> list[str]:
        """Nodes that made themselves known, were refused, and have ended: members list them until they are removed (seed 854)."""
        cluster, decided = self._cluster, self._decisions.intents()
        known = {name for node in cluster.nodes if node.process.alive for name in node.process.node.membership.members}
        return sorted(known.difference(cluster.names, decided, cluster.ring.members))

    def _is_gone(self, name: str) -> bool:
        intent = self._decisions.intents().get(name)
        return intent is not None and intent.kind in BY_FORCE

    def _over(self) -> bool:
        for node in self.left():
            self.end(node)
        self._remove()
        names, cluster = sorted(self._cluster.names), self._cluster
        return cluster.changed() and names == list(cluster.ring.members) == self._decisions.wanted()

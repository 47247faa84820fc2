"""Admins who change the members while a run goes on, drawn from its seed (§4.8.1, §4.9; C14 to C17).

An act is one or two *decisions*, each told to one node until it takes it. Which acts there are at all is drawn for the run:

    join, leave     a new node; one that hands over what it has
    reweigh         another share for a member
    swap            a new node in the place of one that leaves
    take back       of one that leaves: it shall stay after all
    policy          another number of replicas, and other quorums, for the bucket that clients use
    two at once     two of these, of two admins, at two nodes; now and then of the same member
    apart           the same at the two sides of a split, which is healed later
    replace         a node is dead for good, and a new one takes its place
    expel           a node is removed by force, dead or alive; now and then somebody starts it again later
    each other      a few nodes are cut off; both sides expel all of the other: only the larger one may have its way
    pardon          a node is expelled and soon asked to stay: it does, or it was too late
    freeze          one who leaves freezes as soon as nobody waits for it any more, and thaws when the members are others:
                    whoever asks it then must not be told that there is nothing

In the middle of a change somebody may get into *trouble*, one of those whom it needs most: who joins, who gives it keys, or the
node that was told. It crashes, perhaps at a point of its turn (process.CRASH_POINTS), freezes, or loses its disk, and is back
later. What is left of all that when the faults are over, ends.py brings to its end.

What is lost for good is limited by promise 1, as it is in faults.py: one node, and another only when its copies were made anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from dynazmq.client.core.requests import Request
from dynazmq.config import DEFAULT_BUCKET
from dynazmq.dynamo.membership.change import BY_FORCE, EXPEL, IN, OUT
from dynazmq.dynamo.messages import SetBucket
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.cluster.process import CRASH_POINTS
from dynazmq.simulator.run.decisions import Decision, Decisions, Intents
from dynazmq.simulator.run.ends import Ends
from dynazmq.simulator.world.shapes import both_ways

JOIN, LEAVE, REWEIGH, SWAP, TAKE_BACK, POLICY = "join", "leave", "reweigh", "swap", "take back", "policy"
AT_ONCE, APART, REPLACE, EXPULSION, FREEZE = "two at once", "apart", "replace", "expel", "freeze"
EACH_OTHER, PARDON = "each other", "pardon"

GENTLE = (JOIN, LEAVE, REWEIGH, SWAP, TAKE_BACK, AT_ONCE, POLICY)
"""Nobody is away for these: what clients see is excused by nothing."""

LOSING = (REPLACE, EXPULSION)
"""A node's copies are gone."""

CONTESTED = (EACH_OTHER, PARDON)
"""Somebody else does not want that: a node's copies are gone, or may be."""

ACTS = (*GENTLE, APART, *LOSING, *CONTESTED, FREEZE)

JOINER, SOURCE, TOLD = "joiner", "source", "told"
VICTIMS = (JOINER, SOURCE, TOLD)

_MEMBERS_MAX = 9
_IN_THE_MIDDLE_S = (0.01, 0.05, 0.3, 2.0, 8.0)
"""At most so long after a decision: a step takes a few times as long as a frame, what is left is handed over after seconds."""

_LOOK_S = 0.5
_FREEZE_LOOK_S = 0.02


class Admins:
    """Acts until `stop`; `see_through` brings to an end what was begun."""

    def __init__(
        self, cluster: Cluster, acts: tuple[str, ...], acts_max: int, every_s: float, *,
        victims: tuple[str, ...] = (), members_min: int = 2, losses_max: int = 0, apart_max: int = 1,
    ) -> None:  # fmt: skip
        """members_min: never fewer. losses_max: disks that may be lost, one after the other. apart_max: nodes of a small side."""
        self.injected: Counter[str] = Counter()
        self._cluster = cluster
        self._world = cluster.world
        self._random = cluster.world.random("admins")
        self._acts = acts
        self._left = acts_max if acts else 0
        self._every_s = every_s
        self._victims = victims
        self._members_min = members_min
        self._losses_left = losses_max
        self._apart_max = apart_max
        self._lost = False  # some copies are, and were not made anew yet
        self.decisions = Decisions(cluster, self._taken)
        self._ends = Ends(cluster, self.decisions, members_min, self._count)
        self._dead: set[str] = set()  # for good, and members still
        self._doomed: set[str] = set()  # to be removed by force
        self._spared: set[str] = set()  # of those, whose process nobody ends
        self._expelled: list[NodeHandle] = []
        self._ending: set[str] = set()  # will be ended soon: nobody takes them back
        self._named = len(cluster.names)
        self._torn = False
        self._stopped = not acts
        for admin in ("admin-1", "admin-2") if acts else ():
            cluster.client(admin).connected()
        if acts:
            self._later(self._pause(every_s), self._act)
            self._later(_LOOK_S, self._look)

    def stop(self) -> None:
        self._stopped = True

    def _pause(self, mean_s: float) -> float:
        return self._random.expovariate(1.0) * mean_s

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Unless the run's faults are over by then."""

        def due() -> None:
            if not self._stopped:
                action()

        self._world.at(self._world.now + seconds, due)

    def _staying(self) -> list[str]:
        """Of these, who will not be removed by an act that is under way, either."""
        return [name for name in self.decisions.wanted() if name not in self._doomed]

    def _leavable(self) -> list[str]:
        staying = self._staying()
        return [name for name in staying if name in self._cluster.names] if len(staying) > self._members_min else []

    # --- acts -------------------------------------------------------------------------------------------------------------

    def _act(self) -> None:
        act = self._random.choice(self._acts)
        if _DO[act](self):
            self._count(act)
            self._left -= 1
        if self._left:
            self._later(self._pause(self._every_s), self._act)

    def _count(self, what: str) -> None:
        self.injected[what] += 1
        self._world.record("members", what)

    def _new(self) -> str:
        self._named += 1
        return self._cluster.enrol(f"n{self._named}").name

    def _drawn(self, acts: Iterable[str]) -> Intents:
        """What one of these acts wants; [] if it cannot be."""
        act = self._random.choice(list(acts))
        leavable, wanted = self._leavable(), self._staying()
        if act == JOIN and len(wanted) < _MEMBERS_MAX:
            return [[self._new(), IN, self._random.choice((1.0, 1.0, 1.0, 0.5, 1.5)), ""]]
        if act == LEAVE and leavable:
            return [[self._random.choice(leavable), OUT, 1.0, ""]]
        if act == SWAP and leavable:
            old = self._random.choice(leavable)
            return [[self._new(), IN, 1.0, old], [old, OUT, 1.0, ""]]
        if act == REWEIGH and (there := [name for name in wanted if name in self._cluster.names]):
            return [[self._random.choice(there), IN, self._random.choice((0.5, 1.0, 1.5)), ""]]
        intents = self.decisions.intents()
        there = [name for name in self._cluster.names if name in intents and intents[name].kind == OUT]
        if act == TAKE_BACK and (there := [name for name in there if name not in self._ending]):
            return [[self._random.choice(there), IN, 1.0, ""]]
        return []

    def _one(self, act: str) -> bool:
        intents = self._drawn([act])
        if intents:
            self.decisions.decide("admin-1", intents)
        return bool(intents)

    def _at_once(self) -> bool:
        first = self._drawn((JOIN, LEAVE, REWEIGH, SWAP))
        if not first:
            return False
        self.decisions.decide("admin-1", first)
        second = self._contrary(first) if self._random.random() < 0.3 else self._drawn((JOIN, LEAVE, REWEIGH))
        if second:
            self.decisions.decide("admin-2", second)
        return True

    def _contrary(self, intents: Intents) -> Intents:
        """The other admin wants something else for the same member."""
        name, kind, *_ = intents[-1]
        if kind == IN:
            return [[name, OUT, 1.0, ""]] if len(self._staying()) > self._members_min else []
        return [[name, IN, self._random.choice((1.0, 1.5)), ""]]

    def _apart(self) -> bool:
        """Each admin is told of by one side only, until the split is healed."""
        if self._torn:
            return False
        decisions = [Decision("admin-1", self._drawn((JOIN, LEAVE, REWEIGH)))]
        self.decisions.pending += decisions
        decisions.append(Decision("admin-2", self._drawn((JOIN, LEAVE, REWEIGH, SWAP))))
        self.decisions.pending += decisions[1:]
        names = self._random.sample(self._cluster.names, len(self._cluster.names))
        middle = self._random.randrange(1, len(names))
        links = both_ways(names[:middle], names[middle:])
        for link in links:
            self._cluster.network.cut(*link)
        self._torn = True
        for decision, side in zip(decisions, (names[:middle], names[middle:]), strict=True):
            decision.at = self._random.choice(side)
            if decision.intents:
                self.decisions.tell(decision)
            else:
                self.decisions.pending.remove(decision)

        def heal() -> None:
            self._torn = False
            for link in links:
                self._cluster.network.mend(*link)

        self._later(0.5 + self._pause(2.0), heal)
        return True

    def _policy(self) -> bool:
        """Reads by it meet the writes by it, as they did by the one before."""
        random = self._random
        n = random.randint(1, self._members_min)  # which are never fewer than a quorum of it
        r = random.randint(1, n)
        w = random.randint(n - r + 1, n)
        client = self._cluster.client("admin-1")
        client.begin(Request(SetBucket(0, DEFAULT_BUCKET, n, r, w), DEFAULT_BUCKET, 0, 2.0, "configure"))
        return True

    def _freeze(self) -> bool:
        intents = self._drawn([LEAVE])
        if intents:
            self.decisions.decide("admin-1", intents)
            self._freeze_when_out(intents[0][0])
        return bool(intents)

    def _freeze_when_out(self, name: str) -> None:
        cluster, ring = self._cluster, self._cluster.ring
        if name not in cluster.names or name in self._staying():
            return  # it has left already, or shall stay after all
        node = cluster.node(name)
        if name in ring.members or not ring.at_rest or node.process.state != "up" or node.process.node.membership.ring != ring:
            self._later(_FREEZE_LOOK_S, partial(self._freeze_when_out, name))
            return
        node.pause()
        client = cluster.client(f"of {name}")
        client.connected()

        def thaw() -> None:
            node.resume()
            for key in dict.fromkeys(op.key.decode() for op in cluster.history.ops) if node.process.alive else ():
                client.begin_get(key, at=name)

        self._later(3.0 + self._pause(8.0), thaw)

    def _replace(self) -> bool:
        victim = self._dies()
        if not victim:
            return False

        def decide() -> None:
            self.decisions.decide("admin-1", [[self._new(), IN, 1.0, victim], [victim, EXPEL, 1.0, ""]])

        self._later(self._pause(2.0), decide)
        return True

    def _expel(self) -> bool:
        victim = self._dies(perhaps=self._random.random() < 0.5)
        if not victim:
            return False
        self._later(self._pause(1.0), lambda: self.decisions.decide("admin-1", [[victim, EXPEL, 1.0, ""]]))
        return True

    def _each_other(self) -> bool:
        """Neither side has noticed the split yet when it is told."""
        few = [] if self._torn or not self._may_lose() else self._random.sample(self._leavable(), len(self._leavable()))
        few = few[: min(self._apart_max, (len(self._cluster.ring.members) - 1) // 2)]
        rest = [name for name in self._cluster.names if name not in few]
        stay = [name for name in self._staying() if name in rest]
        if not few or len(stay) < self._members_min or not self._cluster.ring.at_rest:
            return False
        for name in few:
            self._doomed.add(name)
            self._spared.add(name)
            self._lose(name)
        links = both_ways(few, rest)
        for link in links:
            self._cluster.network.cut(*link)
        self._torn = True
        for admin, at, names in (("admin-1", self._random.choice(stay), few), ("admin-2", few[0], stay)):
            decision = Decision(admin, [[name, EXPEL, 1.0, ""] for name in names], at)
            decision.hopeless = at in few
            self.decisions.pending.append(decision)
            self.decisions.tell(decision)

        def heal() -> None:
            self._torn = False
            for link in links:
                self._cluster.network.mend(*link)

        self._later(2.0 + self._pause(4.0), heal)
        return True

    def _pardon(self) -> bool:
        """Where it comes too late the node is gone, with what it holds."""
        name = self._dies(perhaps=True)
        if not name:
            return False
        self._spared.add(name)
        self.decisions.decide("admin-1", [[name, EXPEL, 1.0, ""]])
        self._later(self._random.choice((0.001, 0.02, 0.5)), lambda: self.decisions.decide("admin-2", [[name, IN, 1.0, ""]]))
        return True

    def _dies(self, *, perhaps: bool = False) -> str:
        """Somebody, for good; "" if nobody may. perhaps: it goes on for now, and still it will be as if it were dead."""
        leavable = self._leavable()
        if not leavable or not self._may_lose():
            return ""
        name = self._random.choice(leavable)
        self._doomed.add(name)
        self._lose(name)
        if not perhaps:
            node = self._cluster.node(name)
            node.crash()
            node.given_up = True
            self._dead.add(name)
        return name

    def _gone(self, name: str) -> None:
        """It was decided. Who still runs learns of it and ends; now and then somebody starts it again."""
        node = self._cluster.node(name)
        self._dead.discard(name)

        def end() -> None:
            if name in self._cluster.names:
                self._cluster.end(name)
            if self._random.random() < 0.5:
                self._later(self._pause(3.0), partial(self._haunt, node))

        self._later(self._pause(1.0), end)

    def _haunt(self, node: NodeHandle) -> None:
        self._cluster.haunt(node)
        self._expelled.append(node)
        self._count("is back")

    # --- losses -----------------------------------------------------------------------------------------------------------

    def _may_lose(self) -> bool:
        """Whether a disk may be lost: not while the node of the one before is a member, nor before its copies are made anew."""
        cluster = self._cluster
        if self._lost and not self._removing() and not self.decisions.pending and cluster.changed():
            keys = sorted({op.key.decode() for op in cluster.history.ops})
            hints = any(node.hints() for node in cluster.nodes)
            self._lost = hints or not all(cluster.equal(key) for key in keys)
        return self._losses_left > 0 and not self._lost

    def _removing(self) -> bool:
        """Whether a member is to be removed by force: nothing moves before a majority agrees, which another loss may undo."""
        by_force = {name for name, intent in self.decisions.intents().items() if intent.kind in BY_FORCE}
        return not (self._doomed | by_force).isdisjoint(self._cluster.ring.members)

    def _lose(self, name: str) -> None:
        self._lost = True
        self._losses_left -= 1
        self._cluster.history.robs(name)

    def _taken(self, decision: Decision, at: str) -> None:
        self._world.record("decided", at, decision.intents)
        self._cluster.watch.told = at
        for name, kind, *_ in decision.intents:
            if kind == EXPEL and name in self._cluster.names and name not in self._spared:
                self._gone(name)
            if kind == IN and name in self._spared:
                self._doomed.discard(name)
                self._count("pardoned")
        if self._victims and self._random.random() < 0.7:
            self._later(self._random.choice(_IN_THE_MIDDLE_S) * self._random.random(), partial(self._trouble, at))

    # --- in the middle of it ----------------------------------------------------------------------------------------------

    def _trouble(self, told: str) -> None:
        victim = self._random.choice(self._victims)
        node = self._victim(victim, told)
        if node is None or node.given_up:
            return
        what = self._random.choice(("crash", "crash", "pause", "wipe"))
        if what == "wipe" and not self._may_lose():
            what = "crash"
        if what == "pause":
            node.pause()
        elif what == "wipe":
            self._lose(node.name)
            node.process.crash()
            node.process.disk.wipe()
        else:
            node.crash(self._random.choice(("", *CRASH_POINTS)))
            node.process.crash_at_notes = True
        self._count(f"{what}: {victim}")

        def back() -> None:
            node.resume()
            node.revive()

        self._later(self._pause(self._random.choice((0.3, 1.5, 4.0))), back)

    def _victim(self, victim: str, told: str) -> NodeHandle | None:
        ring, names = self._cluster.ring, self._cluster.names
        old, new = (ring.owners, ring.also) if ring.filling else (ring.also, ring.owners)
        joining = sorted(set(new) - set(old)) if not ring.at_rest else [name for name in names if name not in ring.owners]
        who = {JOINER: joining, SOURCE: sorted(set(old) or set(ring.owners)), TOLD: [told]}[victim]
        there = [name for name in who if name in names]
        return self._cluster.node(self._random.choice(there)) if there else None

    # --- ends -------------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """As the supervisor does: who has left is ended."""
        for node in self._ends.left() if self._cluster.ring.at_rest else ():
            if node.name not in self._ending:
                self._ending.add(node.name)
                self._later(self._pause(0.5), partial(self._end_if_left, node))
        self._later(_LOOK_S, self._look)

    def _end_if_left(self, node: NodeHandle) -> None:
        self._ending.discard(node.name)
        if node.name in self._cluster.names and self._ends.has_left(node):
            self._ends.end(node)

    def see_through(self) -> None:
        """All faults end, what admins wanted is done, and who is none of the members has ended. Raises Unsettled."""
        self.stop()
        self._ends.see_through(self._dead, self._expelled)


_DO: dict[str, Callable[[Admins], bool]] = {
    **{act: partial(Admins._one, act=act) for act in (JOIN, LEAVE, REWEIGH, SWAP, TAKE_BACK)},
    POLICY: Admins._policy, AT_ONCE: Admins._at_once,
    FREEZE: Admins._freeze, APART: Admins._apart, REPLACE: Admins._replace, EXPULSION: Admins._expel,
    EACH_OTHER: Admins._each_other, PARDON: Admins._pardon,
}  # fmt: skip

"""One seed from beginning to end: a cluster, a load, faults, peace, and the verdict.

The seed draws everything: how many nodes, which quorums, what weather, which kinds of faults, how much load. About one run in
five has no faults at all: what those show is not excused by anything.

A run has two phases. *Safety*: all faults, and what must hold at every moment (watch.py). *Liveness*: in a third of the runs a
random core of nodes is healed while the rest stays away, and must serve; then all are, and must come to rest in bounded time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from traceback import extract_tb
from typing import Any

from dynazmq.config import DEFAULT_BUCKET, LWW
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.simulator.run.admins import APART, CONTESTED, FREEZE, GENTLE, JOIN, LOSING, POLICY, VICTIMS, Admins
from dynazmq.simulator.run.checker import Checker
from dynazmq.simulator.run.faults import (
    BAD_LINK,
    CLOCKS,
    CRASH,
    CRASH_ALL,
    DAMAGE,
    FLICKERING_DISK,
    FULL_DISK,
    LOSSY,
    OLD_DISK,
    PASSING,
    POWER,
    REBOOT,
    RESTORE,
    SLOW_DISK,
    UNREADABLE_DISK,
    WALL_CLOCK,
    WIPE,
    WIPE_ALONE,
    Nemesis,
)
from dynazmq.simulator.run.workload import Load, Mix, Workload
from dynazmq.simulator.world.network import Conditions

_DISTURBS_HINTS = {
    CRASH, CRASH_ALL, REBOOT, FULL_DISK, FLICKERING_DISK, UNREADABLE_DISK, SLOW_DISK, WIPE, WIPE_ALONE, POWER, RESTORE, DAMAGE,
    OLD_DISK,
}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Plan:
    """What one run is made of. `Plan.drawn` makes one from a seed."""

    seed: int
    nodes: int = 5
    n: int = 3
    r: int = 2
    w: int = 2
    conditions: Conditions = field(default_factory=Conditions)
    faults: tuple[str, ...] = ()
    every_s: float = 0.7
    lasting_s: float = 0.8
    stable_s: float = 0.0
    lossy_max: int = 1
    core: int = 0  # so many nodes are healed first, and must serve while the rest is away; 0: all at once
    max_in_flight: int = 4096
    one_clock: bool = True
    anti_entropy_ms: int = 0  # 0: off, so that what the other techniques fail to bring is seen
    grace_ms: int = 0  # of retirement; 0: tombstones stay
    load: Load = field(default_factory=Load)
    partitions: int = 120
    acts: tuple[str, ...] = ()  # of admins, who change the members (admins.py); (): nobody comes or goes
    acts_max: int = 2
    acts_every_s: float = 2.0
    victims: tuple[str, ...] = ()  # who may get into trouble in the middle of it
    losses_max: int = 0  # disks that may be lost by that, one after the other
    apart_max: int = 1  # nodes that are cut off together and expelled by the others: their copies are lost
    turn_messages: int = 0  # that a node's turn has time for; 0: for all
    max_hint_bytes: int = 1 << 30
    asks: bool = False  # whether clients ask before they send a value again
    conflict: str = ""  # a conflict policy for the bucket, set before the load begins; "": the bucket has none of its own

    @classmethod
    def drawn(cls, seed: int) -> Plan:
        plan = cls._drawn(seed)
        random = Random(f"admins {seed}")
        if plan.anti_entropy_ms and random.random() < 0.66:  # a third of all
            plan._draw_acts(random)
        if POLICY in plan.acts:
            if plan.losses_max or set(plan.faults) & set(LOSSY):  # with N or W of 1 there is a copy that may not be lost
                plan.acts = tuple(act for act in plan.acts if act != POLICY) or (JOIN,)
            plan.core = 0  # which may be too few for it
        random = Random(f"lists {seed}")
        if random.random() < 0.4:
            plan.load.page_keys = random.choice((1, 2, 1000))
        plan.turn_messages = Random(f"turns {seed}").choice((0, 0, 3, 20))
        if plan.anti_entropy_ms:
            plan.max_hint_bytes = Random(f"hints {seed}").choice((1 << 30, 1 << 30, 0, 1_000))
        plan.asks = Random(f"asks {seed}").random() < 0.5
        if plan.grace_ms and plan.r == plan.w == 2 and not plan.acts and not set(plan.faults) & set(LOSSY):
            random = Random(f"old disk {seed}")
            if random.random() < 0.8:
                beside = plan.faults if random.random() < 0.5 else ()  # while anybody is away nothing is forgotten
                plan.faults = (*beside, OLD_DISK)
                # Of many keys, and for so long, that a value is deleted and forgotten that somebody has seen.
                plan.load.keys, plan.load.requests, plan.load.think_s = 30, 60, 0.4
                plan.load.mix = Mix(put_blind=2.0, delete=4.0)
        return plan

    @classmethod
    def _drawn(cls, seed: int) -> Plan:
        random = Random(f"plan {seed}")
        nodes = random.choice((3, 4, 5, 5, 6))
        plan = cls(seed=seed, nodes=nodes, one_clock=random.random() < 0.8, load=_load(random))
        plan.anti_entropy_ms = 150 if Random(f"anti-entropy {seed}").random() < 0.5 else 0
        if plan.anti_entropy_ms and Random(f"grace {seed}").random() < 0.3:
            plan.grace_ms = 4500  # more than twice as long as a request lives
            plan.load.mix = Mix(put_blind=0.3, delete=4.0)
        if random.random() < 0.2:
            return plan
        plan.conditions = _weather(random)
        kinds = [kind for kind in PASSING if random.random() < 0.3]
        if random.random() < 0.3:  # then W stays 2: one disk may be lost
            kinds.append(random.choice(LOSSY))
        else:
            plan.r, plan.w = random.choice(((2, 2), (2, 2), (1, 3), (3, 1), (1, 1), (2, 1), (3, 3)))
            plan.load.put_levels = random.choice((({},), ({}, {"w": "one"}, {"w": "all"}), ({}, {"pw": 1})))
        plan.load.get_levels = random.choice((({},), ({}, {"r": "one"}, {"r": "all"}, {"pr": 1})))
        plan.faults = tuple(kinds)
        plan.every_s = random.choice((0.3, 0.7, 1.5))
        plan.lasting_s = random.choice((0.1, 0.5, 1.5))
        plan.stable_s = random.choice((0.1, 0.5, 1.5))
        if not plan.one_clock and WALL_CLOCK not in kinds:
            plan.faults += tuple(kind for kind in CLOCKS if random.random() < 0.5)
        if random.random() < 0.15:
            plan.max_in_flight = 1  # of each kind at each node: some are refused
        able = max(plan.r, plan.w)
        if random.random() < 0.33 and able < plan.nodes:
            plan.core = random.randrange(able, plan.nodes)
        return plan

    def _draw_acts(self, random: Random) -> None:
        """Members come and go. In some of these runs nothing else happens: what those show is not excused by anything either."""
        self.acts_max, self.acts_every_s = random.choice((1, 2, 3, 4)), random.choice((0.3, 1.0, 3.0))
        self.partitions = random.choice((24, 36, 120))
        self.load.requests, self.load.think_s = random.choice((40, 60)), random.choice((0.05, 0.1, 0.2))
        self.acts = tuple(act for act in GENTLE if random.random() < 0.5) or GENTLE
        if random.random() < 0.4:
            self.faults, self.core, self.max_in_flight = (), 0, 4096
            self.conditions = Conditions(delay_s=random.choice((0.0002, 0.001, 0.005)), jitter_s=random.choice((0.0002, 0.002)))
            self.r, self.w = random.choice(((2, 2), (2, 2), (1, 3), (3, 1)))
            self.acts_every_s = random.choice((0.05, 0.3, 1.0))
            self.load.requests, self.load.think_s = random.choice((60, 120)), random.choice((0.002, 0.01, 0.05))
            self.load.get_levels = self.load.put_levels = ({},)
            self.anti_entropy_ms = random.choice((150, 60_000))  # so seldom that a change has to bring all copies by itself
            return
        self.acts = tuple(act for act in self.acts if random.random() < 0.6) or (JOIN,)
        self.acts += (APART,) if random.random() < 0.4 else ()
        self.acts += (FREEZE,) if Random(f"freeze {self.seed}").random() < 0.3 else ()
        self.victims = tuple(victim for victim in VICTIMS if random.random() < 0.5)
        if random.random() < 0.6 and not set(self.faults) & set(LOSSY):  # then W stays 2: one disk after the other may be lost
            self.acts += tuple(act for act in LOSING if random.random() < 0.6)
            self.acts += tuple(act for act in CONTESTED if Random(f"{act} {self.seed}").random() < 0.5)
            self.losses_max = random.choice((1, 2))
            self.r = self.w = 2
            self.core = self.core and max(self.core, 2)
            self.load.put_levels = ({},)

    def __str__(self) -> str:
        said = f"{self.nodes} nodes, n={self.n} r={self.r} w={self.w}, {self.load.clients} clients, {self.load.keys} keys"
        said += ", anti-entropy" if self.anti_entropy_ms else ""
        said += f", tombstones go after {self.grace_ms} ms" if self.grace_ms else ""
        said += "" if self.one_clock else ", a clock for each host"
        said += f", members: {self.acts_max} of {', '.join(self.acts)}" if self.acts else ""
        said += f", trouble for {', '.join(self.victims)}" if self.victims else ""
        said += f", at first {self.core} are healed" if self.core else ""
        return f"{said}; faults: {', '.join(self.faults) or 'none'}; {self.conditions}"


def _load(random: Random) -> Load:
    return Load(
        clients=random.randint(2, 4),
        keys=random.choice((1, 2, 3, 4, 12)),  # few: requests must meet; many: some are not written again after a fault
        requests=random.choice((20, 40)),
        think_s=random.choice((0.02, 0.1, 0.1)),
    )


def _weather(random: Random) -> Conditions:
    conditions = Conditions(
        delay_s=random.choice((0.0001, 0.001, 0.005)),
        jitter_s=random.choice((0.0002, 0.002, 0.01)),
        reordering=random.random() < 0.5,
        notice_s=random.choice((0.8, 0.8, float("inf"))),
    )
    if random.random() < 0.5:
        conditions.loss = random.choice((0.005, 0.02, 0.1))
    if random.random() < 0.5:
        conditions.duplication = random.choice((0.01, 0.1))
    if random.random() < 0.3:
        conditions.garbling = 0.01
    if random.random() < 0.4:
        conditions.spikes, conditions.spike_s = 0.02, random.choice((0.1, 0.5, 2.0))
    if random.random() < 0.5:
        conditions.left_over = random.choice((0.1, 1.0))
    return conditions


@dataclass(slots=True)
class Report:
    """What came of a run."""

    plan: Plan
    broken: list[str]
    figures: Counter[str]
    injected: dict[str, int]
    event_hash: str
    events: int
    seconds: float  # of virtual time
    settled_s: float = 0.0  # of them, from the end of the faults until all was at rest
    log: list[str] | None = None

    @property
    def ok(self) -> bool:
        return not self.broken

    def __str__(self) -> str:
        lines = [f"seed {self.plan.seed}: {self.plan}", f"injected: {self.injected}"]
        lines += [f"  broken  {text}" for text in self.broken]
        if self.broken:
            lines.append(f"replay with: dynazmq simulate --seed {self.plan.seed}    (--shrink: the least that still fails)")
        return "\n".join(lines)


def run(plan: Plan, log: bool = False) -> Report:
    """Play it."""
    cluster = Cluster(
        plan.seed, plan.nodes, n=plan.n, r=plan.r, w=plan.w, conditions=plan.conditions, one_clock=plan.one_clock, log=log,
        sync="normal" if POWER in plan.faults else "full", anti_entropy_ms=plan.anti_entropy_ms,
        max_in_flight=plan.max_in_flight, grace_ms=plan.grace_ms, partitions=plan.partitions,
        turn_messages=plan.turn_messages, max_hint_bytes=plan.max_hint_bytes, asks=plan.asks, started=False,
    )  # fmt: skip
    cluster.history.doubled = plan.conditions.duplication > 0 or BAD_LINK in plan.faults
    checker = Checker(cluster)
    injected: tuple[Counter[str], ...] = ()
    try:
        _begin(plan, cluster)
        workload, nemesis, admins = _players(plan, cluster)
        injected = nemesis.injected, admins.injected
        _play(plan, cluster, workload, nemesis, admins, checker)
    except Exception as error:  # a bug: the process would have ended with it. Its seed is worth more than the whole campaign
        at = extract_tb(error.__traceback__)[-1]
        checker.broken += cluster.history.broken
        checker.broken.append(f"bug: {type(error).__name__}: {error} ({Path(at.filename).name}:{at.lineno})")
    return Report(
        plan, checker.broken, checker.figures, dict(sum(injected, Counter())), cluster.world.event_hash,
        cluster.world.events, cluster.world.now, checker.settled_s, cluster.world.log,
    )  # fmt: skip


def _begin(plan: Plan, cluster: Cluster) -> None:
    """Before anybody does anything all are up, and know what the bucket is like."""
    cluster.start()
    if plan.conflict:
        cluster.watch.keeps_siblings = plan.conflict != LWW
        cluster.client("operator").configure(DEFAULT_BUCKET, plan.n, plan.r, plan.w, plan.conflict)
        cluster.wait(lambda: all(DEFAULT_BUCKET in node.process.node.membership.policies for node in cluster.nodes), "the policy")


def _players(plan: Plan, cluster: Cluster) -> tuple[Workload, Nemesis, Admins]:
    """Who does something in this run; each begins at once."""
    workload = Workload(cluster, plan.load)
    nemesis = Nemesis(
        cluster, plan.faults, workload.keys, plan.every_s, plan.lasting_s, stable_s=plan.stable_s, lossy_max=plan.lossy_max,
        copies_max=plan.w - 1,
    )  # fmt: skip
    admins = Admins(
        cluster, plan.acts, plan.acts_max, plan.acts_every_s, victims=plan.victims, members_min=max(plan.r, plan.w, 2),
        losses_max=plan.losses_max, apart_max=plan.apart_max,
    )  # fmt: skip
    return workload, nemesis, admins


def _play(plan: Plan, cluster: Cluster, workload: Workload, nemesis: Nemesis, admins: Admins, checker: Checker) -> None:
    weather = plan.conditions
    gentle = not plan.faults and not plan.core and not plan.victims and set(plan.acts) <= set(GENTLE)
    calm = gentle and _is_fair(weather)
    cluster.watch.nobody_away = gentle and not weather.loss and not weather.garbling and weather.spike_s <= 0.1
    if not cluster.world.run_until(lambda: workload.over, plan.load.longest_s):
        checker.broken.append(f"I14: the clients did not come to an end in {plan.load.longest_s:g} s")
    nemesis.stop()
    admins.stop()
    cluster.network.conditions = weather.calmed()
    if core := _core(plan, cluster, admins):
        checker.serves(core)
    checker.judge(
        calm=calm,
        hints_suffice=not plan.core and not _DISTURBS_HINTS & set(plan.faults),  # what is not in the core has crashed
        anti_entropy=plan.anti_entropy_ms > 0,
        all_reads_fresh=plan.r + plan.w > plan.n and plan.load.get_levels == ({},) == plan.load.put_levels,
        admins=admins if plan.acts else None,
    )


def _is_fair(weather: Conditions) -> bool:
    """Nothing is lost, and nothing so late that anybody is stood in for."""
    return weather.delay_s <= 0.005 and weather == Conditions(delay_s=weather.delay_s, jitter_s=min(weather.jitter_s, 0.002))


def _core(plan: Plan, cluster: Cluster, admins: Admins) -> list[str]:
    """Who serves alone. Of members who stay, where members come and go; none where too few do."""
    ring, names = cluster.ring, cluster.names
    if plan.acts:
        staying = set(ring.owners).intersection(ring.also or ring.owners) - admins.decisions.by_force()
        names = [name for name in names if name in staying and not cluster.node(name).given_up]
    return cluster.world.random("core").sample(names, plan.core) if plan.core <= len(names) else []


def run_seed(seed: int, log: bool = False, **changes: Any) -> Report:
    """The run that a seed stands for. changes: fields of its plan to set otherwise."""
    plan = Plan.drawn(seed)
    for name, value in changes.items():
        setattr(plan, name, value)
    return run(plan, log)

"""Which faults come, whom they hit and for how long: drawn from a seed. Pure.

    strikes(seed, kinds, seconds)   the row of strikes, which depends on the seed alone
    aim(strike, situation)          what a strike comes to with the nodes that there are now; None when it may not be done now

So a seed gives the same faults in the same order and about at the same times; whom one hits depends on who is there.

What may not be: that too few nodes are left to serve (but for `kill-all`, after which nobody is), two cuts of the network at a
time, and what promise 1 does not cover. A disk may be lost only when what was lost before has been rebuilt: then fewer than W
copies of what was acknowledged are gone (nemesis.py waits for that). With W=1 no disk may be lost at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from dynazmq import faults
from dynazmq.errors import InvalidRequest
from dynazmq.faults import Fault

KILL, PAUSE, STOP, KILL_ALL, SUPERVISOR, ROLLING = "kill", "pause", "stop", "kill-all", "supervisor", "rolling"
PARTITION, ONE_WAY, ISOLATE, SLOW, DROP = faults.PARTITION, faults.ONE_WAY, faults.ISOLATE, faults.SLOW, faults.DROP
DISK_FULL, SKEW, WIPE = faults.DISK_FULL, faults.SKEW, "wipe"
ADD, REMOVE, REPLACE, EXPEL = "add", "remove", "replace", "expel"

WEIGHTS: dict[str, float] = {
    KILL: 4.0, PAUSE: 4.0, STOP: 2.0, KILL_ALL: 0.8, SUPERVISOR: 0.6, ROLLING: 0.4,
    PARTITION: 4.0, ONE_WAY: 2.0, ISOLATE: 3.0, SLOW: 2.0, DROP: 3.0, DISK_FULL: 2.0, SKEW: 1.0,
    WIPE: 1.5, ADD: 1.0, REMOVE: 1.0, REPLACE: 0.7, EXPEL: 0.5,
}  # fmt: skip
"""Kind → how often it is drawn, beside the others."""

KINDS = tuple(WEIGHTS)
NONE = "none"

AWAY = (KILL, PAUSE, STOP)
"""A process is there no more, or does not run: for as long as the strike lasts."""

CUTS = (PARTITION, ONE_WAY, ISOLATE)
"""The network has one shape at a time."""

LOSING = (WIPE, REPLACE, EXPEL)
"""A disk is lost."""

CHANGES = (ADD, REMOVE, REPLACE, EXPEL)
"""Of the members: one at a time."""

ALONE = (*LOSING, ROLLING, SUPERVISOR, KILL_ALL)
"""All that is on ends first."""

HARMLESS = (KILL, PAUSE, STOP, ROLLING, PARTITION, ONE_WAY, ISOLATE, SLOW, DROP, DISK_FULL)
"""What is done to a cluster that others use, if nothing else is asked for: none of them loses data, and each has an end."""

ALLOWED = (*HARMLESS, KILL_ALL, WIPE)
"""What may be asked for there. The others change the members, the supervisor, or (skew) which write is the last of somebody's."""

MEMBERS_MORE = 3
"""So many members more than in the beginning there are at most."""

_MEAN_GAPS = 40  # in a run, if it is neither very short nor very long
_GAP_S = (0.5, 3.0)
_LASTING_S = (0.3, 1.0, 2.5, 6.0)
_CUT_S = 1.2  # a cut that is over before anybody has noticed it shows nothing


@dataclass(frozen=True, slots=True)
class Strike:
    """gap_s: after the one before. lasting_s: if it is one that ends by itself. seed: of what else there is to draw."""

    number: int
    kind: str
    gap_s: float
    lasting_s: float
    seed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a strike finds. members: those who are to stay, in order. away: of them, who is killed, paused or stopped now.

    begun_with: members in the beginning. cut: the network is. changing: members come or go.
    """

    members: tuple[str, ...]
    n: int
    r: int
    w: int
    begun_with: int
    away: frozenset[str] = frozenset()
    cut: bool = False
    changing: bool = False

    @property
    def spare(self) -> int:
        """How many more may be away while the others serve."""
        return len(self.members) - len(self.away) - max(self.r, self.w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """A strike at somebody. nodes: in order. fault: one that is switched on (dynazmq/faults)."""

    kind: str
    nodes: tuple[str, ...] = ()
    lasting_s: float = 0.0
    fault: Fault | None = None

    def __str__(self) -> str:
        return faults.describe(self.fault) if self.fault is not None else " ".join((self.kind, *self.nodes))


# --- the row of strikes ---------------------------------------------------------------------------------------------------


def chosen(text: str | None, *, fresh: bool) -> tuple[str, ...]:
    """The kinds that "kill,pause" names; "none": none of them; None: all that may be. Raises InvalidRequest."""
    if text is None:
        return KINDS if fresh else HARMLESS
    if text.strip() == NONE:
        return ()
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [name for name in names if name not in KINDS]:
        raise InvalidRequest(f"--faults: no fault {unknown[0]!r}; there are {' '.join(KINDS)}")
    if not fresh and (refused := [name for name in names if name not in ALLOWED]):
        allowed = f"on a cluster that runs there are {' '.join(ALLOWED)}"
        raise InvalidRequest(f"--faults {refused[0]}: only with --fresh; {allowed}")
    return tuple(names)


def strikes(seed: int, kinds: Sequence[str], seconds: float) -> Iterator[Strike]:
    """Without end, unless there are no kinds. seconds: how long the run is to be, which says how dense they are."""
    random = Random(f"chaos {seed}")
    mean_s = min(max(seconds / _MEAN_GAPS, _GAP_S[0]), _GAP_S[1])
    weights = [WEIGHTS[kind] for kind in kinds]
    number = 0
    while kinds:
        number += 1
        kind = random.choices(kinds, weights)[0]
        gap_s = min(random.expovariate(1.0) * mean_s, 4 * mean_s)
        lasting_s = min(random.choice(_LASTING_S) * random.uniform(0.7, 1.3), max(0.3, seconds / 4))
        yield Strike(number, kind, gap_s, max(lasting_s, _CUT_S) if kind in CUTS else lasting_s, f"chaos {seed} {number}")


# --- whom it hits ---------------------------------------------------------------------------------------------------------


def aim(strike: Strike, now: Situation) -> Blow | None:
    if strike.kind in LOSING and (now.w < 2 or now.changing):
        return None
    if strike.kind in CHANGES and now.changing:
        return None
    if strike.kind in CUTS and now.cut:
        return None
    return _AIMED[strike.kind](strike, now, Random(strike.seed))


def _at_processes(strike: Strike, now: Situation, random: Random) -> Blow | None:
    """One node mostly, sometimes as many as may be."""
    there = [name for name in now.members if name not in now.away]
    most = min(now.spare, len(there))
    if most < 1:
        return None
    count = 1 if random.random() < 0.7 else random.randint(1, most)
    return Blow(kind=strike.kind, nodes=_some(there, count, random), lasting_s=strike.lasting_s)


def _at_all(strike: Strike, now: Situation, _: Random) -> Blow:
    return Blow(kind=strike.kind, nodes=now.members, lasting_s=min(strike.lasting_s, 2.0))


def _at_nobody(strike: Strike, _now: Situation, _random: Random) -> Blow:
    return Blow(kind=strike.kind, lasting_s=min(strike.lasting_s, 2.0))


def _partition(strike: Strike, now: Situation, random: Random) -> Blow | None:
    """Two halves of any sizes; in a fifth of the cases a node is on no side and reaches both."""
    names = list(now.members)
    random.shuffle(names)
    if len(names) > 3 and random.random() < 0.2:
        names.pop()
    if len(names) < 2:
        return None
    at = random.randint(1, len(names) - 1)
    return _switched(strike, Fault(kind=PARTITION, sides=(_in_order(names[:at], now), _in_order(names[at:], now))))


def _one_way(strike: Strike, now: Situation, random: Random) -> Blow | None:
    if len(now.members) < 2:
        return None
    names = random.sample(now.members, random.randint(2, min(4, len(now.members))))
    return _switched(strike, Fault(kind=ONE_WAY, sides=((names[0],), _in_order(names[1:], now))))


def _isolate(strike: Strike, now: Situation, random: Random) -> Blow:
    count = 1 if random.random() < 0.7 or len(now.members) < 4 else 2
    return _switched(strike, Fault(kind=ISOLATE, nodes=_some(now.members, count, random)))


def _slow(strike: Strike, now: Situation, random: Random) -> Blow:
    delay_ms = random.choice((10, 40, 150, 400, 1000))
    fault = Fault(kind=SLOW, nodes=_some(now.members, 1, random), delay_ms=delay_ms, jitter_ms=random.choice((0, delay_ms // 2)))
    return _switched(strike, fault)


def _drop(strike: Strike, now: Situation, random: Random) -> Blow:
    count = random.choice((1, 1, 2, len(now.members)))
    rate = random.choice((0.01, 0.05, 0.2, 0.5))
    return _switched(strike, Fault(kind=DROP, nodes=_some(now.members, min(count, len(now.members)), random), rate=rate))


def _disk_full(strike: Strike, now: Situation, random: Random) -> Blow:
    count = random.choice((1, 1, 2, 3))
    return _switched(strike, Fault(kind=DISK_FULL, nodes=_some(now.members, min(count, len(now.members)), random)))


def _skew(strike: Strike, now: Situation, random: Random) -> Blow:
    by_ms = random.choice((-1, 1)) * random.choice((50, 2_000, 60_000, 3_600_000, 86_400_000))
    return _switched(strike, Fault(kind=SKEW, nodes=_some(now.members, 1, random), by_ms=by_ms))


def _wipe(strike: Strike, now: Situation, random: Random) -> Blow:
    return Blow(kind=WIPE, nodes=_some(now.members, 1, random), lasting_s=min(strike.lasting_s, 2.5))


def _add(_strike: Strike, now: Situation, _random: Random) -> Blow | None:
    return Blow(kind=ADD) if len(now.members) < now.begun_with + MEMBERS_MORE else None


def _one_fewer(strike: Strike, now: Situation, random: Random) -> Blow | None:
    """With one to spare: while the others hold its copies, one of them may be away."""
    if len(now.members) - 1 <= max(now.n, now.r, now.w):
        return None
    return Blow(kind=strike.kind, nodes=_some(now.members, 1, random))


def _replace(_strike: Strike, now: Situation, random: Random) -> Blow | None:
    if len(now.members) <= max(now.n, now.r, now.w):
        return None
    return Blow(kind=REPLACE, nodes=_some(now.members, 1, random))


def _switched(strike: Strike, fault: Fault) -> Blow:
    return Blow(kind=strike.kind, nodes=fault.named, lasting_s=strike.lasting_s, fault=fault)


def _some(names: Sequence[str], count: int, random: Random) -> tuple[str, ...]:
    drawn = random.sample(list(names), count)
    return tuple(name for name in names if name in drawn)


def _in_order(names: Sequence[str], now: Situation) -> tuple[str, ...]:
    return tuple(name for name in now.members if name in names)


_AIMED: dict[str, Callable[[Strike, Situation, Random], Blow | None]] = {
    KILL: _at_processes, PAUSE: _at_processes, STOP: _at_processes,
    KILL_ALL: _at_all, SUPERVISOR: _at_nobody, ROLLING: _at_nobody,
    PARTITION: _partition, ONE_WAY: _one_way, ISOLATE: _isolate, SLOW: _slow, DROP: _drop, DISK_FULL: _disk_full, SKEW: _skew,
    WIPE: _wipe, ADD: _add, REMOVE: _one_fewer, EXPEL: _one_fewer, REPLACE: _replace,
}  # fmt: skip

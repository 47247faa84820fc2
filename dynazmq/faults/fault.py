"""One fault as a value, in a file and in words.

    partition   sides    no frame passes between nodes of two sides; a node on no side reaches all
    one-way     sides    no frame of the first side reaches the second; the other way is open
    isolate     nodes    no frame passes between each of them and anybody else
    slow        nodes    each frame from or to one of them takes delay_ms longer, ± jitter_ms; frames of a link stay in order
    drop        sides    a frame between two sides is lost with the chance `rate`
                nodes    … from or to one of them
    skew        nodes    their wall clocks are by_ms ahead (negative: behind); what they measure time with is not touched
    disk-full   nodes    they cannot store rows or hints

All of it is between nodes: clients reach every node as before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from dynazmq.errors import InvalidRequest

SCHEMA = "dynazmq.faults/1"

PARTITION, ONE_WAY, ISOLATE, SLOW, DROP, SKEW, DISK_FULL = (
    "partition", "one-way", "isolate", "slow", "drop", "skew", "disk-full"
)  # fmt: skip
KINDS = (PARTITION, ONE_WAY, ISOLATE, SLOW, DROP, SKEW, DISK_FULL)

DELAY_MS_MAX = 60_000
SKEW_MS_MAX = 365 * 86_400_000
FAULTS_MAX = 64
"""On at a time."""

_FIGURES = {SLOW: ("delay_ms", "jitter_ms"), DROP: ("rate",), SKEW: ("by_ms",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """since, until: seconds since 1970; until None: until it is healed. id "": not on yet."""

    kind: str
    nodes: tuple[str, ...] = ()
    sides: tuple[tuple[str, ...], ...] = ()
    delay_ms: int = 0
    jitter_ms: int = 0
    rate: float = 0.0
    by_ms: int = 0
    id: str = ""
    since: float = 0.0
    until: float | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """All nodes that it names."""
        return (*self.nodes, *(name for side in self.sides for name in side))

    def document(self) -> dict[str, Any]:
        """As it stands in the file and in `--json`: with the figures that its kind has."""
        placed = {"sides": [list(side) for side in self.sides]} if self.sides else {"nodes": list(self.nodes)}
        figures = {name: getattr(self, name) for name in _FIGURES.get(self.kind, ())}
        return {"id": self.id, "kind": self.kind, **placed, **figures, "since": self.since, "until": self.until}

    def over(self, wall_s: float) -> bool:
        return self.until is not None and wall_s >= self.until


# --- in a file ------------------------------------------------------------------------------------------------------------


def as_text(faults: Sequence[Fault]) -> str:
    return json.dumps({"schema": SCHEMA, "faults": [fault.document() for fault in faults]}, indent=1) + "\n"


def from_text(text: str) -> list[Fault]:
    """Raises ValueError when any of it is not as `as_text` writes it: half of a file of faults is none."""
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"it is {document['schema']!r:.40}, not {SCHEMA}")
        faults = [_fault(raw) for raw in document["faults"]]
        for fault in faults:
            check(fault)
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a list of faults: {error!r:.80}") from None
    return faults


def _fault(raw: dict[str, Any]) -> Fault:
    until = raw.get("until")
    if not all(math.isfinite(at) for at in (raw.get("since", 0.0), until or 0.0)):
        raise ValueError("a time is not a number")
    return Fault(
        kind=str(raw["kind"]),
        nodes=tuple(str(name) for name in raw.get("nodes") or ()),
        sides=tuple(tuple(str(name) for name in side) for side in raw.get("sides") or ()),
        delay_ms=int(raw.get("delay_ms", 0)),
        jitter_ms=int(raw.get("jitter_ms", 0)),
        rate=float(raw.get("rate", 0.0)),
        by_ms=int(raw.get("by_ms", 0)),
        id=str(raw["id"]),
        since=float(raw.get("since", 0.0)),
        until=None if until is None else float(until),
    )


def check(fault: Fault, members: Collection[str] | None = None) -> None:
    """Whether it is one that can be: its nodes, if `members` are given, and its figures. Raises InvalidRequest."""
    if fault.kind not in KINDS:
        raise InvalidRequest(f"no fault {fault.kind[:20]!r}; there are {' '.join(KINDS)}")
    if members is not None and (unknown := [name for name in fault.named if name not in members]):
        raise InvalidRequest(f"no node {unknown[0]!r}; there are {' '.join(members)}")
    if fault.kind in (PARTITION, ONE_WAY) or fault.sides:
        _check_sides(fault)
    elif not fault.nodes:
        raise InvalidRequest(f"{fault.kind} of which nodes?")
    if fault.kind == SLOW:
        if not 1 <= fault.delay_ms <= DELAY_MS_MAX:
            raise InvalidRequest(f"a delay is 1ms to {_time(DELAY_MS_MAX)}, not {_time(fault.delay_ms)}")
        if not 0 <= fault.jitter_ms <= fault.delay_ms:
            raise InvalidRequest(f"a jitter is 0 to the delay, {_time(fault.delay_ms)}, not {_time(fault.jitter_ms)}")
    if fault.kind == DROP and not 0.0 < fault.rate <= 1.0:
        raise InvalidRequest(f"a rate is more than 0 and at most 1, the part of the frames that is lost, not {fault.rate:g}")
    if fault.kind == SKEW and not 1 <= abs(fault.by_ms) <= SKEW_MS_MAX:
        raise InvalidRequest(f"a clock is ahead or behind by 1ms to {_time(SKEW_MS_MAX)}, not {_time(fault.by_ms)}")


def _check_sides(fault: Fault) -> None:
    if fault.kind not in (PARTITION, ONE_WAY, DROP) or fault.nodes:
        raise InvalidRequest(f"{fault.kind} takes nodes, not sides")
    if len(fault.sides) < 2 or (len(fault.sides) > 2 and fault.kind != PARTITION):
        raise InvalidRequest(f"{fault.kind} between which two sides? write for example n1,n2/n3")
    if not all(fault.sides):
        raise InvalidRequest(f"a side of the {fault.kind} is empty")
    on_two = [name for name in fault.named if fault.named.count(name) > 1]
    if on_two:
        raise InvalidRequest(f"{on_two[0]} is on two sides")


def same(one: Fault, other: Fault) -> bool:
    """Of one kind, at the same place: the figures may differ. The sides of a one-way have an order, those of others have none."""
    if one.kind != other.kind or set(one.nodes) != set(other.nodes):
        return False
    if one.kind == ONE_WAY:
        return [set(side) for side in one.sides] == [set(side) for side in other.sides]
    return {frozenset(side) for side in one.sides} == {frozenset(side) for side in other.sides}


def touches(fault: Fault, name: str) -> bool:
    """Whether this node has something to do for it. Who sends a frame loses or delays it: nobody else is asked."""
    if fault.kind in (SKEW, DISK_FULL):
        return name in fault.nodes
    if fault.kind == ONE_WAY:
        return name in fault.sides[0]
    return not fault.sides or any(name in side for side in fault.sides)


# --- in words -------------------------------------------------------------------------------------------------------------


def describe(fault: Fault) -> str:
    """One line, without the id and how long it lasts: "partition n1 n2 ⇹ n3 n4 n5"."""
    nodes = " ".join(fault.nodes)
    sides = [" ".join(side) for side in fault.sides]
    if fault.kind == PARTITION:
        return f"partition {' ⇹ '.join(sides)}"
    if fault.kind == ONE_WAY:
        return f"one-way {' ↛ '.join(sides)}"
    if fault.kind == ISOLATE:
        return f"isolate {nodes} ⇹ all others"
    if fault.kind == SLOW:
        jitter = f" ± {_time(fault.jitter_ms)}" if fault.jitter_ms else ""
        return f"slow {nodes} by {_time(fault.delay_ms)}{jitter} each way"
    if fault.kind == DROP:
        between = f"between {' / '.join(sides)}" if sides else f"from and to {nodes}"
        return f"drop {100 * fault.rate:g}% {between}"
    if fault.kind == SKEW:
        return f"skew {nodes}, wall clock {_time(abs(fault.by_ms))} {'ahead' if fault.by_ms > 0 else 'behind'}"
    return f"disk-full {nodes}"


def lasts(fault: Fault, wall_s: float) -> str:
    """ "until healed", or how long it still is on: "8s left"."""
    if fault.until is None:
        return "until healed"
    return f"{_time(max(0, round(fault.until - wall_s) * 1000))} left"


def _time(ms: int) -> str:
    """In its largest unit that needs no fraction: 50ms, 1500ms, 2s, 5m."""
    for unit, width in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms and ms % width == 0:
            return f"{ms // width}{unit}"
    return f"{ms}ms" if ms else "0s"

"""All that the panels draw, as a value: what one snapshot and the minute before it add up to. `trends.py` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dynazmq.cluster.observe.snapshot import Event, NodeView, Snapshot
from dynazmq.tui.model.coverage import Coverage
from dynazmq.tui.model.load import LoadStats
from dynazmq.tui.model.recovery import Recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Operations since the history began."""

    puts_ok: int = 0
    puts_failed: int = 0
    gets_ok: int = 0
    gets_failed: int = 0

    @property
    def failed(self) -> int:
        return self.puts_failed + self.gets_failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    per_s: float
    ok: float | None  # ratio; None: nothing was asked
    p99_ms: float | None
    trend: tuple[float, ...]  # per second, oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    by_load: bool  # seen by the load of this console; else counted by the nodes for all their clients
    put: Traffic
    get: Traffic
    failed: int
    failed_since: str  # "since the kill", "in the last 60 s"
    error: str = ""  # the last failure's name
    gap_s: float | None = None  # longest time without an acknowledged put in the same period; None: nobody measured it


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    name: str
    hints: int
    oldest_s: float | None = None
    silent: bool = False  # it does not answer: the figure is from when it last did


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Hints that wait for one node."""

    target: str
    hints: int
    holders: tuple[Holder, ...]  # most first
    oldest_s: float | None
    per_s: float | None
    eta_s: float | None  # None: they do not become fewer
    trend: tuple[float, ...]
    per_holder: Mapping[str, float]  # holder → how many more (fewer, if negative) it has each second


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """How far one node is with what a change of the members brings it (§4.9)."""

    name: str
    partitions: int
    left: int
    keys: int
    bytes: int
    strays: int  # partitions that it has to hand over yet
    eta_s: float | None  # None: nothing moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    snapshot: Snapshot
    service: Service
    coverage: Coverage
    pending: tuple[Pending, ...] = ()
    reads_per_s: tuple[float, float] | None = None  # gets that have mended a replica, that gave siblings; None: no node says
    transfers: tuple[Moving, ...] = ()  # who has most left first
    recoveries: tuple[Recovery, ...] = ()  # those to show, the latest first
    ended: str = ""  # the last one that is not shown any more, in a sentence
    events: tuple[Event, ...] = ()
    load: LoadStats | None = None

    @property
    def moving(self) -> bool:
        """Something will change within seconds, by itself."""
        return any(recovery.moving for recovery in self.recoveries) or any(each.left for each in self.transfers)

    def view(self, name: str | None) -> NodeView | None:
        return next((node for node in self.snapshot.nodes if node.name == name), None)

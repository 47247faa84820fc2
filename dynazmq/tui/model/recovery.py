"""The life of one outage, from the moment a node goes away to the cluster's convergence: a value that snapshots carry forward.

    killed ▸ suspected by its peers ▸ down, all agree ▸ started ▸ up, all agree ▸ hints drained ▸ trees equal

`advance` is all there is: outage and snapshot in, outage out. A stage's time is the snapshot's that first shows it, put earlier
where nodes say for how long it has been so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from dynazmq.cluster.observe.node_health import SERVES
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.tui.model.faults import cutting

_AWAY = {"down", "suspect", "paused", "stopped"}
_RUNS = {"", "running", "starting"}


class Gains(NamedTuple):
    """What brought copies back."""

    delivered: int = 0  # hints
    exchanged: int = 0  # keys shipped by anti-entropy
    repaired: int = 0  # gets that mended a replica


_NOTHING = Gains()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Times are seconds since 1970; None: not yet."""

    node: str
    what: str  # the operating system's word: "killed (9)", "exited (1)", "stopped", "paused"; "silent" when it says "running"
    began: float
    fault: str = ""  # the id of the fault that cut it off
    suspected: float | None = None
    suspected_by: tuple[str, ...] = ()
    down: float | None = None
    agree: int = 0  # peers that call it down, or up once it is started
    peers: int = 0  # peers that answered
    started: float | None = None
    up: float | None = None
    peak: int = 0  # most hints that waited for it
    left: int = 0
    delivered: float | None = None
    gained: Gains = _NOTHING  # since it was started
    trees_left: int = 0  # Merkle trees that are not known to be equal yet
    converged: float | None = None

    @property
    def moving(self) -> bool:
        """Something will change within seconds, by itself."""
        return self.converged is None and (self.started is not None or (bool(self.peers) and self.down is None))

    @property
    def verb(self) -> str:
        """What it takes to end it, as the stage is called."""
        return "healed" if self.fault else "resumed" if self.what == "paused" else "started"


def fact(view: NodeView) -> str:
    """What the operating system says has happened to the process, or "silent" when it only does not answer."""
    return "silent" if view.process in _RUNS else view.process


def is_away(view: NodeView) -> bool:
    return view.state in _AWAY or fact(view) != "silent"


def moment(view: NodeView, taken_at: float, previous_at: float | None) -> float:
    """When the node came into the state that this snapshot is the first to show."""
    since = taken_at - max(0.0, view.since_s)
    return since if previous_at is None else max(previous_at, since)


def advance(
    was: Recovery | None, view: NodeView, snapshot: Snapshot, previous_at: float | None, pending: int, gains: Gains
) -> Recovery | None:
    """The outage of one node after one more snapshot; None as long as there was none.

    `pending` hints wait for it now; `gains` is what came between the snapshots.
    """
    at = snapshot.taken_at
    happened = fact(view)
    if was is None or was.converged is not None or _gone_again(was, view, snapshot):
        if not is_away(view):
            return was
        was = _begun(view, snapshot, previous_at)
    elif was.what == "silent" and happened != "silent" and was.started is None:
        was = replace(was, what=happened)

    suspects = tuple(sorted((peer for peer, word in view.seen_by.items() if word != "up"), key=_as_people_count))
    down = sum(word == "down" for word in view.seen_by.values())
    peers = len(view.seen_by)
    told = _told(snapshot, view.name, was.began) if previous_at is None else {}
    now = replace(was, peers=peers, agree=down, left=pending, peak=max(was.peak, pending), trees_left=view.trees_left)
    if now.suspected is None and suspects and now.up is None:
        first = told.get("suspected") or _within(now.began, at - max(_for_s(view, suspects)), at)
        now = replace(now, suspected=first, suspected_by=suspects)
    apart = now.what == "silent" and view.answers  # those on its side of a partition never call it down
    if now.down is None and now.started is None and peers and down == (len(suspects) or peers if apart else peers):
        last = told.get("down") or _within(now.suspected or now.began, at - min(_for_s(view, suspects)), at)
        now = replace(now, down=last)
    if now.fault and now.started is None and all(fault.id != now.fault for fault in snapshot.faults):
        now = replace(now, started=at)
    if now.started is None and (happened == "silent" and now.what != "silent"):
        now = replace(now, started=moment(view, at, previous_at))
    if now.started is not None or (now.what == "silent" and not is_away(view)):
        gained = Gains(*(before + more for before, more in zip(now.gained, gains, strict=True)))
        now = replace(now, agree=peers - len(suspects), gained=gained)
        if view.state not in SERVES or not view.answers or suspects:
            now = replace(now, up=None, delivered=None)
        elif now.up is None:
            last = at - min(_for_s(view, view.seen_by))
            now = replace(now, up=_within(now.started or now.began, last, at))
    if now.up is not None:
        if now.delivered is None and not pending:
            now = replace(now, delivered=at)
        if now.converged is None and not pending and snapshot.converged:
            now = replace(now, converged=at)
    return now


def _told(snapshot: Snapshot, name: str, began: float) -> dict[str, float]:
    """kind → when the supervisor told of it: of an outage that began before anybody looked here."""
    return {event.kind: event.at for event in snapshot.events if event.node == name and event.at >= began}


def _begun(view: NodeView, snapshot: Snapshot, previous_at: float | None) -> Recovery:
    """An outage that begins: with the fault that cut the node off, if that is what happened."""
    what, at = fact(view), moment(view, snapshot.taken_at, previous_at)
    fault = cutting(snapshot, view.name) if what == "silent" else None
    if fault is None or not fault.since <= snapshot.taken_at:
        return Recovery(node=view.name, what=what, began=at)
    return Recovery(node=view.name, what=what, began=fault.since, fault=fault.id)


def _for_s(view: NodeView, peers: Iterable[str]) -> list[float]:
    """For how long these have said of the node what they say."""
    return [view.seen_for_s.get(peer, 0.0) for peer in peers] or [0.0]


def _within(earliest: float, at: float, latest: float) -> float:
    return min(max(earliest, at), latest)


def _gone_again(was: Recovery, view: NodeView, snapshot: Snapshot) -> bool:
    """A new outage before the last one has ended. To be suspected for a moment while it recovers is not one; to be cut off is."""
    if was.up is None and was.started is None:
        return False
    fault = cutting(snapshot, view.name)
    return fact(view) != "silent" or (fault is not None and fault.id != was.fault)


def _as_people_count(name: str) -> tuple[int, str]:
    """n2 before n10."""
    return len(name), name


def some(names: tuple[str, ...], most: int = 4) -> str:
    """A few of them, and how many more there are."""
    return " ".join(names) if len(names) <= most else f"{' '.join(names[: most - 1])} +{len(names) - most + 1}"


def story(was: Recovery | None, now: Recovery) -> list[tuple[float, str]]:
    """(when, what) for the event list: the stages that `now` has and `was` had not."""
    if was is None or was.began != now.began:
        was = replace(now, suspected=None, down=None, started=None, up=None, delivered=None, converged=None)
    stages: list[tuple[float | None, float | None, str]] = [
        (was.suspected, now.suspected, f"suspected by {some(now.suspected_by)}"),
        (was.down, now.down, f"down: {now.agree}/{now.peers} peers agree"),
        (was.up, now.up, f"up: {now.agree}/{now.peers} peers see it"),
        (was.delivered, now.delivered, f"{now.gained.delivered:,} hints delivered" if now.peak else ""),
        (was.converged, now.converged, ended(now)),
    ]
    return [(after, text) for before, after, text in stages if before is None and after is not None and text]


def cause(now: Recovery) -> str:
    """The outage as a noun: "2.1 s after the kill"."""
    if now.fault:
        return "the cut"
    nouns = {"killed": "the kill", "exited": "the exit", "paused": "the pause", "stopped": "the stop"}
    return nouns.get(now.what.partition(" ")[0], "the outage")


def ended(now: Recovery) -> str:
    if now.converged is None:
        return ""
    start = f", {now.converged - now.started:.1f} s after the {STARTS[now.verb]}" if now.started is not None else ""
    return f"CONVERGED {now.converged - now.began:.1f} s after {cause(now)}{start}"


STARTS = {"started": "start", "resumed": "resume", "healed": "heal"}

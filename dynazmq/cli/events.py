"""`cluster events`: what happened, from the stream in the cluster's directory; it needs no process of the cluster."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

from dynazmq.cli import OK
from dynazmq.cli.escaping import as_json, printable
from dynazmq.cli.terminal import BOLD, CYAN, DIM, GREEN, MAGENTA, RED, YELLOW, emit, note, paint, say
from dynazmq.cli.words import moment, select
from dynazmq.cluster.directory.succession import Succession
from dynazmq.cluster.observe import events
from dynazmq.cluster.observe.events import KINDS
from dynazmq.cluster.observe.snapshot import Event
from dynazmq.errors import ClusterReplaced, InvalidRequest
from dynazmq.streams import wait_while_read

_STYLES = {
    **dict.fromkeys(("killed", "died", "failed", "down", "overload"), (RED,)),
    **dict.fromkeys(("suspected", "wiped", "restarting", "fault-on"), (YELLOW,)),
    **dict.fromkeys(("up", "started", "resumed", "adopted", "fault-off"), (GREEN,)),
    "converged": (GREEN, BOLD),
    "paused": (MAGENTA,),
    **dict.fromkeys(("transfer", "ring", "hints", "exchange"), (CYAN,)),
    "command": (DIM,),
}
_WIDTH = max(map(len, KINDS))


def run(
    directory: Path,
    *,
    follow: bool,
    lines: int,
    since_s: float | None,
    nodes: Sequence[str],
    kinds: Sequence[str],
    as_json: bool,
    as_lines: bool,
) -> int:
    if as_json and (follow or as_lines):
        raise InvalidRequest("--json is one document, --follow and --jsonl are streams: choose one")
    succession = Succession(directory)
    members = list(succession.cluster.members)
    chosen = _kinds(kinds)
    since = None if since_s is None else time.time() - since_s
    with events.Tail(directory) as tail:
        found = tail.poll()
        known = list(dict.fromkeys([*members, *(event.node for event in found if event.node != "*"), "*"]))
        names = select(nodes, known) if nodes else []
        kept = [event for event in events.in_order(found, since) if events.wanted(event, names, chosen)]
        last = kept if since is not None else kept[-lines:] if lines else []
        lost = events.missing(found)
        if as_json:
            emit("events", {"events": [events.document(event) for event in last], "lost": lost, "torn": tail.torn})
            return OK
        _tell(last, as_lines)
        if lost or tail.torn:
            note(f"events lost: {lost:,}, lines cut off: {tail.torn:,}")
        if not found and not follow:
            note("nothing has happened yet")
        while follow:
            wait_while_read(events.POLL_S)
            try:
                succession.look()
            except ClusterReplaced as error:
                note(f"{error}; what follows is of the new one")
            _tell([event for event in tail.poll() if events.wanted(event, names, chosen)], as_lines)
    return OK


def _kinds(typed: Sequence[str]) -> Collection[str]:
    """Raises InvalidRequest."""
    kinds = [kind for each in typed for kind in each.split(",") if kind]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise InvalidRequest(f"no kind of event {unknown[0]!r}; there are {' '.join(KINDS)}")
    return kinds


def _tell(found: Sequence[Event], as_lines: bool) -> None:
    for event in found:
        if as_lines:
            say(as_json(events.document(event)))
        else:
            say(line(event))


def line(event: Event) -> str:
    """One event for people, in one line whatever its text is."""
    text = printable(event.text.encode("utf-8", "surrogatepass"))
    kind = paint(f"{event.kind:<{_WIDTH}}", *_STYLES.get(event.kind, ()))
    return f"{paint(moment(event.at), DIM)}  {event.node:<4} {kind}  {text}"

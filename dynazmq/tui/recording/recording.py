"""What the terminal UI saw, in a file: `tui --record FILE` writes it, `tui --replay FILE` plays it, with all panels.

One JSON object a line: the first is whole, each other says what has changed since the one before (`changed`, `merged`). So a file
that was cut off loses its end only. An event log of a cluster (DIR/events.jsonl) is played as well (retold.py): it tells less.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from dynazmq.cluster.observe.snapshot import Event, Expelling, Lost, NodeView, Snapshot, Transfer
from dynazmq.errors import ClusterError
from dynazmq.faults import Fault
from dynazmq.sequence import in_sequence
from dynazmq.tui.model.load import Check, LoadStats
from dynazmq.tui.recording.retold import is_event, retell

SCHEMA = "dynazmq.recording/1"
BYTES_MAX = 256 << 20
"""A recording ends there: some twenty hours of five nodes."""
GAPS_KEPT = 20
_GONE = "~"
_KNOWN = f"neither a recording ({SCHEMA}) nor an event log"

Document = dict[str, Any]
Moment = tuple[Snapshot, LoadStats | None]


@dataclass(slots=True)
class Recording:
    path: Path
    moments: list[Document] = field(default_factory=list)
    trouble: str = ""  # it ends before its end
    times: list[float] = field(default_factory=list)
    """Of the moments. What was recorded first was first, also where a clock was set back meanwhile (sequence.py)."""

    def __getitem__(self, index: int) -> Moment:
        snapshot, load = moment_of(self.moments[index])
        return replace(snapshot, taken_at=self.times[index]), load

    def at(self, index: int) -> float:
        return self.times[index]


# --- writing --------------------------------------------------------------------------------------------------------------


class Recorder:
    """For one thread. `trouble`: why it records no more."""

    def __init__(self, path: Path) -> None:
        """Raises ClusterError when the file cannot be written, or there is one already."""
        try:
            self._file = open(path, "x", encoding="utf-8")  # noqa: SIM115  # it is open for as long as this console is
        except FileExistsError:
            raise ClusterError(f"{path} exists already; a recording does not replace a file") from None
        except OSError as error:
            raise ClusterError(f"cannot write {path}: {error.strerror}") from None
        self._last: Document = {}
        self.trouble = ""

    def add(self, snapshot: Snapshot, load: LoadStats | None) -> None:
        if self.trouble:
            return
        now = document_of(snapshot, load)
        line = {"schema": SCHEMA, **now} if not self._last else changed(self._last, now)
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
            self._file.flush()
            if self._file.tell() > BYTES_MAX:
                self.trouble = f"the recording is {BYTES_MAX >> 20} MiB long, the limit: it ends here"
        except OSError as error:
            self.trouble = f"the recording ends here: {error.strerror}"
        self._last = now

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            pass


def document_of(snapshot: Snapshot, load: LoadStats | None) -> Document:
    seen = asdict(snapshot)
    nodes = seen.pop("nodes")
    stats = asdict(load) if load is not None else None
    if stats is not None:
        stats["gaps"] = stats["gaps"][-GAPS_KEPT:]
    return {
        "snapshot": seen,
        "order": [node["name"] for node in nodes],
        "nodes": {node["name"]: node for node in nodes},
        "load": stats,
    }


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Document:
    """What `merged(before, …)` needs to be `now`."""
    found: Document = {}
    for name, value in now.items():
        was = before.get(name)
        if isinstance(value, dict) and isinstance(was, dict):
            if more := changed(was, value):
                found[name] = more
        elif name not in before or value != was:
            found[name] = value
    if gone := [name for name in before if name not in now]:
        found[_GONE] = gone
    return found


def merged(before: Mapping[str, Any], change: Mapping[str, Any]) -> Document:
    """Shares with `before` what has not changed."""
    gone = change.get(_GONE, ())
    found = {name: value for name, value in before.items() if name not in gone}
    for name, value in change.items():
        was = before.get(name)
        if name != _GONE:
            found[name] = merged(was, value) if isinstance(value, dict) and isinstance(was, dict) else value
    return found


# --- reading --------------------------------------------------------------------------------------------------------------


def load_recording(path: Path) -> Recording:
    """Raises ClusterError when it cannot be read or is something else. One that was cut off ends there: see `trouble`."""
    recording = Recording(path)
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            lines = _lines(file)
            first = next(lines, None)
            if isinstance(first, dict) and is_event(first):
                _retell(recording, [first, *lines])
            elif isinstance(first, dict) and first.get("schema") == SCHEMA:
                _follow(recording, first, lines)
            elif isinstance(first, dict):
                raise ClusterError(f"{path} is {first.get('schema') or 'something else'}: {_KNOWN}")
            else:
                found = "empty" if first is None else "cut off or damaged in its first line"
                raise ClusterError(f"{path} is {found}: {_KNOWN}")
    except OSError as error:
        raise ClusterError(f"cannot read {path}: {error.strerror}") from None
    recording.times = in_sequence([float(moment["snapshot"]["taken_at"]) for moment in recording.moments])
    return recording


def _retell(recording: Recording, lines: list[Document | str]) -> None:
    events = [line for line in lines if isinstance(line, dict) and is_event(line)]
    recording.moments = [document_of(snapshot, None) for snapshot in retell(recording.path, events)]
    if torn := len(lines) - len(events):
        cut = "1 line that was cut off is" if torn == 1 else f"{torn} lines that were cut off are"
        recording.trouble = f"{cut} passed over"


def _follow(recording: Recording, first: Document, lines: Iterable[Document | str]) -> None:
    now: Document = {}
    try:
        for change in (first, *lines):
            if isinstance(change, str):
                recording.trouble = f"it is cut off or damaged in line {change}: what comes after that is not shown"
                return
            now = merged(now, change)
            moment_of(now)
            recording.moments.append(now)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if not recording.moments:
            raise ClusterError(f"{recording.path} is no recording: {type(error).__name__} in line 1") from None
        recording.trouble = f"line {len(recording.moments) + 1} is damaged: what comes after it is not shown"


def _lines(file: Iterable[str]) -> Iterator[Document | str]:
    """Each line; the number of one that is no JSON object, or not whole."""
    for number, line in enumerate(file, 1):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        yield document if isinstance(document, dict) and line.endswith("\n") else str(number)


def moment_of(document: Mapping[str, Any]) -> Moment:
    """Raises KeyError, TypeError, ValueError. Fields that are not known are ignored, absent ones have their default."""
    nodes = [_node(document["nodes"][name]) for name in document["order"]]
    raw = dict(document["snapshot"])
    events = [Event(**_known(Event, event)) for event in raw.pop("events", ())]
    faults = [Fault(**_tuples(_known(Fault, fault))) for fault in raw.pop("faults", ())]
    lost = [Lost(**_known(Lost, each)) for each in raw.pop("lost", ())]
    expelling = raw.pop("expelling", None)
    snapshot = Snapshot(
        **_known(Snapshot, raw) | {"nodes": nodes, "events": events, "faults": faults, "owners": tuple(raw["owners"])},
        lost=lost,
        expelling=Expelling(**_known(Expelling, expelling)) if expelling else None,
    )
    load = document.get("load")
    return snapshot, _load(load) if load else None


def _node(raw: Mapping[str, Any]) -> NodeView:
    known = _known(NodeView, raw)
    known["transfer"] = Transfer(**_known(Transfer, raw.get("transfer") or {}))
    known["trees_with"] = {peer: (int(pair[0]), int(pair[1])) for peer, pair in known.get("trees_with", {}).items()}
    return NodeView(**known)


def _load(raw: Mapping[str, Any]) -> LoadStats:
    known = _known(LoadStats, raw)
    known["gaps"] = tuple((float(at), float(gap)) for at, gap in known.get("gaps", ()))
    check = known.get("check")
    known["check"] = Check(**_known(Check, check) | {"lost_keys": tuple(check.get("lost_keys", ()))}) if check else None
    return LoadStats(**known)


def _known(kind: Any, raw: Mapping[str, Any]) -> Document:
    return {each.name: raw[each.name] for each in fields(kind) if each.name in raw}


def _tuples(raw: Document) -> Document:
    """JSON knows lists only."""
    return {name: tuple(tuple(each) if isinstance(each, list) else each for each in value) if isinstance(value, list) else value
            for name, value in raw.items()}  # fmt: skip

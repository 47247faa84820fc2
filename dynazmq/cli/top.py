"""`top`: what each node does now. On a terminal it is drawn again and again, in a pipe once.

Figures are of the last five seconds, or of as long as it has been looking; the first frame comes after a second of it.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynazmq.cli import NOT_RUNNING, OK
from dynazmq.cli.restored import LEAVE, screen
from dynazmq.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, colored, emit, paint, say
from dynazmq.cli.words import short, size, span
from dynazmq.cluster.observe import node_health, rates
from dynazmq.cluster.observe.observe import LOOK_TIMEOUT_S, Observer
from dynazmq.cluster.observe.rates import Rates, Sample
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.errors import ClusterReplaced, InvalidRequest
from dynazmq.streams import wait_while_read

SORTS = ("name", "ops", "p99", "hints")
FIRST_S = 1.0
WINDOW_S = 5.0
EVERY_S_MIN = 0.2

_ENTER = b"\x1b[?1049h\x1b[?25l"  # the other screen, no cursor
_HEADS = (
    *("NODE", "STATE", "CPU%", "RSS", "PUT/S", "GET/S", "FAIL/S", "P50ms", "P99ms", "Q", "COMMIT", "ROWS", "KEYS"),
    *("HINTS FOR", "TREES"),
)
_LEFT = {0, 1, 13, 14}


@dataclass(slots=True)
class Frame:
    """What one frame shows."""

    snapshot: Snapshot
    nodes: list[tuple[NodeView, Rates]]
    total: Rates
    hints_before: int
    passed_s: float
    said: str = ""  # of what became of the cluster


class Meter:
    """Looks, and keeps what was seen for as long as it is needed."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._samples: deque[tuple[Sample, int]] = deque()
        self._said = ""

    def look(self) -> Frame:
        try:
            snapshot = self._observer.look(LOOK_TIMEOUT_S * 2)
        except ClusterReplaced as error:
            self._samples.clear()
            self._said = str(error)
            snapshot = self._observer.look(LOOK_TIMEOUT_S * 2)
        self._samples.append((Sample.of(snapshot, self._observer.last_answers), node_health.hints_pending(snapshot)))
        while len(self._samples) > 2 and self._samples[-1][0].at - self._samples[0][0].at > WINDOW_S:
            self._samples.popleft()
        (before, hints), (after, _) = self._samples[0], self._samples[-1]
        found = rates.between(before, after)
        nodes = [(node, found.get(node.name, Rates())) for node in snapshot.nodes]
        return Frame(snapshot, nodes, rates.whole(list(found.values())), hints, after.at - before.at, self._said)


def run(directory: Path, *, sort: str, once: bool, every_s: float, as_json: bool) -> int:
    if sort not in SORTS:
        raise InvalidRequest(f"--sort is {', '.join(SORTS)}, not {sort!r}")
    with Observer(directory) as observer:
        meter = Meter(observer)
        meter.look()
        live = not once and not as_json and sys.stdout.isatty()
        time.sleep(FIRST_S)
        frame = meter.look()
        if as_json:
            emit("top", document(frame, sort))
        elif not live:
            for line in lines(frame, sort):
                say(line)
        else:
            _redraw(meter, frame, sort, max(EVERY_S_MIN, every_s))
    return OK if any(node.pid for node in frame.snapshot.nodes) else NOT_RUNNING


def _redraw(meter: Meter, frame: Frame, sort: str, every_s: float) -> None:
    """Until Ctrl-C. Each frame is one write over the one before, so nothing flickers; the terminal is as it was in the end."""
    out = sys.stdout
    with screen(out.fileno(), _ENTER, LEAVE):
        while True:
            columns, rows = shutil.get_terminal_size((80, 24))
            shown = [cut(line, columns) for line in lines(frame, sort)[: max(1, rows - 1)]]
            out.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in shown) + "\x1b[J")
            out.flush()
            wait_while_read(every_s)
            frame = meter.look()


# --- as text --------------------------------------------------------------------------------------------------------------


def ordered(frame: Frame, sort: str) -> list[tuple[NodeView, Rates]]:
    keys = {
        "ops": lambda pair: -pair[1].ops_per_s,
        "p99": lambda pair: -(pair[1].quantile_ms(0.99) or 0.0),
        "hints": lambda pair: -pair[0].hints_pending,
    }
    return sorted(frame.nodes, key=keys[sort]) if sort in keys else frame.nodes


def lines(frame: Frame, sort: str) -> list[str]:
    table = [_row(node, each) for node, each in ordered(frame, sort)]
    widths = [max(len(head), *(len(row[i]) for row in table)) for i, head in enumerate(_HEADS)]
    return [
        *_header(frame),
        paint(_line(_HEADS, widths), DIM),
        *(_painted(_line(row, widths), row[1]) for row in table),
    ]


def _header(frame: Frame) -> list[str]:
    snapshot, total = frame.snapshot, frame.total
    hints = node_health.hints_pending(snapshot)
    arrow = "↑" if hints > frame.hints_before else "↓" if hints < frame.hints_before else ""
    if not any(node.pid for node in snapshot.nodes):
        health = paint("NOT RUNNING", RED, BOLD)
    elif snapshot.lost:
        health = paint("DATA LOST", RED, BOLD)
    elif not node_health.quorum_met(snapshot):
        unable = node_health.unable_to_store(snapshot)
        health = paint(f"NO {'WRITES' if unable else 'QUORUM'}", RED, BOLD)
    elif snapshot.degraded_s is not None:
        health = paint(f"DEGRADED {span(snapshot.degraded_s)}", RED, BOLD)
    else:
        health = paint("HEALTHY", GREEN, BOLD)
    clock = time.strftime("%H:%M:%S", time.localtime(snapshot.taken_at))
    failed = f"failed {short(total.failed_per_s)}/s"
    return [
        f"{paint(snapshot.name, BOLD)}  {clock}  {health}",
        "  ".join(
            [
                f"puts {short(total.puts_per_s)}/s p99 {_ms(total.quantile_ms(0.99, 'put'))}",
                f"gets {short(total.gets_per_s)}/s p99 {_ms(total.quantile_ms(0.99, 'get'))}",
                paint(failed, RED) if total.failed_per_s else failed,
                f"hints {hints:,}{arrow}",
                f"over {frame.passed_s:.0f} s",
            ]
        ),
        paint(frame.said, YELLOW) if frame.said else "",
    ]


def _row(node: NodeView, each: Rates) -> list[str]:
    silent = not node.answers
    hints = " ".join(f"{target}:{count:,}" for target, count in sorted(node.hints_for.items(), key=lambda item: -item[1])[:2])
    return [
        node.name,
        "no writes" if node.answers and node.cannot_store else node.state,
        "–" if silent or node.cpu_percent is None else f"{node.cpu_percent:.0f}",
        "–" if silent else size(node.rss_bytes),
        "–" if silent else short(each.puts_per_s),
        "–" if silent else short(each.gets_per_s),
        "–" if silent else short(each.failed_per_s),
        _ms(each.quantile_ms(0.5), ""),
        _ms(each.quantile_ms(0.99), ""),
        "–" if silent else str(node.in_flight),
        "–" if silent or node.commit_ms is None else f"{node.commit_ms:.1f}ms",
        "–" if silent or node.rows_per_commit is None else f"{node.rows_per_commit:.0f}",
        "–" if silent else short(node.keys),
        hints or "–",
        "–" if silent else trees(node),
    ]


def trees(node: NodeView) -> str:
    """How far anti-entropy is, in a word or two."""
    if node.anti_entropy != "on":
        return node.anti_entropy
    if node.ranges_differing:
        return f"{node.ranges_differing} differ"
    return f"{node.trees_left} left" if node.trees_left or not node.surveyed else "equal"


def _ms(value: float | None, unit: str = "ms") -> str:
    return "–" if value is None else f"{value:.1f}{unit}" if value < 100 else f"{value:.0f}{unit}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = enumerate(zip(cells, widths, strict=True))
    return "  ".join(cell.ljust(width) if i in _LEFT else cell.rjust(width) for i, (cell, width) in pairs).rstrip()


def _painted(line: str, state: str) -> str:
    if state in node_health.SERVES:
        return line
    return paint(line, YELLOW if state in ("suspect", "starting", "paused") else RED)


def cut(line: str, columns: int) -> str:
    """To this many characters on the screen; a colour is none."""
    shown, i = 0, 0
    while i < len(line):
        if line[i] == "\x1b":
            i = line.index("m", i) + 1
            continue
        if shown == columns:
            return line[:i] + ("\x1b[0m" if colored(sys.stdout) else "")
        shown, i = shown + 1, i + 1
    return line


# --- as JSON --------------------------------------------------------------------------------------------------------------


def document(frame: Frame, sort: str) -> dict[str, Any]:
    snapshot = frame.snapshot
    return {
        "name": snapshot.name,
        "at": snapshot.taken_at,
        "interval_s": round(frame.passed_s, 3),
        "degraded_s": snapshot.degraded_s,
        "cluster": {**_figures(frame.total), "hints_pending": node_health.hints_pending(snapshot)},
        "nodes": [_node(node, each) for node, each in ordered(frame, sort)],
    }


def _figures(each: Rates) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "puts_per_s": round(each.puts_per_s, 1),
        "gets_per_s": round(each.gets_per_s, 1),
        "failed_per_s": round(each.failed_per_s, 1),
    }
    for op in rates.OPS:
        for q, name in ((0.5, "p50"), (0.99, "p99")):
            figures[f"{op}_{name}_ms"] = each.quantile_ms(q, op)
    return figures


def _node(node: NodeView, each: Rates) -> dict[str, Any]:
    known = {
        "cpu_percent": None if node.cpu_percent is None else round(node.cpu_percent, 1),
        "rss_bytes": node.rss_bytes,
        **_figures(each),
        "in_flight": node.in_flight,
        "commit_ms": node.commit_ms,
        "rows_per_commit": node.rows_per_commit,
        "keys": node.keys,
        "hints_for": node.hints_for,
        "trees": trees(node),
    }
    return {"name": node.name, "state": node.state, **(known if node.answers else dict.fromkeys(known))}

"""One node: its state, what its peers and it say of each other, its queue and commits, its settings, the end of its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from dynazmq.cluster.observe.snapshot import NodeView
from dynazmq.tui.look import (
    BAD,
    FAINT,
    STATES,
    TITLE,
    UNKNOWN,
    WARN,
    Block,
    fit,
    long_span,
    milliseconds,
    printable,
    short,
    size,
    span,
    wrapped,
)
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels.debts import pairs
from dynazmq.tui.panels.panels import appearance, word

_SPLIT = 120
"""So wide, the log stands beside the facts."""

_LOG_LINES = 200


class Line(NamedTuple):
    """One line of a log, or of what a command said."""

    node: str
    text: str
    level: str = ""


def node_view(
    model: Model, document: Mapping[str, Any], settings: Mapping[str, Any], logs: Sequence[Line], name: str, width: int
) -> Block:
    block = Block(f"node {name}")
    view = model.view(name)
    if view is None:
        block.add((f"{name} is no member any more", WARN))
        block.lines += log_lines(logs, "")
        return block
    left = width if width < _SPLIT else width // 2
    facts = [*_state(view), Text(), *_peers(model, view, document), Text(), *_figures(view, document), *_settings(settings, left)]
    beside = width if width < _SPLIT else width - left - 3
    written = [part for line in logs[-_LOG_LINES:] for part in wrapped(log_lines([line._replace(node="")], "")[0], beside)]
    written = written or [Text("its log is empty", FAINT)]
    if width < _SPLIT:
        block.lines = [*facts, Text(), Text("log", TITLE), *written]
        return block
    rows = max(len(facts), 30)
    written = [Text("log", TITLE), *written[-(rows - 1) :]]
    for index in range(max(len(facts), len(written))):
        row = fit(facts[index] if index < len(facts) else Text(), left)
        block.lines.append(row.append(" │ ", FAINT).append_text(written[index] if index < len(written) else Text()))
    return block


def _state(view: NodeView) -> list[Text]:
    glyph, style = appearance(view)
    first = Text.assemble((f"{glyph} {word(view)}", style), f" for {long_span(view.since_s)}")
    first.append(f"   process {view.process or 'none'}" + (f", pid {view.pid}" if view.pid is not None else ""))
    if view.restart_in_s is not None:
        first.append(f"   starts by itself in {span(view.restart_in_s + 0.5)}", WARN)
    if view.gave_up:
        first.append("   gave up: it dies at once", BAD)
    second = Text().append(view.endpoint, FAINT)
    if view.uptime_s is not None:
        second.append(f"   serves since {long_span(view.uptime_s)}")
    return [first, second]


def _peers(model: Model, view: NodeView, document: Mapping[str, Any]) -> list[Text]:
    """What each says of the other; hints that each holds for the other; their trees."""
    says = document.get("peers")
    lines = [
        Text(f"{'PEER':<12} {'SEES IT':<13} {'IT SEES':<13} {'HOLDS FOR IT':>12} {'IT HOLDS':>9} {'TREES EQUAL':>12}", FAINT)
    ]
    for peer in model.snapshot.nodes:
        if peer is view:
            continue
        own = says.get(peer.name) if isinstance(says, dict) else None
        heard = _word(view.seen_by.get(peer.name), view.seen_for_s.get(peer.name))
        said = _word(str(own.get("state")), float(own.get("for_s", 0.0))) if isinstance(own, dict) else _word(None, None)
        shared, left = next(iter(pairs([view, peer]).values()), (0, 0))
        row = Text(f"{peer.name[:12]:<12} ").append_text(heard).append(" ").append_text(said)
        row.append(f" {peer.hints_for.get(view.name, 0):>12,} {view.hints_for.get(peer.name, 0):>9,} ")
        lines.append(row.append(f"{f'{shared - left}/{shared}' if shared else '–':>12}", WARN if left else ""))
    return lines


def _word(word: str | None, for_s: float | None) -> Text:
    if word is None:
        return Text(f"{'–':<13}", FAINT)
    glyph, style = STATES.get(word, UNKNOWN)
    return Text(f"{f'{glyph} {word} {span(for_s)}':<13}", style)


def _figures(view: NodeView, document: Mapping[str, Any]) -> list[Text]:
    if not view.answers:
        return [Text("it does not answer: its figures are not known", FAINT)]
    latency = document.get("latency") or {}
    commits = int((document.get("commit") or {}).get("count", 0))
    counters = {name: count for name, count in view.counters.items() if count}
    turn = document.get("turns") or {}
    longest = f", longest turn {turn['longest_ms']:g} ms" if turn.get("longest_ms") else ""
    lines = [
        Text(f"queue      {document.get('in_flight', '–')} requests under way, {short(view.ops_per_s)} done/s{longest}"),
        Text(f"commits    {milliseconds(view.commit_ms)} ms, {short(view.rows_per_commit)} rows, {commits:,} so far"),
        Text(f"holds      {short(view.keys)} keys, owns {view.partitions} partitions, {view.hints_pending:,} hints for others"),
        Text(f"process    cpu {view.cpu_percent or 0:.0f}%, memory {size(view.rss_bytes)}, epoch {document.get('epoch', '–')}, "
             f"life {view.incarnation}"),
    ]  # fmt: skip
    for op, each in latency.items():
        if isinstance(each, dict) and each.get("count"):
            figures = " ".join(f"{name[:-3]} {milliseconds(each.get(name))}" for name in ("p50_ms", "p99_ms", "max_ms"))
            lines.append(Text(f"{op:<10} {figures} ms, {each['count']:,} lately"))
    for first in range(0, len(counters), 3):
        named = list(counters.items())[first : first + 3]
        lines.append(
            Text("counters   " if not first else " " * 11).append("  ".join(f"{name} {count:,}" for name, count in named))
        )
    return lines


def _settings(settings: Mapping[str, Any], width: int) -> list[Text]:
    text = "  ".join(f"{name} {value}" for name, value in settings.items())
    return wrapped(Text(f"settings   {printable(text)}"), width) if text else []


def log_lines(logs: Sequence[Line], wanted: str) -> list[Text]:
    """Lines with this in them, warnings and errors lit."""
    names = max((len(line.node) for line in logs), default=0)
    styles = {"ERROR": BAD, "WARN": WARN, "DEBUG": FAINT}
    return [
        Text.assemble((f"{line.node:<{names}}  " if names else "", TITLE), (printable(line.text), styles.get(line.level, "")))
        for line in logs
        if wanted.lower() in f"{line.node} {line.text}".lower()
    ]

"""The node table: as many columns as fit, the most telling ones first; as many rows, around the selected node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.text import Text

from dynazmq.cluster.observe.node_health import SERVES
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.tui.look import BAD, FAINT, GOOD, TITLE, WARN, Block, Look, milliseconds, percent, short, size, span
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.recovery import some
from dynazmq.tui.panels.panels import appearance, word

NAME_MAX = 12

Cell = tuple[str, str]  # text, style


class Column(NamedTuple):
    title: str
    width: int
    rank: int  # the lower, the longer it stays when the room is short
    cell: Callable[[NodeView, Snapshot], Cell]
    left: bool = False


def _state(view: NodeView, snap: Snapshot) -> Cell:
    look = appearance(view)
    return f"{look.glyph} {word(view)}", look.style


def _seen(view: NodeView, snap: Snapshot) -> Cell:
    up = sum(said == "up" for said in view.seen_by.values())
    if not view.seen_by:
        return "–", FAINT
    return f"{up}/{len(view.seen_by)}", GOOD if up == len(view.seen_by) else WARN if up else BAD


def _owns(view: NodeView, snap: Snapshot) -> Cell:
    if not snap.owners:
        return "–", FAINT
    ratio = snap.owners.count(view.name) / len(snap.owners)
    return percent(ratio, 0 if ratio == 1 else 1), ""


def _holds(view: NodeView, snap: Snapshot) -> Cell:
    """The target with most hints first."""
    held = sorted(((target, count) for target, count in view.hints_for.items() if count), key=lambda each: (-each[1], each[0]))
    if not held:
        return "–", FAINT
    more = f" +{len(held) - 1}" if len(held) > 1 else ""
    target, count = held[0]
    return f"{target} {short(count) if more or count > 99_999 else f'{count:,}'}{more}", WARN


def _figure(text: str, there: object) -> Cell:
    return (text, "") if there is not None else ("–", FAINT)


COLUMNS = (
    Column("STATE", 10, 0, _state, left=True),
    Column("FOR", 4, 0, lambda view, snap: (span(view.since_s), "")),
    Column("SEEN", 5, 1, _seen),
    Column("PID", 7, 8, lambda view, snap: _figure(str(view.pid), view.pid)),
    Column("OWNS", 5, 5, _owns),
    Column("KEYS", 5, 4, lambda view, snap: _figure(short(view.keys), view.keys)),
    Column("OP/S", 5, 2, lambda view, snap: _figure(short(view.ops_per_s), view.ops_per_s)),
    Column("P50ms", 5, 9, lambda view, snap: _figure(milliseconds(view.p50_ms), view.p50_ms)),
    Column("P99ms", 5, 3, lambda view, snap: _figure(milliseconds(view.p99_ms), view.p99_ms)),
    Column("COMMIT", 7, 10, lambda view, snap: _figure(f"{milliseconds(view.commit_ms)}ms", view.commit_ms)),
    Column("ROWS", 4, 11, lambda view, snap: _figure(short(view.rows_per_commit), view.rows_per_commit)),
    Column("HOLDS HINTS", 12, 3, _holds, left=True),
    Column("CPU", 4, 6, lambda view, snap: _figure(f"{view.cpu_percent or 0:.0f}%", view.cpu_percent)),
    Column("RSS", 4, 7, lambda view, snap: _figure(size(view.rss_bytes), view.rss_bytes)),
)


_SHOWN_BESIDE = "HOLDS HINTS"
"""A wide screen shows it in a panel of its own: there, this column comes last."""


def nodes(model: Model, look: Look, width: int, rows: int) -> Block:
    snap = model.snapshot
    name_width = min(NAME_MAX, max(4, *(len(node.name) for node in snap.nodes), 0))
    columns = _columns_that_fit(width - 2 - name_width, look.wide)
    kept = filtered(snap.nodes, look.filter)
    first, last = window(len(kept), index_of(kept, look.selected), rows - 1)
    block = Block("nodes" if last - first == len(snap.nodes) else f"nodes {first + 1}–{last} of {len(snap.nodes)}")
    if look.filter:
        block.title += f" /{look.filter}"
    shown = kept[first:last]
    hidden = [view for view in snap.nodes if view.state not in SERVES and view not in shown]
    if hidden:
        block.title += " · out of sight: " + some(tuple(f"{view.name} {appearance(view).glyph}" for view in hidden))
    heads = (f"{c.title:<{c.width}}" if c.left else f"{c.title:>{c.width}}" for c in columns)
    block.add((f"  {'NODE':<{name_width}} " + " ".join(heads), FAINT))
    for view in shown:
        chosen = view.name == look.selected
        name = view.name if len(view.name) <= name_width else view.name[: name_width - 1] + "…"
        row = block.add(("▶ " if chosen else "  ", "bold cyan"), (f"{name:<{name_width}}", TITLE if chosen else ""))
        for column in columns:
            _append(row, column, column.cell(view, snap))
    return block


def _append(row: Text, column: Column, cell: Cell) -> None:
    text, style = cell
    row.append(" ")
    if len(text) > column.width:
        text = text[: column.width - 1] + "…"
    pad = " " * (column.width - len(text))
    if column.left:
        row.append(text, style).append(pad)
    else:
        row.append(pad).append(text, style)


def _columns_that_fit(width: int, wide: bool) -> list[Column]:
    chosen: list[Column] = []
    left = width
    for column in sorted(COLUMNS, key=lambda each: 99 if wide and each.title == _SHOWN_BESIDE else each.rank):
        if column.width + 1 > left:
            break
        chosen.append(column)
        left -= column.width + 1
    return [column for column in COLUMNS if column in chosen]


def filtered(nodes: Sequence[NodeView], wanted: str) -> list[NodeView]:
    """Those with this in their name or state; all, if there is none."""
    return [view for view in nodes if wanted.lower() in f"{view.name} {word(view)} {view.state}".lower()] or list(nodes)


def index_of(nodes: Sequence[NodeView], name: str | None) -> int:
    return next((index for index, node in enumerate(nodes) if node.name == name), 0)


def window(count: int, selected: int, rows: int) -> tuple[int, int]:
    """The rows to show, from and to, so that the selected one is among them."""
    rows = max(1, rows)
    if count <= rows:
        return 0, count
    first = min(max(0, selected - rows // 2), count - rows)
    return first, first + rows

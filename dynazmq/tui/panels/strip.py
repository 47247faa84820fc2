"""The ring as a strip, and what has happened: the two panels at the bottom."""

from __future__ import annotations

from dynazmq.cluster.observe.snapshot import Event
from dynazmq.tui.look import FAINT, TITLE, UNKNOWN, Block, Look, clock, fit, owner_styles, printable, symbols
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.recovery import some
from dynazmq.tui.panels.panels import appearance


def ring(model: Model, look: Look, width: int, rows: int) -> Block:
    """One character for each partition: who owns it, ✗ where the owner is away; who stands in below, where there is room."""
    snap, cover = model.snapshot, model.coverage
    title = f"ring · {cover.partitions} partitions"
    if cover.degraded:
        title += f" · {cover.degraded} with a replica away"
    if len(cover.sides) > 1:
        title += f" · as {some(cover.sides[0])} see it"
    block = Block(title)
    if not snap.owners:
        block.add(("no node told of its ring yet", FAINT))
        return block
    names = [node.name for node in snap.nodes]
    marks, colours = symbols(names), owner_styles(names)
    serving = set(cover.sides[0]) if cover.sides else set()
    away = {node.name: appearance(node) for node in snap.nodes}
    legend = _legend(marks)
    per_row, count = strip_shape(len(snap.owners), width)
    stand_ins = any(cover.fallbacks) and rows >= 2 * count + bool(legend)
    if stand_ins and look.wide:
        block.title += " · who stands in, below"
    for first in range(0, len(snap.owners), per_row):
        if len(block.lines) + 1 + stand_ins + bool(legend) > rows and block.lines:
            block.lines[-1] = fit(block.lines[-1], width - 2).append(" …", FAINT)
            break
        cells = range(first, min(first + per_row, len(snap.owners)))
        owners = block.add()
        for cell in cells:
            name = snap.owners[cell]
            if name in serving:
                owners.append(marks.get(name, "?"), colours.get(name, ""))
            else:
                glyph, style = away.get(name, UNKNOWN)
                owners.append(glyph, f"{style} reverse")
        if stand_ins:
            below = block.add()
            for cell in cells:
                name = cover.fallbacks[cell]
                below.append(*((marks.get(name, "✗"), colours.get(name, "bold red")) if name else (" ", "")))
    if legend:
        block.add((legend, FAINT))
    return block


def strip_shape(partitions: int, width: int) -> tuple[int, int]:
    """(partitions in a row, rows): equal rows."""
    count = -(-partitions // max(1, width)) or 1
    return -(-partitions // count), count


def ring_rows(model: Model, width: int) -> int:
    """How many lines the strip needs without the stand-ins."""
    names = [node.name for node in model.snapshot.nodes]
    return strip_shape(max(1, len(model.snapshot.owners)), width)[1] + bool(_legend(symbols(names)))


def _legend(marks: dict[str, str]) -> str:
    """ "1-9 n1-n9  a-k n10-n20": runs of symbols; nothing to explain where each is the end of its name."""
    if all(name.lower().endswith(mark) for name, mark in marks.items()) and len(marks) < 10:
        return ""
    runs: list[list[tuple[str, str]]] = []
    for name, mark in marks.items():
        if runs and ord(mark) == ord(runs[-1][-1][1]) + 1:
            runs[-1].append((name, mark))
        else:
            runs.append([(name, mark)])
    return "  ".join(
        f"{run[0][1]} {run[0][0]}" if len(run) == 1 else f"{run[0][1]}–{run[-1][1]} {run[0][0]}–{run[-1][0]}" for run in runs
    )


def events(model: Model, look: Look, width: int, rows: int) -> Block:
    """The newest at the bottom; `look.back` of them are out of sight below."""
    found = [event for event in model.events if matches(event, look.filter)]
    back = min(look.back, max(0, len(found) - rows))
    latest = found[max(0, len(found) - back - rows) : len(found) - back] if rows > 0 else []
    block = Block("events" + (f" /{look.filter}" if look.filter else "") + (f" · {back} newer below" if back else ""))
    names = max((len(event.node) for event in latest), default=0)
    for event in latest:
        block.add((clock(event.at), FAINT), "  ", (f"{event.node:<{names}}", TITLE), f"  {printable(event.text)}")
    if not latest:
        block.add(("nothing has happened yet" if not look.filter else "none of them has that in it", FAINT))
    return block


def matches(event: Event, wanted: str) -> bool:
    return wanted.lower() in f"{event.node} {event.text}".lower()

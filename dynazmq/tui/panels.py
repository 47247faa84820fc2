"""Every panel as a function: what is known, how to look at it and the room there is, in; a title and lines out.

Nothing here remembers or asks. The header and the footer are single lines, the others go into boxes (screen.py).
"""

from __future__ import annotations

from collections import Counter

from rich.text import Text

from dynazmq.cluster.judgement import SERVES, changing, not_comparing
from dynazmq.cluster.snapshot import NodeView, Snapshot
from dynazmq.tui.history import Model, Service, Traffic
from dynazmq.tui.keys import footer_keys
from dynazmq.tui.look import (
    BAD,
    FAINT,
    GOOD,
    STATES,
    TITLE,
    UNKNOWN,
    WARN,
    Appearance,
    Block,
    Look,
    clock,
    fit,
    line,
    long_span,
    milliseconds,
    owner_styles,
    percent,
    printable,
    short,
    spark,
    symbols,
)


def appearance(view: NodeView) -> Appearance:
    """Glyph and style of a node's state; reversed when it went away without being asked."""
    look = STATES.get(view.state, UNKNOWN)
    return Appearance(look.glyph, f"{look.style} reverse") if view.restart_in_s is not None or view.gave_up else look


def word(view: NodeView) -> str:
    """One word for the state: the operating system's where it knows better."""
    return view.process.partition(" ")[0] if view.state == "down" and view.process not in ("", "running") else view.state


def glyph_of(snapshot: Snapshot, name: str) -> tuple[str, str]:
    """(" ✗", style) behind the name of a node that is not up; ("", "") for one that is."""
    for view in snapshot.nodes:
        if view.name == name and view.state not in SERVES:
            look = appearance(view)
            return f" {look.glyph}", look.style
    return "", ""


# --- header and footer -----------------------------------------------------------------------------------------------------


def header(model: Model, look: Look, width: int) -> Text:
    snap = model.snapshot
    digests = Counter(node.ring_digest for node in snap.nodes if node.answers)
    answering = sum(digests.values())
    same = max(digests.values(), default=0)
    wide = width >= 100
    left = Text.assemble(
        " dynazmq ",
        (printable(snap.name), TITLE),
        f"   {len(snap.nodes)} node{'s'[: len(snap.nodes) != 1]}  N={snap.n} R={snap.r} W={snap.w}   ",
        f"ring v{snap.ring_version}{' agreed by' if wide and same == answering else ''} ",
        (f"{same}/{answering}", "" if same == answering else BAD),
        "" if same == answering else (" DIFFER", BAD),
        f"   {'fsync' if snap.sync == 'full' else f'sync={snap.sync}'}",
        f"   {snap.transport}" if wide else "",
        "" if snap.supervisor_pid is not None else ("   no supervisor", WARN),
    )
    return line(width, left, _verdict(model))


def _verdict(model: Model) -> Text:
    snap = model.snapshot
    if snap.owners and model.coverage.up and model.coverage.up < max(snap.r, snap.w):
        short_of = "WRITES" if model.coverage.up < snap.w else "READS"
        return Text(f"✗ NO {short_of} {long_span(snap.degraded_s) if snap.degraded_s else ''} ", BAD)
    held = next((word for word, names in not_comparing(snap).items() if names), "")
    if snap.degraded_s is None and held:
        return Text(f"● up, aae {held} ", WARN)
    if snap.degraded_s is None and changing(snap):
        return Text(f"◌ members change: {snap.phase} ", "cyan")
    if snap.degraded_s is None:
        return Text("● healthy " if snap.converged else "● up ", GOOD)
    since = long_span(snap.degraded_s)
    if all(node.state in SERVES for node in snap.nodes):
        return Text(f"◌ catching up {since} ", "cyan")
    if not any(node.answers for node in snap.nodes):
        return Text(f"✗ NOBODY ANSWERS {since} ", BAD)
    return Text(f"◐ DEGRADED {since} ", "bold yellow")


def footer(model: Model | None, look: Look, width: int) -> Text:
    if look.notice:
        return fit(Text(f" {printable(look.notice)}", "reverse bold" if look.alarm else "reverse"), width)
    keys = Text()
    for key, text in footer_keys(look.read_only, width):
        keys.append(f" {key}", TITLE).append(f" {text} ")
    return fit(keys, width)


# --- is my data still served? ----------------------------------------------------------------------------------------------


def service(model: Model, look: Look, width: int, rows: int) -> Block:
    now = model.service
    block = Block("service · seen by the load" if now.by_load else "service · counted by the nodes")
    tall = rows >= 8
    for name, traffic in (("put", now.put), ("get", now.get)):
        _traffic(block, name, traffic, width, tall)
    if not now.by_load and not look.read_only and not (now.put.per_s or now.get.per_s or now.failed):
        block.add(("B starts a load that checks each write", FAINT))
    else:
        block.lines.append(_failures(now, width))
    block.lines.append(_quorum(model))
    if tall and now.by_load and model.load:
        block.add((f"it remembers {model.load.acked:,} written keys", FAINT))
    return block


def _traffic(block: Block, name: str, traffic: Traffic, width: int, tall: bool) -> None:
    style = FAINT if traffic.ok is None else GOOD if traffic.ok == 1 else WARN if traffic.ok > 0.99 else BAD
    p99 = f"{milliseconds(traffic.p99_ms)}ms" if traffic.p99_ms is not None else "–"
    figures = Text.assemble(
        (name, TITLE),
        f" {short(traffic.per_s):>5}/s ",
        (f"{percent(traffic.ok):>6} ok" if traffic.ok is not None else "     –   ", style),
        f"  p99 {p99:<7}",
    )
    if tall:
        block.lines.append(figures)
        block.add((" " + spark(traffic.trend, width - 1), "cyan"))
    else:
        block.lines.append(figures.append(spark(traffic.trend, max(0, width - figures.cell_len)), "cyan"))


def _failures(now: Service, width: int) -> Text:
    text = f"failed {now.failed_since}: {now.failed:,}"
    left = Text(text + (f"  {printable(now.error)}" if now.error else ""), BAD if now.failed else GOOD)
    if now.gap_s is None:
        return left
    longest = f"longest gap {now.gap_s:.2f} s" if width > left.cell_len + 20 else f"gap {now.gap_s:.2f}s"
    return line(width, left, Text(longest, WARN if now.gap_s >= 1 else "")) if width > left.cell_len + len(longest) else left


def _quorum(model: Model) -> Text:
    snap, cover = model.snapshot, model.coverage
    if not cover.partitions:
        return Text("quorum: nobody to ask", BAD)
    if cover.up < snap.w:
        return Text(f"quorum: NO WRITES, {cover.up} of W={snap.w} nodes up", BAD)
    if cover.up < snap.r:
        return Text(f"quorum: NO READS, {cover.up} of R={snap.r} nodes up", BAD)
    if cover.short:
        return Text(f"quorum: by fallbacks for {cover.short}/{cover.partitions} ranges", WARN)
    return Text(f"quorum: every key has R={snap.r} and W={snap.w}", GOOD)


# --- ring and events -------------------------------------------------------------------------------------------------------


def ring(model: Model, look: Look, width: int, rows: int) -> Block:
    """One character for each partition: who owns it, ✗ where the owner is away; who stands in below, where there is room."""
    snap, cover = model.snapshot, model.coverage
    title = f"ring · {cover.partitions} partitions"
    if cover.degraded:
        title += f" · {cover.degraded} with a replica away"
    block = Block(title)
    if not snap.owners:
        block.add(("no node told of its ring yet", FAINT))
        return block
    names = [node.name for node in snap.nodes]
    marks, colours = symbols(names), owner_styles(names)
    serving = {node.name for node in snap.nodes if node.state in SERVES}
    legend = _legend(marks)
    per_row, count = strip_shape(len(snap.owners), width)
    stand_ins = any(cover.fallbacks) and rows >= 2 * count + bool(legend)
    for first in range(0, len(snap.owners), per_row):
        if len(block.lines) + 1 + stand_ins + bool(legend) > rows and block.lines:
            block.lines[-1] = fit(block.lines[-1], width - 2).append(" …", FAINT)
            break
        cells = range(first, min(first + per_row, len(snap.owners)))
        owners = block.add()
        for cell in cells:
            name = snap.owners[cell]
            owners.append(*((marks.get(name, "?"), colours.get(name, "")) if name in serving else ("✗", "bold red reverse")))
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
    block = Block("events")
    latest = model.events[-rows:] if rows > 0 else ()
    names = max((len(event.node) for event in latest), default=0)
    for event in latest:
        block.add((clock(event.at), FAINT), "  ", (f"{event.node:<{names}}", TITLE), f"  {printable(event.text)}")
    if not latest:
        block.add(("nothing has happened yet", FAINT))
    return block

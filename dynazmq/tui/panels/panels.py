"""How a node's state looks, and the panel that most people look for: is my data still served?

A panel is a function: what is known, how to look at it and the room there is, in; a title and lines out. Nothing here remembers
or asks. What each one draws goes into a box (screen.py); the single lines at the edges are in bars.py.
"""

from __future__ import annotations

from rich.text import Text

from dynazmq.cluster.observe.node_health import SERVES
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
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
    line,
    milliseconds,
    percent,
    printable,
    short,
    spark,
)
from dynazmq.tui.model.coverage import unable
from dynazmq.tui.model.model import Model, Service, Traffic


def appearance(view: NodeView) -> Appearance:
    """Glyph and style of a node's state; reversed when it went away without being asked."""
    look = STATES.get(view.state, UNKNOWN)
    if view.cannot_store:
        return Appearance(look.glyph, BAD)
    return Appearance(look.glyph, f"{look.style} reverse") if view.restart_in_s is not None or view.gave_up else look


def word(view: NodeView) -> str:
    """One word for the state: the operating system's where it knows better."""
    if view.cannot_store:
        return "no write"
    return view.process.partition(" ")[0] if view.state == "down" and view.process not in ("", "running") else view.state


def glyph_of(snapshot: Snapshot, name: str) -> tuple[str, str]:
    """(" ✗", style) behind the name of a node that is not up; ("", "") for one that is."""
    for view in snapshot.nodes:
        if view.name == name and view.state not in SERVES:
            look = appearance(view)
            return f" {look.glyph}", look.style
    return "", ""


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
    full = unable(snap, cover)
    if (able := cover.up - len(full)) < snap.w:
        return Text(f"quorum: NO WRITES, {able} of W={snap.w} nodes {'can store' if full else 'up'}", BAD)
    if cover.up < snap.r:
        return Text(f"quorum: NO READS, {cover.up} of R={snap.r} nodes up", BAD)
    if len(cover.sides) > 1:
        sizes = "|".join(str(len(side)) for side in cover.sides)
        weak = [side for side in cover.sides if len(side) < max(snap.r, snap.w)]
        alone = " ".join(name for side in weak for name in side)
        return Text(f"quorum: split {sizes}, " + (f"not at {alone}" if weak else f"R={snap.r} W={snap.w} on each"), WARN)
    if full:
        return Text(f"quorum: {' '.join(full)} cannot store", WARN)
    if cover.short:
        return Text(f"quorum: by fallbacks for {cover.short}/{cover.partitions} ranges", WARN)
    return Text(f"quorum: every key has R={snap.r} and W={snap.w}", GOOD)

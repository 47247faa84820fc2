"""A change of the members under way (§4.9): its phase, and how far each node is that gets partitions."""

from __future__ import annotations

from rich.text import Text

from dynazmq.cluster.observe.node_health import ring_moves
from dynazmq.tui.look import FAINT, TITLE, WARN, Block, Look, bar, fit, short, size, span
from dynazmq.tui.model.model import Model, Moving
from dynazmq.tui.model.recovery import some
from dynazmq.tui.panels.panels import glyph_of

_PHASES = {
    "rest": "decided: the ring follows soon",
    "filling": "keys are copied to new owners",
    "flipped": "new owners are read, old ones hand over",
}


def transfers(model: Model, look: Look, width: int, rows: int) -> Block:
    """In the last lines, if there is room: who is waited for, and who leaves."""
    snap = model.snapshot
    block = Block("members change")
    waiting = [node.name for node in snap.nodes if node.state == "joining"]
    said = _PHASES[snap.phase] if ring_moves(snap) else f"{some(tuple(waiting))} waits to be let in"
    block.add((f"◌ {said}", "cyan"))
    notes = _notes(model)
    room = max(1, rows - 1 - len(notes))
    shown = model.transfers if len(model.transfers) <= room else model.transfers[: room - 1]
    names = max((len(each.name) for each in shown), default=0)
    for each in shown:
        block.lines.append(_row(each, names, width))
    if len(shown) < len(model.transfers):
        rest = model.transfers[len(shown) :]
        block.add((f"… {len(rest)} more, {sum(each.left for each in rest):,} partitions left", FAINT))
    block.lines += notes
    return block


def _row(each: Moving, names: int, width: int) -> Text:
    """n6  ████████░░░░ 18/72 left  4.1k  3M  ETA 4s"""
    filled = each.partitions - each.left
    if each.left or not each.strays:
        count = f" {each.left} left" if each.left else " filled"
        tail = f"{count}  {short(each.keys)} keys {size(each.bytes)}"
        tail += f"  ETA {span(each.eta_s + 0.5)}" if each.left and each.eta_s is not None else ""
        text = Text().append(f"{each.name:<{names}} ", TITLE)
        text.append(bar(filled / max(1, each.partitions), max(4, min(24, width - names - 1 - len(tail)))), "cyan")
        return fit(text.append(tail), width)
    return Text.assemble((f"{each.name:<{names}} ", TITLE), f"{each.strays} to be handed over")


def _notes(model: Model) -> list[Text]:
    snap, found = model.snapshot, []
    if snap.waiting_for:
        named = Text("waits for")
        for name in snap.waiting_for[:4]:
            glyph, style = glyph_of(snap, name)
            named.append(f" {name}", TITLE).append(glyph, style or WARN)
        found.append(named)
    if leaving := [node.name for node in snap.nodes if node.state == "leaving"]:
        found.append(Text.assemble("leaving ", (some(tuple(leaving)), TITLE)))
    return found

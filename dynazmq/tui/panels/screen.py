"""What is on the screen: a picture for each of its parts, and all of them together as one frame of text.

The console draws the parts that have changed; a pipe, a test and a saved screen get the frame. Both are made of `pictures`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rich.text import Text

from dynazmq.tui.look import Block, Look, Place, borders, fit, framed, printable
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels import bars, cards, hints, matrix, panels, strip, table, transfers
from dynazmq.tui.panels.layout import HEIGHT_MIN, WIDE, WIDTH_MIN, closing, layout, too_small
from dynazmq.tui.panels.views import OFFERED, OVERVIEW, REPLAY_KEYS, Detail, View, visible, whole

NO_DETAIL = Detail()

PANELS: dict[str, Callable[[Model, Look, int, int], Block]] = {
    "nodes": table.nodes,
    "matrix": matrix.matrix,
    "service": panels.service,
    "hints": hints.hints,
    "flows": hints.flows,
    "recovery": cards.recovery,
    "transfers": transfers.transfers,
    "ring": strip.ring,
    "events": strip.events,
}
NUMBERED = ("nodes", "service", "hints", "recovery", "ring", "events")
"""The panel that each of the keys 1 to 6 goes to."""

PARTS = ("header", "faults", *PANELS, "view", "closing", "time", "footer", "message")

Pictures = dict[str, tuple[Place, Text]]


def pictures(
    found: Model | str, look: Look, width: int, height: int, view: View = OVERVIEW, detail: Detail = NO_DETAIL
) -> Pictures:
    """Part → where it is and how it looks; together they cover the screen. A text is said instead of a picture."""
    if too_small(width, height):
        return _said(_how_small(width, height), width, height)
    if isinstance(found, str):
        return _said(message(f"{found}\n\nq leaves", width), width, height)
    look = replace(look, wide=width >= WIDE)
    top, bottom = 1 + bool(found.snapshot.faults), height - 1 - (look.replay is not None)
    drawn: Pictures = {"header": (Place("header", 0, 0, width, 1), bars.header(found, look, width))}
    if found.snapshot.faults:
        drawn["faults"] = Place("faults", 0, 1, width, 1), bars.faults(found, look, width)
    if view.kind == "overview":
        boxes = layout(found, width, top, bottom - top - 1)
        lines = borders(tuple(boxes), width)
        for place in boxes:
            drawn[place.name] = place, draw(place, found, look, lines, width)
    else:
        boxes = [Place("view", 0, top, width, bottom - top - 1)]
        lines = borders(tuple(boxes), width)
        block, _ = visible(view, whole(view, found, look, detail, width - 4, boxes[0].inner_height), boxes[0].inner_height)
        drawn["view"] = boxes[0], framed(block, boxes[0], lines, width)
    end = closing(boxes, width)
    drawn["closing"] = end, framed(Block(), end, lines, width)
    if look.replay is not None:
        drawn["time"] = Place("time", 0, bottom, width, 1), bars.time_bar(look.replay, width)
    offered = None if view.kind == "overview" else (("↑↓", "scroll"), *OFFERED.get(view.kind, ()), ("Esc", "back"), ("?", "help"))
    if look.replay is not None and view.kind == "overview":
        offered = REPLAY_KEYS
    drawn["footer"] = Place("footer", 0, height - 1, width, 1), bars.footer(offered, look, width)
    return drawn


def draw(place: Place, model: Model, look: Look, lines: dict[tuple[int, int], str], width: int) -> Text:
    block = PANELS[place.name](model, look, place.inner_width(width), place.inner_height)
    asked = "hints" if place.name == "flows" else place.name
    block.focused = asked == look.focus != "nodes"  # the selected row shows where one is among the nodes
    if look.wide and asked in NUMBERED:
        block.title = f"{NUMBERED.index(asked) + 1} {block.title}"
    return framed(block, place, lines, width)


def frame(found: Model | str, look: Look, width: int, height: int, view: View = OVERVIEW, detail: Detail = NO_DETAIL) -> Text:
    """The whole screen."""
    rows: list[Text] = [Text() for _ in range(height)]
    for place, text in sorted(pictures(found, look, width, height, view, detail).values(), key=lambda each: each[0].x):
        for offset, row in enumerate(text.split("\n", allow_blank=True)):
            if place.y + offset < height:
                rows[place.y + offset].append_text(row)
    return Text("\n").join(fit(row, width) for row in rows)


def message(text: str, width: int) -> Text:
    """Something to say instead of a picture."""
    return Text("\n").join(Text(f" {printable(part)}") for part in text.split("\n"))


def _said(text: Text, width: int, height: int) -> Pictures:
    return {"message": (Place("message", 0, 0, width, height), text)}


def _how_small(width: int, height: int) -> Text:
    """One line, as clear as there is room for."""
    least = f"{WIDTH_MIN}×{HEIGHT_MIN}"
    ways = (f"this terminal is too small: {width}×{height}; {least} is needed", f"too small: needs {least}", f"needs {least}")
    return fit(Text(next((way for way in ways if len(way) <= width), least)), width)

"""Where the panels are, and one whole frame as text.

    80 × 24                              120 columns and more
    ┌ nodes ─────────────────────┐       ┌ nodes ─────────────┬ who sees whom ┐
    ├ service ─────┬ recovery ───┤       ├ service ─┬ hint flows ─┬ recovery ──┤
    ├ pending hints┤             │       ├ ring ────┴─────────────┴────────────┤
    ├ ring ────────┴─────────────┤       ├ events ─────────────────────────────┤
    ├ events ────────────────────┤

What must be seen first stands at the top: where rows are missing, panels go from the bottom up.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from dynazmq.tui import cards, panels, table
from dynazmq.tui.history import Model
from dynazmq.tui.look import Block, Look, Place, borders, fit, framed, printable

WIDTH_MIN, HEIGHT_MIN = 60, 12
SIDE_BY_SIDE, WIDE = 76, 120
_CARD_ROWS = 7  # the stages of a recovery

PANELS: dict[str, Callable[[Model, Look, int, int], Block]] = {
    "nodes": table.nodes,
    "matrix": cards.matrix,
    "service": panels.service,
    "hints": cards.hints,
    "flows": cards.flows,
    "recovery": cards.recovery,
    "ring": panels.ring,
    "events": panels.events,
}


def too_small(width: int, height: int) -> bool:
    return width < WIDTH_MIN or height < HEIGHT_MIN


def layout(model: Model, width: int, height: int) -> list[Place]:
    """The boxes between the header (row 0) and the footer (the last row); the row below the lowest closes them."""
    rows = height - 3  # header, closing rule, footer
    count = len(model.snapshot.nodes)
    if width >= WIDE:
        bands = [_wide_middle(width, max(_CARD_ROWS + 2, min(12, (rows - count) // 3)))]
    elif width >= SIDE_BY_SIDE:
        bands = [_middle(width)]
    else:
        bands = [[("service", 0, 0, width, 5)], [("hints", 0, 0, width, 3)], [("recovery", 0, 0, width, _CARD_ROWS + 1)]]
    strip = panels.ring_rows(model, width - 4)
    below = sum(_height(band) for band in bands) + 1 + strip + 2
    if rows - below < min(count + 2, 6):  # the strip has no room: what it would need is the nodes'
        below = sum(_height(band) for band in bands) + 3
    own = min(count + 2, max(rows - below, min(count + 2, 6)), rows)
    places = _nodes(model, width, own)
    y = 1 + own
    for band in bands:
        left = rows + 1 - y
        if left < 5 and _height(band) > left:
            break
        for name, x, dy, w, h in band:
            if left - dy >= 2:
                places.append(Place(name, x, y + dy, w, min(h, left - dy)))
            elif left - dy == 1:  # too little for it, and no row may stay empty: the one above takes that
                places = [p._replace(height=p.height + 1) if (p.x, p.y + p.height) == (x, y + dy) else p for p in places]
        y += min(_height(band), left)
    left = rows + 1 - y
    if left >= 2 + strip + 1:
        stand_ins = left >= 2 * strip + 8
        places.append(Place("ring", 0, y, width, 1 + strip * (1 + stand_ins)))
        y += 1 + strip * (1 + stand_ins)
        left = rows + 1 - y
    if left >= 2:
        places.append(Place("events", 0, y, width, left))
    elif left == 1 and places:  # no row may stay empty
        lowest = max(place.y + place.height for place in places)
        places = [p._replace(height=p.height + 1) if p.y + p.height == lowest else p for p in places]
    return places


_Band = list[tuple[str, int, int, int, int]]  # name, x, y within the band, width, height


def _height(band: _Band) -> int:
    return max(dy + height for _, _, dy, _, height in band)


def _nodes(model: Model, width: int, height: int) -> list[Place]:
    names = max((len(node.name) for node in model.snapshot.nodes), default=0)
    beside = cards.matrix_width(len(model.snapshot.nodes), names) + 4
    if width < WIDE or width - beside < 74 or len(model.snapshot.nodes) < 2:
        return [Place("nodes", 0, 1, width, height)]
    beside = max(beside, 18)
    return [Place("nodes", 0, 1, width - beside, height), Place("matrix", width - beside, 1, beside, height)]


def _middle(width: int) -> _Band:
    left = width // 2 + 1
    return [
        ("service", 0, 0, left, 5),
        ("hints", 0, 5, left, 3),
        ("recovery", left, 0, width - left, _CARD_ROWS + 1),
    ]


def _wide_middle(width: int, height: int) -> _Band:
    third = width // 3
    return [
        ("service", 0, 0, third, height),
        ("flows", third, 0, third, height),
        ("recovery", 2 * third, 0, width - 2 * third, height),
    ]


def closing(places: list[Place], width: int) -> Place:
    """The rule below the lowest panels."""
    return Place("closing", 0, max(place.y + place.height for place in places), width, 1)


def draw(place: Place, model: Model, look: Look, lines: dict[tuple[int, int], str], width: int) -> Text:
    if place.name == "closing":
        return framed(Block(), place, lines, width)
    block = PANELS[place.name](model, look, place.inner_width(width), place.inner_height)
    return framed(block, place, lines, width)


def frame(model: Model, look: Look, width: int, height: int) -> Text:
    """The whole screen."""
    if too_small(width, height):
        return message(f"this terminal is too small: {width}×{height}; {WIDTH_MIN}×{HEIGHT_MIN} is needed", width)
    places = layout(model, width, height)
    lines = borders(places, width)
    rows: list[Text] = [Text() for _ in range(height)]
    for place in sorted([*places, closing(places, width)], key=lambda each: each.x):
        for offset, row in enumerate(draw(place, model, look, lines, width).split("\n", allow_blank=True)):
            rows[place.y + offset].append_text(row)
    rows[0] = panels.header(model, look, width)
    rows[-1] = panels.footer(model, look, width)
    return Text("\n").join(fit(row, width) for row in rows)


def message(text: str, width: int) -> Text:
    """Something to say instead of a picture."""
    return Text("\n").join(Text(f" {part}") for part in printable(text).split("\n") or [""])

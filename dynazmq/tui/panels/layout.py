"""Where the panels are.

    80 × 24                              120 columns and more
    ┌ nodes ─────────────────────┐       ┌ nodes ─────────────┬ who sees whom ┐
    ├ service ─────┬ recovery ───┤       ├ service ─┬ hint flows ─┬ recovery ──┤
    ├ pending hints┤             │       ├ ring ────┴─────────────┴────────────┤
    ├ ring ────────┴─────────────┤       ├ events ─────────────────────────────┤
    ├ events ────────────────────┤

What must be seen first stands at the top: where rows are missing, panels go from the bottom up. A change of the members is told
on the card of the recovery; while there is a recovery as well it gets a panel of its own, if the screen is high enough.
"""

from __future__ import annotations

from dynazmq.cluster.observe.node_health import changing
from dynazmq.tui.look import Place
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels import strip
from dynazmq.tui.panels.matrix import matrix_width

WIDTH_MIN, HEIGHT_MIN = 60, 12
SIDE_BY_SIDE, WIDE = 76, 120
_CARD_ROWS = 7  # the stages of a recovery

_Band = list[tuple[str, int, int, int, int]]
"""Panels beside and below each other: name, x, y within the band, width, height."""


def too_small(width: int, height: int) -> bool:
    return width < WIDTH_MIN or height < HEIGHT_MIN


def layout(model: Model, width: int, top: int, rows: int) -> list[Place]:
    """The boxes in these rows; the row below the lowest closes them."""
    count = len(model.snapshot.nodes)
    bands = _bands(model, width, rows)
    needed = strip.ring_rows(model, width - 4)
    below = sum(map(_height, bands)) + 1 + needed + 2
    if rows - below < min(count + 2, 6):  # the strip has no room: what it would need is the nodes'
        below = sum(map(_height, bands)) + 3
    own = min(count + 2, max(rows - below, min(count + 2, 6)), rows)
    places = _nodes(model, width, top, own)
    y, end = top + own, top + rows
    for band in bands:
        left = end - y
        if left < 5 and _height(band) > left:
            if band is bands[0] and left >= 3:  # whether data is served is worth more than what has happened
                places.append(Place("service", 0, y, width, left))
                y = end
            break
        for name, x, dy, w, h in band:
            if left - dy >= 2:
                places.append(Place(name, x, y + dy, w, min(h, left - dy)))
            elif left - dy == 1:  # too little for it, and no row may stay empty: the one above takes that
                places = [p._replace(height=p.height + 1) if (p.x, p.y + p.height) == (x, y + dy) else p for p in places]
        y += min(_height(band), left)
    return _rest(places, width, y, end, needed)


def _rest(places: list[Place], width: int, y: int, end: int, needed: int) -> list[Place]:
    """The strip and the events, in what is left."""
    left = end - y
    if left >= 2 + needed + 1:
        stand_ins = left >= 2 * needed + 8
        places.append(Place("ring", 0, y, width, 1 + needed * (1 + stand_ins)))
        y += places[-1].height
        left = end - y
    if left >= 2:
        places.append(Place("events", 0, y, width, left))
    elif left == 1 and places:  # no row may stay empty
        lowest = max(place.y + place.height for place in places)
        places = [p._replace(height=p.height + 1) if p.y + p.height == lowest else p for p in places]
    return places


def _bands(model: Model, width: int, rows: int) -> list[_Band]:
    if width >= WIDE:
        bands = [_wide_middle(width, max(_CARD_ROWS + 2, min(12, (rows - len(model.snapshot.nodes)) // 3)))]
    elif width >= SIDE_BY_SIDE:
        bands = [_middle(width)]
    else:
        bands = [[("service", 0, 0, width, 5)], [("hints", 0, 0, width, 3)], [("recovery", 0, 0, width, _CARD_ROWS + 1)]]
    if model.recoveries and changing(model.snapshot) and rows >= 30:
        bands.append([("transfers", 0, 0, width, min(6, 3 + max(1, len(model.transfers))))])
    return bands


def _height(band: _Band) -> int:
    return max(dy + height for _, _, dy, _, height in band)


def _nodes(model: Model, width: int, top: int, height: int) -> list[Place]:
    names = max((len(node.name) for node in model.snapshot.nodes), default=0)
    beside = matrix_width(len(model.snapshot.nodes), names) + 4
    if width < WIDE or width - beside < 74 or len(model.snapshot.nodes) < 2:
        return [Place("nodes", 0, top, width, height)]
    beside = max(beside, 18)
    return [Place("nodes", 0, top, width - beside, height), Place("matrix", width - beside, top, beside, height)]


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

"""How things look, in one place: glyphs, colours, numbers, and the lines around panels.

A state is always a glyph and a word, its colour comes on top: the frames must be read without colour too. The panels draw with
Unicode only; `--ascii` is one translation of the finished text, character by character, so nothing moves.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from rich.text import Text


class Progress(NamedTuple):
    """Where a replay is."""

    began: float  # wall clock, seconds since 1970
    at: float
    ends: float
    playing: bool
    speed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the person in front of it chose: belongs to the view, not to the cluster."""

    selected: str | None = None
    read_only: bool = False
    wide: bool = False  # panels have numbers, and what one of them shows the others leave out
    focus: str = "nodes"  # the panel that Enter opens
    frozen: bool = False
    back: int = 0  # how many of the newest events are out of sight
    filter: str = ""
    replay: Progress | None = None  # it plays what was recorded
    notice: str = ""  # shown instead of the keys: what an action came to, or a question
    alarm: bool = False  # the notice wants an answer, or says that something failed


class Appearance(NamedTuple):
    glyph: str
    style: str


STATES = {
    "up": Appearance("●", "green"),
    "suspect": Appearance("◐", "yellow"),
    "down": Appearance("✗", "bold red"),
    "paused": Appearance("⏸", "magenta"),
    "starting": Appearance("◌", "cyan"),
    "joining": Appearance("◌", "cyan"),
    "leaving": Appearance("◁", "blue"),
    "stopped": Appearance("■", "dim"),
}
UNKNOWN = Appearance("·", "dim")

GOOD, WARN, BAD, FAINT, TITLE = "green", "yellow", "bold red", "dim", "bold"

# Okabe and Ito's colours for colour-blind readers, without black; with more nodes than colours they come again.
OWNERS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2", "#BBBBBB")
# One character for each node on the ring when the last one of the names does not tell them apart.
SYMBOLS = "123456789abcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWYZ"

SPARKS = "▁▂▃▄▅▆▇█"
_ASCII = str.maketrans("●◐✗⏸◌◁■⇹⚡▶✓·–−→←▁▂▃▄▅▆▇█░━…×↑↓┌┐└┘├┤┬┴┼─│", "U?XPJLS/!>+.--><_.:-=+*#.=~x^v+++++++++-|")


def ascii_only(text: Text) -> Text:
    """The same picture without Unicode: what has no ASCII twin becomes "?"."""
    plain = text.plain.translate(_ASCII)
    text.plain = plain.encode("ascii", "replace").decode("ascii")
    return text


def symbols(names: Sequence[str]) -> dict[str, str]:
    """name → the one character that stands for it on the ring and in the matrix: its last one where those all differ."""
    last = [name[-1:].lower() for name in names]
    if len(set(last)) == len(names) and all(char.isalnum() and char != "x" for char in last):
        return dict(zip(names, last, strict=True))
    return {name: SYMBOLS[index % len(SYMBOLS)] for index, name in enumerate(names)}


def owner_styles(names: Sequence[str]) -> dict[str, str]:
    return {name: OWNERS[index % len(OWNERS)] for index, name in enumerate(names)}


# --- numbers ---------------------------------------------------------------------------------------------------------------


def short(number: float | None) -> str:
    """At most four characters and a sign: 950, 1.1k, 30.1k, 412k, 1.2M."""
    if number is None:
        return "–"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size * 0.9995:
            scaled = number / size
            return f"{scaled:.1f}{unit}" if abs(scaled) < 99.95 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}"


def size(number: int | None) -> str:
    if number is None:
        return "–"
    return f"{number / 2**30:.1f}G" if number >= 1000 << 20 else f"{number / 2**20:.0f}M"


def milliseconds(number: float | None) -> str:
    if number is None:
        return "–"
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"


def percent(ratio: float | None, digits: int = 1) -> str:
    """Never rounds up to 100%: that figure is a promise."""
    if ratio is None:
        return "–"
    if ratio < 1 and round(ratio * 100, digits) >= 100:
        return f"{100 - 10**-digits:.{digits}f}%"
    return f"{ratio * 100:.{digits}f}%"


def span(seconds: float | None) -> str:
    """Coarse, for columns: 18s, 12m, 3h, 2d."""
    if seconds is None:
        return "–"
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def long_span(seconds: float) -> str:
    """Two units: 12m 04s, 3h 12m."""
    whole = max(0, int(seconds))
    if whole >= 86_400:
        return f"{whole // 86_400}d {whole % 86_400 // 3_600:02}h"
    if whole >= 3_600:
        return f"{whole // 3_600}h {whole % 3_600 // 60:02}m"
    return f"{whole // 60}m {whole % 60:02}s" if whole >= 60 else f"{whole}s"


def clock(at: float) -> str:
    """Local time with milliseconds."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03}"


def spark(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars from zero to the highest of them."""
    shown = values[-width:] if width > 0 else ()
    top = max(shown, default=0)
    if top <= 0:
        return SPARKS[0] * len(shown)
    return "".join(SPARKS[min(7, round(max(0.0, value) / top * 7))] for value in shown)


def bar(ratio: float, width: int) -> str:
    filled = min(width, max(0, round(ratio * width)))
    return "█" * filled + "░" * (width - filled)


def printable(text: str) -> str:
    """Text from logs and errors, without anything that could steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


# --- lines and boxes -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Block:
    """What a panel draws: a title for the rule above it, and lines."""

    title: str = ""
    focused: bool = False
    lines: list[Text] = field(default_factory=list)

    def add(self, *parts: str | tuple[str, str]) -> Text:
        self.lines.append(Text.assemble(*parts))
        return self.lines[-1]


def line(width: int, left: Text, right: Text) -> Text:
    """`left` and `right` at the two ends; the left one gives way."""
    left = left.copy()
    left.truncate(max(0, width - right.cell_len - 1), overflow="ellipsis", pad=True)
    return left.append(" ").append_text(right) if width > right.cell_len else fit(right, width)


def fit(text: Text, width: int) -> Text:
    """Exactly `width` cells."""
    if text.cell_len == width:
        return text
    text = text.copy()
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def wrapped(text: Text, width: int) -> list[Text]:
    """In lines of this width; those after the first are indented."""
    if text.cell_len <= width:
        return [text]
    indent = " " * min(len(text.plain) - len(text.plain.lstrip(" ")) + 4, max(0, width // 4))
    first = text[:width]
    return [first, *wrapped(Text(indent).append_text(text[len(first) :]), width)]


class Place(NamedTuple):
    """A panel's place: `y` is the row of the rule above it, `x` the column of the line to the left of it."""

    name: str
    x: int
    y: int
    width: int  # with the left line; with the right one too at the right edge of the screen
    height: int  # with the rule

    def inner_width(self, screen_width: int) -> int:
        return self.width - (4 if self.x + self.width == screen_width else 3)

    @property
    def inner_height(self) -> int:
        return self.height - 1


# North, east, south, west: which arms of a crossing are drawn → the character.
_CROSSINGS = {
    (0, 1, 1, 0): "┌", (0, 0, 1, 1): "┐", (1, 1, 0, 0): "└", (1, 0, 0, 1): "┘", (1, 1, 1, 0): "├", (1, 0, 1, 1): "┤",
    (0, 1, 1, 1): "┬", (1, 1, 0, 1): "┴", (1, 1, 1, 1): "┼", (0, 1, 0, 1): "─", (1, 0, 1, 0): "│",
}  # fmt: skip


@lru_cache(maxsize=4)  # places seldom change, the picture twice a second
def borders(places: tuple[Place, ...], width: int) -> dict[tuple[int, int], str]:
    """(x, y) → the character of the lines around these panels; neighbours share theirs."""
    across: set[tuple[int, int]] = set()  # a line from (x, y) to (x + 1, y)
    down: set[tuple[int, int]] = set()
    for place in places:
        left, top = place.x, place.y
        right, bottom = min(left + place.width, width - 1), top + place.height
        across.update((x, y) for x in range(left, right) for y in (top, bottom))
        down.update((x, y) for y in range(top, bottom) for x in (left, right))
    found = {}
    for x, y in {*across, *((x + 1, y) for x, y in across), *down, *((x, y + 1) for x, y in down)}:
        arms = (int((x, y - 1) in down), int((x, y) in across), int((x, y) in down), int((x - 1, y) in across))
        found[x, y] = _CROSSINGS.get(arms, " ")
    return found


def framed(block: Block, place: Place, lines: dict[tuple[int, int], str], screen_width: int) -> Text:
    """The panel as it stands on the screen: its rule with the title, its lines between their borders."""
    inner = place.inner_width(screen_width)
    rule = "".join(lines.get((place.x + column, place.y), "─") for column in range(place.width))
    title = f" {block.title} " if block.title else ""
    room = place.width - 3
    if len(title) > room:
        title = title[: max(0, room - 1)] + "…" if room > 1 else ""
    named = f"{TITLE} reverse" if block.focused else TITLE
    drawn = Text().append(rule[:1], FAINT).append(title, named).append(rule[1 + len(title) :], FAINT)
    closed = place.x + place.width == screen_width
    for row in range(1, place.height):
        body = fit(block.lines[row - 1], inner) if row <= len(block.lines) else Text(" " * inner)
        drawn.append("\n" + lines.get((place.x, place.y + row), "│") + " ", FAINT).append_text(body)
        drawn.append(" " + lines.get((screen_width - 1, place.y + row), "│") if closed else " ", FAINT)
    return drawn

"""The screen as a file: SVG for documents, text for a bug report.

Every word of the SVG stands at its own place, and long ones in pieces: so it looks the same wherever it is drawn, whatever fonts
there are and however spaces are treated. (Rich's own export leaves both to the viewer.)
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

from rich.cells import cell_len
from rich.color import Color, ColorType, blend_rgb
from rich.color_triplet import ColorTriplet
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from dynazmq import output
from dynazmq.errors import ClusterError, InvalidRequest

CELL, LINE, FONT = 9, 18, 15  # pixels; a letter of the usual fonts is 0.6 of its size wide
MARGIN, TITLE = 14, 34
_PIECE = re.compile(r"\S{1,8}")

THEME = TerminalTheme(
    (17, 20, 24),
    (216, 222, 233),
    [(59, 66, 82), (235, 100, 100), (120, 200, 120), (235, 203, 100),
     (110, 160, 230), (200, 140, 210), (90, 200, 210), (229, 233, 240)],
    [(130, 140, 155), (245, 120, 120), (140, 220, 140), (250, 220, 130),
     (140, 185, 245), (220, 165, 230), (120, 220, 230), (255, 255, 255)],
)  # fmt: skip


def svg(text: Text, width: int, title: str) -> str:
    """A picture of these lines, `width` cells wide, in a window."""
    lines = text.split("\n", allow_blank=True)
    across, down = 2 * MARGIN + width * CELL, TITLE + MARGIN + len(lines) * LINE
    console = Console(width=width, force_terminal=True, color_system="truecolor")
    drawn = [part for row, line in enumerate(lines) for part in _line(console, line, TITLE + row * LINE)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" width="{across}" height="{down}"'
            f" font-family=\"'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace\" font-size=\"{FONT}\">",
            f'<rect width="{across}" height="{down}" rx="8" fill="{_hex(THEME.background_color)}"/>',
            f'<text x="{across // 2}" y="21" text-anchor="middle" fill="#8a93a0">{escape(title)}</text>',
            *drawn,
            "</svg>\n",
        ]
    )


def _line(console: Console, line: Text, y: int) -> Iterator[str]:
    column = 0
    for segment in line.render(console):
        style = segment.style or Style.null()
        fore, back = _colours(style)
        bold = ' font-weight="bold"' if style.bold else ""
        if back is not None and segment.text:
            x, long = MARGIN + column * CELL, cell_len(segment.text) * CELL
            yield f'<rect x="{x}" y="{y}" width="{long}" height="{LINE}" fill="{back}"/>'
        for piece in _PIECE.finditer(segment.text):
            x = MARGIN + (column + cell_len(segment.text[: piece.start()])) * CELL
            yield f'<text x="{x}" y="{y + FONT - 1}" fill="{fore}"{bold}>{escape(piece.group())}</text>'
        column += cell_len(segment.text)


def _colours(style: Style) -> tuple[str, str | None]:
    """Foreground, and background where it is not the screen's."""
    fore = _rgb(style.color, THEME.foreground_color)
    back = _rgb(style.bgcolor, THEME.background_color)
    if style.dim:
        fore = blend_rgb(fore, back, 0.4)
    if style.reverse:
        fore, back = back, fore
    return _hex(fore), None if back == THEME.background_color else _hex(back)


def _rgb(colour: Color | None, default: ColorTriplet) -> ColorTriplet:
    return default if colour is None or colour.type is ColorType.DEFAULT else colour.get_truecolor(THEME)


def _hex(colour: ColorTriplet) -> str:
    return colour.hex


def plain(text: Text) -> str:
    return "".join(line.rstrip() + "\n" for line in text.plain.split("\n"))


def save(text: Text, width: int, name: str, where: Path) -> list[Path]:
    """Both, beside each other; their paths. Raises ClusterError when they cannot be written."""
    stem = f"dynazmq-{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if os.path.lexists(where / f"{stem}.svg"):  # in one second the second
        stem += f"-{time.time_ns() % 10**9:09d}"
    files = {where / f"{stem}.svg": svg(text, width, f"dynazmq tui · {name}"), where / f"{stem}.txt": plain(text)}
    for path, content in files.items():
        try:
            output.write(path, content.encode("utf-8", "replace"), overwrite=False, mode=None)
        except InvalidRequest as refused:
            raise ClusterError(str(refused)) from None
        except OSError as error:
            raise ClusterError(f"cannot write {path}: {error.strerror}") from None
    return list(files)

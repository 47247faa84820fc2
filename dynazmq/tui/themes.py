"""Themes: Textual's, one of high contrast, and "ansi", the terminal's own sixteen colours.

Panels know names of colours only ("green", "dim"). What a theme makes of them is Textual's business, but for two things: with
NO_COLOR there is none, and on high contrast nothing is dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.style import Style
    from rich.text import Text

HIGH_CONTRAST = "high-contrast"

THEMES = {
    "dark": "textual-dark",
    "light": "textual-light",
    "ansi": "ansi-dark",
    HIGH_CONTRAST: HIGH_CONTRAST,
    "nord": "nord",
    "gruvbox": "gruvbox",
    "dracula": "dracula",
    "solarized": "solarized-dark",
    "solarized-light": "solarized-light",
}
"""As `--theme` names them → as Textual does."""

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_BRIGHT = [_BLACK, (255, 85, 85), (64, 255, 64), (255, 255, 0), (120, 170, 255), (255, 128, 255), (0, 255, 255), _WHITE]


def apply(app: Any, name: str) -> None:
    """`app` is a Textual application that has not begun."""
    from rich.terminal_theme import TerminalTheme
    from textual.theme import Theme

    app.register_theme(
        Theme(
            HIGH_CONTRAST, primary="#ffff00", foreground="#ffffff", background="#000000", surface="#000000", panel="#000000",
            warning="#ffff00", error="#ff5555", success="#40ff40", accent="#00ffff", text_alpha=1.0,
        )
    )  # fmt: skip
    if app.no_color:  # Textual would make greys of them; its ansi themes leave colours out instead
        name = "ansi"
    if name == HIGH_CONTRAST:
        app.ansi_theme_dark = TerminalTheme(_BLACK, _WHITE, _BRIGHT, _BRIGHT)
    app.theme = THEMES[name]


def adapt(text: Text, name: str) -> Text:
    """What the colours of a theme alone cannot do."""
    if name != HIGH_CONTRAST:
        return text
    from rich.text import Span

    text = text.copy()
    text.spans = [Span(span.start, span.end, _undimmed(span.style)) for span in text.spans]
    if text.style == "dim":
        text.style = ""
    return text


def _undimmed(style: str | Style) -> str | Style:
    return " ".join(word for word in style.split() if word != "dim") if isinstance(style, str) else style

"""What lies over the picture for a moment: a question, a line to type, the choice of a partition's sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from dynazmq.tui.look import TITLE

Finish = Callable[[Text], Text]
"""The last step of all that is shown: --ascii."""

_BOX = "width: auto; height: auto; max-width: 96%; max-height: 96%; padding: 1 2; background: $surface;"


class Page(ModalScreen[bool]):
    """A question in the middle: "y" answers with yes, everything else with no."""

    CSS = f"""
    Page {{ align: center middle; }}
    Page > Static {{ {_BOX} }}
    """

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._text = text
        self._answered = False

    def compose(self) -> ComposeResult:
        yield Static(self._text)

    def on_key(self, event: Key) -> None:
        event.stop()
        self._answer(event.key in ("y", "Y"))

    def on_click(self) -> None:
        self._answer(False)

    def _answer(self, yes: bool) -> None:
        if not self._answered:  # a second key can arrive before this page is gone
            self._answered = True
            self.dismiss(yes)


class Prompt(ModalScreen[str | None]):
    """One line to type, at the bottom. None: escape."""

    CSS = """
    Prompt { align: left bottom; background: $background 0%; }
    Prompt > Input { width: 100%; height: 1; border: none; padding: 0 1; background: $surface; }
    """

    def __init__(self, before: str, hint: str) -> None:
        super().__init__()
        self._before = before
        self._hint = hint

    def compose(self) -> ComposeResult:
        yield Input(self._before, placeholder=self._hint, select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.dismiss(event.value)

    def on_key(self, event: Key) -> None:
        if event.key == "escape":
            event.stop()
            self.dismiss(None)


class Sides(ModalScreen[tuple[tuple[str, ...], tuple[str, ...]] | None]):
    """Who is on the other side of the partition: space moves a node there and back, enter parts them."""

    CSS = f"""
    Sides {{ align: center middle; }}
    Sides > Static {{ {_BOX} }}
    """

    def __init__(self, names: Sequence[str], chosen: str | None, finish: Finish) -> None:
        super().__init__()
        self._names = list(names)
        self._at = self._names.index(chosen) if chosen in self._names else 0
        self._there = {chosen} & set(self._names)
        self._finish = finish
        self._box = Static(self._drawn(), markup=False)

    def compose(self) -> ComposeResult:
        yield self._box

    def on_key(self, event: Key) -> None:
        event.stop()
        if event.key in ("up", "k"):
            self._at = max(0, self._at - 1)
        elif event.key in ("down", "j"):
            self._at = min(len(self._names) - 1, self._at + 1)
        elif event.key == "space":
            self._there ^= {self._names[self._at]}
        elif event.key == "enter" and self._parted:
            self.dismiss(self._sides)
            return
        elif event.key in ("escape", "q", "ctrl+c"):
            self.dismiss(None)
            return
        self._box.update(self._drawn())

    @property
    def _sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        here = tuple(name for name in self._names if name not in self._there)
        return here, tuple(name for name in self._names if name in self._there)

    @property
    def _parted(self) -> bool:
        return all(self._sides)

    def _drawn(self) -> Text:
        text = Text("part the network: no frame passes between the two sides\n\n", "bold")
        width = max(map(len, self._names))
        for index, name in enumerate(self._names):
            there = name in self._there
            text.append("▶ " if index == self._at else "  ", "bold cyan")
            text.append(f"{'' if there else name:<{width}}", TITLE).append("  ⇹  ", "yellow")
            text.append(f"{name if there else '':<{width}}\n", TITLE)
        text.append("\nspace", "bold").append("  other side   ").append("enter", "bold")
        text.append("  part them   " if self._parted else "  (somebody must be on each side)   ")
        return self._finish(text.append("esc", "bold").append("  leave it"))

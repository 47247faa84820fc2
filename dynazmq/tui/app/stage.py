"""The Textual application, as far as it shows: what the threads found becomes pictures of the parts that changed.

Four threads: this one draws, the poller asks the nodes, `Details` fetches what a screen shows beyond that, and `Hands` talks to
the supervisor. Each part is one Static at an absolute place; one whose text is the same as before is not touched, so an idle
cluster costs next to nothing. The keys are in console.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.text import Text
from textual.app import App, ComposeResult
from textual.events import Resize
from textual.message import Message
from textual.widgets import Static

from dynazmq.cluster.observe.snapshot import NodeView
from dynazmq.tui import themes
from dynazmq.tui.app.details import Details, Source
from dynazmq.tui.app.pages import Page
from dynazmq.tui.app.poller import Eyes, Show
from dynazmq.tui.look import Look, Place, Progress, ascii_only
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels import screen
from dynazmq.tui.panels.node_view import Line
from dynazmq.tui.panels.views import OVERVIEW, Detail, View
from dynazmq.tui.settings import Settings

NOTICE_S = 6.0


class Seen(Message):
    """What the poller found: a model to draw, or a text; and where it is, if it is a replay."""

    def __init__(self, found: Model | str, progress: Progress | None) -> None:
        super().__init__()
        self.found = found
        self.progress = progress


class Fetched(Message):
    def __init__(self, detail: Detail) -> None:
        super().__init__()
        self.detail = detail


class Told(Message):
    """What an action came to."""

    def __init__(self, notice: str, *, failed: bool = False) -> None:
        super().__init__()
        self.notice = notice
        self.failed = failed


class Shown(Message):
    """What a command line said."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.title = title
        self.text = text


class Stage(App[str]):
    """`eyes` look, or replay; `source` fetches details."""

    TITLE = "dynazmq"
    CSS = """
    Screen { overflow: hidden; layers: base; }
    .part { position: absolute; width: 1; height: 1; display: none; }
    """

    def __init__(self, directory: Path, settings: Settings, eyes: Callable[[Show], Eyes], source: Source) -> None:
        no_colour = os.environ.get("NO_COLOR") is not None
        super().__init__(ansi_color=True if no_colour else None)  # Textual drops the terminal's own colours, and greys others
        self.directory = directory
        self.settings = settings
        self.eyes = eyes(self._seen)
        self.details = Details(source, self._fetched)
        self.found: Model | str = "looking for the nodes …"
        self.view = OVERVIEW
        self.looks = Look(read_only=settings.read_only)
        self._latest: Model | str = self.found  # what is shown as soon as the picture is not frozen any more
        self._detail = Detail()
        self._notice_until = 0.0
        self._parts: dict[str, Static] = {}
        self._drawn: dict[str, Text] = {}
        self._places: dict[str, Place] = {}
        themes.apply(self, settings.theme)

    def compose(self) -> ComposeResult:
        for name in screen.PARTS:
            self._parts[name] = Static(name=name, classes="part", markup=False)
            yield self._parts[name]

    def on_mount(self) -> None:
        self.draw()
        self.eyes.start()
        self.details.start()

    def on_unmount(self) -> None:
        self.eyes.stop()
        self.details.stop()

    # --- what comes in ----------------------------------------------------------------------------------------------------

    def _seen(self, found: Model | str, progress: Progress | None) -> None:
        """Called by the eyes, in their thread."""
        self.post_message(Seen(found, progress))

    def _fetched(self, detail: Detail) -> None:
        """Called by the details' thread."""
        self.post_message(Fetched(detail))

    def on_seen(self, message: Seen) -> None:
        self._latest = message.found
        self.looks = replace(self.looks, replay=message.progress)
        if not self.looks.frozen:
            self.show(message.found)

    def show(self, found: Model | str) -> None:
        self.found = found
        names = [node.name for node in self.nodes]
        if self.looks.selected not in names:
            self.looks = replace(self.looks, selected=names[0] if names else None)
        self.draw()

    def on_fetched(self, message: Fetched) -> None:
        if not self.looks.frozen:
            self._detail = message.detail
            self.draw()

    def on_shown(self, message: Shown) -> None:
        lines = tuple(Line("", line) for line in message.text.rstrip().split("\n"))
        self._detail = Detail(kind="output", subject=message.title, logs=lines)
        self.look_at(View(kind="output", subject=message.title))

    def on_told(self, message: Told) -> None:
        self.say(message.notice, alarm=message.failed)
        self.eyes.wake()

    def on_resize(self, event: Resize) -> None:
        self.draw()

    # --- what is said and asked: acting.Stage -------------------------------------------------------------------------------

    def say(self, notice: str, *, alarm: bool = False) -> None:
        self.looks = replace(self.looks, notice=notice, alarm=alarm)
        self._notice_until = time.monotonic() + NOTICE_S
        self.set_timer(NOTICE_S + 0.05, self._unsay)
        self.draw()

    def _unsay(self) -> None:
        if time.monotonic() >= self._notice_until:
            self.looks = replace(self.looks, notice="", alarm=False)
            self.draw()

    def ask(self, question: str, action: Callable[[], None]) -> None:
        text = Text(question).append("\n\ny", "bold").append("  yes      any other key: no", "not bold")
        self.push_screen(Page(self.finish(text)), lambda yes: action() if yes else None)

    def told(self, notice: str, *, failed: bool = False) -> None:
        self.post_message(Told(notice, failed=failed))

    def shown(self, title: str, text: str) -> None:
        self.post_message(Shown(title, text))

    def ended(self) -> None:
        self.call_from_thread(self.exit, "stopped")

    # --- drawing ----------------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[NodeView]:
        return self.found.snapshot.nodes if isinstance(self.found, Model) else []

    def look_at(self, view: View) -> None:
        self.view = view
        self.details.look_at(view)
        self.draw()

    def pictures(self, width: int, height: int) -> screen.Pictures:
        return screen.pictures(self.found, self.looks, width, height, self.view, self._detail)

    def draw(self) -> None:
        width, height = self.size
        if not self._parts or not width or not height:
            return
        drawn = self.pictures(width, height)
        with self.batch_update():
            for name, part in self._parts.items():
                if name not in drawn:
                    part.display = False
                    continue
                place, text = drawn[name]
                self._put(name, part, place)
                part.display = True
                text = self.finish(text)
                before = self._drawn.get(name)
                if before is None or before.plain != text.plain or before.spans != text.spans:
                    self._drawn[name] = text
                    part.update(text, layout=False)  # its place is fixed

    def _put(self, name: str, part: Static, place: Place) -> None:
        if self._places.get(name) != place:
            self._places[name] = place
            part.styles.offset = (place.x, place.y)
            part.styles.width, part.styles.height = place.width, place.height

    def finish(self, text: Text) -> Text:
        """The last step of all that is shown."""
        text = themes.adapt(text, self.settings.theme)
        return ascii_only(text) if self.settings.ascii else text

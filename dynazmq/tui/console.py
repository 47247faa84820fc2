"""The Textual application: it shows what the poller found and turns keys into requests to the supervisor.

Three threads: this one draws, the poller asks the nodes, and one more (`Hands`) talks to the supervisor. Each panel is one Static
at an absolute place; a panel whose text is the same as before is not touched, so an idle cluster costs next to nothing.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Click, Key, MouseScrollDown, MouseScrollUp, Resize
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from dynazmq.cluster.control import NoSupervisor, call
from dynazmq.cluster.snapshot import NodeView
from dynazmq.errors import ClusterError, NoSuchCluster
from dynazmq.paths import ClusterFile
from dynazmq.tui import NOT_RUNNING, panels, screen, table
from dynazmq.tui.history import Model
from dynazmq.tui.keys import ACTS, KEYS, command, where
from dynazmq.tui.load import Load
from dynazmq.tui.look import Look, Place, ascii_only, borders
from dynazmq.tui.watch import Poller, Watcher, observer

NOTICE_S = 6.0
STOPPED_S = 20.0


def run(directory: Path, *, ascii_: bool = False, read_only: bool = False) -> int:
    try:
        cluster = ClusterFile.load(directory)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return NOT_RUNNING if isinstance(error, NoSuchCluster) else 1
    left = Console(directory, ascii_=ascii_, read_only=read_only).run()
    if left == "left":
        print(f"{cluster.name} keeps running    stop it with  dynazmq cluster down{where(directory)}", file=sys.stderr)
    return 0


# --- acting on the cluster -------------------------------------------------------------------------------------------------


class Controller(Protocol):
    """Raises ClusterError with words for a person."""

    def act(self, verb: str, node: str) -> None: ...

    def down(self) -> None: ...


class Supervisor:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def act(self, verb: str, node: str) -> None:
        try:
            call(self._directory, verb, nodes=[node])
        except NoSupervisor:
            again = f"dynazmq cluster up{where(self._directory)}"
            raise ClusterError(f"no supervisor answers; start one, it takes over what runs: {again}") from None

    def down(self) -> None:
        """Returns when the supervisor has ended every node and itself."""
        deadline = time.monotonic() + STOPPED_S
        try:
            call(self._directory, "down")
            while time.monotonic() < deadline:
                call(self._directory, "facts", 1.0)
                time.sleep(0.1)
        except NoSupervisor:
            return
        raise ClusterError(f"it still runs after {STOPPED_S:.0f} s; look with: dynazmq cluster status")


class Hands:
    """Does one thing after the other, away from the thread that draws."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="hands", daemon=True).start()

    def do(self, action: Callable[[], None]) -> None:
        self._todo.put(action)

    def _run(self) -> None:
        while True:
            self._todo.get()()


# --- the application -------------------------------------------------------------------------------------------------------


class Page(ModalScreen[bool]):
    """A text in the middle: the help, or a question that "y" answers with yes and everything else with no."""

    CSS = """
    Page { align: center middle; }
    Page > Static { width: auto; height: auto; max-width: 96%; max-height: 96%; padding: 1 2; background: $surface; }
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


class Seen(Message):
    """What the poller found: a model to draw, or a text."""

    def __init__(self, found: Model | str) -> None:
        super().__init__()
        self.found = found


class Done(Message):
    """What an action came to."""

    def __init__(self, notice: str, *, failed: bool = False) -> None:
        super().__init__()
        self.notice = notice
        self.failed = failed


_PARTS = ("header", *screen.PANELS, "closing", "footer", "message")


class Console(App[str]):
    TITLE = "dynazmq"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { overflow: hidden; layers: base; }
    .part { position: absolute; width: 1; height: 1; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key.binding, key.action, key.short) for key in KEYS if key.action != "select"),
        Binding("up,k", "select(-1)", "up"),
        Binding("down,j", "select(1)", "down"),
        Binding("ctrl+c,ctrl+q", "leave", "leave", priority=True),
    ]

    def __init__(
        self,
        directory: Path,
        *,
        ascii_: bool = False,
        read_only: bool = False,
        controller: Controller | None = None,
        watch: Callable[[Path], Watcher] = observer,
        load: Load | None = None,
    ) -> None:
        super().__init__()
        self._directory = directory
        self._ascii = ascii_
        self._read_only = read_only
        self._controller = controller or Supervisor(directory)
        self._load = load or Load(directory)
        self._poller = Poller(directory, self._seen, self._load, watch)
        self._hands = Hands()
        self._found: Model | str = "looking for the nodes …"
        self._selected: str | None = None
        self._notice: tuple[str, bool, float] = ("", False, 0.0)  # text, whether it is an alarm, until when
        self._parts: dict[str, Static] = {}
        self._drawn: dict[str, Text] = {}
        self._places: dict[str, Place] = {}

    def compose(self) -> ComposeResult:
        for name in _PARTS:
            self._parts[name] = Static(name=name, classes="part", markup=False)
            yield self._parts[name]

    def on_mount(self) -> None:
        self._draw()
        self._poller.start()

    def on_unmount(self) -> None:
        self._load.stop(1.0)
        self._poller.stop()

    # --- what comes in ----------------------------------------------------------------------------------------------------

    def _seen(self, found: Model | str) -> None:
        """Called by the poller, in its thread."""
        self.post_message(Seen(found))

    def on_seen(self, message: Seen) -> None:
        self._found = message.found
        names = [node.name for node in self._views]
        if self._selected not in names:
            self._selected = names[0] if names else None
        self._draw()

    def on_done(self, message: Done) -> None:
        self._say(message.notice, alarm=message.failed)
        self._poller.wake()

    def on_resize(self, event: Resize) -> None:
        self._draw()

    def on_click(self, event: Click) -> None:
        place = self._places.get("nodes")
        if place is None or not self._views or isinstance(self.screen, Page):
            return
        first, last = table.window(len(self._views), self._index, place.inner_height - 1)
        index = first + event.screen_y - place.y - 2  # below the rule and the titles
        if place.x <= event.screen_x < place.x + place.width and first <= index < last:
            self._selected = self._views[index].name
            self._draw()

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self.action_select(1)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self.action_select(-1)

    # --- keys -------------------------------------------------------------------------------------------------------------

    def action_select(self, step: int) -> None:
        if nodes := self._views:
            self._selected = nodes[min(max(0, self._index + step), len(nodes) - 1)].name
            self._draw()

    def action_node(self, verb: str) -> None:
        """Kill, stop, start, pause or wipe the selected node."""
        view = next((node for node in self._views if node.name == self._selected), None)
        if view is None or self._refused():
            return
        if view.state == "paused" and verb in ("pause", "start"):
            verb = "resume"
        same = command(verb, view.name, self._directory)
        if verb == "wipe":
            text = f"Wipe {view.name}? It is stopped and all that it stored is deleted.\nThe same as:  {same}"
            self._ask(text, lambda: self._act(verb, view.name, same))
        else:
            self._act(verb, view.name, same)

    def action_load(self) -> None:
        if self._refused():
            return
        if self._load.running:
            self._say("stopping the load …")
            self._hands.do(self._stop_load)
        else:
            self._load.start()
            self._say("load: some 200 puts and 200 gets a second, each acknowledged write is remembered   B stops it")
            self._poller.wake()

    def _stop_load(self) -> None:
        self._load.stop()
        self.post_message(Done("the load is off"))

    def action_help(self) -> None:
        text = Text("dynazmq tui", "bold").append("   upper case acts on the cluster, lower case on the view\n\n", "not bold")
        for key in KEYS:
            if not (self._read_only and key.key in ACTS):
                text.append(f"  {key.key:<3}", "bold").append(f" {key.long}\n", "not bold")
        states = "● up  ◐ suspect  ✗ down, killed  ⏸ paused  ◌ starting  ■ stopped"
        text.append(f"\n{states}\n", "not bold")
        text.append("SEEN: how many of its peers see the node up\n", "not bold")
        text.append("hints: writes that others keep for a node until it is back\n", "not bold")
        text.append("Shift+drag selects text.    Any key closes this page.", "not bold")
        self.push_screen(Page(self._finish(text)))

    def action_leave(self) -> None:
        self.exit("left")

    def action_leave_and_stop(self) -> None:
        if self._refused():
            return
        same = f"dynazmq cluster down{where(self._directory)}"
        self._ask(f"Stop the whole cluster and leave? What it stored is kept.\nThe same as:  {same}", self._stop_all)

    def _stop_all(self) -> None:
        def stop() -> None:
            try:
                self._controller.down()
            except ClusterError as error:
                self.post_message(Done(f"cannot stop it: {error}", failed=True))
            else:
                self.call_from_thread(self.exit, "stopped")

        self._load.stop(0.0)
        self._say("stopping the cluster …")
        self._hands.do(stop)
        self._poller.wake()

    def _act(self, verb: str, node: str, same: str) -> None:
        def act() -> None:
            try:
                self._controller.act(verb, node)
            except ClusterError as error:
                self.post_message(Done(f"{verb} {node}: {error}", failed=True))
            else:
                self.post_message(Done(f"{verb} {node}: done   same as  {same}"))

        self._say(f"{verb} {node} …   same as  {same}")
        self._hands.do(act)

    def _refused(self) -> bool:
        if self._read_only:
            self._say("read-only: the keys that act on the cluster are off")
        return self._read_only

    def _ask(self, question: str, action: Callable[[], None]) -> None:
        text = Text(question).append("\n\ny", "bold").append("  yes      any other key: no", "not bold")
        self.push_screen(Page(self._finish(text)), lambda yes: action() if yes else None)

    # --- drawing ----------------------------------------------------------------------------------------------------------

    @property
    def _views(self) -> list[NodeView]:
        return self._found.snapshot.nodes if isinstance(self._found, Model) else []

    @property
    def _index(self) -> int:
        return next((index for index, node in enumerate(self._views) if node.name == self._selected), 0)

    def _say(self, notice: str, *, alarm: bool = False) -> None:
        self._notice = (notice, alarm, time.monotonic() + NOTICE_S)
        self.set_timer(NOTICE_S + 0.05, self._draw)
        self._draw()

    def _look(self) -> Look:
        notice, alarm, until = self._notice
        fresh = time.monotonic() < until
        return Look(selected=self._selected, read_only=self._read_only, notice=notice if fresh else "", alarm=alarm and fresh)

    def _draw(self) -> None:
        width, height = self.size
        if not self._parts or not width or not height:
            return
        texts, places = self._pictures(width, height)
        with self.batch_update():
            for name, part in self._parts.items():
                if name not in texts:
                    part.display = False
                    continue
                self._put(part, places[name])
                part.display = True
                text = self._finish(texts[name])
                before = self._drawn.get(name)
                if before is None or before.plain != text.plain or before.spans != text.spans:
                    self._drawn[name] = text
                    part.update(text)

    def _pictures(self, width: int, height: int) -> tuple[dict[str, Text], dict[str, Place]]:
        look = self._look()
        if isinstance(self._found, str) or screen.too_small(width, height):
            small = f"this terminal is too small: {width}×{height}; {screen.WIDTH_MIN}×{screen.HEIGHT_MIN} is needed"
            text = screen.message(f"{self._found}\n\nq leaves" if isinstance(self._found, str) else small, width)
            return {"message": text}, {"message": Place("message", 0, 0, width, height)}
        model = self._found
        boxes = screen.layout(model, width, height)
        boxes.append(screen.closing(boxes, width))
        lines = borders(boxes[:-1], width)
        texts = {place.name: screen.draw(place, model, look, lines, width) for place in boxes}
        texts["header"], texts["footer"] = panels.header(model, look, width), panels.footer(model, look, width)
        places = {place.name: place for place in boxes}
        places["header"], places["footer"] = Place("header", 0, 0, width, 1), Place("footer", 0, height - 1, width, 1)
        return texts, places

    def _put(self, part: Static, place: Place) -> None:
        if self._places.get(place.name) != place:
            self._places[place.name] = place
            part.styles.offset = (place.x, place.y)
            part.styles.width, part.styles.height = place.width, place.height

    def _finish(self, text: Text) -> Text:
        return ascii_only(text) if self._ascii else text

"""The keys: each becomes another view of what is shown (here), or something that is asked of the cluster (acting.py)."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.screen import ModalScreen, Screen

from dynazmq import streams
from dynazmq.cli.restored import LEAVE_ALL
from dynazmq.cli.restored import screen as screen_as_it_was
from dynazmq.errors import ClusterError, NoSuchCluster
from dynazmq.paths import ClusterFile, where
from dynazmq.tui import NOT_RUNNING
from dynazmq.tui.app.acting import Acts, Controller, Supervisor
from dynazmq.tui.app.details import Fetcher, Nothing, Source
from dynazmq.tui.app.pages import Prompt, Sides
from dynazmq.tui.app.player import Player
from dynazmq.tui.app.poller import Poller, Watcher, observer
from dynazmq.tui.app.save import save
from dynazmq.tui.app.stage import Stage
from dynazmq.tui.keys import ACTS, KEYS
from dynazmq.tui.model.load import Load
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels import screen, table
from dynazmq.tui.panels.views import FROM_THE_END, OVERVIEW, View, visible, whole
from dynazmq.tui.recording.recording import Recorder, load_recording
from dynazmq.tui.settings import Settings

TWICE_S = 2.0
"""So soon after the first ctrl+c the second one leaves."""

TERMINAL_S = 0.5
"""How often it is looked whether the terminal is still there."""

_BY_NAME = ("overview", "hints", "aae", "logs", "events", "ring", "help")
"""Screens that `:` knows by name, beside key and node."""


def run(directory: Path, settings: Settings) -> int:
    """Raises ClusterError when what is to be replayed cannot be read, or what is to be recorded cannot be written."""
    if settings.replay is not None:
        console = Console(directory, settings)
        _show(console)
        if trouble := console.trouble:
            print(f"{settings.replay}: {trouble}", file=sys.stderr)
        return 1 if trouble else 0
    try:
        cluster = ClusterFile.load(directory)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return NOT_RUNNING if isinstance(error, NoSuchCluster) else 1
    console = Console(directory, settings)
    left = _show(console)
    if trouble := console.trouble:
        print(f"{settings.record}: {trouble}", file=sys.stderr)
    if left == "left":
        print(f"{cluster.name} keeps running    stop it with  dynazmq cluster down{where(directory)}", file=sys.stderr)
    return console.return_code or 0


def _show(console: Console) -> str | None:
    """Until somebody leaves it; None when something else ended it. Textual draws on standard error."""
    with screen_as_it_was(2, b"", LEAVE_ALL):
        return console.run()


class Console(Stage):
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key.binding, key.action, key.short) for key in KEYS if key.action not in ("select", "panel", "pace")),
        *(Binding(keys, f"select({step})", keys, show=False) for keys, step in (
            ("up,k", -1), ("down,j", 1), ("pageup", -10), ("pagedown", 10), ("home", -1_000_000), ("end", 1_000_000),
        )),
        Binding("tab", "panel(1)", "next panel"),
        Binding("shift+tab", "panel(-1)", "panel before"),
        *(Binding(str(number + 1), f"jump('{name}')", name) for number, name in enumerate(screen.NUMBERED)),
        Binding("plus,equals_sign", "pace(-1)", "faster"),
        Binding("minus", "pace(1)", "slower"),
        Binding("left", "seek(-5)", "back"),
        Binding("right", "seek(5)", "forward"),
        Binding("ctrl+c", "copy_or_leave", "copy the selection; twice: leave", priority=True),
        Binding("ctrl+q", "leave", "leave", priority=True),
    ]  # fmt: skip

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        *,
        controller: Controller | None = None,
        watch: Callable[[Path], Watcher] = observer,
        source: Source | None = None,
        load: Load | None = None,
    ) -> None:
        self.load = load or Load(directory)
        recorder = Recorder(settings.record) if settings.record else None
        recording = load_recording(settings.replay) if settings.replay else None
        if recording is not None:
            settings = replace(settings, read_only=True)
        super().__init__(
            directory,
            settings,
            lambda show: Player(recording, show) if recording else Poller(directory, show, self.load, watch, recorder),
            source or (Nothing() if recording else Fetcher(directory)),
        )
        self.acts = Acts(
            directory,
            self,
            controller or Supervisor(directory),
            self.load,
            read_only=settings.read_only,
            confirm=settings.confirm,
        )
        self._leaves_until = 0.0
        self._terminal: list[int] = []
        self._recorded = recording or recorder

    def on_unmount(self) -> None:
        self.load.stop(1.0)

    def on_mount(self) -> None:
        """Textual calls that of `Stage`, too."""
        self._terminal = [number for number in (0, 2) if os.isatty(number)]
        self.set_interval(TERMINAL_S, self._leave_without_terminal)
        if self.trouble:
            self.say(self.trouble, alarm=True)

    def _leave_without_terminal(self) -> None:
        """Under nohup no signal says that it is gone: Textual then reads its end again and again, and to leave in good order it
        would wait for ever until its last words are written. There is nothing left to put back: this ends like that signal.
        """
        if self._terminal and streams.gone(self._terminal):
            self.load.stop(1.0)
            os._exit(1)

    @property
    def trouble(self) -> str:
        """Why the recording that is played, or made, is not whole."""
        return self._recorded.trouble if self._recorded is not None else ""

    # --- the mouse --------------------------------------------------------------------------------------------------------

    def on_click(self, event: Click) -> None:
        if isinstance(self.screen, ModalScreen) or self.view != OVERVIEW:
            return
        for name, place in list(self._places.items()):
            across, down = event.screen_x - place.x, event.screen_y - place.y
            if self._parts[name].display and 0 <= across < place.width and 0 <= down < place.height:
                self._clicked("hints" if name == "flows" else name, down)
                if event.chain == 2 and name in ("flows", *screen.NUMBERED):
                    self.action_open()

    def _clicked(self, part: str, row: int) -> None:
        if part in screen.NUMBERED:
            self.looks = replace(self.looks, focus=part)
        if part == "nodes" and self.nodes:
            kept = table.filtered(self.nodes, self.looks.filter)
            first, last = table.window(
                len(kept), table.index_of(kept, self.looks.selected), self._places["nodes"].inner_height - 1
            )
            if first <= first + row - 2 < last:  # below the rule and the titles
                self.looks = replace(self.looks, selected=kept[first + row - 2].name)
        self.draw()

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        self.action_select(1 if self.view == OVERVIEW else 3)

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        self.action_select(-1 if self.view == OVERVIEW else -3)

    # --- keys: the view ---------------------------------------------------------------------------------------------------

    def action_select(self, step: int) -> None:
        """Choose a node; or scroll, where there is something to scroll."""
        if self.view != OVERVIEW:
            self._scroll(-step if self.view.kind in FROM_THE_END else step)
        elif self.looks.focus == "events":
            self.looks = replace(self.looks, back=max(0, self.looks.back - step))
            self.draw()
        elif kept := table.filtered(self.nodes, self.looks.filter):
            index = table.index_of(kept, self.looks.selected) + step
            self.looks = replace(self.looks, selected=kept[min(max(0, index), len(kept) - 1)].name)
            self.draw()

    def _scroll(self, step: int) -> None:
        if isinstance(self.found, Model):
            width, height = self.size
            rows = height - 4 - bool(self.found.snapshot.faults) - (self.looks.replay is not None)
            block = whole(self.view, self.found, self.looks, self._detail, width - 4, rows)
            _, scroll = visible(replace(self.view, scroll=max(0, self.view.scroll + step)), block, rows)
            self.view = replace(self.view, scroll=scroll)
            self.draw()

    def action_panel(self, step: int) -> None:
        names = screen.NUMBERED
        self.action_jump(names[(names.index(self.looks.focus) + step) % len(names)])

    def action_jump(self, name: str) -> None:
        self.looks = replace(self.looks, focus=name, back=0)
        self.look_at(OVERVIEW)

    def action_look(self, kind: str) -> None:
        if isinstance(self.found, Model):
            if same := next((key.same for key in KEYS if key.action == f"look('{kind}')"), ""):
                self.acts.last = f"dynazmq {same}{where(self.directory)}"
            self.look_at(View(kind=kind))

    def action_open(self) -> None:
        """The panel that was jumped to, over the whole screen; of the nodes, the selected one."""
        if self.looks.focus == "nodes" and self.looks.selected is not None:
            self._open_node(self.looks.selected)
        elif self.looks.focus != "nodes":
            self.action_look(self.looks.focus)

    def _open_node(self, name: str) -> None:
        self.acts.last = f"dynazmq node show {name}{where(self.directory)}"
        self.look_at(View(kind="node", subject=name))

    def action_overview(self) -> None:
        if self.view == OVERVIEW:
            self.looks = replace(self.looks, filter="", focus="nodes", back=0)
        self.look_at(OVERVIEW)

    def action_help(self) -> None:
        self.action_look("help")

    def action_key(self) -> None:
        self._prompt("", "a key to explain; BUCKET KEY, if it is not of the default bucket", self._explain)

    def _explain(self, line: str) -> None:
        words = line.split(maxsplit=1)
        if words:
            bucket, key = (words[0], words[1]) if len(words) > 1 else ("default", words[0])
            beside = "" if bucket == "default" else f" --bucket {shlex.quote(bucket)}"
            self.acts.last = f"dynazmq explain {shlex.quote(key)}{beside}{where(self.directory)}"
            self.look_at(View(kind="key", subject=key, bucket=bucket))

    def action_filter(self) -> None:
        self._prompt(self.looks.filter, "show what has this in it; nothing: all", self._filter)

    def _filter(self, wanted: str) -> None:
        self.looks = replace(self.looks, filter=wanted.strip(), back=0)
        self.draw()

    def action_command(self) -> None:
        names = " ".join(["key KEY", "node NAME", *_BY_NAME])
        self._prompt("", f"a dynazmq command, for example: get cart:42    or: {names}", self._command)

    def _command(self, line: str) -> None:
        words = line.split()
        if not words:
            return
        if words[0] in ("q", "quit"):
            self.action_leave()
        elif words[0] == "key" and len(words) > 1:
            self._explain(line.split(maxsplit=1)[1])
        elif words[0] == "node" and len(words) == 2 and any(node.name == words[1] for node in self.nodes):
            self._open_node(words[1])
        elif len(words) == 1 and words[0] in _BY_NAME:
            self.look_at(View(kind=words[0]))
        else:
            self.acts.run(line, self.size.width - 4)

    def _prompt(self, before: str, hint: str, then: Callable[[str], None]) -> None:
        self.push_screen(Prompt(before, hint), lambda line: then(line) if line is not None else None)

    def action_freeze(self) -> None:
        if isinstance(self.eyes, Player):
            self.eyes.toggle()
            return
        self.looks = replace(self.looks, frozen=not self.looks.frozen)
        self.show(self.found if self.looks.frozen else self._latest)

    def action_pace(self, step: int) -> None:
        self.say(self.eyes.pace(step))

    def action_seek(self, seconds: float) -> None:
        if isinstance(self.eyes, Player):
            self.eyes.seek(seconds)

    def action_copy(self) -> None:
        if self.acts.last:
            self.copy_to_clipboard(self.acts.last)
        self.say(f"copied: {self.acts.last}" if self.acts.last else "nothing was done yet whose command line could be copied")

    def action_copy_or_leave(self) -> None:
        selected = self.screen.get_selected_text()
        if selected:
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
            self.say(f"copied {len(selected)} characters")
        elif isinstance(self.screen, ModalScreen):
            self.pop_screen()
        elif time.monotonic() < self._leaves_until:
            self.action_leave()
        else:
            self._leaves_until = time.monotonic() + TWICE_S
            self.say("ctrl+c again leaves; the nodes keep running")

    def action_save(self) -> None:
        width, height = self.size
        quiet = replace(self.looks, notice="", alarm=False)
        drawn = self.finish(screen.frame(self.found, quiet, width, height, self.view, self._detail))
        name = self.found.snapshot.name if isinstance(self.found, Model) else "screen"
        try:
            paths = save(drawn, width, name, Path.cwd())
        except ClusterError as error:
            self.say(str(error), alarm=True)
        else:
            self.say("saved " + " and ".join(path.name for path in paths))

    def action_leave(self) -> None:
        self.exit("left")

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: every key by name."""
        for key in KEYS:
            shown = key.action not in ("select", "panel", "pace", "command_palette")
            if shown and not (self.settings.read_only and key.key in ACTS):
                yield SystemCommand(f"{key.short or key.long.split(':')[0]}  {key.key}", key.long, self._runner(key.action))
        yield SystemCommand("theme", "change the colours", self.action_change_theme)

    def _runner(self, action: str) -> Callable[[], None]:
        def later() -> None:
            self.call_later(self.run_action, action)

        return later

    # --- keys: the cluster --------------------------------------------------------------------------------------------------

    def action_node(self, verb: str) -> None:
        """Kill, stop, start, restart, pause or wipe the selected node: on the screen of a node, that one."""
        name = self.view.subject if self.view.kind == "node" else self.looks.selected
        view = next((node for node in self.nodes if node.name == name), None)
        if view is not None:
            self.acts.node(next(key.key for key in KEYS if key.verb == verb), verb, view)

    def action_partition(self) -> None:
        names = [node.name for node in self.nodes]
        if self.acts.refused():
            return
        if len(names) < 2:
            self.say("it takes two nodes to part them", alarm=True)
            return
        self.push_screen(
            Sides(names, self.looks.selected, self.finish), lambda sides: self.acts.partition(sides) if sides else None
        )

    def action_heal(self) -> None:
        self.acts.heal([node.name for node in self.nodes if node.state == "paused"])

    def action_load(self) -> None:
        self.acts.load()

    def action_leave_and_stop(self) -> None:
        self.acts.stop_all()

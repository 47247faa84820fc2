"""The keys, in the real application without a terminal: what they ask of the supervisor, and what is said about it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Static
from tui_cluster import Cluster

from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.errors import ClusterError, NoSuchCluster
from dynazmq.tui.app.console import Console
from dynazmq.tui.app.pages import Page
from dynazmq.tui.look import ascii_only
from dynazmq.tui.model.load import Load
from dynazmq.tui.panels.node_view import Line
from dynazmq.tui.panels.views import Detail, View
from dynazmq.tui.settings import Settings

DIRECTORY = Path("/tmp/demo")


class Looks:
    """An observer of a cluster that stands still."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.looks = 0
        self.error: Exception | None = None

    def look(self) -> Snapshot:
        self.looks += 1
        if self.error:
            raise self.error
        return self.cluster.snapshot()

    def close(self) -> None:
        pass


class Recorder:
    """A controller that does to the cluster of snapshots what it is told."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.done: list[str] = []
        self.error: str = ""

    def act(self, verb: str, node: str) -> None:
        self.done.append(f"{verb} {node}")
        if self.error:
            raise ClusterError(self.error)
        if verb == "kill":
            self.cluster.kill(node)
        elif verb == "pause":
            self.cluster.pause(node)

    def partition(self, sides: Sequence[Sequence[str]]) -> str:
        self.done.append("partition " + "/".join(",".join(side) for side in sides))
        self.cluster.partition(*map(list, sides))
        return "f1"

    def heal(self, paused: Sequence[str]) -> list[str]:
        self.done.append(f"heal {' '.join(paused)}".rstrip())
        return []

    def run(self, words: Sequence[str], width: int) -> tuple[int, str]:
        self.done.append(" ".join(words))
        return (3, "not found") if words[0] == "get" else (0, "\n".join(f"line {number}" for number in range(100)))

    def down(self) -> None:
        self.done.append("down")
        if self.error:
            raise ClusterError(self.error)


class Fetches:
    """A source of details that makes them up."""

    def __init__(self) -> None:
        self.views: list[View] = []

    def fetch(self, view: View) -> Detail:
        self.views.append(view)
        logs = tuple(Line("n1", f"22:13:{second:02}.000 INFO  node     line {second}", "INFO") for second in range(60))
        return Detail(kind=view.kind, subject=view.subject, logs=logs, document={"in_flight": 3})

    def close(self) -> None:
        pass


class Scene:
    def __init__(self, pilot: Pilot[str], looks: Looks, controller: Recorder) -> None:
        self.pilot = pilot
        self.looks = looks
        self.controller = controller
        self.app = pilot.app
        assert isinstance(self.app, Console)

    def text(self, part: str) -> str:
        assert isinstance(self.app, Console)
        drawn = self.app._drawn.get(part)
        return drawn.plain if drawn is not None and self.app._parts[part].display else ""

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(200):
            if condition():
                return
            await self.pilot.pause(0.02)
        raise AssertionError("it did not come to that")


def play(
    story: Callable[[Scene], object],
    cluster: Cluster | None = None,
    *,
    size: tuple[int, int] = (80, 24),
    read_only: bool = False,
    ascii_: bool = False,
    confirm: str = "destructive",
    theme: str = "dark",
    source: Fetches | None = None,
    load: Load | None = None,
) -> Recorder:
    cluster = cluster or Cluster()
    looks, controller = Looks(cluster), Recorder(cluster)
    settings = Settings(read_only=read_only, ascii=ascii_, confirm=confirm, theme=theme)
    app = Console(
        DIRECTORY, settings, controller=controller, watch=lambda _: looks, source=source or Fetches(), load=load or no_load()
    )

    async def whole() -> None:
        async with app.run_test(size=size) as pilot:
            scene = Scene(pilot, looks, controller)
            await scene.until(lambda: "n1" in scene.text("nodes"))
            await story(scene)  # type: ignore[misc]  # a coroutine function

    asyncio.run(whole())
    return controller


def no_load() -> Load:
    def refuse(directory: Path) -> object:
        raise ClusterError("no client in this test")

    return Load(DIRECTORY, connect=refuse)


def test_capital_letters_act_on_the_selected_node_and_say_the_command_line() -> None:
    async def story(scene: Scene) -> None:
        for key, verb in (("T", "stop"), ("S", "start"), ("P", "pause")):
            await scene.press(key)
            await scene.until(lambda verb=verb: f"{verb} n1" in scene.controller.done)  # type: ignore[misc]
            await scene.until(lambda verb=verb: f"dynazmq node {verb} n1 --dir /tmp/demo" in scene.text("footer"))  # type: ignore[misc]

    assert play(story).done == ["stop n1", "start n1", "pause n1"]


def test_a_kill_is_on_the_screen_at_once() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("j", "j", "K")
        began = time.monotonic()
        await scene.until(lambda: "✗ killed" in scene.text("nodes"))
        assert time.monotonic() - began < 0.45  # sooner than the next look that was due anyway
        assert "recovery of n3" in scene.text("recovery")

    assert play(story).done == ["kill n3"]


def test_a_paused_node_is_resumed_by_p_and_by_s() -> None:
    cluster = Cluster()
    cluster.pause("n1")

    async def story(scene: Scene) -> None:
        await scene.press("P")
        await scene.until(lambda: len(scene.controller.done) == 1)
        await scene.press("S")
        await scene.until(lambda: len(scene.controller.done) == 2)

    assert play(story, cluster).done == ["resume n1", "resume n1"]


def test_wipe_asks_and_only_y_is_a_yes() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("down", "W")
        assert isinstance(scene.app.screen, Page)
        await scene.press("n")
        await scene.press("W", "enter")
        await scene.press("W", "K")  # a key meant for the cluster does not reach it through a question
        assert scene.controller.done == []
        await scene.press("W", "y")
        await scene.until(lambda: bool(scene.controller.done))

    assert play(story).done == ["wipe n2"]


def test_a_refusal_is_shown_in_the_supervisors_words() -> None:
    async def story(scene: Scene) -> None:
        scene.controller.error = "n1 has no process"
        await scene.press("K")
        await scene.until(lambda: "kill n1: n1 has no process" in scene.text("footer"))

    play(story)


def test_selection_stays_within_the_nodes_and_follows_the_mouse() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("up", "k")
        assert "▶ n1" in scene.text("nodes")
        await scene.press(*["down"] * 9)
        assert "▶ n5" in scene.text("nodes")
        await scene.pilot.click(offset=(10, 4))
        assert "▶ n2" in scene.text("nodes")

    play(story)


def test_q_leaves_and_touches_nothing() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("q")
        await scene.until(lambda: scene.app.return_value == "left")

    assert play(story).done == []


def test_capital_q_asks_then_stops_the_cluster_and_leaves() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("Q", "escape")
        assert scene.controller.done == []
        await scene.press("Q", "y")
        await scene.until(lambda: scene.app.return_value == "stopped")

    assert play(story).done == ["down"]


def test_help_names_every_key_and_escape_closes_it() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("question_mark")
        shown = scene.text("view")
        for word in ("K ", "T ", "S ", "P ", "W ", "B ", "Q ", "SIGKILL", "SEEN"):
            assert word in shown
        await scene.press("escape")
        assert scene.text("view") == ""
        assert "n1" in scene.text("nodes")

    play(story, size=(80, 45))


def test_two_keys_at_once_answer_a_question_once() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("W")
        for key in ("n", "y"):
            scene.app.screen.post_message(Key(key, key))
        await scene.pilot.pause()
        assert not isinstance(scene.app.screen, Page)

    assert play(story).done == []


def test_read_only_refuses_every_key_that_acts() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("K", "T", "S", "P", "W", "B", "Q")
        assert "read-only" in scene.text("footer")

    assert play(story, read_only=True).done == []


def test_b_starts_and_stops_the_load_and_leaving_ends_it() -> None:
    load = no_load()

    async def story(scene: Scene) -> None:
        await scene.press("B")
        await scene.until(lambda: "seen by the load" in scene.text("service"))
        await scene.press("B")
        await scene.until(lambda: "counted by the nodes" in scene.text("service"))
        await scene.press("B")
        assert load.running

    play(story, load=load)
    assert not load.running
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("load-")]


def test_a_cluster_that_is_gone_is_said_and_its_return_is_shown() -> None:
    async def story(scene: Scene) -> None:
        scene.looks.error = NoSuchCluster("no cluster in /tmp/demo; start one with: dynazmq cluster up -n 5")
        await scene.until(lambda: "dynazmq cluster up" in scene.text("message"))
        assert scene.text("nodes") == ""
        await scene.press("K")
        scene.looks.error = None
        await scene.until(lambda: "n1" in scene.text("nodes"))
        assert scene.text("message") == ""

    assert play(story).done == []


def test_a_bug_in_looking_is_shown_and_not_fatal() -> None:
    async def story(scene: Scene) -> None:
        scene.looks.error = ZeroDivisionError("oops")
        await scene.until(lambda: "ZeroDivisionError: oops" in scene.text("message"))
        scene.looks.error = None
        await scene.until(lambda: "n1" in scene.text("nodes"))

    play(story)


@pytest.mark.parametrize("size", [(80, 24), (120, 35), (60, 12), (160, 45)])
def test_the_screen_is_tiled_by_the_panels(size: tuple[int, int]) -> None:
    async def story(scene: Scene) -> None:
        await scene.pilot.pause()
        assert isinstance(scene.app, Console)
        cells = sum(part.region.area for part in scene.app._parts.values() if part.display)
        assert cells == size[0] * size[1]

    play(story, size=size)


def test_an_idle_panel_is_not_drawn_again() -> None:
    async def story(scene: Scene) -> None:
        assert isinstance(scene.app, Console)
        before = {name: id(text) for name, text in scene.app._drawn.items()}
        looks = scene.looks.looks
        await scene.until(lambda: scene.looks.looks >= looks + 3)
        assert {name: id(text) for name, text in scene.app._drawn.items()} == before

    play(story)


def test_ascii_holds_for_all_that_is_shown() -> None:
    async def story(scene: Scene) -> None:
        assert isinstance(scene.app, Console)
        await scene.press("K")
        await scene.until(lambda: "X killed" in scene.text("nodes"))
        assert all(text.plain.isascii() for text in scene.app._drawn.values())
        await scene.press("question_mark")
        assert str(scene.app.screen.query_one(Static).render()).isascii()

    play(story, ascii_=True)


def test_ascii_keeps_the_length() -> None:
    from rich.text import Text

    assert ascii_only(Text("● ↑↓ ü")).plain == "U ^v ?"

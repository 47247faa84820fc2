"""The screens besides the overview, and what lies on top of it: in the real application, without a terminal."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from test_tui_keys import Fetches, Scene, play
from textual.widgets import Input
from tui_cluster import Cluster

from dynazmq.tui.app.console import Console
from dynazmq.tui.app.pages import Page, Prompt, Sides
from dynazmq.tui.panels.views import Detail, View
from dynazmq.tui.themes import THEMES


def app(scene: Scene) -> Console:
    assert isinstance(scene.app, Console)
    return scene.app


# --- other screens -------------------------------------------------------------------------------------------------------


def test_enter_shows_the_selected_node_with_its_peers_and_its_log_and_escape_goes_back() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("j", "enter")
        await scene.until(lambda: "3 requests under way" in scene.text("view"))
        shown = scene.text("view")
        assert "node n2" in shown
        assert "PEER" in shown
        await scene.press("end")
        assert "line 59" in scene.text("view")
        await scene.press("escape")
        assert scene.text("view") == ""
        assert "n1" in scene.text("nodes")

    play(story)


def test_a_node_that_dies_while_its_screen_is_open_is_shown_as_dead_and_one_that_leaves_as_gone() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("enter")
        await scene.until(lambda: "● up" in scene.text("view"))
        await scene.press("K")
        await scene.until(lambda: "✗ killed" in scene.text("view"))
        assert "it does not answer" in scene.text("view")
        scene.looks.cluster.part("n1")
        await scene.until(lambda: "no member any more" in scene.text("view"))
        await scene.press("K")  # there is nobody to kill

    assert play(story).done == ["kill n1"]


def test_keys_on_the_screen_of_a_node_act_on_that_node() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("j", "j", "enter", "P")
        await scene.until(lambda: bool(scene.controller.done))

    assert play(story).done == ["pause n3"]


def test_a_source_that_fails_says_why_and_no_frame_waits_for_it() -> None:
    class Fails(Fetches):
        def fetch(self, view: View) -> Detail:
            raise ValueError("no such thing")

    async def story(scene: Scene) -> None:
        await scene.press("L")
        await scene.until(lambda: "ValueError: no such thing" in scene.text("view"))

    play(story, source=Fails())


def test_logs_are_filtered_and_scroll_from_their_end() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("L")
        await scene.until(lambda: "line 59" in scene.text("view"))
        await scene.press("home")
        assert "line 0\n" in scene.text("view").replace(" │", "").replace(" " * 20, "") or "line 0 " in scene.text("view")
        await scene.press("end", "slash")
        app(scene).screen.query_one(Input).value = "line 7"
        await scene.press("enter")
        assert "/line 7" in scene.text("view")
        assert "line 8" not in scene.text("view")

    play(story)


def test_the_screen_of_hints_says_who_holds_how_many_for_whom() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.kill("n3")
    cluster.run(10)

    async def story(scene: Scene) -> None:
        await scene.press("h")
        shown = scene.text("view")
        assert "for n3" in shown
        assert "n1                 160" in shown

    play(story, cluster)


def test_the_screen_of_anti_entropy_lights_the_trees_that_are_not_equal() -> None:
    cluster = Cluster(3)
    snapshot = cluster.snapshot

    def with_trees() -> object:
        seen = snapshot()
        seen.nodes[0].trees_with = {"n2": (12, 3), "n3": (12, 0)}
        return seen

    cluster.snapshot = with_trees  # type: ignore[method-assign, assignment]

    async def story(scene: Scene) -> None:
        await scene.press("a")
        shown = scene.text("view")
        assert "n1 – n2  ◆◆◆▪▪▪▪▪▪▪▪▪  9/12" in shown
        assert "n1 – n3  ▪▪▪▪▪▪▪▪▪▪▪▪  12/12" in shown

    play(story, cluster)


def test_numbers_and_tab_jump_between_panels_and_enter_opens_one() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("6", "enter")
        assert "events" in scene.text("view")
        await scene.press("escape", "5", "tab", "shift+tab", "enter")
        assert "ring" in scene.text("view")

    play(story)


# --- the partition, and healing --------------------------------------------------------------------------------------------


def test_x_parts_the_network_as_chosen_with_space_and_h_heals_it() -> None:
    cluster = Cluster()
    cluster.pause("n5")

    async def story(scene: Scene) -> None:
        await scene.press("X")
        assert isinstance(scene.app.screen, Sides)
        await scene.press("down", "space", "enter")  # the selected node is on the other side already
        await scene.until(lambda: "f1 partition" in scene.text("faults"))
        await scene.press("H")
        await scene.until(lambda: len(scene.controller.done) == 2)

    assert play(story, cluster).done == ["partition n3,n4,n5/n1,n2", "heal n5"]


def test_a_partition_needs_somebody_on_each_side_and_can_be_left() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("X", "space", "enter")  # nobody is on the other side any more
        assert isinstance(scene.app.screen, Sides)
        await scene.press("K", "escape")
        assert not isinstance(scene.app.screen, Sides)

    assert play(story).done == []


# --- lines that are typed ----------------------------------------------------------------------------------------------------


async def typed(scene: Scene, key: str, text: str) -> None:
    await scene.press(key)
    assert isinstance(scene.app.screen, Prompt)
    scene.app.screen.query_one(Input).value = text
    await scene.press("enter")


def test_a_filter_keeps_nodes_and_events_with_that_in_them() -> None:
    cluster = Cluster()
    cluster.kill("n4")

    async def story(scene: Scene) -> None:
        await typed(scene, "slash", "killed")
        assert "n4" in scene.text("nodes")
        assert "n5" not in scene.text("nodes")
        await scene.press("escape")
        assert "n5" in scene.text("nodes")

    play(story, cluster)


def test_a_command_line_is_run_and_what_it_says_is_shown_with_its_exit_code() -> None:
    async def story(scene: Scene) -> None:
        await typed(scene, "colon", "dynazmq get cart:42")
        await scene.until(lambda: "get cart:42 · exit code 3" in scene.text("view"))
        assert "not found" in scene.text("view")
        await scene.press("escape")
        await typed(scene, "colon", "keys")
        await scene.until(lambda: "1–20 of 100" in scene.text("view"))
        await scene.press("pagedown")
        assert "11–30 of 100" in scene.text("view")
        await typed(scene, "colon", "hints")
        assert "hints" in scene.text("view")
        await typed(scene, "colon", "get 'unfinished")
        assert "No closing quotation" in scene.text("footer")
        await typed(scene, "colon", "edit cart:42")
        assert "a terminal of its own" in scene.text("footer")
        await typed(scene, "colon", "q")
        await scene.until(lambda: scene.app.return_value == "left")

    assert play(story).done == ["get cart:42", "keys"]


def test_read_only_runs_no_command_line_and_parts_nothing() -> None:
    async def story(scene: Scene) -> None:
        await typed(scene, "colon", "cluster down --yes")
        assert "read-only" in scene.text("footer")
        await scene.press("X")
        assert not isinstance(scene.app.screen, Sides)
        await scene.press("H", "R")

    assert play(story, read_only=True).done == []


def test_y_copies_the_command_line_of_the_last_action() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("y")
        assert "nothing was done yet" in scene.text("footer")
        await scene.press("K")
        await scene.until(lambda: bool(scene.controller.done))
        await scene.press("y")
        assert scene.app.clipboard == "dynazmq node kill n1 --dir /tmp/demo"
        await typed(scene, "G", "carts alice")
        await scene.press("y")
        assert scene.app.clipboard == "dynazmq explain alice --bucket carts --dir /tmp/demo"

    play(story)


# --- the view --------------------------------------------------------------------------------------------------------------


def test_space_holds_the_picture_still_and_lets_it_go_on() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("space")
        assert "FROZEN" in scene.text("header")
        scene.looks.cluster.kill("n2")
        looks = scene.looks.looks
        await scene.until(lambda: scene.looks.looks >= looks + 2)
        assert "killed" not in scene.text("nodes")
        await scene.press("space")
        assert "killed" in scene.text("nodes")
        assert "FROZEN" not in scene.text("header")

    play(story)


def test_plus_and_minus_change_how_often_it_looks() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("minus")
        assert "looks every 1 s" in scene.text("footer")
        await scene.press("plus", "plus", "plus")
        assert "looks every 0.2 s" in scene.text("footer")

    play(story)


def test_s_saves_the_screen_as_svg_and_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def story(scene: Scene) -> None:
        await scene.press("s")
        await scene.until(lambda: "saved" in scene.text("footer"))

    play(story)
    text, picture = sorted(tmp_path.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert "● healthy" in text.read_text()
    assert picture.read_text().startswith("<svg")


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setattr(Path, "cwd", lambda: gone)

    async def story(scene: Scene) -> None:
        await scene.press("s")
        assert f"cannot write {gone}" in scene.text("footer")

    play(story, size=(200, 40))


def test_ctrl_c_leaves_when_it_is_pressed_twice() -> None:
    async def story(scene: Scene) -> None:
        await scene.press("ctrl+c")
        assert "ctrl+c again leaves" in scene.text("footer")
        await scene.press("ctrl+c")
        await scene.until(lambda: scene.app.return_value == "left")

    play(story)


@pytest.mark.parametrize(
    ("confirm", "key", "asks"), [("all", "K", True), ("all", "H", True), ("none", "W", False), ("none", "Q", False)]
)
def test_what_asks_before_it_acts_is_a_setting(confirm: str, key: str, asks: bool) -> None:
    async def story(scene: Scene) -> None:
        await scene.press(key)
        assert isinstance(scene.app.screen, Page) == asks
        if not asks:
            await scene.until(lambda: bool(scene.controller.done))

    assert bool(play(story, confirm=confirm).done) != asks


def test_the_palette_offers_the_keys_by_name() -> None:
    async def story(scene: Scene) -> None:
        names = [command.title for command in app(scene).get_system_commands(scene.app.screen)]
        assert "kill  K" in names
        assert "heal  H" in names
        await scene.press("ctrl+p")
        await scene.until(lambda: type(scene.app.screen).__name__ == "CommandPalette")
        await scene.press("escape")

    play(story)


def test_double_click_opens_a_panel() -> None:
    async def story(scene: Scene) -> None:
        await scene.pilot.click(offset=(10, 5), times=2)
        await scene.until(lambda: "node n3" in scene.text("view"))

    play(story)


# --- themes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
def test_each_theme_is_one_that_textual_has(theme: str) -> None:
    async def story(scene: Scene) -> None:
        assert app(scene).theme == THEMES[theme]
        dim = [span for text in app(scene)._drawn.values() for span in text.spans if "dim" in str(span.style)]
        assert bool(dim) == (theme != "high-contrast")

    play(story, theme=theme)


def test_the_settings_are_checked() -> None:
    from dynazmq.errors import InvalidRequest
    from dynazmq.tui.settings import Settings

    settings = Settings()
    assert settings.checked() is settings
    for wrong in ({"theme": "pink"}, {"confirm": "sometimes"}, {"record": Path("a"), "replay": Path("b")}):
        with pytest.raises(InvalidRequest):
            dataclasses.replace(settings, **wrong).checked()  # type: ignore[arg-type]


def test_a_look_that_takes_for_ever_delays_no_key_and_no_frame() -> None:
    let_go = threading.Event()

    async def story(scene: Scene) -> None:
        look = scene.looks.look
        scene.looks.look = lambda: let_go.wait(30) and look()  # type: ignore[method-assign, return-value]
        await scene.pilot.pause(0.6)  # the look that is due now hangs
        try:
            await scene.press("j", "K")
            assert "▶ n2" in scene.text("nodes")
            await scene.until(lambda: "kill n2: done" in scene.text("footer"))
            await scene.press("enter")
            await scene.until(lambda: "3 requests under way" in scene.text("view"))
        finally:
            let_go.set()

    assert play(story).done == ["kill n2"]

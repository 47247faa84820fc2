"""What was seen, in a file, and played again; whole, cut off, and from a cluster's event log."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tui_cluster import START, Cluster

from dynazmq.errors import ClusterError
from dynazmq.tui import print_once
from dynazmq.tui.app.player import Player, last_model
from dynazmq.tui.look import Progress
from dynazmq.tui.model.model import Model
from dynazmq.tui.recording.recording import Recorder, changed, load_recording, merged
from dynazmq.tui.settings import Settings


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Cluster]:
    """A kill, a partition and a join, seen for 40 s."""
    path = tmp_path / "seen.jsonl"
    recorder = Recorder(path)
    cluster = Cluster(load=True)

    def watch(seconds: float) -> None:
        for _ in range(round(seconds / 0.5)):
            cluster.tick(0.5)
            recorder.add(cluster.snapshot(), cluster.stats)

    watch(5)
    cluster.kill("n3")
    watch(10)
    cluster.start("n3")
    watch(10)
    cluster.join("n6")
    watch(5)
    cluster.part("n6")
    cluster.partition(["n1"], ["n2", "n3", "n4", "n5"])
    watch(10)
    recorder.close()
    return path, cluster


def test_each_moment_is_as_it_was_seen(recorded: tuple[Path, Cluster]) -> None:
    path, cluster = recorded
    recording = load_recording(path)

    snapshot, load = recording[-1]
    assert snapshot == cluster.snapshot()
    assert load == replace(cluster.stats, gaps=cluster.stats.gaps[-20:])
    assert len(recording.moments) == 80
    assert recording.trouble == ""
    assert path.stat().st_size < 80 * 3_000  # a moment costs what changed in it


def test_what_is_played_ends_as_it_was(recorded: tuple[Path, Cluster]) -> None:
    path, cluster = recorded

    model = last_model(load_recording(path))

    assert model.service.put.per_s == cluster.model.service.put.per_s
    assert model.service.failed_since == cluster.model.service.failed_since
    assert [(each.target, each.hints) for each in model.pending] == [(each.target, each.hints) for each in cluster.model.pending]
    assert [each.node for each in model.recoveries] == [each.node for each in cluster.model.recoveries]


def test_changes_are_merged_back_with_what_comes_and_goes() -> None:
    before = {"a": 1, "b": {"x": 1, "y": 2}, "c": [1]}
    after = {"a": 1, "b": {"y": 3, "z": {}}, "d": None}

    assert changed(before, after) == {"b": {"y": 3, "z": {}, "~": ["x"]}, "d": None, "~": ["c"]}
    assert merged(before, changed(before, after)) == after
    assert changed(after, after) == {}


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_a_recording_that_was_cut_off_is_played_up_to_there_and_says_so(recorded: tuple[Path, Cluster], part: float) -> None:
    path, _ = recorded
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    out = io.StringIO()

    recording = load_recording(path)
    code = print_once(path.parent, Settings(replay=path), width=80, height=24, out=out)

    assert 0 < len(recording.moments) < 80
    assert "cut off or damaged in line" in recording.trouble
    assert code == 1
    assert "┌ nodes" in out.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ('{"schema": "dynazmq.rec', "damaged in its first line"),
        ("root:x:0:0\n", "damaged in its first line"),
        ('{"schema": "dynazmq.status/1"}\n', "is dynazmq.status/1"),
        ('{"schema": "dynazmq.recording/1"}\n', "no recording"),
        ('{"schema": "dynazmq.recording/1", "snapshot": 1, "order": ["n1"], "nodes": []}\n', "no recording"),
    ],
)
def test_a_file_that_is_none_is_refused_with_what_it_is(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(ClusterError, match=says):
        load_recording(path)


def test_a_file_that_is_not_there_is_said_and_one_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="No such file"):
        load_recording(tmp_path / "gone")
    (tmp_path / "there").write_text("mine")
    with pytest.raises(ClusterError, match="exists already"):
        Recorder(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


def test_a_damaged_line_ends_what_is_shown_and_not_the_program(recorded: tuple[Path, Cluster]) -> None:
    path, _ = recorded
    lines = path.read_text().splitlines(keepends=True)
    lines[10] = '{"snapshot": {"owners": 7}}\n'
    path.write_text("".join(lines))

    recording = load_recording(path)

    assert len(recording.moments) == 10
    assert "line 11" in recording.trouble


# --- playing ---------------------------------------------------------------------------------------------------------------


class Screen:
    """What a player shows; waits until it shows what is wanted."""

    def __init__(self) -> None:
        self.shown: list[tuple[Model, Progress]] = []
        self._fresh = threading.Condition()

    def __call__(self, found: Model | str, progress: Progress | None) -> None:
        assert isinstance(found, Model)
        assert progress is not None
        with self._fresh:
            self.shown.append((found, progress))
            self._fresh.notify_all()

    def until(self, condition: Callable[[Model, Progress], bool]) -> None:
        with self._fresh:
            assert self._fresh.wait_for(lambda: bool(self.shown) and condition(*self.shown[-1]), 10)


def test_a_player_leaps_holds_and_stops_at_the_end(recorded: tuple[Path, Cluster]) -> None:
    screen = Screen()
    player = Player(load_recording(recorded[0]), screen)
    assert player.pace(-9) == "plays at 60 times the speed"
    player.start()
    try:
        screen.until(lambda model, progress: not progress.playing and progress.at == progress.ends)
        player.seek(-32)  # while n3 was down
        screen.until(lambda model, progress: progress.at == START + 8)
        assert screen.shown[-1][0].recoveries[0].what == "killed (9)"
        player.seek(1000)
        screen.until(lambda model, progress: progress.at == progress.ends)
        player.toggle()  # at the end: from the beginning
        screen.until(lambda model, progress: progress.playing and progress.at < progress.ends)
    finally:
        player.stop()


def test_a_recording_over_which_the_clock_was_set_back_is_played_in_the_order_in_which_it_was_seen(
    recorded: tuple[Path, Cluster],
) -> None:
    path, _ = recorded
    first, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in [first, *lines[:30]]:  # until then it was an hour ahead
        line["snapshot"]["taken_at"] += 3600.0
    path.write_text("\ufeff" + "".join(json.dumps(line) + "\n" for line in [first, *lines]))  # as an editor may save it
    recording = load_recording(path)
    assert len(recording.moments) == 80
    assert recording.times == sorted(recording.times)
    assert [recording[index][0].taken_at for index in range(80)] == recording.times
    assert recording.times[-1] == START + 40

    screen = Screen()
    player = Player(recording, screen)
    player.pace(-9)
    player.start()
    try:
        screen.until(lambda model, progress: not progress.playing and progress.at == progress.ends)
        player.seek(-20)
        screen.until(lambda model, progress: progress.at == START + 20)
    finally:
        player.stop()


# --- an event log ----------------------------------------------------------------------------------------------------------


def told(*events: tuple[float, str, str, str, dict[str, object]]) -> str:
    return "".join(
        json.dumps({"at": START + at, "node": node, "kind": kind, "text": text, **details}) + "\n"
        for at, node, kind, text, details in events
    )


LOG = told(
    (0, "n1", "started", "started, pid 1", {}),
    (0, "n2", "started", "started, pid 2", {}),
    (0, "n3", "started", "started, pid 3", {}),
    (10, "n3", "killed", "process gone, signal 9", {}),
    (10.3, "n3", "suspected", "suspected by n1", {"by": ["n1"]}),
    (11, "n3", "down", "down: n1 n2 agree", {"by": ["n1", "n2"]}),
    (11.5, "n3", "hints", "hints for it are kept at n1", {"phase": "stored", "count": 7, "holders": {"n1": 7}}),
    (30, "n3", "started", "started, pid 4", {}),
    (31, "n3", "up", "up: 2/2 peers see it", {"by": ["n1", "n2"]}),
    (32, "n3", "hints", "hints delivered", {"phase": "delivered", "count": 7}),
    (33, "*", "converged", "all up", {}),
)


def test_an_event_log_is_played_with_the_outage_that_it_tells_of(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(LOG)
    recording = load_recording(path)
    at = {round(recording.at(index) - START, 1): recording[index][0] for index in range(len(recording.moments))}

    assert [(node.name, node.state) for node in at[15.5].nodes] == [("n1", "up"), ("n2", "up"), ("n3", "down")]
    assert at[15.5].nodes[2].seen_by == {"n1": "down", "n2": "down"}
    assert at[15.5].nodes[0].hints_for == {"n3": 7}
    (ended,) = last_model(recording).recoveries
    assert (ended.what, ended.began, ended.down, ended.started, ended.converged) == (
        "killed (9)", START + 10, START + 11, START + 30, START + 33
    )  # fmt: skip


def test_an_event_log_of_a_clock_that_was_set_back_tells_it_in_the_order_in_which_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(told((0, "n1", "started", "", {}), (9000, "n1", "killed", "", {}), (20, "n1", "started", "", {})))
    recording = load_recording(path)
    assert [event.kind for event in recording[-1][0].events] == ["started", "killed", "started"]
    assert (recording[-1][0].nodes[0].state, recording.at(-1)) == ("up", START + 20)


def test_an_event_log_with_a_line_cut_off_in_its_middle_is_played_without_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = LOG.splitlines(keepends=True)
    path.write_text("".join([*lines[:4], lines[4][:20] + "\n", *lines[5:]]) + '{"at": 17')

    recording = load_recording(path)

    assert last_model(recording).recoveries[0].converged is not None
    assert recording.trouble == "2 lines that were cut off are passed over"

"""`cluster events` on a cluster that does not run: what is there is shown, what is broken is one line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dynazmq.cli import asked, main
from dynazmq.cli.events import line
from dynazmq.cluster.observe import events
from dynazmq.cluster.observe.snapshot import Event
from dynazmq.paths import ClusterFile


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    members = {name: f"ipc://{tmp_path}/{name}.sock" for name in ("n1", "n2")}
    ClusterFile(name="demo", cluster_id=1, secret=b"x" * 32, members=members, n=1, r=1, w=1).save(tmp_path)
    return tmp_path


def run(directory: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str], str]:
    code = main(["cluster", "events", *options, "--dir", str(directory)])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_nothing_has_happened_yet(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(cluster, capsys) == (0, [], "nothing has happened yet\n")


def test_what_happened_is_one_line_each_with_its_kind(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    today = time.mktime((*time.localtime()[:3], 12, 4, 33, 0, 0, -1))
    events.append(cluster, "*", "converged", "two\nlines \x1b[31m", at=today - 86_400)
    events.append(cluster, "n2", "killed", "process gone, signal 9 (asked for)", at=today + 0.105)
    code, shown, err = run(cluster, capsys)
    assert (code, err) == (0, "")
    assert shown[1] == "12:04:33.105  n2   killed      process gone, signal 9 (asked for)"
    assert shown[0].endswith("12:04:33.000  *    converged   two\\nlines \\x1b[31m")
    assert run(cluster, capsys, "--node", "n1")[1] == shown[:1], "the cluster's concern is that of each node"
    assert run(cluster, capsys, "-l", "1")[1] == shown[1:]


def test_new_events_come_last_also_behind_those_of_a_clock_that_was_ahead(
    cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    for at, text in [(-7200.0, "first"), (86_400.0, "ahead"), (86_500.0, "still ahead"), (-1.0, "seen"), (-9.0, "before that")]:
        events.append(cluster, "n1", "up", text, at=now + at)
    told = [line.split("  ")[-1] for line in run(cluster, capsys)[1]]
    assert told == ["first", "ahead", "still ahead", "before that", "seen"]
    assert [line.split("  ")[-1] for line in run(cluster, capsys, "-l", "1")[1]] == ["seen"]
    assert len(run(cluster, capsys, "--since", "1m")[1]) == 4
    assert [event.text for event in events.read(cluster, since=now - 5.0).events] == ["seen"]


def test_former_members_are_found_and_unknown_ones_are_not(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events.append(cluster, "n9", "removed", "no member any more")
    assert len(run(cluster, capsys, "--node", "n9")[1]) == 1
    code, _, err = run(cluster, capsys, "--node", "n7")
    assert (code, "no node 'n7'" in err) == (2, True)


def test_a_half_written_line_and_a_gap_are_said_on_standard_error(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        events.append(cluster, "n1", "up", f"{i}")
    path = events.path_of(cluster)
    first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + third + b'{"at": 17')
    code, shown, err = run(cluster, capsys)
    assert (code, len(shown), err) == (0, 2, "events lost: 1, lines cut off: 1\n")
    document = json.loads(run(cluster, capsys, "--json")[1][0])
    assert (document["lost"], document["torn"], len(document["events"])) == (1, 1, 2)


def test_a_stream_that_cannot_be_read_and_no_cluster_are_one_line(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events.path_of(cluster).mkdir()
    assert run(cluster, capsys) == (1, [], f"error: Is a directory: {events.path_of(cluster)}\n")
    code, _, err = run(cluster / "none", capsys)
    assert (code, err.count("\n")) == (7, 1)


def test_a_command_is_told_once_without_the_directory_and_only_where_there_is_a_cluster(cluster: Path, tmp_path: Path) -> None:
    asked.remember(["kill", "--dir", str(cluster), "n1", "--no-wait", "--dir=x"])
    asked.asked(cluster, ["n1"])
    asked.asked(cluster)
    [event] = events.read(cluster).events
    assert (event.node, event.kind, event.text) == ("n1", "command", "dynazmq kill n1 --no-wait")
    assert event.details["nodes"] == ["n1"]
    asked.remember(["down"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    asked.asked(elsewhere)
    assert list(elsewhere.iterdir()) == []


def test_every_kind_fits_its_column() -> None:
    for kind in events.KINDS:
        assert f" {kind} " in line(Event(0.0, "n1", "text", kind)) + " "

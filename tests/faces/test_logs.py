"""Logs: lines as they are written, turned over, read, dated and merged."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynazmq import logs
from dynazmq.cli import main
from dynazmq.cli.logs import Tail, merge
from dynazmq.logs import Log, format_line, parse, reopen, turn_over
from dynazmq.paths import ClusterFile, node_dir, node_log

ZONES = st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns", "Europe/Berlin", "Pacific/Kiritimati"])
NOW = time.mktime((2025, 11, 27, 4, 11, 9, 0, 0, -1)) + 0.12


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    members = {name: f"ipc://{tmp_path}/{name}.sock" for name in ("n1", "n2")}
    ClusterFile(name="demo", cluster_id=1, secret=b"x" * 32, members=members, n=1, r=1, w=1).save(tmp_path)
    for name in members:
        node_dir(tmp_path, name).mkdir(parents=True)
    return tmp_path


def run(directory: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert main(["logs", *options, "--dir", str(directory)]) == 0
    return capsys.readouterr().out.splitlines()


# --- lines ----------------------------------------------------------------------------------------------------------------


def test_a_line_says_when_how_bad_where_and_what() -> None:
    line = format_line(NOW, "ERROR", "storage", "disk I/O error")
    zone = time.strftime("%z", time.localtime(NOW))
    assert line == f"2025-11-27 04:11:09.120{zone} ERROR storage  disk I/O error"
    found = parse(line)
    assert found is not None
    assert (found.at, found.level, found.part, found.text) == (pytest.approx(NOW), "ERROR", "storage", "disk I/O error")


@given(st.text(max_size=100))
def test_a_line_stays_one_line_and_does_nothing_to_a_terminal(text: str) -> None:
    line = format_line(NOW, "INFO", "node", text)
    assert line.splitlines() == [line]
    assert line.isprintable()


@given(st.text(max_size=100))
def test_anything_can_be_looked_at(text: str) -> None:
    parse(text)
    parse(f"2026-99-99 04:11:09.120 INFO node {text}")


def test_lines_of_an_earlier_release_have_no_date() -> None:
    found = parse("04:11:09.120 WARN  wire     dropped a frame")
    assert found is not None
    assert (found.at, found.level, found.text) == (None, "WARN", "dropped a frame")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Be somewhere else."""

    def be_in(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield be_in
    monkeypatch.undo()
    time.tzset()


@given(at=st.floats(0, 4e9).map(lambda at: round(at, 3)), there=ZONES, here=ZONES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_line_is_read_right_in_any_zone_and_in_the_hour_that_comes_twice(
    zone: Callable[[str], None], at: float, there: str, here: str
) -> None:
    zone(there)
    line = format_line(at, "INFO", "node", "x")
    zone(here)
    found = parse(line)
    assert found is not None
    assert found.at == pytest.approx(at, abs=0.0011)


def test_a_line_of_an_earlier_release_has_no_zone_and_is_read_in_ours() -> None:
    found = parse("2025-11-27 04:11:09.120 INFO  node     x")
    assert found is not None
    assert found.at == pytest.approx(NOW)


# --- writing --------------------------------------------------------------------------------------------------------------


def test_what_is_less_than_the_level_is_not_written(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "warn")
    log = Log()
    log("INFO", "node", "quiet")
    log("WARN", "node", "loud")
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "nonsense")
    Log()("DEBUG", "node", "quiet")
    Log()("INFO", "node", "as usual")
    assert [line.split()[-1] for line in capfd.readouterr().err.splitlines()] == ["loud", "usual"]


def test_a_full_disk_costs_lines_and_the_next_one_stands_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write, left = os.write, [30]

    def full(handle: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(handle, data[: left[0]])
        left[0] -= written
        return written

    log = Log()
    monkeypatch.setattr(logs.os, "write", full)
    log("INFO", "node", "cut off in the middle")
    log("INFO", "node", "not written")
    monkeypatch.undo()
    log("INFO", "node", "after")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert parse(lines[1]) is not None


def test_a_process_turns_its_own_log_over_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, b"first\n")
        assert not turn_over(path, (descriptor,), bytes_max=100)
        os.write(descriptor, b"x" * 100 + b"\n")
        assert turn_over(path, (descriptor,), bytes_max=100)
        os.write(descriptor, b"second\n")
        assert path.read_text() == "second\n"
        assert (tmp_path / "node.log.1").read_text() == "first\n" + "x" * 100 + "\n"
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["node.log", "node.log.1"]
    finally:
        os.close(descriptor)


def test_a_log_of_somebody_else_or_that_cannot_be_replaced_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    path.write_text("x" * 200)
    with open(tmp_path / "other", "w+") as other:
        other.write("x" * 200)
        other.flush()
        assert not turn_over(path, (other.fileno(),), bytes_max=100)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    (tmp_path / "node.log.new").mkdir()
    try:
        assert not turn_over(path, (descriptor,), bytes_max=100)
        os.write(descriptor, b"y")
    finally:
        os.close(descriptor)
    assert path.read_text().endswith("y")


@pytest.mark.parametrize("what", ["moved", "removed", "replaced"])
def test_a_log_that_is_not_there_any_more_is_begun_anew_under_its_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "node.log"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, b"first\n")
        assert not reopen(path, (descriptor,))
        if what == "removed":
            path.unlink()
        else:
            path.rename(tmp_path / "node.log.0")
        if what == "replaced":
            path.write_text("somebody else's\n")
        assert reopen(path, (descriptor,))
        os.write(descriptor, b"second\n")
        assert path.read_text().splitlines() == (["somebody else's"] if what == "replaced" else []) + ["second"]
        assert path.stat().st_mode & 0o077 == 0 or what == "replaced"
        assert not reopen(path, (descriptor,))
    finally:
        os.close(descriptor)


def test_a_log_whose_directory_is_gone_is_written_on_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "node.log"
    path.parent.mkdir()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        path.unlink()
        path.parent.rmdir()
        assert not reopen(path, (descriptor,))
        os.write(descriptor, b"y")
        assert os.pread(descriptor, 2, 0) == b"y"
    finally:
        os.close(descriptor)


def test_who_was_started_with_another_standard_error_keeps_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In the foreground, or under an init system."""
    path = tmp_path / "node.log"
    path.write_text("of an earlier life\n")
    Log(path)("INFO", "node", "hello")
    assert path.read_text() == "of an earlier life\n"
    assert "hello" in capfd.readouterr().err


# --- reading --------------------------------------------------------------------------------------------------------------


def test_lines_of_all_nodes_are_merged_by_time(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {
        "n1": [(1, "INFO", "one"), (3, "ERROR", "three")],
        "n2": [(2, "WARN", "two"), (4, "INFO", "four")],
    }
    for name, said in lines.items():
        written = [format_line(NOW + at, level, "node", text) for at, level, text in said]
        node_log(cluster, name).write_text("\n".join([written[0], "  more of it", *written[1:]]) + "\n")
    shown = run(cluster, capsys)
    assert [line.split()[-1] for line in shown] == ["one", "it", "two", "it", "three", "four"]
    assert shown[0].startswith("n1          2025-11-27 04:11:10.120 INFO  node     one")
    assert [line.split()[-1] for line in run(cluster, capsys, "--level", "warn")] == ["two", "it", "three"]
    assert [line.split()[-1] for line in run(cluster, capsys, "n2", "-l", "1")] == ["four"]
    assert run(cluster, capsys, "--since", "1s") == []
    [document] = run(cluster, capsys, "--json", "--level", "error")
    [line] = json.loads(document)["lines"]
    assert (line["node"], line["level"], line["part"], line["text"]) == ("n1", "ERROR", "node", "three")
    assert line["at"] == pytest.approx(NOW + 3)
    assert [json.loads(each)["text"] for each in run(cluster, capsys, "--jsonl", "n1")] == ["one", "  more of it", "three"]


def test_lines_without_a_date_are_dated_backwards_from_when_their_file_was_written(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    path.write_text("23:59:59.000 INFO  node     yesterday\n00:00:01.000 INFO  node     today\nTraceback\n")
    os.utime(path, (NOW, NOW))
    said = Tail("n1", path).read()
    times = [time.strftime("%d %H:%M:%S", time.localtime(each.at)) for each in said]
    assert times == ["26 23:59:59", "27 00:00:01", "27 00:00:01"]
    assert [each.level for each in said] == ["INFO", "INFO", "ERROR"]


def test_a_log_that_is_turned_over_while_it_is_followed_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    path.write_text(format_line(NOW, "INFO", "node", "one") + "\n")
    tail = Tail("n1", path)
    assert [said.text for said in tail.read()] == ["one"]
    with open(path, "a") as file:
        file.write(format_line(NOW, "INFO", "node", "two") + "\n")
    path.replace(tmp_path / "node.log.1")
    path.write_text(format_line(NOW, "INFO", "node", "three") + "\n" + "a line that is still bei")
    assert [said.text for said in tail.read()] == ["two", "three"]
    assert tail.read() == []


def test_just_after_it_was_turned_over_the_lines_before_are_still_shown(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    path.with_name("node.log.1").write_text(format_line(NOW, "INFO", "node", "one") + "\n")
    path.write_text(format_line(NOW, "INFO", "node", "two") + "\n")
    assert [said.text for said in Tail("n1", path).read()] == ["one", "two"]


def test_lines_of_one_log_keep_their_order_also_when_the_clock_went_back(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    path.write_text("".join(format_line(NOW - i, "INFO", "node", f"{i}") + "\n" for i in range(3)))
    assert [said.text for said in merge([Tail("n1", path).read()])] == ["0", "1", "2"]


def test_lines_that_are_new_come_last_also_behind_those_of_a_clock_that_was_ahead(
    cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    said = {"n1": [(-7200.0, "first"), (3600.0, "ahead"), (-3.0, "mended")], "n2": [(-7100.0, "second"), (-2.0, "newest")]}
    for name, lines in said.items():
        written = [format_line(now + at, "INFO", "node", text) for at, text in lines]
        node_log(cluster, name).write_text("\n".join(written) + "\n")
    assert [line.split()[-1] for line in run(cluster, capsys)] == ["first", "second", "ahead", "mended", "newest"]
    assert [line.split()[-1] for line in run(cluster, capsys, "--since", "60s")] == ["ahead", "mended", "newest"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--level loud", "--level is debug, info, warn, error, not 'loud'"),
        ("--since yesterday", "not a duration: 'yesterday'"),
        ("-f --json", "choose one"),
        ("n9", "no node 'n9'"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(options: str, words: str, cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", *options.split(), "--dir", str(cluster)]) == 2
    assert words in capsys.readouterr().err


def test_a_log_that_cannot_be_read_is_one_line(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node_log(cluster, "n1").mkdir()
    assert main(["logs", "--dir", str(cluster)]) == 1
    assert capsys.readouterr().err == f"error: Is a directory: {node_log(cluster, 'n1')}\n"

"""The stream of events: what writers do to each other, what a full disk and a cut do, and that a gap is seen."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynazmq.cluster.observe import events
from dynazmq.cluster.observe.events import Tail, append, follow, missing, parse, path_of, paths_of, read
from dynazmq.cluster.processes import environment

WRITER = """
import sys
from pathlib import Path
from dynazmq.cluster.observe import events
events.FILE_BYTES_MAX = int(sys.argv[3])
for i in range(int(sys.argv[2])):
    assert events.append(Path(sys.argv[1]), "n1", "up", f"event {i} with some more words", index=i)
"""


def texts(directory: Path) -> list[str]:
    return [event.text for event in read(directory).events]


def test_an_event_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert append(tmp_path, "n3", "down", 'down: "4/4" agree\nänd more', at=12.5, by=["n1", "n2"])
    found = read(tmp_path)
    assert (found.lost, found.torn) == (0, 0)
    [event] = found.events
    assert (event.at, event.node, event.kind, event.text) == (12.5, "n3", "down", 'down: "4/4" agree\nänd more')
    assert event.details["by"] == ["n1", "n2"]
    assert path_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert path_of(tmp_path).read_bytes().count(b"\n") == 1
    assert json.loads(path_of(tmp_path).read_text()) == events.document(event)


def test_nothing_at_all_is_no_error_and_a_directory_that_is_gone_is_none_for_a_writer(tmp_path: Path) -> None:
    assert read(tmp_path).events == []
    assert not append(tmp_path / "gone", "n1", "up", "x")
    assert not (tmp_path / "gone").exists()


def test_events_are_told_by_time_whoever_wrote_first(tmp_path: Path) -> None:
    append(tmp_path, "n1", "up", "later", at=2.0)
    append(tmp_path, "n2", "down", "earlier", at=1.0)
    append(tmp_path, "*", "converged", "all", at=3.0)
    assert texts(tmp_path) == ["earlier", "later", "all"]
    assert [event.text for event in read(tmp_path, since=2.0).events] == ["later", "all"]
    assert [event.text for event in read(tmp_path, nodes=["n2"]).events] == ["earlier", "all"]
    assert [event.text for event in read(tmp_path, kinds=["up", "down"]).events] == ["earlier", "later"]


@pytest.mark.parametrize("file_bytes_max", [10 << 20, 200_000])
def test_of_many_writers_at_once_no_event_is_lost_also_while_files_take_turns(tmp_path: Path, file_bytes_max: int) -> None:
    each, writers = 400, 4
    command = [sys.executable, "-P", "-c", WRITER, str(tmp_path), str(each), str(file_bytes_max)]
    with Tail(tmp_path) as tail:
        running = [subprocess.Popen(command, env=environment()) for _ in range(writers)]
        seen = []
        while any(process.poll() is None for process in running):
            seen += tail.poll()
        seen += tail.poll() + tail.poll()
        assert [process.returncode for process in running] == [0] * writers
        assert tail.torn == 0
    assert missing(seen) == 0
    by_writer: dict[str, list[int]] = {}
    for event in seen:
        by_writer.setdefault(event.details["writer"], []).append(event.details["index"])
    # In order but where files took turns: what was written into the older one may be found after the first of the newer one.
    assert [sorted(indexes) == list(range(each)) for indexes in by_writer.values()] == [True] * writers
    assert read(tmp_path).lost == 0
    assert paths_of(tmp_path)[0].exists() == (file_bytes_max == 200_000)


def test_two_files_are_all_there_ever_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FILE_BYTES_MAX", 4_000)
    for i in range(200):
        append(tmp_path, "n1", "up", f"{i}")
    assert sorted(entry.name for entry in tmp_path.iterdir()) in (
        ["events.jsonl", "events.jsonl.1"], ["events.jsonl.1"]
    )  # fmt: skip
    assert sum(entry.stat().st_size for entry in tmp_path.iterdir()) < 2 * 4_200
    found = read(tmp_path)
    assert found.events[-1].text == "199"
    assert found.lost == 0, "what is too old is no gap"
    assert [int(event.text) for event in found.events] == list(range(200 - len(found.events), 200))


def test_a_follower_is_told_each_event_once_over_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FILE_BYTES_MAX", 1_000)
    monkeypatch.setattr(events, "POLL_S", 0.0)
    append(tmp_path, "n1", "up", "0")
    following = follow(tmp_path)
    assert next(following).text == "0"
    numbers = count(1)
    seen = []
    for burst in (1, 5, 9, 2, 12):  # nine are more than one file holds
        for _ in range(burst):
            append(tmp_path, "n1", "up", f"{next(numbers)}")
        seen += [int(next(following).text) for _ in range(burst)]
    assert seen == list(range(1, 30))
    following.close()


def test_who_opened_a_file_before_it_took_its_turn_is_still_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path, "n1", "up", "first")
    with Tail(tmp_path) as tail, open(path_of(tmp_path), "ab", buffering=0) as late:
        assert len(tail.poll()) == 1
        monkeypatch.setattr(events, "FILE_BYTES_MAX", 1)
        append(tmp_path, "n1", "up", "fills it")
        monkeypatch.undo()
        append(tmp_path, "n1", "up", "in the next file")
        assert [event.text for event in tail.poll()] == ["fills it", "in the next file"]
        late.write(b'{"at": 1, "node": "n2", "kind": "up", "text": "late"}\n')
        assert [event.text for event in tail.poll()] == ["late"]


def test_a_line_is_not_left_in_a_file_that_was_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = os.write, count()

    def removed_first(handle: int, data: bytes) -> int:
        if next(calls) == 0:
            path_of(tmp_path).unlink()
        return write(handle, data)

    append(tmp_path, "n1", "up", "before")
    monkeypatch.setattr(events.os, "write", removed_first)
    assert append(tmp_path, "n1", "up", "after")
    assert texts(tmp_path) == ["after"]


@pytest.mark.parametrize("fits", [0, 20])
def test_what_a_full_disk_refuses_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    write, left = os.write, [fits]

    def full(handle: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(handle, data[: left[0]])
        left[0] -= written
        return written

    append(tmp_path, "n1", "up", "before")
    monkeypatch.setattr(events.os, "write", full)
    assert not append(tmp_path, "n1", "down", "while it is full")
    assert not append(tmp_path, "n1", "down", "still")
    assert read(tmp_path).torn == (fits > 0)
    monkeypatch.undo()
    events.retry(tmp_path)
    assert append(tmp_path, "n1", "up", "after")
    found = read(tmp_path)
    assert [event.text for event in found.events] == ["before", "while it is full", "still", "after"]
    assert found.lost == 0


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path: Path) -> None:
    append(tmp_path, "n1", "up", "whole")
    with open(path_of(tmp_path), "ab") as file:
        file.write(b'{"at": 1.0, "node": "n1", "ki')
    assert (texts(tmp_path), read(tmp_path).torn) == (["whole"], 1)
    append(tmp_path, "n1", "up", "behind it")
    assert texts(tmp_path) == ["whole", "behind it"]


def test_what_is_no_event_is_passed_over_and_counted(tmp_path: Path) -> None:
    lines = [b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"at": "now", "node": "n1", "kind": "up", "text": "x"}', b"[" * 100_000]
    lines.append(b'{"at": NaN, "node": "n1", "kind": "up", "text": "x"}')
    path_of(tmp_path).write_bytes(b"\n".join(lines) + b"\n")
    append(tmp_path, "n1", "up", "x")
    found = read(tmp_path)
    assert (len(found.events), found.torn) == (1, len(lines) - 1)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange_to_be_looked_at(line: bytes) -> None:
    parse(line)
    parse(b'{"at":' + line)


def test_a_gap_in_what_a_writer_counted_is_seen(tmp_path: Path) -> None:
    for i in range(5):
        append(tmp_path, "n1", "up", f"{i}")
    lines = path_of(tmp_path).read_bytes().splitlines(keepends=True)
    path_of(tmp_path).write_bytes(b"".join(lines[:2] + lines[3:]))
    assert read(tmp_path).lost == 1


def test_texts_and_details_are_bounded(tmp_path: Path) -> None:
    append(tmp_path, "n1", "up", "x" * 100_000, more="y" * 100_000)
    assert path_of(tmp_path).stat().st_size < events.LINE_BYTES_MAX
    assert len(texts(tmp_path)[0]) == events.TEXT_CHARS_MAX


def test_a_child_after_a_fork_counts_by_itself(tmp_path: Path) -> None:
    append(tmp_path, "n1", "up", "parent")
    child = os.fork()
    if child == 0:
        append(tmp_path, "n1", "up", "child")
        os._exit(0)
    os.waitpid(child, 0)
    append(tmp_path, "n1", "up", "parent")
    found = read(tmp_path)
    assert len({event.details["writer"] for event in found.events}) == 2
    assert (len(found.events), found.lost) == (3, 0)

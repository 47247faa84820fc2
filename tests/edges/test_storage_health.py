"""Whether a node can store, as it says of itself: from commits that fail, and from a look at the file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dynazmq.cluster.directory import state
from dynazmq.cluster.operations.launch import end_cluster
from dynazmq.paths import ClusterFile
from dynazmq.storage import health
from dynazmq.storage.health import Health


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No file can be made or opened for writing, for this reason."""
    really = os.open

    def opened(path: object, flags: int, *arguments: object, **more: object) -> int:
        if flags & (os.O_ACCMODE | os.O_CREAT):
            raise OSError(number, os.strerror(number), path)
        return really(path, flags, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", opened)


def test_a_node_that_stores_is_well_and_has_nothing_to_try(tmp_path: Path) -> None:
    found = Health(tmp_path)
    assert (found.look(0.0), found.why, found.stored(1.0)) == (False, "", False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG], ids=os.strerror)
def test_a_failed_commit_is_explained_by_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    refuse(monkeypatch, number)
    found = Health(tmp_path)
    assert found.failed("disk I/O error", 1.0) == found.why == f"disk I/O error ({os.strerror(number)})"
    monkeypatch.undo()
    assert found.failed("disk I/O error", 1.5) == f"disk I/O error ({os.strerror(number)})", "it is asked once a second"
    assert found.failed("disk I/O error", 2.5) == "disk I/O error"
    assert not found.look(3.0), "one was just tried"
    assert found.look(3.5), "a commit is tried, which shows when it is well again"
    assert found.stored(3.1)
    assert (found.why, found.look(4.0)) == ("", False)


def tried(found: Health, seconds: range, failing: bool) -> list[int]:
    """At which of these a commit is tried, and fails."""
    at = []
    for now in seconds:
        if found.look(float(now)):
            at.append(now)
            found.failed("disk I/O error", float(now))
        elif failing:
            found.failed("disk I/O error", float(now))
    return at


def test_while_nothing_can_be_stored_it_is_tried_less_and_less_often_and_every_few_seconds_at_least(tmp_path: Path) -> None:
    """Each second 8 KiB were written to a disk that was failing."""
    found = Health(tmp_path)
    found.failed("disk I/O error", 0.0)
    assert tried(found, range(1, 20), failing=False) == [1, 3, 7, 11, 15, 19]
    assert found.stored(20.0)
    assert tried(found, range(21, 30), failing=False) == []
    found.failed("disk I/O error", 30.0)
    assert tried(found, range(31, 35), failing=False) == [31, 33], "the next trouble is another one"


def test_while_commits_are_asked_for_none_is_made_up(tmp_path: Path) -> None:
    found = Health(tmp_path)
    found.failed("disk I/O error", 0.0)
    assert tried(found, range(1, 20), failing=True) in ([], [1])


def test_a_file_system_that_turns_read_only_is_seen_while_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Health(tmp_path)
    found.stored(0.0)
    refuse(monkeypatch, errno.EROFS)
    assert [found.look(1.0), found.why] == [False, ""], "it has just stored something"
    assert [found.look(6.0), found.why] == [False, "Read-only file system"]
    assert found.look(7.0)


def test_where_files_without_names_are_unknown_the_file_system_is_asked_for_its_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.EOPNOTSUPP)
    assert not health.read_only(tmp_path)
    assert Health(tmp_path).failed("disk I/O error", 1.0) == "disk I/O error"


def test_a_directory_that_is_gone_is_not_called_read_only(tmp_path: Path) -> None:
    assert not health.read_only(tmp_path / "gone")


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT], ids=os.strerror)
def test_a_cluster_is_locked_and_ended_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ClusterFile(
        name="c", cluster_id=1, secret=b"x" * 32, members={"n1": f"ipc://{tmp_path}/n1.sock"}, n=1, r=1, w=1
    ).save(tmp_path)  # fmt: skip
    held = state.take_lock(tmp_path)
    assert held is not None
    refuse(monkeypatch, number)
    assert state.take_lock(tmp_path) is None, "a lock for reading excludes as any other"
    os.close(held)
    assert not end_cluster(tmp_path).was_running

"""Files that are replaced: whole or not at all, through nobody else's link, and for good."""

from __future__ import annotations

import ast
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import dynazmq
from dynazmq import durable


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the system, in order: sync of a file or of a directory, replacement."""
    made: list[str] = []
    fsync, replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        made.append("sync directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        fsync(handle)

    def put(source: Path, target: Path) -> None:
        made.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", put)
    return made


def test_a_file_is_synced_then_renamed_then_its_directory_is_synced(tmp_path: Path, calls: list[str]) -> None:
    path = tmp_path / "cluster.json"
    durable.write_text(path, "one")
    durable.write_text(path, "two")
    assert calls == ["sync file", "replace", "sync directory"] * 2
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("two", 0o600)
    assert os.listdir(tmp_path) == ["cluster.json"]


def test_a_rename_is_synced_in_both_directories(tmp_path: Path, calls: list[str]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").mkdir()
    durable.rename(tmp_path / "a" / "x", tmp_path / "y")
    assert calls == ["sync directory", "sync directory"]
    assert (tmp_path / "y").is_dir()


def test_when_writing_fails_the_old_file_stays_and_no_part_is_left(tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_text("old")

    def half_of_it() -> None:
        with durable.replaced(path) as out:
            out.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_of_it()
    assert (os.listdir(tmp_path), path.read_text()) == (["export"], "old")


def test_a_part_is_never_written_through_somebody_elses_link(tmp_path: Path) -> None:
    """It was opened with O_CREAT | O_TRUNC: a link of its name in a directory of many users emptied whatever it pointed to."""
    precious, path = tmp_path / "precious", tmp_path / "export"
    precious.write_text("mine")
    durable.part_of(path).symlink_to(precious)
    with pytest.raises(OSError, match=r"\.export\.part"):
        durable.write_text(path, "new")
    assert (precious.read_text(), path.exists()) == ("mine", False)
    assert durable.part_of(path).is_symlink(), "and it is not ours to remove"


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_what_is_no_file_is_not_taken_for_a_part_that_was_left(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "export"
    part = durable.part_of(path)
    part.mkdir() if kind == "directory" else os.mkfifo(part)
    with pytest.raises(OSError, match=r"in the way.*\.export\.part"):
        durable.write_text(path, "new")
    assert part.exists()


def test_what_a_killed_process_has_left_is_replaced_whatever_it_may_be_read_by(tmp_path: Path) -> None:
    path = tmp_path / "export"
    script = f"""
import os, signal
from pathlib import Path
from dynazmq import durable
with durable.replaced(Path({str(path)!r})) as out:
    out.write(b"half")
    out.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=50).returncode == -signal.SIGKILL
    left = durable.part_of(path)
    assert left.read_bytes() == b"half"
    left.chmod(0o644)
    with durable.replaced(path) as out:
        assert stat.S_IMODE(left.stat().st_mode) == 0o600
        out.write(b"whole")
    assert (os.listdir(tmp_path), path.read_bytes()) == (["export"], b"whole")


def test_who_comes_while_another_writes_is_refused_or_waits_and_never_takes_its_part_for_a_left_one(tmp_path: Path) -> None:
    path = tmp_path / "export"
    waiting = threading.Thread(target=durable.write_text, args=(path, "second"))
    with durable.replaced(path) as out:
        out.write(b"first")
        with pytest.raises(BlockingIOError, match="somebody else writes it"), durable.replaced(path):
            pass
        waiting.start()
        assert not path.exists()
    waiting.join()
    assert (os.listdir(tmp_path), path.read_text()) == (["export"], "second")


def test_many_who_write_one_file_leave_one_whole_version_of_it(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    texts = [str(number) * 5_000 for number in range(8)]

    def write(text: str) -> None:
        for _ in range(10):
            durable.write_text(path, text)
            assert path.read_text() in texts

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (os.listdir(tmp_path), path.read_text() in texts) == (["faults.json"], True)


PACKAGE = Path(dynazmq.__file__).parent
RENAMES = {
    "durable.py": "this is the one place",
    "logs.py": "a log that is turned over",
    "cluster/observe/events.py": "the same",
    "cluster/processes.py": "the same",
    "cluster/directory/ground.py": "a trial of whether it can be done there",
    "wire/door.py": "a socket: no sync makes it stay",
}


def test_nobody_else_renames_a_file_over_another() -> None:
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
                of_path = len(node.args) == 1 and not node.keywords  # of a text it has two, of a dataclass keywords
                of_durable = isinstance(node.func.value, ast.Name) and node.func.value.id == "durable"
                if node.func.attr in ("replace", "rename") and (of_os or of_path) and not of_durable:
                    found.add(str(path.relative_to(PACKAGE)))
    assert found == RENAMES.keys()

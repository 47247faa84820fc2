"""Files that a person names: what is there stays what it is, and no part of one is left behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from devices import device

from dynazmq import output
from dynazmq.cluster.processes import environment
from dynazmq.errors import ClusterError, InvalidRequest

ROOT = os.geteuid() == 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def attributes(file: Path) -> dict[str, bytes]:
    with suppress(OSError):
        return {name: os.getxattr(file, name) for name in os.listxattr(file)}
    return {}


def alone(file: Path) -> bool:
    return os.listdir(file.parent) == [file.name]


def test_a_new_file_has_the_mode_that_was_asked_for_or_what_the_umask_leaves(file: Path) -> None:
    output.write(file, b"x", overwrite=False)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode), alone(file)) == (b"x", 0o600, True)
    file.unlink()
    before = os.umask(0o027)
    try:
        output.write(file, b"x", overwrite=False, mode=None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o750])
def test_a_file_that_is_overwritten_keeps_its_mode_owner_and_attributes(file: Path, mode: int) -> None:
    file.write_bytes(b"old")
    file.chmod(mode)
    if ROOT:
        os.chown(file, 1234, 5678)
    with suppress(OSError):  # a file system may have no attributes: then there are none to keep
        os.setxattr(file, "user.note", b"kept")
    noted = attributes(file)
    before = file.stat()
    with pytest.raises(InvalidRequest, match="exists; replace it with --force"):
        output.write(file, b"new", overwrite=False)
    assert file.read_bytes() == b"old"
    output.write(file, b"new", overwrite=True)
    after = file.stat()
    assert file.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert attributes(file) == noted
    assert alone(file)


@pytest.mark.parametrize(
    "kept", ["cluster.json", "nodes/n1/data.db", "nodes/n1/data.db-wal", "run/n1.sock", "staged.json", "supervisor.lock"]
)
def test_nothing_is_written_into_what_a_cluster_keeps(tmp_path: Path, kept: str) -> None:
    """An export over a running node's database was done, and all that it had stored was gone."""
    (tmp_path / "nodes" / "n1").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "cluster.json").write_text("{}")
    if kept != "nodes/n1/data.db-wal":
        (tmp_path / kept).write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(kept)
    before = sorted(tmp_path.rglob("*"))
    for file in (tmp_path / kept, link):
        with pytest.raises(InvalidRequest, match="where a cluster keeps what it stores"):
            output.write(file, b"new", overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
    output.write(tmp_path / "carts.jsonl", b"new", overwrite=False)  # beside them it may be


def test_a_file_must_have_a_name() -> None:
    with pytest.raises(InvalidRequest, match="name of the file is empty"):
        output.write("", b"x", overwrite=False)


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    real, link, chain = tmp_path / "real", tmp_path / "link", tmp_path / "chain"
    link.symlink_to("real")
    chain.symlink_to(link)
    output.write(chain, b"1", overwrite=False)  # it points to nothing yet
    assert (real.read_bytes(), link.is_symlink(), chain.is_symlink()) == (b"1", True, True)
    with pytest.raises(InvalidRequest, match="exists"):
        output.write(link, b"2", overwrite=False)
    output.write(link, b"3", overwrite=True)
    assert (real.read_bytes(), link.is_symlink()) == (b"3", True)


def test_a_fifo_is_written_into_and_stays_one(file: Path) -> None:
    os.mkfifo(file)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(file.read_bytes()))
    reader.start()
    output.write(file, b"through it", overwrite=False)
    reader.join()
    assert (got, file.is_fifo(), alone(file)) == ([b"through it"], True, True)


def test_a_fifo_that_nobody_reads_to_its_end_is_an_error_of_its_own(file: Path) -> None:
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)

    def write() -> None:
        with output.written(file, overwrite=False) as out:
            os.close(reader)
            out.write(b"x" * 100_000)

    with pytest.raises(ClusterError, match="nobody reads it any more"):
        write()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_device_is_written_into_and_stays_one(overwrite: bool, tmp_path: Path) -> None:
    null, full = device("null", tmp_path), device("full", tmp_path)
    before = null.stat()
    output.write(null, b"x", overwrite=overwrite)
    after = null.stat()
    assert (after.st_mode, after.st_rdev, after.st_ino) == (before.st_mode, before.st_rdev, before.st_ino)
    with pytest.raises(OSError, match="No space left on device") as caught:
        output.write(full, b"x", overwrite=overwrite)
    assert caught.value.filename == str(full)


def test_a_disk_is_not_written_over_unless_that_was_said(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every machine shows one, and none should be risked."""
    file.write_bytes(b"old")
    monkeypatch.setattr(stat, "S_ISBLK", lambda _mode: True)
    with pytest.raises(InvalidRequest, match="is a disk; --force"):
        output.check(file, overwrite=False)


def test_a_socket_is_written_into_and_stays_one(file: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(file))
        listener.listen()
        output.write(file, b"hello", overwrite=False)
        there, _ = listener.accept()
        with there:
            assert there.makefile("rb").read() == b"hello"
    assert file.is_socket()


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_descriptor_of_ours_is_written_into_where_it_stands(file: Path, name: str) -> None:
    with open(file, "wb", buffering=0) as opened:
        opened.write(b"before ")
        output.write(name.format(opened.fileno()), b"between", overwrite=False)
        opened.write(b" after")
    assert (file.read_bytes(), alone(file)) == (b"before between after", True)


def test_what_is_no_file_or_whose_old_content_would_stay_elsewhere_is_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(InvalidRequest, match="is a directory; name a file in it"):
        output.write(tmp_path, b"", overwrite=True)
    file.write_bytes(b"old")
    os.link(file, tmp_path / "other")
    with pytest.raises(InvalidRequest, match="has 2 names"):
        output.write(file, b"new", overwrite=True)
    assert file.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


def test_a_file_of_somebody_else_is_left_to_them(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(b"old")
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 4321)
    with pytest.raises(InvalidRequest, match=f"belongs to user {owner}, and would be yours"):
        output.write(file, b"new", overwrite=True)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    file.chmod(0o644)
    with pytest.raises(InvalidRequest, match=f"must not be written: mode 0644, of user {owner}"):
        output.write(file, b"new", overwrite=True)
    assert (file.read_bytes(), alone(file)) == (b"old", True)


def test_whatever_ends_the_writing_leaves_what_was_there_and_no_part(file: Path) -> None:
    file.write_bytes(b"old")

    def write() -> None:
        with output.written(file, overwrite=True) as out:
            out.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert (file.read_bytes(), alone(file)) == (b"old", True)


def test_a_file_that_somebody_made_meanwhile_is_left_as_it_is(file: Path) -> None:

    def write() -> None:
        with output.written(file, overwrite=False) as out:
            out.write(b"mine")
            file.write_bytes(b"theirs")

    with pytest.raises(InvalidRequest, match="made by somebody else meanwhile"):
        write()
    assert (file.read_bytes(), alone(file)) == (b"theirs", True)


ENDED = """
import os, signal, sys
from dynazmq import output
with output.written(sys.argv[1], overwrite=True) as out:
    out.write(b"half")
    os.kill(os.getpid(), int(sys.argv[2]))
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_the_process_leaves_no_part(file: Path, number: signal.Signals) -> None:
    file.write_bytes(b"old")
    command = [sys.executable, "-P", "-c", ENDED, str(file), str(int(number))]
    ran = subprocess.run(command, env=environment(), capture_output=True, timeout=60, check=False)
    assert ran.returncode in (128 + number, -number)
    assert (file.read_bytes(), alone(file)) == (b"old", True)


def test_a_disk_without_space_leaves_what_was_there_and_no_part(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    file.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        output.write(file, b"new", overwrite=True)
    assert caught.value.filename == str(file)
    assert (file.read_bytes(), alone(file)) == (b"old", True)


def test_a_place_where_no_file_can_be_made_is_named_as_it_was_typed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file or directory") as caught:
        output.write(tmp_path / "nowhere" / "x", b"", overwrite=False)
    assert caught.value.filename == str(tmp_path / "nowhere" / "x")

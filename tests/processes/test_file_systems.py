"""A file system that lacks what a cluster needs: said before anything is made, or, of sockets, got round."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from supervised import Cluster, Ran, run

from dynazmq import paths
from dynazmq.cluster.directory import ground
from dynazmq.cluster.processes import environment
from dynazmq.errors import ClusterError
from dynazmq.paths import ClusterFile


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def no_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fcntl, "flock", refusing(errno.ENOLCK))


def locks_unknown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fcntl, "flock", refusing(errno.EOPNOTSUPP))


def no_range_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fcntl, "lockf", refusing(errno.ENOLCK))


def no_shared_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mmap, "mmap", refusing(errno.ENODEV))


def no_sync_of_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "fsync", refusing(errno.EINVAL))


def modes_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "fchmod", refusing(errno.EPERM))


def modes_ignored(patch: pytest.MonkeyPatch) -> None:
    _seen(patch, st_mode=stat.S_IFREG | 0o777)


def owners_ignored(patch: pytest.MonkeyPatch) -> None:
    _seen(patch, st_uid=54_321)


def _seen(patch: pytest.MonkeyPatch, **fields: int) -> None:
    """What it says of a file, whatever that was given."""
    really, at = os.fstat, {"st_mode": 0, "st_uid": 4}

    def fstat(handle: int) -> os.stat_result:
        found = list(really(handle))
        for name, value in fields.items():
            found[at[name]] = value
        return os.stat_result(found)

    patch.setattr(ground.os, "fstat", fstat)


LACKING: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    no_locks: r"file locks \(flock\) \(No locks available\)",
    locks_unknown: r"file locks \(flock\) \(Operation not supported\)",
    no_range_locks: r"locks of parts of files \(fcntl\)",
    no_shared_memory: r"shared memory \(mmap\) \(No such device\)",
    no_sync_of_names: r"replacing and syncing names \(Invalid argument\)",
    modes_refused: r"owners and modes \(Operation not permitted\)",
    modes_ignored: r"has 777 there: others could read the cluster's secret",
    owners_ignored: r"owners and modes \(what .* makes there is #54321's\)",
}


@pytest.mark.parametrize("lacking", LACKING, ids=lambda each: str(each.__name__))
@pytest.mark.parametrize("there", [True, False])
def test_what_a_file_system_lacks_is_named_with_the_place_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: Callable[[pytest.MonkeyPatch], None], there: bool
) -> None:
    directory = tmp_path / "c"
    if there:
        directory.mkdir()
    with monkeypatch.context() as patch:
        lacking(patch)
        with pytest.raises(ClusterError, match=LACKING[lacking]) as raised:
            ground.examine(directory)
    assert str(directory if there else tmp_path) in str(raised.value)
    assert "--dir" in str(raised.value)
    assert [path for path in tmp_path.rglob("*") if path != directory] == [], "the trial is gone"


def test_up_says_it_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_locks(monkeypatch)
    ran = run("up", "-n", "1", "--dir", str(tmp_path / "c"))
    assert ran.code == 1, ran
    assert f"{tmp_path} is on a file system without file locks (flock)" in ran.err, ran
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT], ids=os.strerror)
def test_what_it_cannot_do_just_now_is_left_to_who_tries_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A full disk is not one that cannot do it."""
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    assert ground.examine(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_file_system_lacks_nothing_whatever_the_length_of_the_path(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 40)
    long.mkdir()
    assert ground.examine(long)
    assert ground.examine(tmp_path / "not" / "there")
    assert [*tmp_path.iterdir()] == [long]
    assert [*long.iterdir()] == []


# --- one without sockets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def without_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory in which none can be bound, as far as this process tries; they can elsewhere."""
    base = Path(tempfile.mkdtemp(prefix="dz-", dir="/tmp"))  # tmp_path is too long for sockets anyway
    place = base / "c"
    really = socket.socket.bind

    def bind(self: socket.socket, address: object) -> None:
        if isinstance(address, str) and base in Path(os.path.realpath(os.path.dirname(address)), "x").parents:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        really(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(ground.socket, "socket", type("Socket", (socket.socket,), {"bind": bind}))
    yield place
    monkeypatch.undo()
    run("down", "--purge", "--yes", "--dir", str(place))
    base.rmdir()


def typed(directory: Path, *words: str) -> Ran:
    """By a process of its own, which knows nothing of what this one has tried."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dynazmq", *words, "--dir", str(directory)],
        env=environment(),
        capture_output=True,
        text=True,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_sockets_are_elsewhere_and_every_command_finds_them(without_sockets: Path, transport: str) -> None:
    """ "[Errno 95] Operation not supported" was all that `up` said, also with --transport tcp."""
    cluster = Cluster(without_sockets)
    cluster.up("-n", "1", "--transport", transport)
    assert paths.runtime_dir(without_sockets) == paths.elsewhere(without_sockets)
    assert not [path for path in without_sockets.rglob("*") if path.is_socket()]
    assert str(paths.elsewhere(without_sockets)) in (without_sockets / "run").read_text()
    for words in ("status", "put a b", "get a", "node restart n1", "logs", "cluster wait --timeout 60s", "down", "up", "get a"):
        ran = typed(without_sockets, *words.split())
        assert ran.code == 0, (words, ran)
    assert typed(without_sockets, "down", "--purge", "--yes").code == 0
    assert not without_sockets.exists()
    assert not paths.elsewhere(without_sockets).exists()


def test_a_cluster_that_is_moved_to_one_without_sockets_has_them_elsewhere_from_then_on(without_sockets: Path) -> None:
    before = Cluster(without_sockets.parent / "b")
    before.directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ground, "_takes_sockets", lambda _place: True)
        before.up("-n", "1")
        assert before.run("put", "a", "b").code == 0
        before.down()
    (before.directory / "run").mkdir(exist_ok=True)  # as a copy may bring it
    os.rename(before.directory, without_sockets)
    cluster = Cluster(without_sockets)
    cluster.up()
    assert cluster.run("get", "a").out == "b"
    (endpoint,) = ClusterFile.load(without_sockets).members.values()
    assert endpoint.startswith(f"ipc://{paths.elsewhere(without_sockets)}/")
    assert cluster.run("down").code == 0


def test_where_sockets_can_be_nowhere_both_places_are_tried_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ground, "_takes_sockets", lambda _place: False)
    monkeypatch.setattr(paths, "_SHORT", tmp_path / "t")
    (tmp_path / "t").mkdir()
    ran = run("up", "-n", "1", "--dir", str(tmp_path / "c"))
    assert ran.code == 1, ran
    assert "is on a file system without Unix sockets" in ran.err, ran
    assert [path.name for path in tmp_path.rglob("*")] == ["t"]

"""The files of sockets, removed under a cluster that runs: by whoever tidies up directories of temporary files."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually, run

import dynazmq
from dynazmq.errors import DynazmqError
from dynazmq.paths import runtime_dir


@pytest.fixture(scope="module", params=["short", "long" * 25])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Of a directory with a long path the sockets are elsewhere."""
    with tempfile.TemporaryDirectory(prefix="dz-", dir="/tmp") as base:
        made = Cluster(Path(base) / request.param)
        made.up("-n", "2")
        yield made
        made.run("down", "--purge", "--yes")


def all_of(pattern: str) -> Callable[[Path], None]:
    def remove(sockets: Path) -> None:
        found = sorted(sockets.glob(pattern))
        assert found
        for path in found:
            path.unlink()

    return remove


def the_directory(sockets: Path) -> None:
    gone = sockets.rename(sockets.with_name(f"{sockets.name}.gone"))  # at once: a node may make its socket again meanwhile
    shutil.rmtree(gone)


def files_instead(sockets: Path) -> None:
    for path in sockets.iterdir():
        path.unlink()
        path.touch()


def other_sockets_instead(sockets: Path) -> None:
    """As they come back from a backup: nobody listens."""
    for path in sockets.iterdir():
        path.unlink()
        os.mknod(path, 0o140600)


@pytest.mark.parametrize(
    "removed",
    [all_of("supervisor.sock"), all_of("n1.sock"), all_of("*.sock"), all_of("*.peer"), all_of("*"), the_directory, files_instead,
     other_sockets_instead],
)  # fmt: skip
def test_sockets_whose_files_were_removed_are_there_again_in_a_moment(cluster: Cluster, removed: Callable[[Path], None]) -> None:
    """Nobody looked whether the bound path was still there: `up` failed after 20 s, and only `down` helped."""
    pids, supervisor = cluster.pids(), cluster.status()["supervisor_pid"]
    sockets = runtime_dir(cluster.directory)
    with dynazmq.connect(dir=cluster.directory) as client:
        removed(sockets)
        client.put("k", b"v", client.get("k").context)  # who is connected does not notice
    made = {f"{name}.{kind}" for name in ("n1", "n2") for kind in ("sock", "peer")} | {"supervisor.sock"}
    eventually(lambda: all((sockets / name).is_socket() for name in made), "all are there")
    eventually(lambda: _answers(cluster), "who comes now is let in")
    assert cluster.run("up").code == 0
    assert cluster.run("node", "restart", "n1").code == 0
    eventually(cluster.whole, "all of it is whole")
    assert (cluster.pids()["n2"], cluster.status()["supervisor_pid"]) == (pids["n2"], supervisor)


def _answers(cluster: Cluster) -> bool:
    try:
        with dynazmq.connect(dir=cluster.directory) as client:
            return client.get("k").value == b"v"
    except DynazmqError:
        return False


@pytest.mark.parametrize("words", [("status",), ("doctor",)])
def test_until_then_it_is_said_what_it_is(cluster: Cluster, words: tuple[str, ...]) -> None:
    """It was said that there is no supervisor, and to type `up`, which waited for it in vain."""
    pid = cluster.status()["supervisor_pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        (runtime_dir(cluster.directory) / "supervisor.sock").unlink()
        said = run(*words, "--dir", str(cluster.directory)).out
        assert f"the supervisor (pid {pid}) is stopped by a signal" in said
        assert f"kill -CONT {pid}" in said
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: cluster.status()["supervisor_pid"] == pid, "it answers again")

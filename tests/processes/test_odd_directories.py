"""Directories with odd names hold a cluster like any other, or are refused at once; and a start never waits past its time."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from supervised import Cluster, eventually

from dynazmq.cli import FAILED, OK, USAGE
from dynazmq.cluster.observe.asking import Asker
from dynazmq.cluster.operations import launch
from dynazmq.paths import DIRECTORY_BYTES_MAX

GOOD = [
    *("a b 'c\"d", " a:b#c?d=e&f ", "100%41%s", "a;b|c$HOME`x`", "*[a]?{b,c}@!", "-x", "--", "~", "a\\nb\\", "é☃漢字e\u0301"),
    *(".(a)<b>,c", "x" * 200, "é" * 100),
]
REFUSED = [b"caf\xe9", b"a\nb", b"a\tb", b"a\rb", b"a\x1b[31mb", b"\x7f", b"\xff" * 100, "a\u202eb".encode(), "a\u200bb".encode()]


@pytest.fixture
def below(tmp_path: Path) -> Path:
    """Short, so that sockets are beside the other files and their names are odd, too."""
    place = tmp_path / "c"
    place.mkdir()
    return place


@pytest.mark.parametrize("name", GOOD, ids=ascii)
def test_a_cluster_lives_in_a_directory_of_any_name_that_can_be_printed(name: str, below: Path) -> None:
    cluster = Cluster(below / name)
    try:
        cluster.up("-n", "1", "--sync", "normal")
        assert cluster.run("put", "key", "value").code == OK
        assert cluster.run("get", "key").out.strip() == "value"
        assert cluster.status()["dir"] == str(below / name)
        cluster.run("kill", "n1")
        assert cluster.run("node", "start", "n1").code == OK
        eventually(cluster.whole, "n1 is up again")
        assert cluster.run("get", "key").out.strip() == "value"
    finally:
        ran = cluster.run("down", "--purge", "--yes")
    assert ran.code == OK, ran
    assert cluster.leftovers() == []
    assert list(below.iterdir()) == []


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
@pytest.mark.parametrize("command", ["up -n 1", "put a b", "get a", "status", "down --purge --yes"])
def test_other_names_are_refused_by_every_command_before_it_does_anything(command: str, name: bytes, below: Path) -> None:
    ran = Cluster(below / os.fsdecode(name)).run(*command.split())
    assert ran.code == USAGE
    assert "a path of printable UTF-8" in ran.err
    assert ascii(os.fsdecode(name))[1:-1] in ran.err
    assert list(below.iterdir()) == []


def test_the_longest_path_works_and_a_longer_one_is_refused(below: Path) -> None:
    left = DIRECTORY_BYTES_MAX - len(os.fsencode(below)) - 1
    longest = below / ("x" * (left // 2)) / ("y" * (left - left // 2 - 1))
    assert len(os.fsencode(longest)) == DIRECTORY_BYTES_MAX
    cluster = Cluster(longest)
    try:
        cluster.up("-n", "1", "--sync", "normal", "--name", "c")
        assert cluster.run("put", "key", "value").code == OK
    finally:
        ran = cluster.run("down", "--purge", "--yes")
    assert ran.code == OK, ran
    assert cluster.leftovers() == []
    ran = Cluster(longest.with_name(longest.name + "y")).run("up", "-n", "1")
    assert ran.code == USAGE
    assert f"{DIRECTORY_BYTES_MAX} bytes at most, not {DIRECTORY_BYTES_MAX + 1}" in ran.err


# --- starts that fail -----------------------------------------------------------------------------------------------------


def test_a_start_ends_with_its_supervisor_and_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor dies when the first node runs, which by then nobody would end or start again."""
    cluster = Cluster(tmp_path / "c")
    start = launch.await_supervisor

    def and_kill(directory: Path, process: subprocess.Popen[bytes] | None, deadline: float) -> object:
        facts = start(directory, process, deadline)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return facts

    monkeypatch.setattr(launch, "await_supervisor", and_kill)
    ran = cluster.run("up", "-n", "3", "--sync", "normal", "--timeout", "10m")
    assert ran.code == FAILED
    assert "the supervisor ended: killed (9)" in ran.err
    assert cluster.leftovers() == []


def test_a_start_that_fails_in_a_way_that_nobody_foresaw_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path / "c")

    def fail(_asker: Asker, *_arguments: object, **_options: object) -> None:
        raise UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates not allowed")

    monkeypatch.setattr(Asker, "gather", fail)
    ran = cluster.run("up", "-n", "3", "--sync", "normal", "--timeout", "10m")
    assert ran.code == FAILED
    monkeypatch.undo()
    assert cluster.leftovers() == []


def test_who_asks_ends_though_an_endpoint_could_not_be_used() -> None:
    asker = Asker(1, {"n1": "ipc://caf\udce9"})
    with pytest.raises(UnicodeEncodeError):
        asker.ask(["n1"])
    asker.close()

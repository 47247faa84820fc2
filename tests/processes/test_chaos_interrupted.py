"""`verify --chaos` on real processes, interrupted: whatever it did to the cluster is undone, and no process of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from patience import PATIENCE_S
from supervised import Cluster, eventually, processes_below

from dynazmq.chaos import fresh
from dynazmq.cluster.observe import events
from dynazmq.cluster.operations import launch


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "c")
    made.up("-n", "3")
    yield made
    made.run("down", "--purge", "--yes")


class Typed:
    """A command in a process of its own, as in a terminal: what it started does not hear its Ctrl-C."""

    def __init__(self, tmp_path: Path, *arguments: str) -> None:
        self._said = tmp_path / "said"
        with open(self._said, "wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dynazmq", *arguments], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env={**os.environ, "TMPDIR": str(tmp_path)}, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._said.read_text()

    def send(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def code(self, timeout_s: float = PATIENCE_S) -> int:
        return self.process.wait(timeout_s)


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[list[Typed]]:
    made: list[Typed] = []
    yield made
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def paused(directory: Path) -> bool:
    return any(event.kind == "paused" for event in events.read(directory).events)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_it_brings_everything_back_and_judges_what_there_is(
    number: int, cluster: Cluster, tmp_path: Path, typed: list[Typed]
) -> None:
    at = ("--dir", str(cluster.directory))
    command = Typed(tmp_path, "verify", "--chaos", "10m", "--users", "--faults", "pause,partition", *at, "--seed", "1")
    typed.append(command)
    eventually(lambda: paused(cluster.directory), "a node is paused")
    command.send(number)
    assert command.code() == 130, command.said
    assert "\nvalid:" in command.said
    assert cluster.run("fault", "list", "--json").document["faults"] == []
    assert {node["state"] for node in cluster.status()["nodes"]} == {"up"}
    assert not any("dynazmq.chaos.users" in line or "verify" in line for line in processes_below(cluster.directory))


def test_interrupted_again_it_brings_everything_back_all_the_same_and_says_that_it_does_not_know(
    cluster: Cluster, tmp_path: Path, typed: list[Typed]
) -> None:
    at = ("--dir", str(cluster.directory))
    command = Typed(tmp_path, "verify", "--chaos", "10m", "--users", "--faults", "pause,partition", *at, "--seed", "1")
    typed.append(command)
    eventually(lambda: paused(cluster.directory), "a node is paused")
    command.send(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        command.code(0.3)
    command.send(signal.SIGINT)
    assert command.code() == 130, command.said
    assert "not known" in command.said
    assert cluster.run("fault", "list", "--json").document["faults"] == []
    eventually(cluster.whole, "all is up again")
    assert not any("dynazmq.chaos.users" in line or "verify" in line for line in processes_below(cluster.directory))


@pytest.mark.parametrize("when", ["while it starts", "in the middle"])
def test_of_a_cluster_to_be_thrown_away_nothing_is_left_when_it_is_interrupted(
    when: str, tmp_path: Path, typed: list[Typed]
) -> None:
    command = Typed(tmp_path, "verify", "--chaos", "10m", "--users", "--fresh", "-n", "3", "--faults", "pause", "--seed", "1")
    typed.append(command)
    (made,) = eventually(lambda: list(tmp_path.glob("dynazmq-chaos-*/chaos")), "its directory")
    if when == "in the middle":
        eventually(lambda: paused(made), "a node is paused")
    command.send(signal.SIGINT)
    assert command.code() == 130, command.said
    assert list(tmp_path.glob("dynazmq-chaos-*")) == []
    assert processes_below(made) == []


def test_interrupted_while_it_takes_its_lock_a_cluster_to_be_thrown_away_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own lock, which nobody remembered to have taken, kept its directory from being removed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    take = launch.lock

    def interrupted(directory: Path) -> int | None:
        held = take(directory)
        os.kill(os.getpid(), signal.SIGINT)
        return held

    monkeypatch.setattr(launch, "lock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fresh.start(3)
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []

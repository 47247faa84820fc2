"""A supervisor that lives and hears nothing (SIGSTOP): who needs it says so, and never to start another beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from supervised import Cluster, eventually


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "2", "--sync", "normal")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def stopped(cluster: Cluster) -> Iterator[int]:
    pid: int = cluster.status()["supervisor_pid"]
    os.kill(pid, signal.SIGSTOP)
    yield pid
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: cluster.status()["supervisor_pid"] == pid, "it answers again")


@pytest.mark.parametrize("text", ["up", "status", "doctor", "node kill n1", "node restart n1", "cluster restart --rolling"])
def test_each_command_says_which_signal_helps(cluster: Cluster, stopped: int, text: str) -> None:
    ran = cluster.run(*text.split())
    said = ran.out + ran.err
    assert f"the supervisor (pid {stopped}) is stopped by a signal" in said
    assert f"kill -CONT {stopped}" in said
    assert "dynazmq up" not in said


def test_it_can_be_ended_all_the_same(cluster: Cluster) -> None:
    os.kill(cluster.status()["supervisor_pid"], signal.SIGSTOP)
    ran = cluster.down()
    assert (ran.code, "the supervisor did not answer and was killed" in ran.err + ran.out) == (0, True)
    assert cluster.leftovers() == []

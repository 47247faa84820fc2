"""Files of a cluster that were removed while it runs: the lock, by which there is one supervisor, and the cluster's own."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually, processes_below

from dynazmq.cluster.processes import supervisors_in


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="dz-", dir="/tmp") as base:
        made = Cluster(Path(base) / "c")
        made.up("-n", "2")
        yield made
        made.run("down", "--purge", "--yes")
        assert processes_below(made.directory) == []


def remove(lock: Path) -> None:
    lock.unlink()


def put_another_there(lock: Path) -> None:
    lock.with_name("restored").touch()
    lock.with_name("restored").rename(lock)


@pytest.mark.parametrize("way", [remove, put_another_there])
@pytest.mark.parametrize("command", ["up", "down"])
def test_a_supervisor_is_the_only_one_though_its_lock_was_removed(
    cluster: Cluster, way: Callable[[Path], None], command: str
) -> None:
    """The next `up` started a second one, both had the same nodes, and `down` could end neither."""
    before = cluster.pids(), cluster.status()["supervisor_pid"]
    way(cluster.directory / "supervisor.lock")
    ran = cluster.run(command)
    assert ran.code == 0, ran
    if command == "up":
        assert (cluster.pids(), cluster.status()["supervisor_pid"]) == before
        assert len(supervisors_in(cluster.directory)) == 1
    else:
        assert ran.out.startswith("stopped 2 nodes")
        assert processes_below(cluster.directory) == []


def test_a_frozen_supervisor_without_its_lock_is_told_of_and_ended_by_down(cluster: Cluster) -> None:
    supervisor = cluster.status()["supervisor_pid"]
    os.kill(supervisor, signal.SIGSTOP)
    (cluster.directory / "supervisor.lock").unlink()
    refused = cluster.run("up")
    assert refused.code == 1
    assert f"supervisor ({supervisor}) runs here, and somebody has removed its supervisor.lock" in refused.err
    assert cluster.run("down").out.startswith("stopped 2 nodes")
    assert processes_below(cluster.directory) == []


@pytest.mark.parametrize("supervised", [True, False])
def test_a_cluster_can_be_ended_though_its_file_was_removed(cluster: Cluster, supervised: bool) -> None:
    """`down` said that there is no cluster, `up` that there are other things: nobody could end its processes."""
    if not supervised:
        cluster.kill_supervisor()
    (cluster.directory / "cluster.json").unlink()
    assert cluster.run("down").out.startswith("stopped 2 nodes")
    eventually(lambda: not processes_below(cluster.directory), "all are gone")
    assert cluster.run("down").code == 7

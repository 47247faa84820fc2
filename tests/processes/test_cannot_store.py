"""Nodes that live and cannot store: all who look at the cluster say so, puts say why, and it can be ended (promise 6)."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually

from dynazmq.cluster.processes import Identity
from dynazmq.cluster.supervisor.back_off import Restarts
from dynazmq.cluster.supervisor.children import Child
from dynazmq.errors import ClusterError


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "3", "--sync", "normal")
    cluster.run("put", "a", "b")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def allow(cluster: Cluster, names: Iterable[str], file_bytes: int) -> None:
    """How long the files of these nodes may be: the kernel refuses what is written beyond, as a disk would."""
    pids = cluster.pids()
    for name in names:
        resource.prlimit(pids[name], resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))


def unable(cluster: Cluster) -> dict[str, str]:
    return {node["name"]: node["cannot_store"] for node in cluster.status()["nodes"] if node["cannot_store"]}


def test_all_who_look_say_that_no_node_can_store_and_why(cluster: Cluster) -> None:
    allow(cluster, ("n1", "n2", "n3"), 1)
    try:
        refused = cluster.run("put", "a", "c")
        assert refused.code != 0
        assert "could not store it: cannot commit: disk I/O error" in refused.err
        eventually(lambda: (cluster.run("put", "a", "c"), len(unable(cluster)) == 3)[1], "all say so")
        assert all("disk I/O error" in why for why in unable(cluster).values())
        assert cluster.run("status", "--check").code == 9
        assert "no key meets W=2: 0 nodes can store; every key meets R=2" in cluster.run("status").out
        doctor = cluster.run("doctor")
        assert (doctor.code, doctor.out.count("cannot store: ")) == (10, 3)
        assert cluster.run("metrics").out.count('dynazmq_can_store{node="n') == 3
        assert 'dynazmq_can_store{node="n1"} 0' in cluster.run("metrics").out
        assert "NO WRITES" in cluster.run("tui", "--once").out
        assert cluster.run("get", "a").out.strip() == "b"
        assert cluster.run("logs").code == 0
    finally:
        allow(cluster, ("n1", "n2", "n3"), resource.RLIM_INFINITY)
    eventually(lambda: not unable(cluster), "they find out by themselves that they can store again")
    assert cluster.run("put", "a", "d").code == 0


def test_one_that_cannot_store_is_degraded_and_others_take_its_writes(cluster: Cluster) -> None:
    allow(cluster, ["n2"], 1)
    try:
        eventually(lambda: (cluster.run("put", "e", "f"), "n2" in unable(cluster))[1], "n2 says so")
        assert cluster.run("put", "e", "g").code == 0
        assert cluster.run("status", "--check").code == 8
        assert cluster.run("cluster", "wait", "--for", "ready", "--timeout", "100ms").code == 6
    finally:
        allow(cluster, ["n2"], resource.RLIM_INFINITY)
    eventually(lambda: not unable(cluster), "n2 can store again")
    assert cluster.run("get", "e").out.strip() == "g"


def test_a_fault_that_fills_the_disk_is_shown_as_long_as_it_is_on(cluster: Cluster) -> None:
    assert cluster.run("fault", "disk-full", "n1,n2,n3").code == 0
    eventually(lambda: len(unable(cluster)) == 3, "all say so, though nobody has written")
    assert cluster.run("status", "--check").code == 9
    assert "could not store it: disk full (fault f" in cluster.run("put", "a", "x").err
    assert cluster.run("heal").code == 0
    eventually(lambda: not unable(cluster), "it is healed")


def test_a_node_that_could_not_start_again_is_not_ended_to_be_restarted(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only or full disk it was stopped, and was gone: until then it had read, and answered."""
    before = cluster.pids()
    supervisor = cluster.status()["supervisor_pid"]
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try:
        refused = cluster.run("node", "restart", "n1")
    finally:
        resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert refused.code == 1
    assert "n1 is not restarted: nothing can be written in " in refused.err
    assert "(File too large)" in refused.err
    monkeypatch.setattr("dynazmq.cli.restart.refusal", lambda _place: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    for words in (("restart",), ("restart", "--rolling")):
        refused = cluster.run("cluster", *words)
        assert refused.code == 1
        assert "(No space left on device): no node could start again there, so nothing was ended" in refused.err
    assert cluster.pids() == before


def test_a_node_on_a_read_only_disk_is_not_stopped_to_be_wiped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped, could not be wiped, and could not be started."""
    child = Child(tmp_path, "n1", Restarts(), lambda *_: None)
    child.adopt(Identity(os.getpid(), "not this one"))
    monkeypatch.setattr("dynazmq.storage.health.read_only", lambda _place: True)
    with pytest.raises(ClusterError, match=r"is not wiped: .* read-only; it goes on as it is"):
        child.wipe(0.0)
    assert child.runs


def test_a_cluster_that_cannot_write_is_ended(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.up("-n", "1", "--sync", "normal")
    supervisor = cluster.status()["supervisor_pid"]
    allow(cluster, ["n1"], 1)
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    assert cluster.down().code == 0
    assert cluster.leftovers() == []

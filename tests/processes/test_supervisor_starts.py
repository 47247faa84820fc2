"""Starting a cluster: what may be wrong with it, what may be left from before, and that a failure leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from supervised import Cluster, eventually, run

from dynazmq import paths
from dynazmq.cluster.operations import launch
from dynazmq.cluster.processes import environment, identify


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A place for one; whatever runs there in the end is ended."""
    cluster = Cluster(tmp_path / "c")
    yield cluster
    if (cluster.directory / "cluster.json").exists():
        cluster.down()
    assert cluster.leftovers() == []


def test_a_start_that_fails_leaves_nothing_running_and_says_why(cluster: Cluster) -> None:
    cluster.up("-n", "3")
    cluster.down()
    for path in (cluster.directory / "nodes" / "n2").glob("data.db*"):
        path.unlink()
    (cluster.directory / "nodes" / "n2" / "data.db").write_bytes(b"this is no database" * 1000)
    failed = cluster.run("up")
    assert failed.code == 1
    assert "n2  exited with code 65: " in failed.err
    assert "n2/data.db is not a database; to start empty and be filled by the peers: dynazmq node start n2" in failed.err
    assert "n1" in failed.err.split("stopped")[1]
    assert cluster.leftovers() == []
    again = cluster.run("up", "--json")
    assert (again.code, again.document["ready"], again.document["failure"]["node"]) == (1, False, "n2")
    assert "not a database" in again.document["failure"]["reason"], again
    assert cluster.leftovers() == []


def test_an_interrupted_start_leaves_nothing_running(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **_options: object) -> Iterator[object]:
        eventually(lambda: cluster.node("n2")["answers"], "n2 answers")
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("dynazmq.cluster.operations.readiness.await_ready", interrupted)
    ran = cluster.run("up", "-n", "2")
    assert ran.code == 130
    assert "stopped n1 n2 again" in ran.err
    assert cluster.leftovers() == []


def test_a_port_that_is_taken_is_named_and_no_other_is_chosen(cluster: Cluster) -> None:
    endpoint = cluster.up("-n", "2", "--transport", "tcp")["nodes"][1]["endpoint"]
    cluster.down()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(endpoint.rpartition(":")[2])))
        other.listen()
        failed = cluster.run("up")
    assert failed.code == 1
    assert f"n2  exited with code 1: cannot listen on {endpoint}: Address already in use" in failed.err
    assert cluster.leftovers() == []
    assert cluster.up()["nodes"][1]["endpoint"] == endpoint


def test_two_starts_at_once_make_one_cluster(cluster: Cluster) -> None:
    command = [sys.executable, "-P", "-m", "dynazmq", "up", "-n", "2", "--json", "--dir", str(cluster.directory)]
    starts = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    documents = []
    for start in starts:
        out, _ = start.communicate(timeout=PATIENCE_S)
        assert start.returncode == 0
        documents.append(json.loads(out))
    assert sorted(document["was_running"] for document in documents) == [False, True]
    assert documents[0]["nodes"] == documents[1]["nodes"]


def test_a_restarted_cluster_is_as_it_was_with_new_processes(cluster: Cluster) -> None:
    cluster.up("-n", "2", "--restart", "never", "--sync", "normal")
    cluster.run("put", "kept", "v")
    before, supervisor = cluster.pids(), cluster.status()["supervisor_pid"]
    again = cluster.run("cluster", "restart")
    assert again.code == 0
    assert "stopped 2 nodes" in again.out
    assert not set(cluster.pids().values()) & set(before.values())
    assert cluster.status()["supervisor_pid"] != supervisor
    assert cluster.run("get", "kept").out == "v"
    os.kill(cluster.node("n2")["pid"], signal.SIGKILL)
    eventually(lambda: cluster.node("n2")["state"] == "down", "n2 is down")
    assert cluster.node("n2")["restart_in_s"] is None


def test_what_was_said_of_restarts_outlives_the_supervisor(cluster: Cluster) -> None:
    cluster.up("-n", "2", "--restart", "never")
    cluster.kill_supervisor()
    cluster.up()
    os.kill(cluster.node("n2")["pid"], signal.SIGKILL)
    eventually(lambda: cluster.node("n2")["state"] == "down", "n2 is down")
    assert cluster.node("n2")["restart_in_s"] is None
    cluster.up("--restart", "on-failure", "--restart-after", "7s")
    os.kill(cluster.node("n2")["pid"], signal.SIGKILL)
    waiting = eventually(lambda: cluster.node("n2")["restart_in_s"], "a countdown")
    assert 0 < waiting <= 7


def test_a_node_that_dies_stays_down_with_restart_never(cluster: Cluster) -> None:
    cluster.up("-n", "2", "--restart", "never", "--restart-after", "10ms")
    for pid in cluster.pids().values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: {node["state"] for node in cluster.status()["nodes"]} == {"down"}, "both are down")
    assert cluster.node("n1")["restart_in_s"] is None
    assert cluster.run("status").code == 7  # nothing of it serves
    assert cluster.up()["was_running"] is True
    eventually(lambda: cluster.node("n1")["state"] == "up", "n1 is up")


def test_p4_a_node_that_dies_again_and_again_is_given_up_and_named(cluster: Cluster) -> None:
    cluster.up("-n", "2", "--restart-after", "1ms")
    cluster.run("node", "stop", "n2")
    (cluster.directory / "nodes" / "n2" / "config.json").write_text("{}")
    cluster.run("node", "start", "n2", "--no-wait")
    eventually(lambda: cluster.node("n2")["gave_up"], "n2 is given up")
    shown = cluster.run("status").out
    assert "nobody starts it any more: cannot read" in shown
    assert "next  dynazmq node start n2" in shown
    eventually(lambda: cluster.node("n1")["state"] == "up", "n1 is up")


def test_a_node_that_cannot_start_is_reported_at_once(cluster: Cluster) -> None:
    cluster.up("-n", "2", "--restart", "never")
    cluster.run("node", "stop", "n2")
    (cluster.directory / "nodes" / "n2" / "config.json").write_text("{}")
    failed = cluster.run("node", "start", "n2")
    assert failed.code == 1
    assert "cannot read" in failed.err


def test_one_node_is_a_cluster_and_tcp_works(cluster: Cluster) -> None:
    up = cluster.up("-n", "1", "--transport", "tcp")
    assert up["nodes"][0]["endpoint"].startswith("tcp://127.0.0.1:")
    assert cluster.status()["ring"].items() >= {"n": 1, "r": 1, "w": 1}.items()
    assert cluster.status()["converged"]


def test_two_clusters_run_side_by_side(tmp_path: Path) -> None:
    first, second = Cluster(tmp_path / "a"), Cluster(tmp_path / "b")
    try:
        first.up("-n", "2")
        second.up("-n", "2")
        listed = {each["dir"]: each["running"] for each in run("cluster", "list", "--json").document["clusters"]}
        assert listed.items() >= {str(first.directory): 2, str(second.directory): 2}.items()
        first.down()
        eventually(lambda: second.node("n1")["state"] == "up", "n1 is up")
    finally:
        first.down()
        second.down()
    assert first.leftovers() + second.leftovers() == []


def test_what_a_dead_supervisor_left_is_no_obstacle(cluster: Cluster) -> None:
    """A socket that nobody listens on, a state file that names dead processes, a lock file that nobody holds."""
    cluster.up("-n", "2")
    cluster.down()
    path = paths.supervisor_socket(cluster.directory)
    paths.make_private(path.parent)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    document = {
        "supervisor": [4194304, "x/1"],
        "restart": "never",
        "nodes": {"n1": {"identity": [4194304, "x/1"], "process": "running", "purpose": "", "changed_at": 0.0}},
    }
    (cluster.directory / "supervisor.json").write_text(json.dumps(document))
    assert cluster.run("status").code == 7
    assert cluster.up()["adopted"] == []
    eventually(lambda: cluster.node("n1")["state"] == "up", "n1 is up")


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / ("long" * 30))
    try:
        cluster.up("-n", "2")
        assert len(paths.supervisor_socket(cluster.directory).as_posix()) < 104
        run_dir = paths.runtime_dir(cluster.directory)
        assert run_dir.exists()
    finally:
        cluster.down()
    assert not run_dir.exists()


def test_a_damaged_cluster_file_is_an_error_and_not_a_new_cluster(cluster: Cluster) -> None:
    cluster.up("-n", "2")
    cluster.down()
    (cluster.directory / "cluster.json").write_text("{ damaged")
    for command in ("up", "status"):
        ran = cluster.run(command)
        assert ran.code == 1
        assert "cluster.json" in ran.err
    assert cluster.run("down", "--purge", "--yes").code == 0
    assert not cluster.directory.exists()


def test_nodes_of_a_deleted_directory_do_not_end_up_in_a_new_cluster(cluster: Cluster) -> None:
    old = cluster.up("-n", "2")["nodes"][0]["pid"]
    cluster.kill_supervisor()
    shutil.rmtree(cluster.directory)
    new = cluster.up("-n", "2")["nodes"][0]["pid"]
    assert new != old
    assert identify(old) is None


def test_purge_removes_the_cluster_and_nothing_else(cluster: Cluster) -> None:
    cluster.up("-n", "2")
    mine = [cluster.directory / "mine.txt", cluster.directory / "nodes" / "photos" / "mine.jpg"]
    mine[1].parent.mkdir()
    for path in mine:
        path.write_text("keep")
    cluster.down()
    cluster.up()
    assert mine[1].exists(), "a start deleted whatever held no data.db"
    assert cluster.run("down", "--purge").code == 2  # nobody can be asked
    ran = cluster.run("down", "--purge", "--yes")
    assert ran.code == 0
    assert f"kept what is not ours: {mine[1].parent}, {mine[0]}" in ran.err
    assert sorted(path for path in cluster.directory.rglob("*") if path.is_file()) == mine


def test_down_ends_a_cluster_whose_supervisor_is_frozen(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "DOWN_S", 0.3)
    cluster.up("-n", "2")
    document = cluster.status()
    os.kill(document["supervisor_pid"], signal.SIGSTOP)
    ran = cluster.down()
    assert ran.code == 0
    assert "did not answer and was killed" in ran.err
    assert identify(document["supervisor_pid"]) is None
    assert identify(document["nodes"][0]["pid"]) is None


def test_in_the_foreground_a_signal_ends_the_cluster_in_good_order(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "dynazmq", "up", "-n", "2", "--foreground", "--dir", str(cluster.directory)]
    said = tmp_path / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(command, env=environment(), stdout=output, stderr=output)
    try:
        eventually(lambda: "ready in" in said.read_text() or process.poll() is not None, "it is ready")
        eventually(lambda: cluster.node("n2")["state"] == "up", "n2 is up")
        process.send_signal(signal.SIGTERM)
        assert process.wait(8) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()
    assert cluster.leftovers() == []


def test_what_was_asked_for_must_be_possible(tmp_path: Path) -> None:
    for options, words in (
        ("-n 0", "-n is 1 to"),
        ("-n 2 --replicas 3", "--replicas is 1 to 2"),
        ("-n 3 --write-quorum 4", "--write-quorum is 1 to 3"),
        ("-n 20 --partitions 10", "--partitions is 20 or more"),
        ("--sync sometimes", "--sync is full or normal"),
        ("--restart maybe", "--restart is on-failure or never"),
        ("--timeout soon", "not a duration"),
    ):
        ran = run("up", *options.split(), "--dir", str(tmp_path / "c"))
        assert ran.code == 2, options
        assert words in ran.err
    assert not (tmp_path / "c").exists()

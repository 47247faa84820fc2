"""One supervisor, three real nodes: what is done to them and what becomes of it.

See docs/decisions/0032; P1, P3, P4, P5, P8, P9.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually, run

from dynazmq.cluster.processes import identify


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "3", "--restart-after", "1s")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """Whole again before each test, whatever the one before did."""
    if running.status()["supervisor_pid"] is None:
        running.up("--restart-after", "1s")
    if not running.whole():
        running.run("node", "start", "--all", "--no-wait")
        eventually(running.whole, "the cluster is whole")
    return running


def test_status_shows_each_node_as_the_system_itself_and_its_peers_see_it(cluster: Cluster) -> None:
    document = cluster.status()
    assert document["schema"] == "dynazmq.status/1"
    assert document["converged"] is True
    assert document["dir"] == str(cluster.directory)
    assert document["ring"].items() >= {"partitions": 120, "n": 3, "r": 2, "w": 2}.items()
    assert [node["name"] for node in document["nodes"]] == ["n1", "n2", "n3"]
    assert sum(node["partitions"] for node in document["nodes"]) == 120
    for node in document["nodes"]:
        assert node["state"] == "up"
        assert identify(node["pid"]) is not None
        assert set(node["seen_by"].values()) == {"up"}
        assert node["rss_bytes"] > 0
    assert identify(document["supervisor_pid"]) is not None


def test_p1_a_node_killed_by_hand_is_started_again_after_a_countdown(cluster: Cluster) -> None:
    before = cluster.node("n2")
    os.kill(before["pid"], signal.SIGKILL)
    waiting = eventually(lambda: (node := cluster.node("n2"))["restart_in_s"] is not None and node, "a countdown")
    assert waiting["state"] == "down"
    assert waiting["process"] == "killed (9)"
    assert 0 <= waiting["restart_in_s"] <= 1.0
    eventually(cluster.whole, "n2 is back")
    after = cluster.node("n2")
    assert after["pid"] != before["pid"]
    assert after["incarnation"] > before["incarnation"]


def test_a_node_killed_by_the_command_stays_down_until_it_is_started(cluster: Cluster) -> None:
    killed = cluster.run("kill", "n1")
    assert killed.code == 0
    assert "KILL sent to pid" in killed.out
    assert "down by 2/2" in killed.out
    node = cluster.node("n1")
    assert (node["state"], node["process"], node["restart_in_s"]) == ("down", "killed (9)", None)  # no countdown
    assert cluster.run("status", "--check").code == 8
    assert "next  dynazmq node start n1" in cluster.run("status").out
    assert cluster.run("node", "start", "n1").code == 0
    eventually(lambda: cluster.node("n1")["state"] == "up", "n1 is up")


def test_when_all_nodes_were_ended_by_hand_up_starts_them_again(cluster: Cluster) -> None:
    killed = cluster.run("kill", "--all")
    assert killed.code == 0
    assert "nobody is left to notice    next  dynazmq up" in killed.out
    assert cluster.run("node", "stop", "n1").code == 0  # it is down, as was asked
    status = cluster.run("status")
    assert status.code == 7
    assert "NOT RUNNING" in status.out
    assert cluster.run("up").code == 0
    eventually(cluster.whole, "the cluster is whole")


def test_p5_a_paused_node_is_silent_to_its_peers_and_goes_on_when_resumed(cluster: Cluster) -> None:
    pid = cluster.node("n3")["pid"]
    paused = cluster.run("pause", "n3", "--json")
    assert paused.document["nodes"][0]["state"] == "paused"
    node = cluster.node("n3")
    assert node["pid"] == pid
    assert "up" not in node["seen_by"].values()
    assert cluster.run("resume", "n3").code == 0
    eventually(lambda: cluster.node("n3")["state"] == "up", "n3 is up")
    assert cluster.node("n3")["pid"] == pid


def test_a_stopped_node_ends_in_good_order_and_its_log_says_so(cluster: Cluster) -> None:
    assert cluster.run("node", "stop", "n2").code == 0
    node = cluster.node("n2")
    assert (node["state"], node["process"]) == ("stopped", "stopped")
    assert "stopped" in cluster.run("logs", "n2", "--lines", "1").out
    assert "was stopped already" in cluster.run("node", "stop", "n2").out


def test_a_wiped_node_has_lost_its_disk_and_stays_stopped(cluster: Cluster) -> None:
    data = cluster.directory / "nodes" / "n2"
    assert list(data.glob("data.db*"))
    refused = cluster.run("node", "wipe", "n2")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert cluster.run("node", "wipe", "n2", "--yes").code == 0
    assert list(data.glob("data.db*")) == []
    assert cluster.node("n2")["state"] == "stopped"
    assert cluster.node("n2")["process"] == "wiped"


def test_a_restarted_node_is_another_process(cluster: Cluster) -> None:
    before = cluster.pids()
    assert cluster.run("node", "restart", "n1").code == 0
    after = cluster.pids()
    assert after["n1"] not in (None, before["n1"])
    assert after["n2"] == before["n2"]


def test_several_nodes_at_once_and_names_that_are_none(cluster: Cluster) -> None:
    assert cluster.run("node", "stop", "n[1-2]", "--no-wait").code == 0
    eventually(lambda: [node["state"] for node in cluster.status()["nodes"]] == ["stopped", "stopped", "up"], "two stopped")
    assert cluster.run("status", "--check").code == 9
    unknown = cluster.run("kill", "n9")
    assert unknown.code == 2
    assert "n1 n2 n3" in unknown.err
    assert cluster.run("kill").code == 2
    assert cluster.run("kill", "n1").code == 1  # it is down already


def test_p3_nodes_outlive_their_supervisor_and_the_next_one_adopts_them(cluster: Cluster) -> None:
    before = cluster.pids()
    gone = cluster.kill_supervisor()
    alone = cluster.status()
    assert alone["supervisor_pid"] is None
    assert {node["name"]: node["pid"] for node in alone["nodes"]} == before
    eventually(cluster.whole, "all are up without a supervisor")
    assert cluster.run("kill", "n1").code == 1
    assert sorted(cluster.up("--restart-after", "1s")["adopted"]) == ["n1", "n2", "n3"]
    assert cluster.pids() == before
    assert cluster.status()["supervisor_pid"] not in (None, gone)


def test_p3_an_adopted_node_that_dies_is_noticed_and_started_again(cluster: Cluster) -> None:
    cluster.kill_supervisor()
    cluster.up("--restart-after", "1s")
    before = cluster.node("n1")
    os.kill(before["pid"], signal.SIGKILL)
    eventually(lambda: cluster.node("n1")["pid"] not in (None, before["pid"]), "n1 is another process")


def test_who_was_ended_by_hand_stays_so_through_an_adoption(cluster: Cluster) -> None:
    cluster.run("kill", "n3")
    cluster.kill_supervisor()
    again = cluster.run("up", "--restart-after", "1s")
    assert again.code == 0
    assert "n3" in again.out
    assert "dynazmq node start n3" in again.out
    assert cluster.node("n3")["pid"] is None


def test_processes_are_found_without_the_state_file(cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.kill_supervisor()
    (cluster.directory / "supervisor.json").write_text("{ not json")
    cluster.up("--restart-after", "1s")
    assert cluster.pids() == before


def test_up_on_a_running_cluster_changes_nothing_and_says_so(cluster: Cluster) -> None:
    before = cluster.pids()
    again = cluster.run("up")
    assert again.code == 0
    assert "runs already" in again.out
    assert cluster.pids() == before
    refused = cluster.run("up", "-n", "5", "--replicas", "2")
    assert refused.code == 2
    assert "-n is 3 and not 5" in refused.err
    assert "--replicas is 3 and not 2" in refused.err


def test_a_second_supervisor_is_refused(cluster: Cluster) -> None:
    refused = cluster.run("up", "--foreground")
    assert refused.code == 1
    assert "has a supervisor already" in refused.err


def test_the_state_file_is_no_licence_to_signal_a_stranger(cluster: Cluster) -> None:
    """P9: a recorded pid belongs to somebody else by now: this very process, started at another time."""
    from dynazmq.cluster.directory.state import StateFile
    from dynazmq.cluster.processes import Identity

    pids = cluster.pids()
    cluster.kill_supervisor()
    state = StateFile.load(cluster.directory)
    state.nodes["n1"].identity = Identity(os.getpid(), "another time")
    state.save(cluster.directory)
    assert cluster.down().code == 0
    assert all(identify(pid) is None for pid in pids.values())  # and we are still here


def test_down_twice_is_no_error_and_leaves_nothing(cluster: Cluster) -> None:
    pids = [*cluster.pids().values(), cluster.status()["supervisor_pid"]]
    assert "stopped 3 nodes" in cluster.down().out
    assert [pid for pid in pids if identify(pid)] == []
    assert cluster.leftovers() == []
    again = cluster.down()
    assert again.code == 0
    assert "not running" in again.out
    assert cluster.run("status").code == 7


def test_down_works_without_a_supervisor(cluster: Cluster) -> None:
    pids = cluster.pids()
    cluster.kill_supervisor()
    assert "stopped 3 nodes" in cluster.down().out
    assert [pid for pid in pids.values() if identify(pid)] == []
    assert cluster.leftovers() == []


def test_the_directory_of_no_cluster_is_named_in_the_error(tmp_path: Path) -> None:
    for command in ("status", "down", "logs", "get x"):
        ran = run(*command.split(), "--dir", str(tmp_path))
        assert ran.code == 7, command
        assert str(tmp_path) in ran.err

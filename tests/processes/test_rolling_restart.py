"""Five real nodes restarted one after the other (docs/decisions/0032; P6, C24).

Under load, interrupted, and where it must not be.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from patience import PATIENCE_S
from supervised import Cluster, eventually

import dynazmq
from dynazmq.cluster.directory.state import alone
from dynazmq.cluster.processes import environment, identify
from dynazmq.errors import ClusterError, DynazmqError
from dynazmq.wire.codec import PROTOCOL_VERSION

LONGEST_S = 2.0
"""What no operation may take even on a busy machine; on two cores that were shared with others the longest took 0.1 s."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "5", "--restart-after", "30s")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """Whole again before each test, whatever the one before did."""
    if not running.whole():
        running.run("node", "start", "--all", "--no-wait")
        eventually(running.whole, "the cluster is whole")
    return running


class Load:
    """Threads that put and get through one client until they are told to stop."""

    def __init__(self, client: dynazmq.Client, threads: int) -> None:
        self.bucket = client.bucket("load", codec="raw")
        self.acknowledged: dict[str, bytes] = {}
        self.longest_s = 0.0
        self.done = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(i,)) for i in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, me: int) -> None:
        random = Random(me)
        contexts: dict[str, dynazmq.Context] = {}
        while not self._stop.wait(0.01):
            key = f"{me}-{random.randrange(100)}"
            began = time.monotonic()
            try:
                if random.random() < 0.5:
                    value = random.randbytes(8)
                    contexts[key] = self.bucket.put(key, value, context=contexts.get(key)).context
                    self.acknowledged[key] = value
                else:
                    self.bucket.get(key)
            except DynazmqError as error:
                self.failed.append(f"{key}: {error!r}")
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            self.done += 1


def test_no_operation_fails_while_all_nodes_are_restarted_and_every_acknowledged_write_is_there(cluster: Cluster) -> None:
    before = cluster.pids()
    with dynazmq.connect(cluster.directory, timeout=5.0) as client:
        with Load(client, threads=8) as load:
            ran = cluster.run("cluster", "restart", "--rolling")
        assert ran.code == 0, ran
        assert load.failed == []
        assert load.done > 300
        assert load.longest_s < LONGEST_S
        batch = load.bucket.get_many(load.acknowledged)
        assert {key: result.values for key, result in batch.ok.items()} == {k: [v] for k, v in load.acknowledged.items()}
    after = cluster.pids()
    assert [line.split()[1] for line in ran.out.splitlines()[:5]] == ["n1", "n2", "n3", "n4", "n5"]
    assert all(f"up, seen by 4/4 peers, pid {before[name]} → {after[name]}" in ran.out for name in before)
    assert not set(before.values()) & set(after.values())


def test_nodes_that_were_ended_or_paused_by_hand_are_left_as_they_are(cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.run("pause", "n2", "--no-wait")
    cluster.run("node", "stop", "n4")
    eventually(lambda: "up" not in cluster.node("n2")["seen_by"].values(), "n2 is suspected")
    ran = cluster.run("cluster", "restart", "--rolling", "--json")
    assert ran.code == 0, ran
    assert ran.document["done"] is True
    rows = {row["name"]: row for row in ran.document["nodes"]}
    assert {name: row["restarted"] for name, row in rows.items()} == {name: name not in ("n2", "n4") for name in before}
    assert (rows["n2"]["left"], rows["n4"]["left"]) == ("paused", "stopped")
    assert cluster.pids()["n2"] == before["n2"]


def test_it_goes_no_further_where_too_few_nodes_would_be_left(cluster: Cluster) -> None:
    before = cluster.pids()
    cluster.run("node", "stop", "n2,n3,n5")
    ran = cluster.run("cluster", "restart", "--rolling", "--json")
    assert ran.code == 5
    assert ran.document["failure"]["why"] == "few"
    assert "2 of 5 nodes are up, R=2 W=2: operations would fail while one is away" in ran.err
    assert cluster.pids()["n1"] == before["n1"]


def test_a_bucket_that_wants_more_copies_wants_more_nodes(cluster: Cluster) -> None:
    before = cluster.pids()
    with dynazmq.connect(cluster.directory) as client:
        client.bucket("all").configure(n=5, r=1, w=5)
        eventually(lambda: _known_everywhere(cluster, "all"), "all nodes know the bucket")
        ran = cluster.run("cluster", "restart", "--rolling")
        client.bucket("all").configure(n=3, r=2, w=2)
        eventually(lambda: _known_everywhere(cluster, "all", w=2), "all nodes know that it is an ordinary one")
    assert ran.code == 5
    assert "5 of 5 nodes are up, R=1 W=5 in bucket 'all'" in ran.err
    assert cluster.pids() == before


def _known_everywhere(cluster: Cluster, bucket: str, w: int = 5) -> bool:
    """Whether each node knows this policy; w: its write quorum."""
    known = []
    for node in cluster.status()["nodes"]:
        with dynazmq.connect(endpoints=[node["endpoint"]]) as client:
            known.append(client.view.policy(bucket).w == w)
    return all(known)


def test_it_does_not_begin_while_a_node_is_down_by_itself(cluster: Cluster) -> None:
    before = cluster.pids()
    os.kill(before["n5"], signal.SIGKILL)
    eventually(lambda: identify(before["n5"]) is None, "n5 is gone")
    ran = cluster.run("cluster", "restart", "--rolling")
    assert ran.code == 1
    assert "n5  killed (9)" in ran.err
    assert "go on  dynazmq node start n5" in ran.err
    assert {name: pid for name, pid in cluster.pids().items() if name != "n5"} == {n: p for n, p in before.items() if n != "n5"}


def test_it_ends_at_a_node_that_does_not_come_back_and_touches_no_other(cluster: Cluster) -> None:
    before = cluster.pids()
    config = cluster.directory / "nodes" / "n2" / "config.json"
    right = config.read_text()
    config.write_text("{")
    ran = cluster.run("cluster", "restart", "--rolling")
    config.write_text(right)
    assert ran.code == 1
    assert "✓ n1  up" in ran.out
    assert "n2  exited (1)" in ran.err
    assert "restarted before: n1; not restarted: n2 n3 n4 n5" in ran.err
    after = cluster.pids()
    assert {name: after[name] for name in ("n3", "n4", "n5")} == {name: before[name] for name in ("n3", "n4", "n5")}


def test_it_ends_at_a_node_that_is_not_back_in_time(cluster: Cluster) -> None:
    before = cluster.pids()
    ran = cluster.run("cluster", "restart", "--rolling", "--timeout", "10ms")
    assert ran.code == 6
    assert "n1  not back after 0.01 s" in ran.err
    # For a moment the old n1 still answers, and the cluster is whole.
    eventually(lambda: cluster.pids().get("n1") not in (None, before["n1"]) and cluster.whole(), "n1 is back all the same")
    after = cluster.pids()
    del after["n1"], before["n1"]
    assert after == before


AS_NEWER = """
import sys
import dynazmq.wire.codec as codec
codec.PROTOCOL_VERSION += 1
from dynazmq.cli import main
sys.exit(main())
"""


def newer(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of a release that speaks the next version of the protocol."""
    command = [sys.executable, "-P", "-c", AS_NEWER, *arguments, "--dir", str(cluster.directory)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)


def test_c24_it_does_not_begin_with_nodes_of_another_protocol_version(cluster: Cluster) -> None:
    before = cluster.pids()
    ran = newer(cluster, "cluster", "restart", "--rolling")
    assert ran.returncode == 1
    assert f"n1  speaks protocol {PROTOCOL_VERSION}, this program {PROTOCOL_VERSION + 1}" in ran.stderr
    assert re.search("go on  dynazmq cluster restart --dir .* all nodes at once", ran.stderr)
    assert cluster.pids() == before


def test_c24_commands_of_another_protocol_version_say_so(cluster: Cluster) -> None:
    status = newer(cluster, "status")
    assert f"n1 n2 n3 n4 n5 speak protocol {PROTOCOL_VERSION}, this program {PROTOCOL_VERSION + 1}" in status.stdout
    put = newer(cluster, "put", "k", "v")
    assert put.returncode == 1
    assert f"speaks protocol {PROTOCOL_VERSION}, this client {PROTOCOL_VERSION + 1}" in put.stderr


def test_ctrl_c_ends_it_between_two_nodes(cluster: Cluster) -> None:
    before = cluster.pids()
    arguments = ["cluster", "restart", "--rolling", "--dir", str(cluster.directory)]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "dynazmq", *arguments],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as command:  # fmt: skip
        assert command.stdout is not None
        command.stdout.readline()  # n1 is back
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 130
    said = re.search(r"interrupted; restarted before: (n1|n1 n2); not restarted: (.*)", err)
    assert said is not None, err
    assert "go on  dynazmq cluster restart --rolling" in err
    assert all(node["state"] == "up" for node in cluster.status()["nodes"])
    after = cluster.pids()
    assert all(after[name] != before[name] for name in said[1].split())
    assert all(after[name] == before[name] for name in said[2].split())


def test_a_second_restart_at_the_same_time_is_refused(cluster: Cluster) -> None:
    before = cluster.pids()
    with alone(cluster.directory):
        for options in (["--rolling"], []):
            ran = cluster.run("cluster", "restart", *options)
            assert ran.code == 1
            assert "another command restarts this cluster or changes its members just now" in ran.err
    assert cluster.pids() == before
    with alone(cluster.directory):  # it is free again
        pass


def test_the_lock_of_a_restart_ends_with_its_process(tmp_path: Path) -> None:
    holder = os.fork()
    if holder == 0:
        handle = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        signal.pause()
        os._exit(0)

    def taken() -> bool:
        try:
            with alone(tmp_path):
                return False
        except ClusterError:
            return True

    try:
        eventually(taken, "the other process holds it")
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    assert not taken()


def test_a_supervisor_that_dies_while_a_node_restarts_does_not_leave_that_node_away(cluster: Cluster) -> None:
    before = cluster.pids()["n3"]
    cluster.run("node", "restart", "n3", "--no-wait")
    cluster.kill_supervisor()
    eventually(lambda: identify(before) is None, "its process has ended, and nobody has started it again")
    cluster.up()
    eventually(cluster.whole, "n3 is back")
    assert cluster.pids()["n3"] != before


def test_a_cluster_that_does_not_run_is_not_restarted(tmp_path: Path) -> None:
    ran = Cluster(tmp_path / "none").run("cluster", "restart", "--rolling")
    assert ran.code == 7

"""Real clusters whose members come and go (§4.9): under load, interrupted at each step, and what is left of it on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from patience import PATIENCE_S
from supervised import Cluster, eventually

import dynazmq
from dynazmq.cli.ring import strip
from dynazmq.cli.shown import report
from dynazmq.cluster import control
from dynazmq.cluster.directory import roster
from dynazmq.cluster.directory.staging import Staged
from dynazmq.cluster.observe.observe import Observer
from dynazmq.cluster.operations import members as members_of
from dynazmq.cluster.processes import environment, find_nodes, identify
from dynazmq.dynamo.values.ring import Ring
from dynazmq.errors import ClusterError, DynazmqError
from dynazmq.paths import ClusterFile, config_path, load_node_config
from dynazmq.tui.look import Look
from dynazmq.tui.model.trends import History
from dynazmq.tui.panels.screen import frame

KEYS = 600


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes with data."""
    cluster = Cluster(tmp_path / "c")
    cluster.up("-n", "3", "--restart-after", "1s")
    with dynazmq.connect(cluster.directory, timeout=10.0) as client:
        written = client.bucket("kept").put_many({f"k{i}": value_of(i) for i in range(KEYS)})
        written.raise_for_errors()
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def value_of(number: int) -> str:
    return f"{number}-" + "x" * 200


def members(cluster: Cluster) -> list[str]:
    return [node["name"] for node in cluster.status()["nodes"]]


def missing(cluster: Cluster, r: int | str = "quorum") -> list[str]:
    """Keys that are not what was written."""
    with dynazmq.connect(cluster.directory, timeout=10.0) as client:
        found = client.bucket("kept").get_many([f"k{i}" for i in range(KEYS)], r=r)
    return [key for i in range(KEYS) if (key := f"k{i}") not in found.ok or found.ok[key].values != [value_of(i).encode()]]


def assert_sound(cluster: Cluster, names: list[str]) -> None:
    """These are the members, everywhere; nothing of what is stored differs, and every key is there."""
    eventually(cluster.whole, "it converges")
    document = cluster.status()
    assert [node["name"] for node in document["nodes"]] == names
    assert sorted(ClusterFile.load(cluster.directory).members) == sorted(names)
    assert roster.names_on_disk(cluster.directory) == sorted(names)
    for name in names:
        assert sorted(load_node_config(config_path(cluster.directory, name)).members) == sorted(names)
    assert all(node["partitions"] > 0 and node["state"] == "up" for node in document["nodes"])
    assert document["change"] is None
    assert missing(cluster, "all") == []
    verified = cluster.run("verify", "--deep", "--json")
    assert verified.code == 0, verified


class Writer:
    """Puts and gets through one client until it is told to stop; every acknowledged write is looked for in the end."""

    def __init__(self, directory: Path) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.failed: list[str] = []
        self.lost: list[str] = []
        self._client = dynazmq.connect(directory, timeout=5.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        bucket = self._client.bucket("load")
        found = bucket.get_many(self.acknowledged)
        self.lost = [key for key, value in self.acknowledged.items() if key not in found.ok or found.ok[key].values != [value]]
        self._client.close()

    def _work(self) -> None:
        random, bucket, kept = Random(1), self._client.bucket("load"), self._client.bucket("kept")
        contexts: dict[str, dynazmq.Context] = {}
        while not self._stop.wait(0.005):
            key, number = f"w{random.randrange(300)}", random.randrange(KEYS)
            try:
                value = random.randbytes(16)
                contexts[key] = bucket.put(key, value, context=contexts.get(key)).context
                self.acknowledged[key] = value
                if kept.get(f"k{number}").values != [value_of(number).encode()]:
                    self.failed.append(f"k{number} is another")
            except DynazmqError as error:
                self.failed.append(repr(error))


class Onlooker:
    """The terminal UI without a terminal: it looks and draws all the time, and never gives up."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seen: set[str] = set()
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        history = History()
        with Observer(self.directory) as observer:
            while not self._stop.wait(0.2):
                try:
                    snapshot = observer.look()
                    frame(history.add(snapshot), Look(selected="n2"), 120, 35)
                    report(snapshot, observer.last_facts, "")
                    strip(Ring(1, snapshot.owners or ("n1",)), snapshot, None)
                    self.seen.add(" ".join(node.name for node in snapshot.nodes))
                except Exception as error:  # what it is for
                    self.errors.append(error)


def test_nodes_come_and_go_under_load_and_no_operation_fails(cluster: Cluster) -> None:
    """3 nodes → 5 → 3 and all of its keys at each moment."""
    with Onlooker(cluster.directory) as onlooker, Writer(cluster.directory) as writer:
        eventually(lambda: onlooker.seen, "somebody looks")
        assert cluster.run("cluster", "add").code == 0
        assert cluster.run("cluster", "add", "--weight", "1").code == 0
        plan = cluster.run("cluster", "plan", "--json").document
        assert plan["members"] == {"before": ["n1", "n2", "n3"], "after": ["n1", "n2", "n3", "n4", "n5"]}
        ran = cluster.run("cluster", "commit", "--json")
        assert ran.code == 0, ran
        assert (ran.document["done"], ran.document["ring"]["members"]) == (True, ["n1", "n2", "n3", "n4", "n5"])
        assert ran.document["keys"] > 0
        assert missing(cluster) == []
        assert cluster.run("cluster", "remove", "n1").code == 0
        ran = cluster.run("cluster", "remove", "n2", "--now")
        assert ran.code == 0, ran
        assert "✓ n1  left" in ran.out
        assert "✓ n2  left" in ran.out
        assert missing(cluster) == []
        eventually(lambda: "n3 n4 n5" in onlooker.seen, "the onlooker has seen the end")
    assert writer.failed == []
    assert writer.lost == []
    assert len(writer.acknowledged) > 100
    assert onlooker.errors == []
    assert onlooker.seen >= {"n1 n2 n3", "n1 n2 n3 n4 n5", "n3 n4 n5"}
    assert_sound(cluster, ["n3", "n4", "n5"])
    assert not (cluster.directory / "removed").exists(), "who handed over all leaves no files"
    cluster.down()
    cluster.up()
    assert_sound(cluster, ["n3", "n4", "n5"])
    refused = cluster.run("cluster", "add", "n2")
    assert refused.code == 2
    assert "no name is used twice; a free one is n6" in refused.err


def test_a_killed_node_is_replaced_and_its_data_is_set_aside(cluster: Cluster) -> None:
    up = cluster.run("node", "add", "--replace", "n2")
    assert up.code == 2
    assert "n2 is up: --replace is for a node that is gone for good" in up.err
    cluster.run("kill", "n2")
    with Writer(cluster.directory) as writer:
        ran = cluster.run("node", "add", "--replace", "n2")
    assert ran.code == 0, ran
    assert writer.failed == []
    assert writer.lost == []
    assert [entry.name[:3] for entry in (cluster.directory / "removed").iterdir()] == ["n2-"]
    assert_sound(cluster, ["n1", "n3", "n4"])


def test_one_that_was_removed_by_force_and_comes_back_ends_by_itself_and_is_not_started_again(cluster: Cluster) -> None:
    """Its supervisor knew nothing of it: the nodes decided, while there was none."""
    cluster.run("cluster", "add", "--now")
    cluster.run("kill", "n2")
    cluster.run("cluster", "remove", "n2", "--force")
    cluster.kill_supervisor()
    with Observer(cluster.directory) as observer:
        plan, known, staged = members_of.plan_of(observer, Staged.load(cluster.directory))
        steps = [*members_of.commit(observer, plan, known, staged, 0.0)]
    assert steps == [members_of.Decided(plan.ring.version)]
    assert not (cluster.directory / "staged.json").exists()
    eventually(lambda: cluster.status()["ring"]["version"] >= plan.ring.version + 3, "the ring is without n2")
    (cluster.directory / "supervisor.json").unlink()  # nor does the next one know that n2 was killed on purpose
    cluster.up("--no-wait", "--restart-after", "1s")
    eventually(lambda: members(cluster) == ["n1", "n3", "n4"], "n2 is struck off")
    log = (cluster.directory / "supervisor.log").read_text()
    assert "exited with code 66" in log
    assert "was removed from the cluster: not started again" in log
    assert_sound(cluster, ["n1", "n3", "n4"])


def test_one_that_runs_is_given_up_only_if_that_is_said_twice(cluster: Cluster) -> None:
    cluster.run("cluster", "add", "--now")
    cluster.run("pause", "n2", "--no-wait")
    eventually(lambda: "up" not in cluster.node("n2")["seen_by"].values(), "n2 is away")
    asks = cluster.run("cluster", "remove", "n2", "--force")
    assert asks.code == 2
    assert "n2 is paused, and without --force it would hand over its data first" in asks.err
    ran = cluster.run("cluster", "remove", "n2", "--force", "--yes", "--now")
    assert ran.code == 0, ran
    eventually(lambda: members(cluster) == ["n1", "n3", "n4"], "n2 is struck off")
    assert_sound(cluster, ["n1", "n3", "n4"])
    assert find_nodes(cluster.directory, ["n2"]) == {}


def test_a_member_that_is_down_holds_it_up_until_it_is_back(cluster: Cluster) -> None:
    cluster.run("node", "stop", "n3")
    assert cluster.run("cluster", "add").code == 0
    plan = cluster.run("cluster", "plan")
    assert "n3 does not answer: the change waits for it" in plan.out
    late = cluster.run("cluster", "commit", "--timeout", "2s")
    assert late.code == 6
    assert "it waits for n3 (stopped)" in late.err
    status = cluster.run("status")
    assert "it waits for n3 (stopped)" in status.out
    assert "or    dynazmq cluster remove n3 --force --now" in status.out
    cluster.run("node", "start", "n3")
    ran = cluster.run("cluster", "commit")  # nothing is staged: it only watches
    assert ran.code == 0, ran
    assert_sound(cluster, ["n1", "n2", "n3", "n4"])


def test_what_cannot_be_done_is_refused_and_stays_staged_until_it_is_dropped(cluster: Cluster) -> None:
    for name in ("n1", "n2"):
        assert cluster.run("cluster", "remove", name).code == 0
    for verb in ("plan", "commit"):
        ran = cluster.run("cluster", verb)
        assert ran.code == 2
        assert "would be left, and the cluster's quorums need 2" in ran.err
    assert cluster.run("cluster", "clear").code == 0
    assert cluster.run("cluster", "commit").out == "nothing is staged, and nothing is under way\n"
    assert_sound(cluster, ["n1", "n2", "n3"])


def test_a_plan_is_for_the_ring_that_it_was_shown_for(cluster: Cluster) -> None:
    cluster.run("cluster", "remove", "n1")
    assert cluster.run("cluster", "plan").code == 0
    staged = (cluster.directory / "staged.json").read_text()
    (cluster.directory / "staged.json").unlink()
    assert cluster.run("cluster", "add", "--now").code == 0
    (cluster.directory / "staged.json").write_text(staged)
    ran = cluster.run("cluster", "commit")
    assert ran.code == 1
    assert "the ring is another one than the plan was shown for" in ran.err
    assert cluster.run("cluster", "plan").code == 0
    assert cluster.run("cluster", "commit").code == 0
    assert_sound(cluster, ["n2", "n3", "n4"])


# --- interrupted -------------------------------------------------------------------------------------------------------------


def test_a_command_that_dies_before_it_is_decided_is_gone_on_with_or_dropped(cluster: Cluster) -> None:
    cluster.run("cluster", "add")
    control.call(cluster.directory, "enrol", name="n4")  # as far as the command came
    eventually(lambda: cluster.node("n4")["state"] == "joining", "n4 waits to be let in")
    assert "n4 waits to be let in    next  dynazmq cluster commit" in cluster.run("status").out
    assert cluster.run("status", "--check").code == 0
    with dynazmq.connect(cluster.directory) as client, dynazmq.connect(endpoints=[cluster.node("n4")["endpoint"]]) as one:
        one.bucket("kept").put("through n4", "forwarded")
        assert client.bucket("kept").get("through n4").value == b"forwarded"
        client.bucket("kept").delete("through n4", context=client.bucket("kept").get("through n4").context)
    cluster.kill_supervisor()
    cluster.up()
    assert members(cluster) == ["n1", "n2", "n3", "n4"]
    dropped = cluster.run("cluster", "clear")
    assert dropped.out == "dropped  add n4; its process is ended\n"
    eventually(lambda: members(cluster) == ["n1", "n2", "n3"], "n4 is struck off")
    with pytest.raises(ClusterError, match="n1 is a member of the ring"):
        control.call(cluster.directory, "strike", name="n1")
    cluster.run("cluster", "add")
    staged = Staged.load(cluster.directory).added[0].name
    control.call(cluster.directory, "enrol", name=staged)
    assert cluster.run("cluster", "commit").code == 0
    assert_sound(cluster, ["n1", "n2", "n3", staged])


def test_ctrl_c_ends_the_watching_and_not_the_change(cluster: Cluster) -> None:
    cluster.run("node", "stop", "n3")
    cluster.run("cluster", "add")
    command = [sys.executable, "-P", "-m", "dynazmq", "cluster", "commit", "--dir", str(cluster.directory)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: (cluster.status()["change"] or {}).get("target") == ["n1", "n2", "n3", "n4"], "it is decided")
    eventually(lambda: not (cluster.directory / "staged.json").exists(), "the command watches")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "interrupted; the change goes on by itself    watch  dynazmq cluster status" in said
    cluster.run("node", "start", "n3")
    assert_sound(cluster, ["n1", "n2", "n3", "n4"])


def test_a_change_goes_on_through_a_restart_of_the_whole_cluster(cluster: Cluster) -> None:
    """kill -9 of everything, the supervisor first, as soon as it is decided."""
    cluster.run("cluster", "add")
    cluster.run("cluster", "remove", "n1")
    assert cluster.run("cluster", "commit", "--no-wait").code == 0
    pids = [pid for pid in cluster.pids().values() if pid]
    cluster.kill_supervisor()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(identify(pid) for pid in pids), "all are gone")
    cluster.up()
    ran = cluster.run("cluster", "commit")
    assert ran.code == 0, ran
    assert_sound(cluster, ["n2", "n3", "n4"])


def test_a_supervisor_that_comes_after_the_change_strikes_off_who_has_left(cluster: Cluster) -> None:
    cluster.run("cluster", "add", "--now")
    cluster.run("cluster", "remove", "n2")
    assert cluster.run("cluster", "commit", "--no-wait").code == 0
    cluster.kill_supervisor()
    eventually(lambda: cluster.node("n2")["standing"] == "left", "n2 has left the ring")
    assert members(cluster) == ["n1", "n2", "n3", "n4"], "nobody strikes it off"
    cluster.up("--no-wait")
    assert_sound(cluster, ["n1", "n3", "n4"])

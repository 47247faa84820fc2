"""A real cluster is killed, paused, resumed and wiped: its events in order, none lost; its metrics, its logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from supervised import Cluster, eventually

from dynazmq import paths
from dynazmq.cluster.observe import events
from dynazmq.cluster.observe.snapshot import Event
from dynazmq.cluster.processes import environment


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "4", "--restart-after", "1s")
    eventually(cluster.whole, "it is whole")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def told(cluster: Cluster, since: float) -> list[Event]:
    return events.read(cluster.directory, since=since).events


def in_order(found: list[Event], *wanted: tuple[str, str]) -> bool:
    """Whether these (kind, node) are there in this order, whatever is in between."""
    left = iter(found)
    return all(any((event.kind, event.node) == each for event in left) for each in wanted)


def last(cluster: Cluster) -> float:
    return max(event.at for event in events.read(cluster.directory).events) + 0.001


def test_the_whole_story_of_kill_pause_wipe_is_told_in_order_and_nothing_is_lost(cluster: Cluster) -> None:
    begin = eventually(lambda: any(e.kind == "converged" for e in told(cluster, 0.0)) and last(cluster), "the start is told")
    assert cluster.run("kill", "n3").code == 0
    for i in range(30):
        assert cluster.run("put", f"key-{i}", "value").code == 0
    eventually(lambda: in_order(told(cluster, begin), ("down", "n3"), ("hints", "n3")), "hints are told")
    assert cluster.run("node", "start", "n3").code == 0
    eventually(lambda: in_order(told(cluster, begin), ("hints", "n3"), ("converged", "*")), "n3 has recovered")
    first = told(cluster, begin)
    assert in_order(
        first, ("command", "n3"), ("killed", "n3"), ("suspected", "n3"), ("down", "n3"), ("hints", "n3"), ("command", "n3"),
        ("started", "n3"), ("up", "n3"), ("hints", "n3"), ("hints", "n3"), ("converged", "*"),
    )  # fmt: skip
    assert [event.details["phase"] for event in first if event.kind == "hints"] == ["stored", "delivering", "delivered"]
    down = next(event for event in first if event.kind == "down")
    assert down.text.startswith("down: 3/3 agree; 90 of 120 partitions use a fallback")
    converged = next(event for event in first if event.kind == "converged")
    assert converged.details["cause"] == {"kind": "killed", "node": "n3"}
    assert converged.details["duration_s"] > 0
    assert converged.details["hints_delivered"] > 0

    second = last(cluster)
    assert cluster.run("pause", "n2").code == 0
    eventually(lambda: in_order(told(cluster, second), ("paused", "n2"), ("down", "n2")), "n2 is down")
    assert cluster.run("resume", "n2").code == 0
    story = (("paused", "n2"), ("down", "n2"), ("resumed", "n2"), ("up", "n2"), ("converged", "*"))
    eventually(lambda: in_order(told(cluster, second), *story), "n2 has recovered")

    third = last(cluster)
    assert cluster.run("node", "wipe", "n1", "--yes").code == 0
    assert cluster.run("node", "start", "n1").code == 0
    story = (("command", "n1"), ("stopped", "n1"), ("wiped", "n1"), ("started", "n1"), ("up", "n1"), ("converged", "*"))
    eventually(lambda: in_order(told(cluster, third), *story), "n1 is filled again")
    assert sum(event.details["keys"] for event in told(cluster, third) if event.kind == "exchange" and "keys" in event.details)

    fourth = last(cluster)
    os.kill(cluster.pids()["n4"], signal.SIGKILL)
    eventually(lambda: in_order(told(cluster, fourth), ("died", "n4"), ("started", "n4"), ("converged", "*")), "n4 is back")
    found = events.read(cluster.directory)
    assert (found.lost, found.torn) == (0, 0)


def test_the_command_shows_what_the_stream_says(cluster: Cluster) -> None:
    document = cluster.run("cluster", "events", "--json", "-l", "1000").document
    assert (document["schema"], document["lost"], document["torn"]) == ("dynazmq.events/1", 0, 0)
    kept = events.read(cluster.directory).events
    assert [event["text"] for event in document["events"]] == [event.text for event in kept]
    lines = cluster.run("cluster", "events", "--jsonl", "--node", "n3", "--kind", "down,up", "--since", "1h").out.splitlines()
    assert {(event["node"], event["kind"]) for event in map(json.loads, lines)} <= {("n3", "down"), ("n3", "up")}
    assert lines
    for options, words in (
        (("--kind", "party"), "no kind of event 'party'"),
        (("--node", "n9"), "no node 'n9'"),
        (("--since", "soon"), "not a duration"),
        (("-f", "--json"), "choose one"),
    ):
        ran = cluster.run("cluster", "events", *options)
        assert (ran.code, words in ran.err) == (2, True), options


def test_a_follower_is_told_what_happens_while_it_watches(cluster: Cluster) -> None:
    command = [sys.executable, "-P", "-m", "dynazmq", "cluster", "events", "-f", "-l", "0", "--dir", str(cluster.directory)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        eventually(lambda: events_open(process.pid), "it has opened the stream")
        assert cluster.run("aae", "pause", "n1").code == 0
        assert cluster.run("aae", "resume", "n1").code == 0
        assert "dynazmq aae pause n1" in process.stdout.readline()
        assert "dynazmq aae resume n1" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def events_open(pid: int) -> bool:
    """Whether this process has looked: it keeps the file open."""
    handles = Path(f"/proc/{pid}/fd")
    try:
        return any(os.readlink(handle).endswith("events.jsonl") for handle in handles.iterdir())
    except OSError:
        return False


def test_metrics_of_all_nodes_are_served_and_one_that_is_paused_blocks_no_scrape(cluster: Cluster) -> None:
    eventually(cluster.whole, "it is whole")
    command = [sys.executable, "-P", "-m", "dynazmq", "metrics", "serve", "--port", "0", "--dir", str(cluster.directory)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        url = process.stderr.readline().split("at ")[1].split()[0]

        def scrape() -> dict[tuple[str, str], float]:
            with urllib.request.urlopen(url, timeout=5) as reply:
                families = text_string_to_metric_families(reply.read().decode())
            return {(s.name, s.labels.get("node", "")): s.value for family in families for s in family.samples}

        assert [scrape()["dynazmq_up", name] for name in ("n1", "n2", "n3", "n4")] == [1, 1, 1, 1]
        assert cluster.run("pause", "n2").code == 0
        found = scrape()
        assert [found["dynazmq_up", name] for name in ("n1", "n2", "n3", "n4")] == [1, 0, 1, 1]
        assert ("dynazmq_keys", "n2") not in found
        assert found["dynazmq_keys", "n1"] > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        cluster.run("resume", "n2")


def test_top_shows_a_frame_of_what_runs(cluster: Cluster) -> None:
    eventually(cluster.whole, "it is whole")
    document = cluster.run("top", "--json").document
    assert [node["name"] for node in document["nodes"]] == ["n1", "n2", "n3", "n4"]
    assert document["nodes"][0]["rss_bytes"] > 0
    shown = cluster.run("top", "--once", "--sort", "p99")
    assert shown.code == 0
    assert len(shown.out.splitlines()) == 8


def test_logs_of_nodes_and_supervisor_tell_the_same_story(cluster: Cluster) -> None:
    lines = [json.loads(line) for line in cluster.run("logs", "--jsonl", "-l", "2000").out.splitlines()]
    assert {line["node"] for line in lines} == {"n1", "n2", "n3", "n4", "supervisor"}
    assert all(line["level"] and line["at"] > 0 for line in lines)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    warned = [json.loads(line) for line in cluster.run("logs", "--jsonl", "--level", "warn", "-l", "2000").out.splitlines()]
    assert any(line["node"] == "n1" and line["text"] == "n3 is down" for line in warned)
    assert {line["level"] for line in warned} <= {"WARN", "ERROR"}


def test_logs_that_somebody_moved_away_or_removed_go_on_under_their_names(cluster: Cluster) -> None:
    eventually(cluster.whole, "it is whole")
    logs = [paths.supervisor_log(cluster.directory), *(paths.node_log(cluster.directory, f"n{i}") for i in (1, 2, 3, 4))]
    for log in logs[:3]:
        log.rename(log.with_name(f"{log.name}.0"))
    for log in logs[3:]:
        log.unlink()
    eventually(lambda: all(log.exists() for log in logs), "all are there again, though nothing was to be written")
    assert cluster.run("node", "restart", "n1").code == 0
    assert "server   stopped" in cluster.run("logs", "n1").out, "the last word of the process that had the old one"
    assert "stopped" in cluster.run("logs", "supervisor").out
    eventually(cluster.whole, "it is whole")


def test_of_a_cluster_that_is_down_events_and_logs_are_still_there(cluster: Cluster) -> None:
    assert cluster.down().code == 0
    events_ = cluster.run("cluster", "events")
    assert events_.code == 0
    assert "dynazmq down" in events_.out
    assert "going down" in events_.out
    assert cluster.run("logs", "n1", "-l", "1").out.rstrip().endswith("stopped")
    assert cluster.run("metrics").code == 7
    assert cluster.run("top").code == 7

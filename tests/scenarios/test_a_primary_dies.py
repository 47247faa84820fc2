"""§4.6: what happens when nodes die, at any point of a turn, one or all."""

from __future__ import annotations

import pytest

from dynazmq.errors import DynazmqError, Unavailable, WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.simulator.cluster.process import AFTER_COMMIT, AMID_SENDING, BEFORE_COMMIT, CRASH_POINTS


def test_p1_a_killed_primary_is_stood_in_for_and_gets_its_copy_when_it_is_back() -> None:
    cluster = Cluster(seed=1)
    client = cluster.client()
    first, second, third = cluster.primaries("cart")

    first.crash()
    done = client.put("cart", "milk")
    assert first.name not in done.acked
    cluster.run(1.0)
    assert sum(node.hints(first) for node in cluster.fallbacks("cart")) == 1
    assert client.get("cart").values == ["milk"]

    first.restart()
    cluster.settle()
    assert [node.holds("cart") for node in (first, second, third)] == [["milk"]] * 3
    assert cluster.equal("cart")


@pytest.mark.parametrize("when", CRASH_POINTS)
@pytest.mark.parametrize("role", [0, 1, 2, 3])
def test_p1_whoever_dies_in_the_middle_of_a_put_it_succeeds_at_once_and_once(role: int, when: str) -> None:
    cluster = Cluster(seed=20 + role)
    client = cluster.client()
    client.put("k", "before")
    cluster.run(1.0)
    cluster.node(cluster.walk("k")[role]).crash(when)
    before = cluster.world.now
    client.put("k", "after", client.get("k").context)
    assert cluster.world.now - before < 0.7
    cluster.settle()
    assert client.get("k", r="all").values == ["after"]
    assert [node.holds("k") for node in cluster.primaries("k")] == [["after"]] * 3


def test_what_a_coordinator_had_not_committed_is_nowhere() -> None:
    cluster = Cluster(seed=30)
    client = cluster.client()
    client.connected()
    first = cluster.primaries("k")[0]
    first.crash(BEFORE_COMMIT)
    with pytest.raises(WriteTimeout):
        client.put("k", "v", at=first.name, timeout=0.5)
    cluster.settle()
    assert client.get("k", r="all").values == []


@pytest.mark.parametrize("when", [AFTER_COMMIT, AMID_SENDING])
def test_c9_a_put_whose_coordinator_died_after_its_commit_is_unknown_and_stays_once_it_shows(when: str) -> None:
    cluster = Cluster(seed=31)
    client = cluster.client()
    client.connected()
    first = cluster.primaries("k")[0]
    first.crash(when)
    with pytest.raises(WriteTimeout):
        client.put("k", "v", at=first.name, timeout=0.5)
    cluster.settle()
    assert client.get("k", r="all").values == ["v"]
    cluster.run(0.1)
    assert cluster.equal("k"), "the read has repaired the others"


def test_p2_all_nodes_die_at_once_and_come_back_with_all_that_was_acknowledged() -> None:
    cluster = Cluster(seed=32)
    client = cluster.client()
    values = {f"k{i}": f"v{i}" for i in range(40)}
    for key, value in values.items():
        client.put(key, value)
    for node in cluster.nodes:
        node.crash()
    cluster.run(1.0)
    for node in cluster.nodes:
        node.restart()
    cluster.settle()
    assert {key: client.get(key).value for key in values} == values


def test_p2_all_die_in_the_middle_of_a_load_of_which_nothing_acknowledged_is_lost() -> None:
    cluster = Cluster(seed=33)
    client = cluster.client()
    client.connected()
    calls = {f"k{i}": client.begin_put(f"k{i}", "v") for i in range(60)}
    cluster.world.run_until(lambda: sum(call.done for call in calls.values()) >= 20, 1.0)
    for node in cluster.nodes:
        node.crash()
    acked = [key for key, call in calls.items() if call.done and call.request.error is None]
    assert 20 <= len(acked) < 60
    cluster.settle()
    cluster.run(3.0)
    assert {key: client.get(key).value for key in acked} == dict.fromkeys(acked, "v")


def test_with_w_1_a_cluster_takes_writes_while_one_node_lives() -> None:
    cluster = Cluster(seed=34, w=1, r=1)
    client = cluster.client()
    client.connected()
    survivor = cluster.fallbacks("k")[-1]
    for node in cluster.nodes:
        if node is not survivor:
            node.crash()
    cluster.run(2.0)
    with pytest.raises(Unavailable, match="unknown: it is absent if 1 primaries say so, 0 can be reached"):
        client.get("k")
    context = None
    for i in range(5):
        context = client.put("k", f"v{i}", context).context
    assert client.get("k").values == ["v4"]
    assert {node.name for node in cluster.primaries("k")} == {
        node.name for node in cluster.nodes if survivor.hints(node)
    }, "the one that lives keeps a hint for each primary"
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["v4"]] * 3


def test_c18_with_fewer_nodes_than_n_the_rest_is_placed_when_they_return() -> None:
    cluster = Cluster(seed=35, nodes=3)
    client = cluster.client()
    client.connected()
    lost = cluster.primaries("k")[2]
    lost.crash()
    cluster.run(2.0)
    assert len(client.put("k", "v").acked) == 2
    cluster.settle()
    assert lost.holds("k") == ["v"]


def test_c10_a_coordinator_that_dies_after_its_acknowledgement_leaves_w_copies() -> None:
    cluster = Cluster(seed=36)
    client = cluster.client()
    first, second, third = cluster.primaries("k")
    cluster.slow(third, 0.05)
    done = client.put("k", "v", at=first.name)
    assert sorted(done.acked) == sorted([first.name, second.name])
    first.crash()
    assert client.get("k").values == ["v"]
    first.process.disk.wipe()
    assert client.get("k").values == ["v"]


def test_n11_frames_of_an_earlier_life_are_refused() -> None:
    """What a node sent before it died is no request of the node that it is now; nor is what was meant for it then."""
    cluster = Cluster(seed=37)
    client = cluster.client()
    client.connected()
    first, second, _ = cluster.primaries("k")
    cluster.network.conditions.notice_s = float("inf")
    cluster.slow(second, 1.0)
    client.begin_put("k", "v", at=first.name)
    cluster.run(0.1)
    first.restart()
    second.restart()
    cluster.run(3.0)
    assert second.counters["messages_of_other_lives"] > 0
    cluster.settle()
    with_it = [node for node in cluster.primaries("k") if node.holds("k")]
    assert all(node.holds("k") == ["v"] for node in with_it)


def test_a_restart_renews_the_epoch_and_raises_the_incarnation() -> None:
    cluster = Cluster(seed=38)
    node = cluster.node("n1")
    epoch, incarnation = node.epoch, node.process.node.identity.incarnation
    node.process.wall_offset_ms = -86_400_000  # its clock was set back meanwhile
    node.restart()
    assert node.epoch != epoch
    assert node.process.node.identity.incarnation == incarnation + 1


def test_while_nodes_die_and_return_in_turn_no_request_fails() -> None:
    cluster = Cluster(seed=39)
    client = cluster.client()
    for i, node in enumerate(cluster.nodes * 2):
        node.crash()
        for j in range(10):
            try:
                client.put(f"k{j}", f"v{i}", client.get(f"k{j}").context)
            except DynazmqError as error:
                raise AssertionError(f"{node} is down, and {error}") from error
        node.restart()
        cluster.run(1.5)
    cluster.settle()
    assert all(client.get(f"k{j}", r="all").values == ["v9"] for j in range(10))

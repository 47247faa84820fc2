"""§4.5: n, r and w by cluster, bucket and request; primaries only; read repair."""

from __future__ import annotations

import pytest

from dynazmq.errors import InvalidRequest, Unavailable, WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.simulator.cluster.process import AFTER_COMMIT, AMID_SENDING, BEFORE_COMMIT


def test_the_third_copy_is_made_although_two_were_enough() -> None:
    cluster = Cluster(1)
    client = cluster.client()
    assert len(client.put("k", "v").acked) == 2
    cluster.run(0.1)
    assert [node.holds("k") for node in cluster.primaries("k")] == [["v"]] * 3
    assert [node.holds("k") for node in cluster.fallbacks("k")] == [[]] * 2


@pytest.mark.parametrize(("w", "copies"), [("one", 1), (1, 1), ("quorum", 2), (3, 3), ("all", 3)])
def test_a_put_is_acknowledged_by_as_many_as_it_asks_for(w: int | str, copies: int) -> None:
    client = Cluster(2).client()
    assert len(client.put("k", "v", w=w).acked) == copies


@pytest.mark.parametrize(("r", "answers"), [("one", 1), ("quorum", 2), ("all", 3)])
def test_a_get_rests_on_as_many_answers_as_it_asks_for(r: str, answers: int) -> None:
    client = Cluster(3).client()
    client.put("k", "v", w="all")
    assert len(client.get("k", r=r).responders) == answers


def test_n_of_a_request_makes_fewer_copies() -> None:
    cluster = Cluster(4)
    client = cluster.client()
    client.put("k", "v", n=1, w=1)
    cluster.run(0.5)
    assert sum(node.holds("k") == ["v"] for node in cluster.nodes) == 1


@pytest.mark.parametrize("options", [{"w": 4}, {"w": 0}, {"w": -2}, {"n": 4}, {"pw": 4}, {"w": True}, {"w": "most"}])
def test_w15_levels_that_no_request_can_have_are_refused_before_anything_is_sent(options: dict[str, object]) -> None:
    cluster = Cluster(5)
    client = cluster.client()
    client.connected()
    before = cluster.world.events
    with pytest.raises(InvalidRequest):
        client.put("k", "v", **options)
    assert cluster.world.events == before


def test_a_bucket_with_a_policy_of_its_own_is_stored_and_read_by_it() -> None:
    cluster = Cluster(6, anti_entropy_ms=1000)
    client = cluster.client()
    client.configure("few", n=1, r=1, w=1)
    client.configure("many", n=5, r=3, w=4)
    cluster.run(5.0)
    assert all(node.process.node.membership.policy("many").w == 4 for node in cluster.nodes), "gossip carries it"
    client = cluster.client("one who came later")
    client.put("k", "v", bucket="few")
    assert len(client.put("k", "v", bucket="many").acked) == 4
    cluster.run(0.5)
    assert sum(node.holds("k", "few") == ["v"] for node in cluster.nodes) == 1
    assert sum(node.holds("k", "many") == ["v"] for node in cluster.nodes) == 5
    assert client.get("k").values == [], "buckets are apart"
    for node in cluster.nodes:
        node.crash()
    cluster.settle()
    assert cluster.node("n3").process.node.membership.policy("few").n == 1, "it survives restarts"


def test_primaries_only_is_refused_while_they_are_away_and_the_sloppy_quorum_is_not() -> None:
    cluster = Cluster(7)
    client = cluster.client()
    client.put("k", "v")
    cluster.run(0.5)
    first, second, third = cluster.primaries("k")
    second.crash(), third.crash()
    cluster.run(2.0)
    with pytest.raises(Unavailable) as refused:
        client.get("k", pr=2)
    assert (refused.value.required, refused.value.alive) == (2, 1)
    assert client.get("k", pr=1).values == ["v"]
    done = client.put("k", "w", client.get("k").context, pw=1)
    assert first.name in done.acked
    with pytest.raises(Unavailable):
        client.put("k", "x", pw=2)
    cluster.settle()
    assert client.get("k", r="all").values == ["w"]


def test_a_get_repairs_the_replica_that_answered_with_less() -> None:
    cluster = Cluster(8)
    client = cluster.client()
    third = cluster.primaries("k")[2]
    client.put("k", "v", w="all")
    third.wipe()
    third.come_back()
    assert client.get("k", r="all").values == ["v"]
    cluster.run(0.1)
    assert third.holds("k") == ["v"]


def test_reading_what_is_equal_everywhere_writes_nothing() -> None:
    cluster = Cluster(9)
    client = cluster.client()
    client.put("k", "v", w="all")
    cluster.run(0.5)
    before = [node.process.disk.commits for node in cluster.nodes]
    for _ in range(20):
        client.get("k", r="all")
        client.get("absent", r="all")
    assert [node.process.disk.commits for node in cluster.nodes] == before


def test_status_changes_nothing() -> None:
    cluster = Cluster(10)
    cluster.client().put("k", "v")
    cluster.run(0.5)
    for node in cluster.nodes:
        before = (node.process.disk.commits, dict(node.counters))
        document = node.process.node.admin.status()
        assert document["schema"] == "dynazmq.node/1"
        assert (node.process.disk.commits, dict(node.counters)) == before


def test_a_write_to_w_and_a_read_of_r_meet_whichever_nodes_they_ask() -> None:
    """R + W > N: each read shows the last write that was acknowledged, through any node."""
    cluster = Cluster(11)
    client = cluster.client()
    for i in range(30):
        client.put("k", f"v{i}", client.get("k").context, at=cluster.names[i % 5])
        assert client.get("k", at=cluster.names[(i * 3) % 5]).values == [f"v{i}"]


@pytest.mark.parametrize(("when", "found"), [(BEFORE_COMMIT, "milk"), (AFTER_COMMIT, "eggs"), (AMID_SENDING, "eggs")])
def test_a_cluster_of_one_node_has_all_that_it_acknowledged_whenever_it_was_killed(when: str, found: str) -> None:
    cluster = Cluster(12, nodes=1, n=1, r=1, w=1)
    client = cluster.client()
    (only,) = cluster.nodes
    done = client.put("cart", "milk")
    only.crash(when)
    call = client.begin_put("cart", "eggs", done.context)
    cluster.run(0.1)
    only.restart()
    if found == "milk":  # nobody but the node could know of the first try, and it has forgotten what it had not committed
        with pytest.raises(WriteTimeout):
            call.result()
    else:
        call.result()
    read = client.get("cart")
    assert read.values == only.holds("cart") == [found]
    client.put("cart", "bread", read.context)
    assert client.get("cart").values == ["bread"]


def test_n_is_never_quietly_less_than_configured() -> None:
    client = Cluster(13, nodes=2, n=3, r=2, w=2).client()
    assert len(client.put("cart", "milk").acked) == 2
    for refused in (lambda: client.put("cart", "eggs", w="all"), lambda: client.get("cart", r="all")):
        with pytest.raises(Unavailable) as caught:
            refused()
        assert (caught.value.required, caught.value.alive) == (3, 2)

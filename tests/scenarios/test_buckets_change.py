"""A bucket gets another number of replicas while it is read and written: nothing is absent, or overwritten unseen."""

from __future__ import annotations

import pytest

from dynazmq.client.core.requests import Request
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import SetBucket
from dynazmq.errors import Unavailable
from dynazmq.simulator.cluster.client import SCHEME, Client
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle

BUCKET = "b"


def with_bucket(seed: int, n: int, r: int, w: int) -> tuple[Cluster, Client]:
    cluster = Cluster(seed, 5, anti_entropy_ms=1000)
    client = cluster.client()
    client.options = client.options.with_(bucket=BUCKET)
    becomes(cluster, client, n, r, w)
    return cluster, client


def becomes(cluster: Cluster, client: Client, n: int, r: int, w: int) -> None:
    client.configure(BUCKET, n, r, w)
    cluster.wait(lambda: all(node.process.node.membership.policy(BUCKET)[:3] == (n, r, w) for node in cluster.nodes), f"n={n}")
    cluster.wait(cluster.changed, "nobody holds what is not his")


def copies(cluster: Cluster, key: str) -> int:
    return sum(bool(node.holds(key, BUCKET)) for node in cluster.nodes)


def test_a_larger_n_fills_before_it_is_read() -> None:
    """36 of 200 acknowledged values were absent in the two seconds after it: new replicas counted before they held anything."""
    cluster, client = with_bucket(3, 1, 1, 1)
    keys = [f"k{i}" for i in range(100)]
    for key in keys:
        client.put(key, "v")
    client.configure(BUCKET, 3, 2, 2)
    while not all(node.process.node.membership.policy(BUCKET).n == 3 for node in cluster.nodes):
        assert [key for key in keys if client.get(key).values != ["v"]] == []
    cluster.wait(cluster.changed, "it is over")
    assert {copies(cluster, key) for key in keys} == {3}
    assert [key for key in keys if client.get(key).values != ["v"]] == []


def test_a_smaller_n_is_not_read_before_those_that_stay_have_all() -> None:
    """A write that two of three have acknowledged need not be at the one that stays."""
    cluster, client = with_bucket(4, 3, 2, 2)
    keys = [f"k{i}" for i in range(40)]
    first = cluster.node("n1")
    first.crash()
    cluster.run(2.0)
    for key in keys:
        client.put(key, "v")
    first.restart()
    client.configure(BUCKET, 1, 1, 1)
    while not all(node.process.node.membership.policy(BUCKET).n == 1 for node in cluster.nodes):
        assert [key for key in keys if client.get(key).values != ["v"]] == []
    cluster.wait(cluster.changed, "it is over")
    assert {copies(cluster, key) for key in keys} == {1}
    assert [key for key in keys if client.get(key).values != ["v"]] == []


def test_a_blind_put_overwrites_nothing_after_n_was_lowered_and_raised() -> None:
    """A node that had handed its own write over gave its dot to the next one, which then covered it."""
    cluster, client = with_bucket(1, 3, 2, 2)
    first, second, _ = cluster.primaries("k", BUCKET)
    first.crash()
    cluster.run(2.0)
    client.put("k", "v1")
    first.restart()
    cluster.settle()
    becomes(cluster, client, 1, 1, 1)
    request = Request(SetBucket(0, BUCKET, 3, 2, 2), BUCKET, 0, 2.0, "configure")
    request.only = SCHEME + second.name
    client.begin(request).result()
    cluster.run(0.05)
    client.begin_put("k", "v2", at=second.name).result()
    cluster.wait(cluster.changed, "n=3")
    cluster.settle()
    assert sorted(client.get("k", r="all").values) == ["v1", "v2"]


def test_a_member_that_is_away_holds_up_another_n_and_nothing_else() -> None:
    cluster, client = with_bucket(5, 3, 2, 2)
    cluster.node("n5").crash()
    cluster.run(2.0)
    client.configure(BUCKET, 5, 3, 3)
    cluster.run(5.0)
    membership = cluster.node("n1").process.node.membership
    assert membership.policy(BUCKET)[:3] == (3, 2, 2)
    assert membership.in_force.to_come() == [[BUCKET, 3, 2, 2, 5, 3, 3]]
    assert cluster.node("n1").process.node.admin.status()["change"]["waiting_for"] == ["n5"]
    client.put("k", "v")
    cluster.node("n5").restart()
    cluster.wait(lambda: membership.policy(BUCKET)[:3] == (5, 3, 3), "n5 is back")
    cluster.wait(cluster.changed, "it is over")
    assert copies(cluster, "k") == 5


def told(node: NodeHandle) -> View:
    """What a client learns from it."""
    return View.of(node.process.node.admin.topology(0))


@pytest.mark.parametrize("after", [(3, 3, 2), (3, 2, 3)], ids=["in one step", "filled before"])
def test_a_larger_w_is_said_to_be_in_force_only_when_nobody_acknowledges_by_the_smaller_one(after: tuple[int, int, int]) -> None:
    """Found by seed 150483: who had heard of W=2 said that it was in force, and who had not took that client's put by W=1."""
    cluster = Cluster(7, 3, w=1, r=3, anti_entropy_ms=1000)
    here, there = cluster.client("here", beside="n1"), cluster.client("there", beside="n3")
    for client in (here, there):
        client.options = client.options.with_(bucket=BUCKET)
        client.connected()
    cluster.partition(["n1", "n2"], ["n3"])
    cluster.run(2.0)
    here.configure(BUCKET, *after)
    cluster.run(1.0)
    for node in (cluster.node("n1"), cluster.node("n2")):
        view = told(node)
        assert (view.policy(BUCKET)[:3], view.wanted[BUCKET][:3]) == ((3, 3, 1), after)
        assert node.process.node.admin.status()["change"]["buckets"] == [[BUCKET, 3, 3, 1, *after]]
    assert there.put("k", "acknowledged by one", at="n3").acked == ("n3",)
    with pytest.raises(Unavailable):
        there.put("k", "by two, since it asks for them", at="n3", w=2)

    cluster.heal()
    cluster.wait(lambda: all(told(node).policy(BUCKET)[:3] == after for node in cluster.nodes), "it is in force")
    for node in cluster.nodes:
        assert len(here.put("k", f"at {node.name}", at=node.name).acked) == after[2]
    cluster.wait(cluster.changed, "it is over")
    assert all(told(node).wanted == {} for node in cluster.nodes)
    assert cluster.history.broken == []


@pytest.mark.parametrize("begun", [False, True])
def test_another_n_whose_only_source_is_gone_for_good_ends_when_that_is_said_and_says_what_is_lost(begun: bool) -> None:
    """It is held up as a change of members is, before it begins or in the middle of it; and ends as one, by force."""
    cluster, client = with_bucket(6, 1, 1, 1)
    keys = [f"k{i}" for i in range(60)]
    for key in keys:
        client.put(key, "v")
    missing = [key for key in keys if cluster.primaries(key, BUCKET)[0].name == "n5"]
    lost = list(cluster.ring.owned_by("n5"))
    if begun:
        client.configure(BUCKET, 3, 2, 2)
        cluster.wait(lambda: cluster.ring.filling, "it has begun")
    cluster.node("n5").wipe()
    cluster.run(2.0)
    if not begun:
        client.configure(BUCKET, 3, 2, 2)
    cluster.run(5.0)
    membership = cluster.node("n1").process.node.membership
    assert membership.policy(BUCKET)[:3] == (1, 1, 1)
    assert cluster.node("n1").process.node.admin.status()["change"]["waiting_for"] == ["n5"]
    cluster.remove("n5", force=True)
    cluster.end("n5")
    cluster.wait(cluster.changed, "the change is over")
    assert membership.policy(BUCKET)[:3] == (3, 2, 2)
    for node in cluster.nodes:
        ((told),) = node.process.node.admin.status()["lost"]
        assert (told["partitions"], told["owners"], told["keys"]) == (lost, ["n5"], None)
    assert [key for key in keys if not client.get(key).found] == missing
    assert {copies(cluster, key) for key in keys if key not in missing} == {3}

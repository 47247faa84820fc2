"""§4.9: all who held a partition are gone. The change ends, what others have of it is used, and the rest is said to be lost."""

from __future__ import annotations

import pytest

from dynazmq.errors import InvalidRequest
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle

KEYS = [f"k{i}" for i in range(60)]


def a_cluster(seed: int, nodes: int = 6, **options: int) -> Cluster:
    cluster = Cluster(seed, nodes, anti_entropy_ms=1000, **options)
    for key in KEYS:
        cluster.client().put(key, "v", w="all")
    cluster.run(3.0)  # the last word of each on how many keys it has is known
    return cluster


def lose(cluster: Cluster, *names: str, without_quorum: bool = True) -> None:
    """They are gone for good, and removed by force."""
    for name in names:
        cluster.node(name).wipe()
    cluster.run(2.0)
    cluster.remove(*names, force=True, without_quorum=without_quorum)
    for name in names:
        cluster.end(name)


def lost_at(node: NodeHandle) -> list[dict[str, object]]:
    found: list[dict[str, object]] = node.process.node.admin.status()["lost"]
    return found


def holders(cluster: Cluster, key: str) -> set[str]:
    return {node.name for node in cluster.primaries(key)}


def test_three_of_six_at_n_3_are_gone_and_the_change_ends_and_says_what_is_lost() -> None:
    cluster = a_cluster(1)
    ring, gone = cluster.ring, {"n4", "n5", "n6"}
    without = [p for p in range(ring.partitions) if set(ring.primaries(p, 3)) <= gone]
    missing = [key for key in KEYS if holders(cluster, key) <= gone]
    lose(cluster, *sorted(gone))
    cluster.wait(cluster.changed, "the change is over")
    assert cluster.ring.members == ("n1", "n2", "n3")
    assert without
    assert missing
    for node in cluster.nodes:
        ((lost),) = lost_at(node)
        assert (lost["partitions"], lost["owners"]) == (without, ["n4", "n5", "n6"])
        assert isinstance(lost["keys"], int)
        assert abs(lost["keys"] - len(missing)) <= 4, "an estimate: keys lie evenly"
    assert [key for key in KEYS if not cluster.client().get(key).found] == missing
    cluster.client().put(missing[0], "anew")
    cluster.add("n7")
    cluster.wait(cluster.changed, "and others may come")


def test_a_lone_copy_is_lost_with_its_holder_and_two_of_three_go_on() -> None:
    cluster = a_cluster(2, nodes=3, n=1, r=1, w=1)
    missing = [key for key in KEYS if holders(cluster, key) == {"n3"}]
    lose(cluster, "n3", without_quorum=False)
    cluster.wait(cluster.changed, "the change is over")
    ((lost),) = lost_at(cluster.node("n1"))
    assert lost["keys"] == len(missing)
    assert len(lost["partitions"]) == 40  # type: ignore[arg-type]


def test_what_others_keep_as_hints_is_there_when_the_new_owners_are_read() -> None:
    cluster = a_cluster(3, nodes=3, n=1, r=1, w=1)
    mine = [key for key in KEYS if holders(cluster, key) == {"n3"}]
    cluster.node("n3").crash()
    cluster.run(2.0)
    for key in mine[:5]:
        cluster.client().put(key, "while it was away")
    lose(cluster, "n3", without_quorum=False)
    while not cluster.changed():
        assert [cluster.client().get(key).values for key in mine[:5]] == [["while it was away"]] * 5
        cluster.run(0.02)
    assert [cluster.client().get(key).values for key in mine[:6]] == [["while it was away"]] * 5 + [[]]
    assert sum(node.counters["keys_salvaged"] for node in cluster.nodes) >= 5
    cluster.settle()


def test_what_somebody_has_not_handed_over_yet_is_there_as_well() -> None:
    """n1 held partitions that went to n4; n4 is lost before n1 has dropped them."""
    cluster = a_cluster(4, nodes=3, n=1, r=1, w=1)
    cluster.add("n4")
    cluster.wait(lambda: cluster.ring.at_rest and "n4" in cluster.ring.members, "n4 is in")
    cluster.run(0.5)
    mine = [key for key in KEYS if holders(cluster, key) == {"n4"}]
    assert any(cluster.node(name).strays() for name in ("n1", "n2", "n3"))
    lose(cluster, "n4", without_quorum=False)
    cluster.wait(cluster.changed, "the change is over")
    assert [cluster.client().get(key).values for key in mine] == [["v"]] * len(mine)


def test_one_that_is_merely_down_is_waited_for_and_has_the_last_copy() -> None:
    cluster = a_cluster(5)
    cluster.node("n4").crash()
    lose(cluster, "n5", "n6")
    cluster.run(10.0)
    assert cluster.ring.at_rest, "no step without n4"
    assert cluster.node("n1").process.node.admin.status()["change"]["waiting_for"] == ["n4"]
    cluster.node("n4").restart()
    cluster.wait(cluster.changed, "the change is over")
    assert all(cluster.client().get(key).found for key in KEYS)
    assert lost_at(cluster.node("n1")) == []


def test_one_that_dies_while_the_others_are_searched_is_waited_for() -> None:
    cluster = a_cluster(6, nodes=4, n=1, r=1, w=1)
    mine = [key for key in KEYS if holders(cluster, key) == {"n4"}]
    cluster.node("n4").crash()
    cluster.run(2.0)
    for key in mine:
        cluster.client().put(key, "kept")
    lose(cluster, "n4", without_quorum=False)
    cluster.wait(lambda: cluster.ring.filling, "it fills")
    cluster.node("n2").crash()
    cluster.run(5.0)
    assert cluster.ring.filling
    cluster.node("n2").restart()
    cluster.wait(cluster.changed, "the change is over")
    assert [cluster.client().get(key).values for key in mine] == [["kept"]] * len(mine)


def test_a_searcher_that_dies_or_cannot_store_begins_its_search_anew() -> None:
    cluster = a_cluster(7, nodes=4, n=1, r=1, w=1)
    mine = [key for key in KEYS if holders(cluster, key) == {"n4"}]
    cluster.node("n4").crash()
    cluster.run(2.0)
    for key in mine:
        cluster.client().put(key, "kept")
    lose(cluster, "n4", without_quorum=False)
    cluster.wait(lambda: cluster.ring.filling, "it fills")
    cluster.node("n1").process.disk.fail_commits = True
    cluster.run(1.0)
    cluster.node("n1").process.disk.fail_commits = False
    cluster.node("n2").restart()
    cluster.wait(cluster.changed, "the change is over")
    assert [cluster.client().get(key).values for key in mine] == [["kept"]] * len(mine)


def test_it_is_forgotten_by_all_when_an_admin_has_acknowledged_it_and_not_before() -> None:
    cluster = a_cluster(8, nodes=3, n=1, r=1, w=1)
    lose(cluster, "n3", without_quorum=False)
    cluster.wait(cluster.changed, "the change is over")
    for node in cluster.nodes:
        node.restart()
    cluster.settle()
    ((lost),) = lost_at(cluster.node("n2"))
    cluster.client().acknowledge_losses(lost["ring_version"])
    cluster.wait(lambda: not any(lost_at(node) for node in cluster.nodes), "nobody speaks of it any more")
    cluster.add("n4")
    cluster.wait(cluster.changed, "n4 is in")
    assert lost_at(cluster.node("n4")) == []
    with pytest.raises(InvalidRequest, match=r"ring 99 is not one of 0\.\."):
        cluster.client().acknowledge_losses(99)


def test_when_the_removal_is_taken_back_in_time_nothing_is_lost() -> None:
    cluster = a_cluster(9, nodes=4, n=1, r=1, w=1)
    for name in ("n3", "n4"):  # without n4 the ring makes no step
        cluster.node(name).crash()
    cluster.run(2.0)
    cluster.remove("n3", without_quorum=True, at="n1")
    cluster.run(2.0)
    cluster.change([["n3", "in", 1.0, ""]], "n1")
    cluster.settle()
    cluster.wait(cluster.changed, "all is as it was")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4")
    assert all(cluster.client().get(key).values == ["v"] for key in KEYS)
    assert lost_at(cluster.node("n1")) == []

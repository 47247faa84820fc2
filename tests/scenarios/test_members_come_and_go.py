"""§4.9: members join, leave and are replaced, under load, and nothing is lost or served as absent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dynazmq.errors import InvalidRequest, Unavailable, WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle


def grown(seed: int, nodes: int = 5, keys: int = 60) -> tuple[Cluster, dict[str, str]]:
    """A cluster with some keys."""
    cluster = Cluster(seed, nodes, anti_entropy_ms=1000)
    client = cluster.client()
    values = {f"k{i}": f"v{i}" for i in range(keys)}
    for key, value in values.items():
        client.put(key, value)
    return cluster, values


def assert_all_there(cluster: Cluster, values: dict[str, str]) -> None:
    """Each key's primaries hold the same value, and nobody else holds a copy."""
    for key, value in values.items():
        assert cluster.client().get(key).values == [value], key
        assert [node.holds(key) for node in cluster.primaries(key)] == [[value]] * len(cluster.primaries(key)), key
        assert sum(bool(node.holds(key)) for node in cluster.nodes) == len(cluster.primaries(key)), key


def test_c14_a_node_joins_and_gets_its_share() -> None:
    cluster, values = grown(1)
    cluster.add("n6")
    cluster.wait(cluster.changed, "the change is over")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4", "n5", "n6")
    assert len(cluster.ring.owned_by("n6")) == 20
    assert_all_there(cluster, values)


def test_c15_a_node_leaves_and_nothing_is_left_on_it() -> None:
    cluster, values = grown(2)
    cluster.remove("n2")
    cluster.wait(cluster.changed, "the change is over")
    assert cluster.ring.members == ("n1", "n3", "n4", "n5")
    cluster.wait(lambda: "n2" not in cluster.node("n1").process.node.membership.members, "n2 is forgotten")
    cluster.end("n2")
    assert_all_there(cluster, values)


def leaves(node: NodeHandle) -> Callable[[], bool]:
    """Whether it may end."""
    return lambda: node.process.node.membership.standing == "left"


def test_a_leaver_on_which_nothing_is_left_decides_nothing_and_may_end() -> None:
    """What it decided, nobody took from it; and it waited for ever for somebody who knew the same (seed 120156)."""
    cluster, _ = grown(2)
    n2 = cluster.node("n2")
    cluster.remove("n2")
    cluster.world.run_until(lambda: n2.process.node.membership.emptied, 30.0)
    with pytest.raises(Unavailable, match="n2 has left the cluster"):
        cluster.change([["n1", "in", 1.5, ""]], at="n2")
    cluster.wait(leaves(n2), "n2 may end")


def test_a_leaver_that_has_decided_something_when_it_did_not_know_that_it_had_left_may_end() -> None:
    cluster, values = grown(2)
    n2 = cluster.node("n2")
    cluster.remove("n2")
    cluster.world.run_until(lambda: "n2" not in cluster.ring.members, 30.0)
    before = n2.backup()
    cluster.wait(leaves(n2), "n2 may end")
    n2.restore(before)
    cluster.partition(["n2"], [name for name in cluster.names if name != "n2"])
    n2.process.start()
    cluster.wait(lambda: n2.process.node.vouches.serves, "it can ask nobody, and serves by what it has")
    with pytest.raises(WriteTimeout):
        cluster.change([["n1", "in", 1.5, ""]], at="n2")
    assert n2.intents()["n1"].writer == "n2"
    cluster.heal()
    cluster.wait(leaves(n2), "n2 may end")
    assert "n1" not in cluster.node("n3").intents(), "nobody has taken from it what it decided, and no admin was told that it is"
    cluster.end("n2")
    assert_all_there(cluster, values)


def test_three_nodes_become_five_and_three_again() -> None:
    cluster, values = grown(3, nodes=3)
    for name in ("n4", "n5"):
        cluster.add(name)
        cluster.wait(cluster.changed, f"{name} is in")
    assert_all_there(cluster, values)
    for name in ("n1", "n4"):
        cluster.remove(name)
        cluster.wait(cluster.changed, f"{name} is out")
        cluster.end(name)
    assert cluster.ring.members == ("n2", "n3", "n5")
    assert_all_there(cluster, values)


def test_two_nodes_join_in_one_change() -> None:
    cluster, values = grown(4)
    cluster.add("n6")
    cluster.add("n7")
    cluster.wait(cluster.changed, "both are in")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4", "n5", "n6", "n7")
    assert_all_there(cluster, values)


def test_c16_a_join_and_a_leave_at_once_at_different_nodes() -> None:
    cluster, values = grown(5)
    cluster.add("n6", at="n1")
    cluster.remove("n2", at="n5")
    cluster.wait(cluster.changed, "both are done")
    assert cluster.ring.members == ("n1", "n3", "n4", "n5", "n6")
    cluster.end("n2")
    assert_all_there(cluster, values)


def test_c16_changes_on_both_sides_of_a_split_are_both_made_when_it_is_healed() -> None:
    cluster, values = grown(6)
    cluster.partition(["n1", "n2"], ["n3", "n4", "n5", "n6"])
    cluster.remove("n5", at="n1")
    cluster.names.append("n6")
    cluster._make("n6").process.start()
    cluster.run(3.0)
    cluster.change([["n6", "in", 1.0, ""]], at="n3")
    cluster.run(5.0)
    assert cluster.ring.version == 1, "nothing moves while somebody may still go by the old ring"
    cluster.heal()
    cluster.wait(cluster.changed, "both are done")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4", "n6")
    cluster.end("n5")
    assert_all_there(cluster, values)


def test_a_killed_node_is_replaced_and_its_copies_made_anew() -> None:
    cluster, values = grown(7)
    cluster.node("n3").wipe()
    cluster.run(3.0)
    cluster.add("n6", replaces="n3")
    cluster.end("n3")
    cluster.wait(cluster.changed, "the change is over")
    assert cluster.ring.members == ("n1", "n2", "n4", "n5", "n6")
    assert_all_there(cluster, values)


def test_c17_a_node_that_was_removed_by_force_is_not_spoken_to_when_it_comes_back() -> None:
    cluster, values = grown(8)
    cluster.node("n3").crash()
    cluster.remove("n3", force=True)
    cluster.names.remove("n3")
    cluster.wait(cluster.changed, "the change is over")
    cluster.names.append("n3")
    cluster.node("n3").restart()
    cluster.wait(lambda: cluster.node("n3").process.node.membership.expelled, "it learns that it was removed")
    cluster.run(5.0)
    assert "n3" not in cluster.node("n1").process.node.membership.members
    cluster.end("n3")
    assert_all_there(cluster, values)


def test_hints_for_a_node_that_left_go_to_the_new_owners() -> None:
    cluster, values = grown(9)
    client = cluster.client()
    cluster.node("n3").crash()
    late = {key: f"late {key}" for key in values}
    for key, value in late.items():
        client.put(key, value, client.get(key).context)
    cluster.run(1.0)
    assert sum(node.hints("n3") for node in cluster.nodes) > 0
    cluster.remove("n3", force=True)
    cluster.end("n3")
    cluster.wait(cluster.changed, "the change is over")
    cluster.wait(lambda: not any(node.hints() for node in cluster.nodes), "no hint pends")
    assert_all_there(cluster, late)


def test_s7_a_damaged_hint_for_a_node_that_left_does_not_pend_for_ever() -> None:
    cluster = Cluster(16, anti_entropy_ms=150)
    away = cluster.primaries("k")[2]
    away.crash()
    cluster.run(2.0)
    cluster.client().put("k", "v", w="all")
    holder = next(node for node in cluster.nodes if node.hints(away))
    assert holder.damage("k")
    cluster.remove(away.name, force=True)
    cluster.end(away.name)
    cluster.wait(cluster.changed, "the change is over")
    cluster.settle()
    assert holder.counters["hints_dropped"] == 1
    cluster.wait(lambda: cluster.equal("k"), "the other primaries bring it")
    assert [node.holds("k") for node in cluster.primaries("k")] == [["v"]] * 3


@pytest.mark.parametrize("victim", ["joiner", "source", "decider"])
@pytest.mark.parametrize("after_s", [0.05, 0.5, 2.5, 4.0, 9.0])
def test_a_change_goes_on_when_somebody_dies_in_the_middle_of_it(victim: str, after_s: float) -> None:
    cluster, values = grown(10)
    cluster.add("n6", at="n1")
    cluster.run(after_s)
    node = cluster.node({"joiner": "n6", "source": "n2", "decider": "n1"}[victim])
    node.crash()
    client = cluster.client()
    for key in list(values)[:20]:
        values[key] += " again"
        client.put(key, values[key], client.get(key).context)
    cluster.run(3.0)
    node.restart()
    cluster.wait(cluster.changed, "the change is over")
    cluster.wait(lambda: not any(node.hints() for node in cluster.nodes), "no hint pends")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4", "n5", "n6")
    assert_all_there(cluster, values)


def test_what_is_written_during_a_change_is_read_during_and_after_it() -> None:
    cluster, values = grown(11)
    client = cluster.client()
    cluster.add("n6")
    cluster.remove("n1")
    began = cluster.world.now
    while cluster.world.now < began + 12:
        for key in list(values)[::7]:
            values[key] = f"at {cluster.world.now:.3f}"
            client.put(key, values[key], client.get(key).context)
            assert client.get(key).values == [values[key]]
        cluster.run(0.05)
    cluster.wait(cluster.changed, "the change is over")
    cluster.end("n1")
    assert_all_there(cluster, values)


def test_a_founder_that_lost_its_disk_learns_the_present_ring_before_it_serves() -> None:
    cluster, values = grown(12)
    cluster.add("n6")
    cluster.wait(cluster.changed, "the change is over")
    cluster.node("n1").wipe()
    cluster.node("n1").restart()
    client = cluster.client()
    for key, value in values.items():
        assert client.get(key).values == [value]
    assert cluster.node("n1").process.node.membership.ring.members == ("n1", "n2", "n3", "n4", "n5", "n6")
    cluster.settle()


def test_a_member_that_is_away_holds_a_change_up_and_it_goes_on_when_it_is_back() -> None:
    cluster, values = grown(13)
    cluster.node("n4").crash()
    cluster.add("n6")
    cluster.run(10.0)
    assert cluster.ring.version <= 2
    assert "n4" in cluster.node("n1").process.node.admin.status()["change"]["waiting_for"]
    cluster.node("n4").restart()
    cluster.wait(cluster.changed, "the change is over")
    assert_all_there(cluster, values)


def test_a_join_is_taken_back_before_it_was_done() -> None:
    cluster, values = grown(14)
    cluster.node("n4").crash()
    cluster.add("n6")
    cluster.run(3.0)
    cluster.remove("n6", force=True)
    cluster.end("n6")
    cluster.node("n4").restart()
    cluster.wait(cluster.changed, "nothing is changed")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4", "n5")
    assert_all_there(cluster, values)


def test_a_name_may_be_used_again_on_an_empty_disk() -> None:
    cluster, values = grown(15)
    cluster.remove("n3")
    cluster.wait(cluster.changed, "n3 is out")
    cluster.wait(lambda: "n3" not in cluster.node("n1").process.node.membership.members, "n3 is forgotten")
    cluster.end("n3")
    cluster.add("n3")
    cluster.wait(cluster.changed, "n3 is in again")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4", "n5")
    assert_all_there(cluster, values)


def test_weights_decide_on_the_shares() -> None:
    cluster, values = grown(16)
    cluster.add("n6", weight=2.0)
    cluster.wait(cluster.changed, "n6 is in")
    shares = {name: len(cluster.ring.owned_by(name)) for name in cluster.ring.members}
    assert shares.pop("n6") in (34, 35), "two sevenths of 120"
    assert set(shares.values()) <= {17, 18}
    assert_all_there(cluster, values)


def test_deletes_during_a_change_stay_deleted() -> None:
    cluster, values = grown(17)
    client = cluster.client()
    cluster.add("n6")
    cluster.run(0.3)
    deleted = list(values)[::3]
    for key in deleted:
        client.delete(key)
    cluster.wait(cluster.changed, "the change is over")
    assert [client.get(key).values for key in deleted] == [[]] * len(deleted)
    assert_all_there(cluster, {key: value for key, value in values.items() if key not in deleted})


def test_with_fewer_members_than_n_the_default_quorum_serves_and_all_is_refused() -> None:
    cluster, values = grown(18, nodes=3)
    cluster.remove("n2")
    cluster.wait(cluster.changed, "n2 is out")
    cluster.end("n2")
    client = cluster.client()
    client.put("k1", "both", client.get("k1").context)
    assert client.get("k1").values == ["both"]
    assert [node.holds("k1") for node in cluster.nodes] == [["both"], ["both"]]
    with pytest.raises(Unavailable):
        client.put("k1", "three", w="all")
    with pytest.raises(InvalidRequest, match="without n1 only n3 would be left, and the cluster's quorums need 2"):
        cluster.remove("n1")
    cluster.add("n4")
    cluster.wait(cluster.changed, "n4 is in")
    values["k1"] = "both"
    assert_all_there(cluster, values)


def test_deleted_keys_of_partitions_that_moved_are_forgotten() -> None:
    cluster = Cluster(19, 4, anti_entropy_ms=1000, grace_ms=6000)
    client = cluster.client()
    for i in range(40):
        client.put(f"k{i}", "v")
        client.delete(f"k{i}")
    cluster.add("n5")
    cluster.wait(cluster.changed, "n5 is in")
    cluster.wait(lambda: not any(node.process.disk.committed() for node in cluster.nodes), "all is forgotten", 60.0)


def test_two_admins_who_together_want_too_few_members_move_nothing() -> None:
    cluster, values = grown(20, nodes=3)
    cluster.partition(["n1"], ["n2", "n3"])
    with pytest.raises(WriteTimeout, match="n1 has it on its disk, and no other member has confirmed it"):
        cluster.remove("n3", at="n1")
    cluster.remove("n2", at="n2")
    cluster.heal()
    cluster.run(10.0)
    assert cluster.ring.members == ("n1", "n2", "n3"), "each alone could have been followed, both together would leave one"
    cluster.change([["n3", "in", 1.0, ""]])
    cluster.wait(cluster.changed, "n2 is out")
    assert cluster.ring.members == ("n1", "n3")
    cluster.end("n2")
    assert_all_there(cluster, values)

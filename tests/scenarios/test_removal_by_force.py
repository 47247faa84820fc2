"""§4.8.1: members are removed by force by a majority only, and that can be taken back until the ring is without them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from dynazmq.dynamo.membership.change import EXPEL, GONE, IN
from dynazmq.errors import DynazmqError, InvalidRequest, WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle


def a_cluster(seed: int, nodes: int = 5, **options: Any) -> Cluster:
    cluster = Cluster(seed, nodes, anti_entropy_ms=1000, **options)
    for i in range(20):
        cluster.client().put(f"k{i}", f"v{i}", w="all")
    return cluster


def expelling(*names: str) -> list[list[Any]]:
    return [[name, EXPEL, 1.0, ""] for name in names]


def kinds(node: NodeHandle) -> dict[str, str]:
    return {name: intent.kind for name, intent in node.process.node.membership.intents.items()}


def ended(cluster: Cluster, *names: str) -> bool:
    """These nodes have ended by themselves, since they were expelled."""
    return all(cluster.node(name).process.state == "down" and cluster.node(name).process.counted["expelled"] for name in names)


def rings(cluster: Cluster) -> set[tuple[str, ...]]:
    """Members, as those know them who live and are at rest."""
    nodes = [node.process.node.membership for node in cluster.nodes if node.process.alive]
    return {each.ring.members if each.ring.at_rest else ("changing",) for each in nodes}


def at_once(cluster: Cluster, *expelled: tuple[str, tuple[str, ...]]) -> None:
    """Admins who know nothing of each other, each at a node, expel these."""
    admins = [(cluster.client(f"admin at {at}", beside=at), at, names) for at, names in expelled]
    for admin, _, _ in admins:
        admin.connected()
    for call in [admin.begin_change(expelling(*names), at) for admin, at, names in admins]:
        with suppress(WriteTimeout):  # nobody can confirm it to a node that is cut off, or was expelled meanwhile
            call.result()


def one_ring(cluster: Cluster, *names: str) -> None:
    cluster.wait(lambda: rings(cluster) == {names}, f"all who live know the ring of {names}")


def test_the_smaller_side_of_a_split_is_refused_and_the_larger_one_goes_on_without_it() -> None:
    cluster = a_cluster(1)
    few, many = ["n1", "n2"], ["n3", "n4", "n5"]
    cluster.partition(few, many)
    cluster.run(3.0)
    with pytest.raises(InvalidRequest, match=r"expelling n3 n4 n5 would leave 2 of 5 members, and more than half \(3\) must"):
        cluster.client("one", beside="n1").change_members(expelling(*many), "n1")
    with pytest.raises(InvalidRequest, match=r"half of 5 members \(3\) must agree to expel n5, and 2 can be reached: n1 n2"):
        cluster.client("one", beside="n1").change_members(expelling("n5"), "n1")
    cluster.client("other", beside="n3").change_members(expelling(*few), "n3")
    both = {tuple(many), ("n1", "n2", "n3", "n4", "n5")}
    cluster.wait(lambda: rings(cluster) == both, "the larger side goes on")
    cluster.heal()
    cluster.wait(lambda: ended(cluster, *few), "those who were expelled learn of it")
    assert rings(cluster) == {tuple(many)}
    assert all(cluster.client("reader", beside="n3").get(f"k{i}").values == [f"v{i}"] for i in range(20))


def test_what_a_side_wants_that_does_not_know_of_the_split_yet_never_takes_effect_there() -> None:
    cluster = a_cluster(2)
    cluster.partition(["n1", "n2"], ["n3", "n4", "n5"])
    cluster.client("one", beside="n1").change_members(expelling("n4", "n5"), "n1")
    cluster.run(5.0)
    assert kinds(cluster.node("n2")) == {"n4": EXPEL, "n5": EXPEL}
    assert cluster.node("n1").process.node.admin.status()["change"]["expelling"] == {
        "members": ["n4", "n5"], "needed": 3, "agree": ["n1", "n2"], "possible": True,
    }  # fmt: skip
    cluster.client("other", beside="n4").change_members(expelling("n1", "n2"), "n4")
    cluster.run(10.0)
    cluster.heal()
    cluster.wait(lambda: ended(cluster, "n1", "n2"), "the minority ends")
    one_ring(cluster, "n3", "n4", "n5")


def test_two_expulsions_that_leave_no_majority_are_withdrawn_when_all_know_of_them() -> None:
    cluster = a_cluster(12)
    cluster.partition(["n1", "n2"], ["n3"], ["n4", "n5"])
    at_once(cluster, ("n1", ("n4", "n5")), ("n5", ("n1", "n2")))
    cluster.run(5.0)
    assert [kinds(cluster.node(name)) for name in ("n2", "n4")] == [{"n4": EXPEL, "n5": EXPEL}, {"n1": EXPEL, "n2": EXPEL}]
    cluster.heal()
    cluster.partition(["n3"], ["n1", "n2", "n4", "n5"])  # whose word would be a majority for whom it hears first
    cluster.run(5.0)
    assert {frozenset(kinds(cluster.node(name)).items()) for name in ("n1", "n2", "n4", "n5")} == {
        frozenset((name, EXPEL) for name in ("n1", "n2", "n4", "n5"))
    }
    cluster.settle()
    cluster.wait(lambda: all(set(kinds(node).values()) == {IN} for node in cluster.nodes), "all stay")
    assert rings(cluster) == {("n1", "n2", "n3", "n4", "n5")}
    cluster.node("n5").crash()
    cluster.run(2.0)
    cluster.remove("n5", force=True)
    cluster.end("n5")
    cluster.wait(cluster.changed, "and who is really gone can be expelled")


@pytest.mark.parametrize("seed", range(8))
def test_of_two_expulsions_at_once_of_which_each_leaves_a_majority_at_most_one_takes_effect(seed: int) -> None:
    cluster = a_cluster(seed)
    everybody = ("n1", "n2", "n3", "n4", "n5")
    at_once(cluster, ("n1", ("n4", "n5")), ("n5", ("n1", "n2")))
    cluster.run(20.0)
    (members,) = rings(cluster)
    assert members in (everybody, ("n1", "n2", "n3"), ("n3", "n4", "n5"))
    assert [node.name for node in cluster.nodes if node.process.alive] == list(members)


@pytest.mark.parametrize("seed", range(5))
def test_two_expulsions_at_once_that_leave_a_majority_both_take_effect(seed: int) -> None:
    cluster = a_cluster(seed)
    at_once(cluster, ("n1", ("n4",)), ("n4", ("n1",)))
    cluster.wait(lambda: ended(cluster, "n1", "n4"), "both end")
    one_ring(cluster, "n2", "n3", "n5")


def test_one_of_two_members_is_expelled_without_a_majority_only() -> None:
    cluster = a_cluster(3, nodes=2, n=2, r=1, w=1)
    cluster.node("n2").crash()
    cluster.run(2.0)
    with pytest.raises(InvalidRequest, match=r"expelling n2 would leave 1 of 2 members, and more than half \(2\) must agree"):
        cluster.remove("n2", force=True)
    cluster.remove("n2", without_quorum=True)
    cluster.end("n2")
    cluster.wait(cluster.changed, "the ring is without it")
    assert cluster.ring.members == ("n1",)


def test_when_a_majority_is_lost_an_admin_says_that_expressly() -> None:
    cluster = a_cluster(4, n=4)
    lost = ("n3", "n4", "n5")
    for name in lost:
        cluster.node(name).crash()
    cluster.run(2.0)
    with pytest.raises(InvalidRequest, match="would leave 2 of 5 members"):
        cluster.remove(*lost, force=True)
    cluster.remove(*lost, without_quorum=True)
    assert set(kinds(cluster.node("n1")).values()) == {GONE}
    for name in lost:
        cluster.end(name)
    cluster.wait(cluster.changed, "the ring is without them")
    assert cluster.ring.members == ("n1", "n2")


def test_two_sides_that_expelled_each_other_without_a_majority_end_as_one_when_they_meet() -> None:
    cluster = a_cluster(5, n=4)
    few, many = ["n1", "n2"], ["n3", "n4", "n5"]
    cluster.partition(few, many)
    cluster.run(3.0)
    for at, names in (("n1", many), ("n3", few)):
        cluster.client(f"admin {at}", beside=at).change_members([[name, GONE, 1.0, ""] for name in names], at)
    cluster.run(20.0)
    assert rings(cluster) == {tuple(few), tuple(many)}, "two clusters"
    cluster.heal()
    cluster.wait(lambda: ended(cluster, *few), "the smaller one ends")
    cluster.run(10.0)
    one_ring(cluster, *many)
    for name in few:
        cluster.node(name).process.start()
    cluster.wait(lambda: ended(cluster, *few), "and again if somebody starts it")
    one_ring(cluster, *many)


def test_a_side_that_had_a_majority_outlasts_one_that_did_without() -> None:
    """Although it has expelled more of them."""
    cluster = a_cluster(6, n=4)
    few, many = ["n1", "n2"], ["n3", "n4", "n5"]
    cluster.partition(few, many)
    cluster.run(3.0)
    for at, names, kind in (("n3", few, EXPEL), ("n1", many[:1], GONE)):
        cluster.client(f"admin {at}", beside=at).change_members([[name, kind, 1.0, ""] for name in names], at)
    cluster.run(20.0)
    cluster.heal()
    cluster.wait(lambda: ended(cluster, *few), "the side without ends")
    one_ring(cluster, *many)


def test_one_who_is_expelled_and_lives_serves_nobody_and_ends_when_the_ring_is_without_it() -> None:
    cluster = a_cluster(7)
    cluster.node("n4").crash()  # without it the ring makes no step
    cluster.run(2.0)
    cluster.remove("n3", force=True)
    out = cluster.node("n3")
    cluster.wait(lambda: out.process.node.membership.outcast, "it is told")
    cluster.run(2.0)
    assert out.process.alive
    with pytest.raises(DynazmqError):
        cluster.client().begin_get("k1", at="n3").result()
    assert cluster.client().get("k1", r=2).values == ["v1"]
    cluster.node("n4").restart()
    cluster.wait(lambda: ended(cluster, "n3"), "it ends")
    one_ring(cluster, "n1", "n2", "n4", "n5")


def test_an_expulsion_is_taken_back_before_the_ring_moves() -> None:
    cluster = a_cluster(8)
    cluster.node("n4").crash()
    cluster.run(2.0)
    cluster.remove("n3", force=True)
    cluster.wait(lambda: cluster.node("n3").process.node.membership.outcast, "it takes effect")
    cluster.change([["n3", IN, 1.0, ""]], "n1")
    cluster.wait(lambda: kinds(cluster.node("n3"))["n3"] == IN, "it is told")
    cluster.node("n4").restart()
    cluster.settle()
    assert cluster.ring.at_rest
    assert rings(cluster) == {("n1", "n2", "n3", "n4", "n5")}
    assert cluster.client().begin_get("k1", at="n3").result().values == ["v1"]
    cluster.remove("n3", force=True)
    cluster.wait(lambda: ended(cluster, "n3"), "and may be expelled again")


def test_an_expulsion_is_taken_back_while_the_change_fills() -> None:
    cluster = a_cluster(9)
    cluster.remove("n3", force=True)
    cluster.wait(lambda: cluster.ring.filling, "it fills")
    cluster.change([["n3", IN, 1.0, ""]], "n1")
    cluster.settle()
    cluster.wait(cluster.changed, "it is taken back")
    assert cluster.ring.members == ("n1", "n2", "n3", "n4", "n5")
    assert all(cluster.client().get(f"k{i}", r="all").values == [f"v{i}"] for i in range(20))


def test_it_cannot_be_taken_back_when_the_ring_is_without_it() -> None:
    cluster = a_cluster(10)
    cluster.remove("n3", force=True)
    cluster.wait(lambda: cluster.ring.at_rest and "n3" not in cluster.ring.members, "the ring is without it")
    with pytest.raises(InvalidRequest, match="n3 was removed by force, and the ring is without it now: it needs another name"):
        cluster.change([["n3", IN, 1.0, ""]], "n1")


def test_an_expelled_node_that_knows_nothing_of_it_is_not_heard() -> None:
    """Its write would reach old owners only, and be missed by who reads the new ones."""
    cluster = a_cluster(11)
    cluster.partition(["n3"], ["n1", "n2", "n4", "n5"])
    cluster.run(2.0)
    cluster.remove("n3", force=True, at="n1")
    cluster.wait(lambda: "n3" in kinds(cluster.node("n1")) and kinds(cluster.node("n1"))["n3"] == GONE, "it takes effect")
    assert kinds(cluster.node("n3")) == {}
    first, *_ = [node for node in cluster.primaries("k1") if node.name != "n3"]
    assert not first.process.node.heard("n3", cluster.node("n3").process.node.identity.incarnation)
    cluster.heal()
    cluster.wait(lambda: ended(cluster, "n3"), "it ends")


def pardoned_too_late(seed: int, *out: str) -> Cluster:
    """These heard that they are to be expelled, were cut off, and told that the first of them shall stay. Only they know that.

    It keeps hints for others, too, of a value that nobody else has.
    """
    cluster = a_cluster(seed)
    stay = [name for name in cluster.names if name not in out]
    cluster.partition([stay[0], *out], stay[1:])
    with suppress(WriteTimeout):
        cluster.client("one", beside=stay[0]).change_members(expelling(*out), stay[0])
    cluster.wait(lambda: all(set(kinds(cluster.node(name)).values()) == {EXPEL} for name in out), "they hear of it")
    cluster.heal()
    cluster.partition(out, stay)
    with suppress(WriteTimeout):  # where nobody can confirm it
        cluster.client("two", beside=out[-1]).change_members([[out[0], IN, 1.0, ""]], out[-1])
    cluster.client("three", beside=out[0]).put("late", "value", w=1)
    cluster.wait(lambda: tuple(stay) in rings(cluster), "the others go on without them")
    assert kinds(cluster.node(out[0]))[out[0]] == IN
    assert cluster.node(out[0]).hints()
    return cluster


@pytest.mark.parametrize("out", [("n3",), ("n3", "n4")])
def test_one_whose_pardon_came_too_late_ends_though_nobody_who_is_heard_knows_of_the_pardon(out: tuple[str, ...]) -> None:
    """It waited for ever to be let in, and its hints with it: to it its pardon outranked what the others say (seed 161620)."""
    cluster = pardoned_too_late(13, *out)
    cluster.heal()
    cluster.wait(lambda: ended(cluster, *out), "they end")
    one_ring(cluster, *(name for name in cluster.names if name not in out))
    for name in out:
        cluster.node(name).process.start()
    cluster.wait(lambda: ended(cluster, *out), "and again if somebody starts them")
    with pytest.raises(InvalidRequest, match="n3 was removed by force, and the ring is without it now: it needs another name"):
        cluster.change([["n3", IN, 1.0, ""]], "n1")


def test_that_a_pardon_came_too_late_is_said_when_no_member_is_away_who_may_know_of_it() -> None:
    cluster = pardoned_too_late(14, "n3")
    cluster.node("n5").crash()
    cluster.remove("n4")  # of which n5 does not know
    cluster.heal()
    cluster.run(10.0)
    waits = cluster.node("n3").process.node.admin.status()
    assert (waits["standing"], waits["change"]["waiting_for"]) == ("joining", ["n1", "n2", "n4", "n5"])
    cluster.node("n5").restart()
    cluster.wait(lambda: ended(cluster, "n3"), "it ends")


def test_an_expulsion_whose_majority_dies_is_shown_and_ends_when_one_is_back_or_an_admin_decides() -> None:
    """It was agreed to be possible while somebody was dead of whom nobody had noticed it yet (seed 150355)."""
    ends = {
        "who is away comes back": lambda: cluster.node("n2").restart(),
        "the expelled one stays, and who is away goes": lambda: (
            cluster.change([["n3", IN, 1.0, ""]], "n1"),
            cluster.remove("n2", force=True, at="n1"),
        ),
        "both go, without a majority": lambda: cluster.remove("n2", "n3", without_quorum=True, at="n1"),
    }
    left = []
    for end in ends.values():
        cluster = a_cluster(15, nodes=4)
        cluster.node("n2").crash()
        cluster.remove("n3", force=True, at="n1")
        cluster.run(10.0)
        change = cluster.node("n1").process.node.admin.status()["change"]
        assert change["expelling"] == {"members": ["n3"], "needed": 3, "agree": ["n1", "n4"], "possible": True}
        assert change["waiting_for"] == ["n2"]
        with pytest.raises(InvalidRequest, match=r"expelling n2 n3 would leave 2 of 4 members, and more than half"):
            cluster.remove("n2", force=True, at="n1")
        end()
        cluster.run(20.0)
        left += rings(cluster)
    assert left == [("n1", "n2", "n4"), ("n1", "n3", "n4"), ("n1", "n4")]


def test_one_who_dies_while_another_leaves_is_not_removed_where_too_few_would_be_left_until_an_admin_wants_it_otherwise() -> None:
    """The leaver waits for the dead one, who is refused to be removed: it is the admin who has a choice (seed 411978)."""
    ends = {
        "who leaves stays": lambda cluster: (
            cluster.change([["n2", IN, 1.0, ""]], "n1"),
            cluster.remove("n3", force=True, at="n1"),
        ),
        "a new node takes the place of the dead one": lambda cluster: (
            cluster.enrol("n4"),
            cluster.run(1.0),
            cluster.change([["n4", IN, 1.0, "n3"], *expelling("n3")], "n1"),
        ),
        "the dead one comes back": lambda cluster: cluster.node("n3").restart(),
    }
    left = []
    for end in ends.values():
        cluster = a_cluster(16, nodes=3)
        cluster.node("n3").crash()
        cluster.remove("n2", at="n1")
        cluster.run(10.0)
        assert rings(cluster) == {("n1", "n2", "n3")}
        assert cluster.node("n1").process.node.admin.status()["change"]["waiting_for"] == ["n3"]
        with pytest.raises(InvalidRequest, match="without n2 n3 only n1 would be left, and the cluster's quorums need 2"):
            cluster.remove("n3", force=True, at="n1")
        end(cluster)
        cluster.run(20.0)
        left += rings(cluster)
        assert [cluster.client().get(f"k{i}").values for i in range(20)] == [[f"v{i}"] for i in range(20)]
    assert left == [("n1", "n2"), ("n1", "n4"), ("n1", "n3")]

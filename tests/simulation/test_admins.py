"""Admins in a simulated cluster: what they do, what they may not do, and that all of it comes to an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dynazmq.dynamo.membership.change import EXPEL, IN
from dynazmq.errors import WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.run import simulation
from dynazmq.simulator.run.admins import (
    ACTS,
    APART,
    AT_ONCE,
    EACH_OTHER,
    EXPULSION,
    JOIN,
    LEAVE,
    PARDON,
    REPLACE,
    REWEIGH,
    SWAP,
    TAKE_BACK,
    Admins,
)
from dynazmq.simulator.run.checker import Checker
from dynazmq.simulator.run.decisions import Decisions
from dynazmq.simulator.run.ends import Ends
from dynazmq.simulator.run.simulation import Plan


def acting(
    seed: int, *acts: str, nodes: int = 5, acts_max: int = 3, seconds: float = 6.0, **limits: int
) -> tuple[Cluster, Admins]:
    """A cluster whose admins have acted for a while, and whose changes are over."""
    cluster = Cluster(seed, nodes, anti_entropy_ms=150, partitions=24)
    client = cluster.client()
    for i in range(6):
        client.put(f"k{i}", f"v{i}")
    admins = Admins(cluster, acts, acts_max, 0.5, **limits)
    cluster.run(seconds)
    admins.stop()
    admins.see_through()
    cluster.settle()
    for i in range(6):
        assert client.get(f"k{i}").values == [f"v{i}"]
    assert cluster.history.broken == []
    return cluster, admins


@pytest.mark.parametrize("act", [JOIN, LEAVE, REWEIGH, SWAP, AT_ONCE, APART])
def test_an_act_comes_to_its_end_and_everybody_knows_the_same_members(act: str) -> None:
    cluster, admins = acting(1, act)
    assert admins.injected[act] > 0
    assert {node.name for node in cluster.nodes} == set(cluster.ring.members)
    if act in (JOIN, SWAP):
        assert set(cluster.names) - {"n1", "n2", "n3", "n4", "n5"}
    if act in (LEAVE, SWAP):
        assert {"n1", "n2", "n3", "n4", "n5"} - set(cluster.names)


def test_who_leaves_may_be_taken_back() -> None:
    assert any(acting(seed, LEAVE, TAKE_BACK, acts_max=6)[1].injected[TAKE_BACK] for seed in range(1, 6))


def test_never_fewer_members_than_are_needed() -> None:
    cluster, _ = acting(2, LEAVE, nodes=4, acts_max=9, members_min=3)
    assert len(cluster.names) == 3


@pytest.mark.parametrize("act", [REPLACE, EXPULSION])
def test_who_is_lost_for_good_is_removed_and_counts_as_a_lost_disk(act: str) -> None:
    cluster, admins = acting(3, act, losses_max=1, seconds=20.0)
    assert admins.injected[act] == 1
    assert cluster.history.disks_lost == 1
    assert len(cluster.names) == (5 if act == REPLACE else 4)


def test_of_two_sides_that_expel_each_other_the_larger_one_stays() -> None:
    cluster, admins = acting(3, EACH_OTHER, losses_max=1, seconds=20.0)
    assert admins.injected[EACH_OTHER] == 1
    assert len(cluster.ring.members) == 4
    assert {node.name for node in cluster.nodes} == set(cluster.ring.members)


def test_who_is_expelled_and_pardoned_stays_or_it_was_too_late() -> None:
    stayed = [acting(seed, PARDON, losses_max=1, acts_max=1, seconds=20.0)[0] for seed in range(1, 7)]
    assert {len(cluster.ring.members) for cluster in stayed} <= {4, 5}
    assert any(len(cluster.ring.members) == 5 for cluster in stayed)


def test_without_losses_nobody_dies_for_good() -> None:
    cluster, admins = acting(4, REPLACE, EXPULSION)
    assert not admins.injected
    assert cluster.names == ["n1", "n2", "n3", "n4", "n5"]


def test_another_disk_may_be_lost_only_when_the_copies_of_the_first_were_made_anew() -> None:
    cluster = Cluster(5, anti_entropy_ms=150, partitions=24)
    cluster.client().put("k", "v")
    admins = Admins(cluster, (EXPULSION,), 2, 0.01, losses_max=2)
    cluster.world.run_until(lambda: admins.injected[EXPULSION] == 1, 5.0)
    cluster.run(0.2)
    assert admins.injected[EXPULSION] == 1
    cluster.world.run_until(lambda: admins.injected[EXPULSION] == 2, 30.0)
    assert admins.injected[EXPULSION] == 2
    cluster.run(5.0)
    admins.see_through()
    assert len(cluster.names) == 3
    assert cluster.client().get("k").values == ["v"]


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_other_disk_is_lost_while_the_node_of_the_first_is_a_member_be_it_dead_or_alive(seed: int) -> None:
    """Of four nodes one was to be expelled, another died, and of the two left there was no majority for either (seed 150355)."""
    cluster = Cluster(seed, 4, anti_entropy_ms=150, partitions=24)
    admins = Admins(cluster, (EXPULSION,), 2, 0.05, losses_max=2)
    cluster.world.run_until(lambda: admins.injected[EXPULSION] == 2, 60.0)
    assert admins.injected[EXPULSION] == 2
    assert len(cluster.ring.members) == 3
    admins.see_through()
    assert sorted(cluster.names) == list(cluster.ring.members)


def test_one_of_two_members_is_dead_for_good_and_is_removed_without_a_majority_before_others_are_decided_of() -> None:
    """A new node had to be let in, and the only member that was left had nobody to confirm that (seed 403444)."""
    cluster = Cluster(6, 2, n=2, r=1, w=1, anti_entropy_ms=150, partitions=24)
    cluster.client().put("k", "v", w=2)
    cluster.client("admin-1").connected()
    dead = cluster.node("n2")
    dead.crash()
    dead.given_up = True
    cluster.enrol("n3")
    done: list[str] = []
    decisions = Decisions(cluster, lambda *_: None)
    decisions.decide("admin-1", [["n3", IN, 1.0, ""]])
    Ends(cluster, decisions, 1, done.append).see_through([dead.name], ())
    assert cluster.ring.members == ("n1", "n3")
    assert done == ["removed without a majority"]
    assert cluster.client().get("k", r=2).values == ["v"]
    assert cluster.history.broken == []


def test_who_leaves_is_asked_to_stay_when_too_few_are_left_without_one_who_is_dead_for_good() -> None:
    """The dead one was not removed, since one member would have been left, and the leaver waited for him (seed 411978)."""
    cluster = Cluster(8, 3, anti_entropy_ms=150, partitions=24)
    cluster.client().put("k", "v")
    admins = Admins(cluster, (LEAVE,), 0, 1000.0)
    cluster.node("n3").crash()
    cluster.remove("n2", at="n1")
    cluster.node("n3").given_up = True
    cluster.history.robs("n3")
    done: list[str] = []
    Ends(cluster, admins.decisions, 2, done.append).see_through({"n3"}, ())
    assert done == ["asked to stay"]
    assert cluster.ring.members == ("n1", "n2")
    assert cluster.names == ["n1", "n2"]
    assert cluster.client().get("k").values == ["v"]


def cut_off_and_told_to_expel_others() -> tuple[Cluster, Admins]:
    """n5 of five is alone, and an admin beside it wants n1 and n2 to go."""
    cluster = Cluster(9, 5, anti_entropy_ms=150, partitions=24)
    admins = Admins(cluster, (LEAVE,), 0, 1000.0)
    cluster.partition(["n5"], ["n1", "n2", "n3", "n4"])
    with pytest.raises(WriteTimeout):
        cluster.client("cut off", beside="n5").change_members([["n1", EXPEL, 1.0, ""], ["n2", EXPEL, 1.0, ""]], "n5")
    return cluster, admins


def test_what_one_who_was_expelled_wanted_of_the_others_is_not_taken_for_decided() -> None:
    """Those whom it had wanted to expel were ended when the faults were, and no majority was left (seed 443153, 4 acts)."""
    cluster, admins = cut_off_and_told_to_expel_others()
    cluster.node("n4").crash()  # so that the ring waits, and the expelled one is a member still
    cluster.remove("n5", force=True, at="n1")
    cluster.heal()
    cluster.wait(lambda: cluster.node("n5").process.node.membership.outcast, "the expelled one knows it")
    assert admins.decisions.wanted() == ["n1", "n2", "n3", "n4"]
    admins.see_through()
    assert cluster.names == list(cluster.ring.members) == ["n1", "n2", "n3", "n4"]


def test_nor_is_what_one_wanted_who_was_expelled_and_has_not_heard_of_it() -> None:
    """It had died meanwhile, and came back when all members had been told to go by nobody but it (seed 510653)."""
    cluster, admins = cut_off_and_told_to_expel_others()
    cluster.node("n5").crash()
    cluster.remove("n5", force=True, at="n1")
    cluster.wait(lambda: "n5" not in cluster.node("n1").process.node.membership.ring.members, "the others go on without it")
    cluster.node("n5").restart()
    assert not cluster.node("n5").process.node.membership.outcast
    assert admins.decisions.wanted() == ["n1", "n2", "n3", "n4"]
    admins.see_through()
    assert cluster.names == list(cluster.ring.members) == ["n1", "n2", "n3", "n4"]


def test_who_serves_alone_is_not_drawn_from_those_whom_anybody_takes_for_expelled_or_an_admin_wants_to_be() -> None:
    """One of the two was expelled, as all but the other knew, which heard of it from the expelled one (seed 551466)."""
    cluster = Cluster(9, 5, anti_entropy_ms=150, partitions=24)
    admins = Admins(cluster, (LEAVE,), 0, 1000.0)
    cluster.node("n4").crash()  # so that the ring waits, and the expelled one is a member still
    cluster.remove("n5", force=True, at="n1")
    assert "n5" in cluster.ring.members
    assert admins.decisions.by_force() == {"n5"}
    cluster.client("admin-2").connected()
    admins.decisions.decide("admin-2", [["n1", EXPEL, 1.0, ""]])
    assert admins.decisions.by_force() == {"n1", "n5"}
    plan = Plan(seed=9, acts=(PARDON,), core=3)
    assert sorted(simulation._core(plan, cluster, admins)) == ["n2", "n3", "n4"]
    assert simulation._core(replace(plan, core=4), cluster, admins) == []


def test_of_what_two_admins_wanted_of_one_member_the_least_is_taken_for_acknowledged() -> None:
    """A second copy of the request had decided it anew after the other admin, and that word was on one disk (seed 615588)."""
    cluster = Cluster(9, 5, anti_entropy_ms=150, partitions=24)
    decisions = Admins(cluster, (LEAVE,), 0, 1000.0).decisions
    for admin, name, weight in (("admin-1", "n1", 1.5), ("admin-2", "n1", 0.5), ("admin-2", "n2", 0.5)):
        decisions.decide(admin, [[name, IN, weight, ""]])
        cluster.wait(lambda: not decisions.pending, "a node has taken it")
    versions = [(name, known.version) for name, known in sorted(decisions.intents().items())]
    assert versions == [("n1", 2), ("n2", 1)]
    _, second, alone = (taken.ranks for taken in decisions.taken)
    assert second["n1"] < decisions.intents()["n1"].rank
    assert alone["n2"] == decisions.intents()["n2"].rank
    assert decisions.lost() == []


def test_a_node_that_was_given_up_is_not_revived_with_the_others_and_may_be_started_by_somebody() -> None:
    cluster = Cluster(6, anti_entropy_ms=150, partitions=24)
    node: NodeHandle = cluster.node("n5")
    node.crash()
    cluster.remove("n5", force=True)
    cluster.end("n5")
    cluster.wait(cluster.changed, "n5 is out")
    node.revive()
    assert node.process.state == "down"
    cluster.haunt(node)
    cluster.wait(lambda: node.process.state == "down", "it has learned of it, and ended")
    assert node.process.counted["expelled"] == 1


def test_in_the_middle_of_a_change_those_whom_it_needs_get_into_trouble() -> None:
    seen = set()
    for seed in range(1, 5):
        cluster = Cluster(seed, anti_entropy_ms=150, partitions=24)
        admins = Admins(cluster, (JOIN, SWAP), 3, 0.5, victims=("joiner", "source", "told"), losses_max=1)
        cluster.run(8.0)
        admins.see_through()
        seen |= set(admins.injected)
    assert {"crash: joiner", "crash: source", "crash: told"} <= seen


def test_the_same_seed_acts_the_same() -> None:
    runs = [acting(7, *ACTS, losses_max=1)[0].world.event_hash for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_core_is_judged_though_one_who_owns_what_it_lacks_was_removed_by_force_and_is_there_no_more() -> None:
    """A handle of it was asked for, which ended the run: KeyError (seed 131655)."""
    cluster = Cluster(1, 5, anti_entropy_ms=150)
    cluster.client().put("k", "v")
    first, *_ = cluster.primaries("k")
    core = [node.name for node in cluster.fallbacks("k")]
    cluster.remove(first.name, force=True)
    cluster.end(first.name)
    assert first.name in cluster.ring.owners

    checker = Checker(cluster)
    checker.serves(core)
    assert checker.broken == []
    assert checker.figures["unknown_to_a_core"] == checker.figures["served_by_a_core"] == 1

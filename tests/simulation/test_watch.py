"""What is checked while a run goes on, and that each of these checks can fail."""

from __future__ import annotations

import pytest

from dynazmq.config import LWW
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.stale_disks import Vouches
from dynazmq.dynamo.messages import Put, Write
from dynazmq.dynamo.values.ring import Ring
from dynazmq.dynamo.values.versions import Context, Sibling, Siblings, encode
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle, row_of
from dynazmq.simulator.cluster.watch import COLLECTED, Limits
from dynazmq.simulator.mutants import MUTANTS
from dynazmq.simulator.run.checker import Checker
from dynazmq.simulator.run.simulation import run_seed


def overwrite(node: NodeHandle, key: str, state: Siblings) -> None:
    """As if the core had computed this state in a turn."""
    node.process.disk.write(*row_of(key), encode(state))
    node.process._commit()


def judged(cluster: Cluster) -> Checker:
    checker = Checker(cluster)
    checker.judge(calm=False, hints_suffice=False)
    return checker


def test_i3_a_sibling_that_nothing_covers_may_not_go() -> None:
    cluster = Cluster(1)
    client = cluster.client()
    client.put("k", "a", w="all")
    client.put("k", "b", w="all")
    node = cluster.primaries("k")[0]
    state = node.state("k")
    overwrite(node, "k", Siblings(state.live[1:], state.context))
    assert [line.split(":")[0] for line in cluster.history.broken] == ["I3"]


def test_i3_what_was_overwritten_by_one_who_had_seen_it_may_go() -> None:
    cluster = Cluster(1)
    client = cluster.client()
    client.put("k", "a", w="all")
    client.put("k", "b", client.get("k").context, w="all")
    client.delete("k")
    assert cluster.watch.figures["siblings_shown"] == 0
    assert cluster.history.broken == []


def test_i8_gossip_that_goes_back_is_seen_and_a_new_life_of_the_observer_may_know_less() -> None:
    cluster = Cluster(2)
    cluster.run(3.0)
    observer = cluster.node("n1")
    observer.restart()
    cluster.run(1.0)
    assert cluster.history.broken == []
    members = observer.process.node.membership.members
    members["n2"] = members["n2"]._replace(incarnation=1)
    for _ in range(8):
        cluster.watch.turned(observer.process)
    assert any(line.startswith("I8: n1 knew n2") for line in cluster.history.broken)


def test_i12_a_dot_that_names_two_writes_is_seen_at_the_commit() -> None:
    cluster = Cluster(3)
    client = cluster.client()
    client.put("k", "a", w="all")
    node = cluster.primaries("k")[0]
    state = node.state("k")
    overwrite(node, "k", Siblings((state.live[0]._replace(write_id=b"another"),), state.context))
    assert any(line.startswith("I12") for line in cluster.history.broken)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(siblings=2, clock_entries=9), "3 siblings of b'k', the limit is 2"),
        (Limits(clock_entries=1), "2 clock entries of b'k', the limit is 1"),
        (Limits(clock_entries=9, in_flight=0), "requests at"),
    ],
    ids=["siblings", "clock entries", "requests"],
)
def test_i13_what_grows_past_its_limit_is_seen(limits: Limits, what: str) -> None:
    cluster = Cluster(4)
    cluster.watch.limits = limits
    client = cluster.client()
    first, second, _ = cluster.primaries("k")
    for node in (first, second, first):
        client.put("k", f"of {node}, at {cluster.world.now}", at=node.name)
        cluster.run(0.5)
    cluster.slow(first, 0.1)
    call = client.begin_get("k", at=first.name, r="all")
    while not call.done:
        cluster.run(0.001)
    assert any(line.startswith("I13") and what in line for line in cluster.history.broken), cluster.history.broken


def test_i15_a_write_that_fewer_have_than_the_bucket_asks_for_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(9)
    client = cluster.client()
    client.configure("b", 3, 2, 3)
    cluster.wait(lambda: all(node.process.node.membership.in_force.held("b").w == 3 for node in cluster.nodes), "it is in force")
    client.options = client.options.with_(bucket="b")
    client.put("k", "v")
    assert cluster.history.broken == []
    monkeypatch.setattr(Membership, "policy", lambda self, _bucket: self.default_policy)
    client.put("k", "v")
    client.put("k", "v", w=1)
    (broken,) = cluster.history.broken
    assert broken.startswith("I15")
    assert broken.endswith("3 were asked for")


def test_i15_who_acknowledges_by_a_smaller_w_before_that_is_in_force_is_seen() -> None:
    cluster = Cluster(10)
    client = cluster.client()
    cluster.node("n5").crash()
    client.configure("b", 3, 3, 1)
    client.options = client.options.with_(bucket="b")
    cluster.run(2.0)
    client.put("k", "v", at="n1")
    assert cluster.history.broken == []
    with MUTANTS["acknowledge_by_a_smaller_w_before_all_know_of_it"].built_in():
        client.put("k", "v", at="n1")
    (broken,) = cluster.history.broken
    assert broken.startswith("I15")


def test_i15_one_who_has_not_heard_that_another_w_is_in_force_may_go_by_the_one_before() -> None:
    """Neighbouring rings are both gone by: it is told by its own."""
    cluster = Cluster(11)
    client = cluster.client(beside="n1")
    client.options = client.options.with_(bucket="b")
    client.configure("b", 3, 3, 1)
    cluster.wait(lambda: any(node.process.node.membership.in_force.held("b").w == 1 for node in cluster.nodes), "one step")
    behind = [node for node in cluster.nodes if node.process.node.membership.in_force.held("b").w == 2]
    acked = [len(client.put("k", f"at {node.name}", at=node.name).acked) for node in cluster.nodes]
    assert behind
    assert 1 in acked
    assert cluster.history.broken == []


def test_i15_a_node_that_takes_its_disk_for_an_old_copy_and_is_told_a_lie_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(12, 3)
    cluster.client().put("k", "v", w="all")
    cluster.node("n1").crash()
    cluster.node("n1").restart()
    cluster.settle()
    assert cluster.history.broken == []
    monkeypatch.setattr(Vouches, "word_for", lambda self, _peer: (self.mine + 1, self.says))
    cluster.run(1.0)
    assert any(line.startswith("I15") and "which it is not" in line for line in cluster.history.broken)


def test_i13_frames_that_wait_past_the_limit_are_seen() -> None:
    cluster = Cluster(5)
    cluster.watch.limits = Limits(clock_entries=9, frames=-1)
    cluster.run(1.0)
    assert any("frames wait at" in line for line in cluster.history.broken)


def test_i1_a_tombstone_may_be_gone_and_what_it_deleted_with_it() -> None:
    """As it is after tombstones were collected: there is no row any more."""
    cluster = Cluster(6)
    client = cluster.client()
    client.put("k", "v", w="all")
    client.delete("k", w="all")
    assert cluster.rows("k")
    forget(cluster)
    checker = judged(cluster)
    assert checker.broken == []


def test_i1_a_value_that_no_delete_covers_may_not_be_gone() -> None:
    cluster = Cluster(6)
    client = cluster.client()
    context = client.put("k", "v", w="all").context
    client.put("k", "beside", w="all")
    client.delete("k", context, w="all")
    forget(cluster)
    assert any(line.startswith("I1: lost") and "'beside'" in line for line in judged(cluster).broken)


def test_i4_a_value_that_comes_back_after_its_tombstone_was_collected_is_seen() -> None:
    cluster = Cluster(6)
    client = cluster.client()
    client.put("k", "v", w="all")
    before = cluster.primaries("k")[0].state("k")
    client.delete("k", w="all")
    forget(cluster)
    for node in cluster.primaries("k"):
        overwrite(node, "k", before)
    assert any(line.startswith("I4") for line in judged(cluster).broken)


def test_i1_a_delete_of_unknown_outcome_explains_a_loss_only_if_it_was_stored_somewhere() -> None:
    cluster = Cluster(6)
    client = cluster.client()
    context = client.put("k", "v", w="all").context
    for node in cluster.nodes:
        node.pause()
    call = client.begin_put("k", None, context, timeout=0.5)
    cluster.run(2.0)
    assert call.op is not None
    assert call.op.outcome == "unknown"
    for node in cluster.nodes:
        node.crash()
    cluster.settle()
    forget(cluster)
    for node in cluster.nodes:
        node.process.node.runtime.counters[COLLECTED] += 1
    assert any(line.startswith("I1: lost") for line in judged(cluster).broken)


def forget(cluster: Cluster) -> None:
    """All primaries drop the key's row."""
    cluster.run(0.5)
    for node in cluster.primaries("k"):
        node.process.disk.write(*row_of("k"), b"")
        node.process._commit()


def test_a_clock_entry_that_nobody_wrote_under_counts_too() -> None:
    cluster = Cluster(7)
    cluster.watch.limits = Limits(clock_entries=3)
    node = cluster.nodes[0]
    live = (Sibling("n1~x", 1, b"v", b"w", 0),)
    overwrite(node, "k", Siblings(live, Context({"n1~x": 1, "n2~x": 3, "n3~x": 1, "n4~x": 1})))
    assert any(line.startswith("I13: 4 clock entries") for line in cluster.history.broken)


@pytest.mark.parametrize("anti_entropy_ms", [0, 150])
def test_what_two_dots_of_one_write_leave_behind_is_no_lost_hint_and_is_mended_without_a_read(anti_entropy_ms: int) -> None:
    """Found by 5,000 seeds: one replica keeps the write under the one dot, the others overwrote it under the other.

    No hint pends, all contexts are equal. The checker took it for a lost hint.
    """
    cluster = Cluster(8, anti_entropy_ms=anti_entropy_ms)
    first, second, third = cluster.primaries("k")
    write, other = (
        cluster.history.begin("c", "put", Put(1, "default", b"k", value, b"", write_id, 0, 0, 0, 0, 0, 2000), 0.0)
        for value, write_id in ((b"w", b"w" * 16), (b"y", b"y" * 16))
    )
    under_x = Siblings((Sibling("x", 1, b"w", write.write_id, 0),), Context({"x": 1}))
    under_z = Siblings((Sibling("z", 1, b"w", write.write_id, 0),), Context({"z": 1}))
    over_x = Siblings((Sibling("x", 2, b"y", other.write_id, 0),), Context({"x": 2}))
    for state in (under_z, over_x):
        merge(third, state)
    for node in (first, second):
        for state in (under_x, under_z, over_x):
            merge(node, state)
    assert (first.holds("k"), third.holds("k")) == (["y"], ["y", "w"])
    assert first.state("k").context == third.state("k").context
    checker = Checker(cluster)
    checker.judge(calm=False, hints_suffice=True, anti_entropy=anti_entropy_ms > 0)
    assert checker.broken == []
    assert checker.figures["two_dots_apart"] == (not anti_entropy_ms)
    assert first.holds("k") == second.holds("k") == third.holds("k")


def test_what_a_coordinator_knew_of_retries_is_kept_for_who_judges_what_it_overwrote() -> None:
    cluster = Cluster(9)
    node = cluster.primaries("k")[0]
    actor = node.process.node.identity.actor
    both = Siblings((Sibling("x", 1, b"w", b"w" * 16, 0),), Context({"x": 1, "z": 1}, retried=frozenset({b"w" * 16})))
    overwrite(node, "k", both)
    new = Sibling(actor, 1, b"y", b"y" * 16, 0)
    overwrite(node, "k", Siblings((new, *both.live), Context({**both.context.vector, actor: 1}, retried=both.context.retried)))
    assert cluster.history.coordinated == {b"y" * 16: both.context}


def merge(node: NodeHandle, state: Siblings) -> None:
    """A peer brings it this state."""
    peer = next(name for name in node.process.node.membership.members if name != node.name)
    node.process.node.receive(peer, Write(0, "default", b"k", encode(state), "", 1000))
    node.process._commit()
    node.process.node.drain()


def stepping(node: NodeHandle, version: int) -> None:
    """As if the node had made a step, and stored it."""
    membership = node.process.node.membership
    owners = membership.ring.owners
    membership._turn_to(Ring(version, owners, owners[1:] + owners[:1], filling=True))
    node.process._commit()


def test_i11_a_step_that_is_made_before_everybody_knows_of_the_one_before_is_seen() -> None:
    cluster = Cluster(9, anti_entropy_ms=1000)
    node = cluster.node("n1")
    stepping(node, 2)
    assert cluster.history.broken == [], "all knew ring 1"
    stepping(node, 3)
    said = cluster.history.broken
    assert said == [f"I11: n1 makes ring 3, and {name} knows of ring 1 only" for name in ("n2", "n3", "n4", "n5")]


def test_i11_new_owners_that_lack_what_was_acknowledged_are_seen_when_they_are_to_be_read() -> None:
    cluster = Cluster(10, anti_entropy_ms=1000)
    cluster.watch.nobody_away = True
    cluster.client().put("k", "v", w="all")
    cluster.run(1.0)
    ring = cluster.ring
    at = ring.partition_of(row_of("k")[0])
    stranger = next(name for name in ring.walk(at) if name not in ring.primaries(at, 3))
    owners = tuple(stranger if partition == at else owner for partition, owner in enumerate(ring.owners))
    node = cluster.node("n1")
    node.process.node.membership._turn_to(Ring(2, owners, ring.owners))
    node.process._commit()
    (said,) = cluster.history.broken
    assert said.startswith(f"I11: {stranger} is to be read, and lacks")


def test_i11_a_row_that_is_dropped_while_a_primary_lacks_it_is_seen_and_one_that_all_have_may_go() -> None:
    cluster = Cluster(11)
    cluster.client().put("k", "v", w="all")
    cluster.run(1.0)
    state = cluster.primaries("k")[0].state("k")
    stranger = cluster.fallbacks("k")[0]
    overwrite(stranger, "k", state)
    stranger.process.disk.write(*row_of("k"), b"")
    stranger.process._commit()
    assert cluster.history.broken == []
    primary = cluster.primaries("k")[1]
    primary.process.disk.write(*row_of("k"), b"")
    primary.process._commit()
    assert cluster.history.broken == [f"I11: {primary} drops a row, of which {primary} has not all: b'k' [b'v']"]


@pytest.mark.parametrize("both", [True, False])
def test_i11_a_hint_that_is_dropped_before_it_was_brought_is_seen_unless_all_others_have_what_it_holds(both: bool) -> None:
    cluster = Cluster(12)
    first, away, third = cluster.primaries("k")
    away.crash()
    if not both:
        third.crash()
    cluster.run(2.0)
    cluster.client().put("k", "v", at=first.name)
    cluster.run(0.5)
    keeper = next(node for node in cluster.nodes if node.hints(away))
    keeper.process.disk.delete_hint(away.name, *row_of("k"))
    keeper.process._commit()
    lost = f"I11: {keeper} drops the hint for {away}, of which {away} has not all: b'k' [b'v']"
    assert cluster.history.broken == ([] if both else [lost])


def test_i3_is_not_asked_for_where_the_last_write_wins() -> None:
    report = run_seed(1, conflict=LWW)
    assert report.figures["lost"] > 0
    assert not any(line.startswith("I3") for line in report.broken)
    assert any(line.startswith("I1") for line in report.broken), "what it loses is seen all the same"

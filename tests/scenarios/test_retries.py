"""Promise 6: a retried put never creates a sibling of itself, and replies are honest (§4.5; docs/decisions/0014)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lost_answers import lose_answers, settled

from dynazmq.client.values.context import Context
from dynazmq.dynamo.coordinator import idempotent_retry, suspected_retries
from dynazmq.dynamo.messages import Message, Recall, Write
from dynazmq.dynamo.replica import overwritten
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.values.versions import EMPTY, Siblings, encode, put
from dynazmq.errors import Unavailable, WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.cluster.process import CLIENT
from dynazmq.simulator.world.network import Conditions


def test_c5_a_put_whose_answer_was_lost_is_one_value_after_its_retry() -> None:
    cluster = settled(1)
    alice = cluster.client("alice")
    first = cluster.primaries("k")[0]
    lose_answers(cluster, first)
    before = cluster.world.now
    alice.put("k", "v")
    assert cluster.world.now - before > 0.3, "it was tried twice"
    assert alice.get("k", r="all").values == ["v"]
    assert sum(node.counters["retries_recognised"] for node in cluster.nodes) == 1
    cluster.settle()
    assert [len(node.state("k").live) for node in cluster.primaries("k")] == [1, 1, 1]


def test_a_first_try_that_was_read_and_overwritten_does_not_come_back_with_its_retry() -> None:
    """The hard corner: stored, read and overwritten before the retry reaches another coordinator."""
    cluster = settled(2)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    lose_answers(cluster, cluster.primaries("k")[0])
    call = alice.begin_put("k", "old")
    cluster.run(0.1)
    found = bob.get("k")
    assert found.values == ["old"]
    bob.put("k", "new", found.context)
    assert not call.done
    call.result()
    assert bob.get("k", r="all").values == ["new"]
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["new"]] * 3


def test_a_first_try_that_was_read_and_deleted_does_not_come_back_with_its_retry() -> None:
    cluster = settled(3)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    lose_answers(cluster, cluster.primaries("k")[0])
    call = alice.begin_put("k", "old")
    cluster.run(0.1)
    bob.delete("k")
    call.result()
    assert bob.get("k", r="all").values == []


def test_the_hard_corner_with_the_first_coordinator_dead() -> None:
    """The others remember what was overwritten, too."""
    cluster = settled(4)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first = cluster.primaries("k")[0]
    lose_answers(cluster, first)
    call = alice.begin_put("k", "old")
    cluster.run(0.05)
    bob.put("k", "new", bob.get("k").context)
    cluster.run(0.05)
    first.crash()
    call.result()
    assert bob.get("k", r="all").values == ["new"]
    cluster.settle()
    assert bob.get("k", r="all").values == ["new"]


def test_a_first_try_that_only_its_dead_coordinator_holds_folds_with_its_retry() -> None:
    """Stored on one disk, then silence; written anew elsewhere. When the first is back the two are one (equal by write id)."""
    cluster = settled(5)
    alice = cluster.client("alice")
    first = cluster.primaries("k")[0]
    first.crash("after the commit")
    alice.put("k", "v")
    assert first.holds("k") == ["v"]
    cluster.settle()
    assert alice.get("k", r="all").values == ["v"]
    cluster.run(0.1)
    assert [len(node.state("k").live) for node in cluster.primaries("k")] == [1, 1, 1]


def test_n9_a_put_whose_frame_comes_twice_is_done_once() -> None:
    """The second time it is no retry for its sender: its write id alone tells."""
    cluster = settled(6, conditions=Conditions(duplication=1.0))
    alice = cluster.client("alice")
    for i in range(10):
        alice.put("k", f"v{i}", alice.get("k").context)
    alice.put("k", "beside")
    assert sorted(alice.get("k", r="all").values) == ["beside", "v9"]
    cluster.settle()
    assert [len(node.state("k").live) for node in cluster.primaries("k")] == [2, 2, 2]


def test_n9_a_copy_of_a_frame_that_comes_after_the_value_was_overwritten_does_not_bring_it_back() -> None:
    cluster = settled(7)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first = cluster.primaries("k")[0]
    frames: list[bytes] = []
    arrive = first.process.arrive

    def copy(source: str, frame: bytes) -> None:
        if source == CLIENT + "alice":
            frames.append(frame)
        arrive(source, frame)

    first.process.arrive = copy  # type: ignore[method-assign]
    alice.put("k", "old", at=first.name)
    bob.put("k", "new", bob.get("k").context)
    first.process.arrive(CLIENT + "alice", frames[0])
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["new"]] * 3


@pytest.mark.parametrize("one_clock", [True, False])
def test_p5_a_put_that_waited_in_a_frozen_node_does_not_come_back_after_its_retry_was_overwritten(one_clock: bool) -> None:
    """It wakes within the put's deadline, sees that the put is late, and asks; be it by the clock that the client has as well."""
    cluster = settled(16, one_clock=one_clock)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first = cluster.primaries("k")[0]
    first.pause()
    alice.put("k", "old")
    bob.put("k", "new", bob.get("k").context)
    assert cluster.world.now < 2.0
    first.resume()
    cluster.settle()
    assert bob.get("k", r="all").values == ["new"]
    assert [node.holds("k") for node in cluster.primaries("k")] == [["new"]] * 3
    assert first.counters["recalls"] == 1


def held_back(cluster: Cluster, node: NodeHandle, client: str) -> Callable[[], None]:
    """What this client sends to that node from now on is under way until the function is called."""
    arrive, frames = node.process.arrive, []

    def hold_back(source: str, frame: bytes) -> None:
        frames.append((source, frame)) if source == CLIENT + client else arrive(source, frame)

    def let_go() -> None:
        node.process.arrive = arrive  # type: ignore[method-assign]
        for source, frame in frames:
            arrive(source, frame)

    node.process.arrive = hold_back  # type: ignore[method-assign]
    return let_go


@pytest.mark.parametrize("one_clock", [True, False])
def test_a_first_try_that_comes_late_to_a_node_without_peers_says_that_it_was_retried(one_clock: bool) -> None:
    """Seed 510781: each node is alone and W is 1. Who is answered for the late try overwrites what the other one has written."""
    cluster = settled(17, nodes=3, r=1, w=1, one_clock=one_clock)
    alice = cluster.client("alice")
    first, second, third = cluster.primaries("k")
    cluster.partition([first.name], [second.name], [third.name])
    cluster.run(8.0)  # nobody has been lost just now
    let_go = held_back(cluster, first, "alice")
    call = alice.begin_put("k", "old")
    cluster.run(0.35)
    assert second.holds("k") + third.holds("k") == ["old"], "its retry is done"
    let_go()
    cluster.run(0.01)
    assert first.holds("k") == ["old"]
    assert call.done
    bob = cluster.client("bob")
    bob.put("k", "new", bob.get("k", at=first.name).context, at=first.name)
    for node in (second, third):
        hold(node, first.state("k"))  # a slow network brings it before what they hold has come to the first
        assert node.holds("k") == ["new"]
    cluster.heal()
    cluster.run(3.0)
    assert [node.holds("k") for node in (first, second, third)] == [["new"]] * 3


def test_a_first_try_that_comes_to_a_node_which_was_asked_about_it_is_a_retry_however_young_it_seems() -> None:
    """It has said that the write was never there, and whoever asked has written it since."""
    cluster = settled(18)
    alice = cluster.client("alice")
    first, second, _ = cluster.primaries("k")
    let_go = held_back(cluster, first, "alice")
    call = alice.begin_put("k", "v")
    cluster.run(0.24)
    assert first.counters["recalls"] == 0
    ask = Recall(7, "default", b"k", call.request.message.write_id, 1, 1000)
    first.process.node.receive(second.name, ask)
    let_go()
    cluster.run(0.005)
    assert first.counters["recalls"] == 1
    call.result()
    assert first.state("k").context.retried == {call.request.message.write_id}
    assert alice.get("k", r="all").values == ["v"]


def test_a_forwarded_put_goes_on_to_the_next_primary_as_a_retry() -> None:
    cluster = settled(8)
    alice = cluster.client("alice")
    first, second, _ = cluster.primaries("k")
    outsider = cluster.fallbacks("k")[0]
    cluster.cut(first, outsider)  # it gets the put and does it; its answer is lost
    before = cluster.world.now
    alice.put("k", "v", at=outsider.name)
    assert 0.3 < cluster.world.now - before < 0.4
    assert second.counters["recalls"] == second.counters["retries_recognised"] == 1
    assert alice.get("k", r="all").values == ["v"]
    assert len(first.state("k").live) == 1


def test_i15_a_forwarded_put_of_unknown_outcome_is_never_called_not_attempted() -> None:
    """The first primary has it and is silent, the second refuses: what the client hears is that the outcome is unknown."""
    cluster = settled(9)
    alice = cluster.client("alice")
    first, second, third = cluster.primaries("k")
    outsider = cluster.fallbacks("k")[0]
    cluster.cut(first, outsider)
    second.process.node.stopping = third.process.node.stopping = True  # they answer: not now, nothing was attempted
    call = alice.begin_put("k", "v", at=outsider.name, timeout=1.0)
    cluster.run(0.2)
    assert first.holds("k") == ["v"]
    cluster.run(1.0)
    assert call.op is not None
    assert call.op.outcome in ("ok", "unknown")
    cluster.settle()
    assert alice.get("k", r="all").values == ["v"]
    assert len(cluster.primaries("k")[0].state("k").live) == 1


def test_a_refusal_of_the_first_primary_sends_a_forwarded_put_to_the_second_at_once() -> None:
    cluster = settled(10)
    alice = cluster.client("alice")
    first, second, _ = cluster.primaries("k")
    first.process.node.stopping = True
    before = cluster.world.now
    done = alice.put("k", "v", at=cluster.fallbacks("k")[0].name)
    assert cluster.world.now - before < 0.02
    assert second.name in done.acked
    assert second.counters["recalls"] == 0, "nothing was attempted: it is no retry"


def test_when_every_primary_refuses_the_node_that_was_asked_coordinates_itself() -> None:
    cluster = settled(11)
    alice = cluster.client("alice")
    for node in cluster.primaries("k"):
        node.process.node.stopping = True
    outsider = cluster.fallbacks("k")[0]
    assert outsider.name in alice.put("k", "v", at=outsider.name).acked
    assert alice.get("k").values == ["v"]


def test_a_retry_that_its_forwarder_must_do_itself_is_a_retry_still() -> None:
    """The first try reached a primary which then died, and so did the others: here it must not become a second value."""
    cluster = settled(12, w=1, r=1)
    alice = cluster.client("alice")
    first, second, third = cluster.primaries("k")
    outsider = cluster.fallbacks("k")[0]
    cluster.cut(first, outsider)
    call = alice.begin_put("k", "v", at=outsider.name)
    cluster.run(0.2)
    for node in (first, second, third):
        node.crash()
    assert outsider.name in call.result().acked
    assert outsider.counters["recalls"] == 1
    assert first.holds("k") == ["v"]
    cluster.settle()
    assert alice.get("k", r="all").values == ["v"]


def test_unavailable_says_that_nothing_was_attempted_and_that_is_so() -> None:
    cluster = settled(13, nodes=3)
    alice = cluster.client("alice")
    for node in cluster.nodes[1:]:
        node.crash()
    cluster.run(2.0)
    with pytest.raises(Unavailable, match="nothing was attempted") as refused:
        alice.put("k", "v")
    assert (refused.value.required, refused.value.alive) == (2, 1)
    cluster.settle()
    assert cluster.rows("k") == dict.fromkeys(cluster.names, b"")


def test_a_put_that_got_too_few_copies_in_time_says_how_many_there_are() -> None:
    cluster = settled(14, nodes=3)
    alice = cluster.client("alice")
    first, second, third = cluster.primaries("k")
    cluster.cut(first, second)
    cluster.cut(first, third)
    with pytest.raises(WriteTimeout) as late:
        alice.put("k", "v", at=first.name, timeout=0.3)
    assert late.value.outcome == "unknown"
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["v"]] * 3
    assert alice.get("k", r="all").values == ["v"]


def test_every_answer_lost_for_a_while_no_write_is_doubled() -> None:
    """Lost frames everywhere, one client: each of its writes is there once or was overwritten."""
    cluster = settled(15, conditions=Conditions(loss=0.2))
    alice = cluster.client("alice")
    for i in range(30):
        try:
            alice.put("k", f"v{i}", alice.get("k").context)
        except TimeoutError:
            continue
    cluster.network.conditions.loss = 0.0
    cluster.settle()
    values = alice.get("k", r="all").values
    assert len(values) == len(set(values))
    assert len(values) <= 2


def test_what_a_replica_remembers_as_overwritten_is_not_shown_to_who_reads_through_it() -> None:
    """Found with real processes: a first try was on one disk alone, whose node was away when all else happened.

    The retry was given a dot of its own, and was overwritten. When that node is back, a coordinator of gets remembers the write.
    """
    cluster = Cluster(21)
    client = cluster.client()
    client.connected()
    back, *others = cluster.primaries("k")
    first_try = put(EMPTY, EMPTY.context, "x~1", b"old", b"w" * 16, 0)[0]
    retry = put(EMPTY, EMPTY.context, "y~1", b"old", b"w" * 16, 0)[0]
    newer = put(retry, retry.context, "y~1", b"new", b"n" * 16, 0)[0]
    hold(back, first_try)
    for node in others:
        hold(node, retry)
        hold(node, newer)
    assert client.get("k", at=others[0].name, r="all").values == ["new"]
    cluster.run(0.1)
    assert [node.holds("k") for node in cluster.primaries("k")] == [["new"]] * 3


def hold(node: NodeHandle, state: Siblings) -> None:
    """A peer brings it this state."""
    peer = next(name for name in node.process.node.membership.members if name != node.name)
    node.process.node.receive(peer, Write(0, "default", b"k", encode(state), "", 1000))
    node.process._commit()
    node.process.node.drain()


# --- the first try was out of the retry's reach: it comes back when everything else is long over ----------------------------


def tried_twice(seed: int, **options: object) -> tuple[Cluster, NodeHandle]:
    """A put whose first try is on one disk alone, of a node that died with it, and whose retry has another dot."""
    cluster = settled(seed, anti_entropy_ms=200, **options)
    first = cluster.primaries("k")[0]
    first.crash("after the commit")
    cluster.client("alice").put("k", "old")
    assert first.process.state != "up"
    return cluster, first


@pytest.mark.parametrize("what", ["new", None])
@pytest.mark.parametrize("meanwhile", ["all die", "an hour passes", "many other writes are overwritten"])
def test_what_a_retry_wrote_and_somebody_overwrote_does_not_come_back_with_its_first_try(
    what: str | None, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 4. What is remembered of it is as durable as the write itself: in no process's memory alone."""
    monkeypatch.setattr(overwritten, "_GENERATION", 10)
    cluster, first = tried_twice(31)
    bob = cluster.client("bob")
    bob.put("k", what, bob.get("k").context)
    if meanwhile == "all die":
        for node in cluster.nodes:
            node.crash()
        for node in cluster.nodes:
            node.restart()
    elif meanwhile == "an hour passes":
        cluster.run(3600.0 / 20)  # three minutes: thrice as long as any request lives
    else:
        for i in range(200):
            bob.put(f"other {i % 5}", f"{i}", bob.get(f"other {i % 5}").context)
    first.restart()
    cluster.settle()
    cluster.run(2.0)
    wanted = [] if what is None else [what]
    assert bob.get("k", r="all").values == wanted
    assert [node.holds("k") for node in cluster.primaries("k")] == [wanted] * 3


def test_what_was_overwritten_under_its_first_dot_does_not_come_back_with_what_its_retry_wrote() -> None:
    """The other way round: each side of a split has a try, and the delete is on that of the first, which was slow to answer."""
    cluster = settled(32, anti_entropy_ms=200)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first, second, _ = cluster.primaries("k")
    cluster.partition([first], [node for node in cluster.nodes if node is not first])
    alice.put("k", "old")
    assert second.holds("k") == first.holds("k") == ["old"]
    bob.delete("k", bob.get("k", at=first.name, r="one").context, at=first.name, w="one")
    for node in cluster.nodes:
        node.crash()
    for node in cluster.nodes:
        node.restart()
    cluster.settle()
    cluster.run(2.0)
    assert bob.get("k", r="all").values == []


def test_what_its_dead_coordinator_alone_held_and_somebody_overwrote_there_does_not_come_back_with_its_retry() -> None:
    """Seed 12 of a campaign with crashes: the coordinator had died before it could know that its client would ask elsewhere."""
    cluster, first = tried_twice(33, w=1, r=1)
    others = [node for node in cluster.nodes if node is not first]
    for node in others:
        node.crash()
    first.restart()
    cluster.run(2.0)
    bob = cluster.client("bob")
    bob.put("k", "new", bob.get("k", at=first.name).context, at=first.name)
    for node in others:
        node.restart()
    cluster.settle()
    cluster.run(2.0)
    assert bob.get("k", r="all").values == ["new"]


def with_a_first_primary_beside_one_that_cannot_store() -> tuple[Cluster, NodeHandle, NodeHandle, NodeHandle]:
    """The key's first two primaries are cut off from all others, and the second one's disk is full; the three primaries."""
    cluster = settled(38)
    first, second, third = cluster.primaries("k")
    cluster.partition([first, second], [node for node in cluster.nodes if node not in (first, second)])
    cluster.run(3.0)
    second.process.disk.fail_commits = True
    return cluster, first, second, third


def test_a_try_that_too_few_could_store_is_overwritten_under_whatever_dot_by_who_has_read_it() -> None:
    """Half an hour of chaos: its coordinator told the client that the outcome is unknown, and knew that it would try again."""
    cluster, first, second, third = with_a_first_primary_beside_one_that_cannot_store()
    alice, bob = cluster.client("alice"), cluster.client("bob")
    assert first.name not in alice.put("k", "old").acked, "it was stored there, by one of two, and then at the other side"
    found = bob.get("k", at=first.name, r="one")
    assert found.values == ["old"]
    bob.put("k", "new", found.context, at=third.name)
    assert bob.get("k", at=third.name).values == ["new"]
    second.process.disk.fail_commits = False
    cluster.heal()
    cluster.settle()
    assert bob.get("k", r="all").values == ["new"]


@pytest.mark.parametrize("disk", ["is full still", "has failed in that one turn"])
def test_a_try_is_overwritten_under_whatever_dot_though_the_disk_failed_that_was_to_keep_in_mind_that_there_may_be_one(
    disk: str,
) -> None:
    """The coordinator's own disk is full, too, in the turn in which it tells the client that the outcome is unknown."""
    cluster, first, second, third = with_a_first_primary_beside_one_that_cannot_store()
    alice, bob = cluster.client("alice"), cluster.client("bob")
    call = alice.begin_put("k", "old")
    assert cluster.world.run_until(lambda: first.holds("k") == ["old"], 1.0), "and nowhere else"
    first.process.disk.fail_commits = True
    assert cluster.world.run_until(lambda: first.counters["commits_failed"] > 0, 1.0)
    assert first.name not in call.result().acked, "it was stored at the other side as well"
    if disk != "is full still":
        first.process.disk.fail_commits = False
        cluster.run(2.0)
        assert len(first.state("k").context.retried) == 1
    found = bob.get("k", at=first.name, r="one")
    assert found.values == ["old"]
    bob.put("k", "new", found.context, at=third.name)
    assert bob.get("k", at=third.name).values == ["new"]
    first.process.disk.fail_commits = second.process.disk.fail_commits = False
    cluster.heal()
    cluster.settle()
    assert bob.get("k", r="all").values == ["new"]


def test_what_was_acknowledged_by_a_smaller_w_and_overwritten_does_not_come_back_through_who_has_been_restarted_since() -> None:
    """Its coordinator alone had it. Of the larger W that is in force now, two others would be enough who never had it."""
    cluster = settled(43, nodes=3, w=1, r=3, anti_entropy_ms=200)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first, *others = cluster.primaries("k")
    for node in others:
        cluster.cut(first, node)
        cluster.cut(CLIENT + "alice", node)
    lose_answers(cluster, first)
    call = alice.begin_put("k", "old", timeout=20.0)
    cluster.run(0.01)
    bob.put("k", "new", bob.get("k", at=first.name, r="one").context, at=first.name)
    cluster.cut(CLIENT + "alice", first)
    for node in others:
        cluster.network.mend(first.name, node.name)
    bob.configure("default", 3, 3, 2)
    cluster.wait(lambda: all(told.process.node.membership.in_force.held("default").w == 2 for told in cluster.nodes), "w=2")
    cluster.wait(lambda: all(node.holds("k") == ["new"] for node in cluster.nodes), "it is brought to the others")
    first.come_back()
    cluster.network.mend(CLIENT + "alice", first.name)
    cluster.network.mend(first.name, CLIENT + "alice")
    with pytest.raises(WriteTimeout):
        call.result()
    cluster.heal()
    cluster.settle()
    assert bob.get("k", r="all").values == ["new"]


def test_a_write_that_is_never_retried_has_no_byte_of_the_memory_of_retries() -> None:
    cluster = settled(34)
    alice = cluster.client("alice")
    for i in range(10):
        alice.put("k", f"v{i}", alice.get("k").context)
    alice.delete("k", alice.get("k").context)
    alice.put("k", "last")
    cluster.settle()
    assert all(not node.state("k").context.retried for node in cluster.primaries("k"))


def test_the_memory_of_retries_goes_when_no_other_try_can_be_left_and_not_while_a_member_is_away() -> None:
    cluster, first = tried_twice(35, grace_ms=4_500)
    bob = cluster.client("bob")
    bob.put("k", "new", bob.get("k").context)
    cluster.run(30.0)
    held = [node.state("k").context.retried for node in cluster.nodes if node.process.state == "up" and node.holds("k")]
    assert held
    assert all(len(retried) == 1 for retried in held), "the first try is on the disk of a node that is away"
    first.restart()
    cluster.settle()
    cluster.wait(lambda: not any(node.state("k").context.retried for node in cluster.primaries("k")), "it is forgotten", 40.0)
    assert [node.holds("k") for node in cluster.primaries("k")] == [["new"]] * 3


def test_a_key_with_very_many_retried_writes_takes_no_more_retries_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotent_retry, "RETRIED_MAX", 1)
    cluster, _ = tried_twice(36)
    alice = cluster.client("alice")
    second = cluster.primaries("k")[1]
    lose_answers(cluster, second)
    with pytest.raises(WriteTimeout, match="1 writes of this key were retried"):
        alice.put("k", "more", timeout=1.0)


# --- who overwrites the one try has never heard of the other ---------------------------------------------------------------


def met_twice(seed: int, key: str) -> tuple[Cluster, NodeHandle, Context]:
    """A put with two dots, known to all primaries of its key; the node of the first; and a context from before the second."""
    cluster = settled(seed, anti_entropy_ms=200)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first, *others = cluster.primaries(key)
    for node in [node for node in cluster.nodes if node is not first]:
        cluster.cut(first, node)
    lose_answers(cluster, first)
    call = alice.begin_put(key, "old")
    cluster.run(0.05)
    early = bob.get(key, at=first.name, r="one").context
    assert call.result().acked == tuple(node.name for node in others)
    cluster.heal()
    cluster.settle()
    cluster.run(2.0)
    return cluster, first, early


@pytest.mark.parametrize("key", ["k", "l", "m"])
def test_who_has_read_the_first_try_overwrites_both_where_they_have_met(key: str) -> None:
    """Seed 55 of a campaign with losses. The context is as old as the first answer; the state knows both dots by now."""
    cluster, first, early = met_twice(37, key)
    (sibling,) = first.state(key).live
    assert cluster.history.rewritten(sibling.write_id)
    bob = cluster.client("bob")
    bob.delete(key, early, at=cluster.primaries(key)[1].name)
    assert bob.get(key, r="all").values == []
    cluster.settle()
    assert [node.state(key).live[0].value for node in cluster.primaries(key)] == [None] * 3


def tried_beyond_a_cut(seed: int) -> tuple[Cluster, list[NodeHandle]]:
    """A put that two primaries have done, whose client is now with the third, beyond a cut, and tries again there.

    Nobody there knows of the first try, and the coordinator of that is well. Returns those two as well.
    """
    cluster = settled(seed, anti_entropy_ms=200)
    first, second, third = cluster.primaries("k")
    spare, other = cluster.fallbacks("k")[:2]
    for node in (first, second):
        cluster.cut(node, third)
    lose_answers(cluster, first)
    call = cluster.client("alice").begin_put("k", "old")
    cluster.run(0.02)
    cluster.heal()
    cluster.partition([first, second, spare, CLIENT + "bob"], [third, other, CLIENT + "alice"])
    assert first.holds("k") == second.holds("k") == ["old"]
    assert not third.holds("k")
    call.then = lambda: None  # its retry is under way
    return cluster, [first, second]


def die_and_heal(cluster: Cluster) -> None:
    """All processes end, and with them what they remember; then the cut is over."""
    for node in cluster.nodes:
        node.crash()
    for node in cluster.nodes:
        node.restart()
    cluster.settle()
    cluster.run(2.0)


@pytest.mark.parametrize("after_s", [0.0, 3.0], ids=["before the cut is noticed", "after that"])
def test_what_was_tried_beyond_a_cut_does_not_come_back_when_it_was_deleted_on_this_side(after_s: float) -> None:
    """Its coordinator is well. That somebody was lost when it was written says that it may have been tried again."""
    cluster, (first, second) = tried_beyond_a_cut(38)
    bob = cluster.client("bob")
    cluster.run(after_s)
    bob.put("k", None, bob.get("k", at=first.name).context, at=second.name)
    cluster.run(5.0)
    assert cluster.primaries("k")[2].holds("k") == ["old"]
    die_and_heal(cluster)
    assert bob.get("k", r="all").values == []
    assert [node.holds("k") for node in cluster.primaries("k")] == [[]] * 3


def test_who_was_shown_a_first_try_while_its_client_may_be_beyond_a_cut_overwrites_the_retry_beyond_it() -> None:
    """Seed 120707: the answer came from nodes that had the one dot alone, the next write went to one that had the other."""
    cluster, (first, _) = tried_beyond_a_cut(41)
    cluster.run(3.0)
    third = cluster.primaries("k")[2]
    assert third.holds("k") == ["old"]
    context = cluster.client("bob").get("k", at=first.name).context
    cluster.client("carol").put("k", None, context, at=third.name)
    assert third.holds("k") == []
    die_and_heal(cluster)
    assert cluster.client("bob").get("k", r="all").values == []


def test_who_was_shown_a_try_that_waits_for_a_lost_message_overwrites_its_retry_beyond_a_cut_of_long_ago() -> None:
    """Seed 554710: all who were to store the first try could be reached, and so nobody was thought to be beyond a cut."""
    cluster = settled(43)
    first, second, third = cluster.primaries("k")
    spare, other = cluster.fallbacks("k")[:2]
    cluster.partition([first, second], [third, spare, other])
    cluster.run(8.0)
    receive = second.process.node.receive

    def lose_writes(sender: Address, message: Message) -> None:
        if not isinstance(message, Write):
            receive(sender, message)

    second.process.node.receive = lose_writes  # type: ignore[method-assign]
    cluster.cut(CLIENT + "alice", second)
    assert first.name not in cluster.client("alice").put("k", "old").acked
    bob = cluster.client("bob")
    context = bob.get("k", at=first.name, r="one").context
    bob.put("k", "new", context, at=third.name)
    assert bob.get("k", at=third.name).values == ["new"]
    second.process.node.receive = receive  # type: ignore[method-assign]
    die_and_heal(cluster)
    assert bob.get("k", r="all").values == ["new"]


def test_what_a_fallback_alone_has_stored_is_found_by_a_retry_at_another() -> None:
    """Seed 602597: the bucket's keys have one primary, which has been away for long, and each fallback coordinates alone."""
    cluster = settled(44, n=1, r=1, w=1)
    (first,) = cluster.primaries("k")
    spare, other = cluster.fallbacks("k")[:2]
    first.crash()
    cluster.run(8.0)
    lose_answers(cluster, spare)
    assert cluster.client("alice").put("k", "old").acked == (other.name,)
    bob = cluster.client("bob")
    bob.put("k", "new", bob.get("k", at=spare.name).context, at=other.name)
    die_and_heal(cluster)
    assert bob.get("k").values == ["new"]


def test_while_somebody_has_been_away_for_long_nothing_is_kept_of_writes_that_were_not_retried() -> None:
    cluster = settled(39)
    bob = cluster.client("bob")
    away, *others = cluster.primaries("k")
    away.crash()
    cluster.run(5.0)
    for i in range(20):
        bob.put("k", f"v{i}", bob.get("k").context)
    assert all(not node.state("k").context.retried for node in others)


def test_of_a_key_that_is_overwritten_again_and_again_while_members_flicker_no_more_is_suspected_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suspected_retries, "SUSPECTED_MAX", 3)
    cluster = settled(40)
    bob = cluster.client("bob")
    first, *others = cluster.primaries("k")
    for i in range(8):
        bob.put("k", f"v{i}", bob.get("k").context)
        others[i % 2].crash()
        cluster.run(2.0)
        others[i % 2].restart()
        cluster.run(1.0)
    assert len(first.state("k").context.retried) == 3
    assert bob.get("k").values == ["v7"]

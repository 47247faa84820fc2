"""What admins may decide of members, and what they are told when they may not."""

from __future__ import annotations

from typing import Any

import pytest
from lone_node import CLIENT, LoneNode, a_put, of

from dynazmq.config import Timing
from dynazmq.dynamo.membership.change import NAMES_MAX
from dynazmq.dynamo.messages import (
    INVALID,
    NOT_YET,
    STORAGE,
    AcknowledgeLosses,
    ChangeMembers,
    ChangeMembersReply,
    Failure,
    GossipDelta,
    GossipDigest,
    Message,
    SetBucket,
    Topology,
    TopologyRequest,
)
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.values.ring import Ring

TREES = Timing(retirement_grace_ms=0)
JOIN_D = ["d", "in", 1.0, ""]


def three_and_one() -> LoneNode:
    """The node `a` of a ring of a, b, c; d is there and has no keys."""
    return LoneNode(timing=TREES, founders=["a", "b", "c"])


def failure(lone: LoneNode, intents: list[Any], digest: bytes = b"") -> Failure:
    said = lone.hear(CLIENT, ChangeMembers(7, digest, intents))
    assert not of(ChangeMembersReply, said)
    ((_, refused),) = of(Failure, said)
    assert (refused.request_id, refused.code) == (7, INVALID)
    assert lone.node.membership.intents == {}
    return refused


def test_a_decision_is_stored_and_told_to_all_at_once() -> None:
    lone = three_and_one()
    lone.node.receive(CLIENT, ChangeMembers(7, lone.node.membership.ring.digest(), [JOIN_D]))
    lone.node.tick(lone.now, lone.wall_ms)
    lone.disk.commit()
    outbox = lone.node.drain()
    assert CLIENT not in outbox, "one disk has it"
    told = [["d", "in", 1.0, "", 1, "a", 0, False]]
    for name in ("b", "c", "d"):
        assert any(isinstance(m, GossipDelta) and m.intents == told for m in outbox[name]), name
    lone.start()
    assert lone.node.membership.intents["d"][:4] == ("d", "in", 1.0, "")


def test_a_decision_that_cannot_be_stored_is_not_confirmed() -> None:
    lone = three_and_one()
    lone.node.receive(CLIENT, ChangeMembers(7, b"", [JOIN_D]))
    lone.disk.rollback()
    lone.node.turn_failed()
    said = lone.flush()
    assert not of(ChangeMembersReply, said)
    assert [(m.request_id, m.code) for _, m in of(Failure, said)] == [(7, STORAGE)]


def test_the_later_of_two_decisions_on_one_member_holds_wherever_they_meet() -> None:
    one, other = three_and_one(), three_and_one()
    decisions = [["d", "in", 2.0, "", 1, "b"], ["d", "out", 1.0, "", 2, "a"], ["d", "in", 1.0, "", 2, "c"]]
    for row in decisions:
        one.hear("b", GossipDelta([], [], [], [], [row]))
    for row in reversed(decisions):
        other.hear("b", GossipDelta([], [], [], [], [row]))
    assert one.node.membership.intents == other.node.membership.intents
    assert one.node.membership.intents["d"][:6] == ("d", "in", 1.0, "", 2, "c")


def test_gone_holds_against_another_admin_who_asks_the_member_to_hand_over_at_the_same_time() -> None:
    for rows in ([["c", "gone", 1.0, "", 1, "b"], ["c", "out", 1.0, "", 1, "d"]], [["c", "out", 1.0, "", 3, "d"]]):
        lone = three_and_one()
        for row in [*rows, ["c", "gone", 1.0, "", 1, "b"]]:
            lone.hear("b", GossipDelta([], [], [], [], [row]))
        assert lone.node.membership.intents["c"].kind == "gone"
        assert "c" not in lone.node.membership.awaited(), "nobody waits for what it will never say"


@pytest.mark.parametrize("kind", ["in", "out"])
def test_the_name_of_one_that_was_removed_by_force_is_not_used_again(kind: str) -> None:
    lone = three_and_one()
    lone.hear("b", GossipDelta([], [], [], [], [["d", "gone", 1.0, "", 1, "b"]]))
    ((_, refused),) = of(Failure, lone.hear(CLIENT, ChangeMembers(7, b"", [["d", kind, 1.0, ""]])))
    assert refused.code == INVALID
    assert "d was removed by force, and the ring is without it now: it needs another name" in refused.text
    assert lone.node.membership.intents["d"].kind == "gone"


@pytest.mark.parametrize(
    "decision", [ChangeMembers(7, b"", [["b", "in", 2.0, ""]]), SetBucket(7, "carts", 3, 2, 2), AcknowledgeLosses(7, 0)], ids=str
)
def test_a_node_that_has_left_decides_nothing_since_nobody_takes_it_from_there(decision: Message) -> None:
    lone = three_and_one()
    membership = lone.node.membership
    lone.hear("b", GossipDelta([], [], [], [], [["a", "left", 1.0, "", 2, "a"]]))
    known = membership.knowledge()
    ((_, refused),) = of(Failure, lone.hear(CLIENT, decision))
    assert (refused.request_id, refused.code, refused.text) == (7, NOT_YET, "a has left the cluster")
    assert membership.knowledge() == known


def test_a_decision_that_comes_again_after_the_member_has_left_is_not_decided_anew() -> None:
    """The admin had no answer and asks another node. The member has ended, and will not say again that it is empty."""
    lone = three_and_one()
    lone.hear("b", GossipDelta([], [], [], [], [["d", "out", 1.0, "", 1, "b"]]))
    lone.hear("b", GossipDelta([], [], [], [], [["d", "left", 1.0, "", 2, "d"]]))
    assert of(ChangeMembersReply, lone.hear(CLIENT, ChangeMembers(7, b"", [["d", "out", 1.0, ""]])))
    assert lone.node.membership.intents["d"][:6] == ("d", "left", 1.0, "", 2, "d")
    assert of(ChangeMembersReply, lone.hear(CLIENT, ChangeMembers(8, b"", [JOIN_D]))), "it may come back"
    assert lone.node.membership.intents["d"].kind == "in"


def test_a_change_that_cannot_be_is_no_message_without_sense() -> None:
    lone = three_and_one()
    failure(lone, [["a", "out", 1.0, ""], ["b", "out", 1.0, ""]])
    assert lone.node.runtime.counters["changes_declined"] == 1
    assert lone.node.runtime.counters["messages_refused"] == 0


@pytest.mark.parametrize(
    ("intents", "text"),
    [
        ([], "0 decisions at once: 1 to 128"),
        ([["x", "in", 1.0, ""]], "x is not a member, and has not made itself known"),
        ([["d", "maybe", 1.0, ""]], "an intent is in, out, expel, gone, not 'maybe'"),
        ([["d", "left", 1.0, ""]], "an intent is in, out, expel, gone, not 'left'"),
        ([["d", "in", 0.0, ""]], "a weight is above 0 and at most 100"),
        ([["d", "in", float("nan"), ""]], "a weight is above 0 and at most 100"),
        ([["d", "in", 1e9, ""]], "a weight is above 0 and at most 100"),
        ([["d", "in", 1, ""]], "a weight is above 0 and at most 100"),
        ([["d" * 65, "in", 1.0, ""]], "an intent names members by 1 to 64 bytes"),
        ([["", "in", 1.0, ""]], "an intent names members by 1 to 64 bytes"),
        ([[7, "in", 1.0, ""]], "an intent names members by 1 to 64 bytes"),
        ([["d", "in", 0.001, ""]], "d would own none of 16 partitions: too small a weight beside the others'"),
        ([["d", "in"]], "not enough values to unpack"),
        ([7], "cannot unpack"),
        ([["a", "out", 1.0, ""], ["b", "out", 1.0, ""]], "without a b only c would be left, and the cluster's quorums need 2"),
        ([["a", "gone", 1.0, ""], ["b", "gone", 1.0, ""], ["c", "gone", 1.0, ""]], "without a b c no member would be left"),
    ],
)
def test_what_cannot_be_is_refused_with_the_limit_and_nothing_is_changed(intents: list[Any], text: str) -> None:
    assert text in failure(three_and_one(), intents).text


def test_a_plan_for_another_ring_is_refused() -> None:
    assert "the ring has changed since this was planned" in failure(three_and_one(), [JOIN_D], b"12345678").text


def test_without_trees_no_member_can_come_or_go() -> None:
    lone = LoneNode(founders=["a", "b", "c"])
    assert "anti-entropy is off" in failure(lone, [JOIN_D]).text


def test_without_trees_a_bucket_gets_no_replicas_that_would_have_to_be_filled() -> None:
    lone = LoneNode()
    ((_, refused),) = of(Failure, lone.hear(CLIENT, SetBucket(7, "b", 1, 1, 1)))
    assert "anti-entropy is off" in refused.text
    assert of(Failure, lone.hear(CLIENT, SetBucket(8, "b", 3, 1, 3))), "one of three need not be among the two that have it"
    assert not of(Failure, lone.hear(CLIENT, SetBucket(9, "b", 3, 3, 1, "lww")))
    assert lone.node.membership.policies["b"].conflict == "lww"


@pytest.mark.parametrize(
    "row", [["d"], 7, ["d", "in", 1.0, "", 0, "b"], ["d", "in", 1.0, "", 1 << 70, "b"], ["d", "x", 1.0, "", 1, "b"]]
)
def test_w16_intents_that_no_node_would_gossip_are_refused(row: Any) -> None:
    lone = three_and_one()
    lone.hear("b", GossipDelta([], [], [], [], [row]))
    assert lone.node.membership.intents == {}
    assert lone.node.runtime.counters["messages_refused"] == 1


def test_w16_a_million_intents_are_not_taken_in() -> None:
    lone = three_and_one()
    for i in range(NAMES_MAX // 1000 + 3):
        rows = [[f"x{i}-{j}", "out", 1.0, "", 1, "b"] for j in range(1000)]
        lone.hear("b", GossipDelta([], [], [], [], rows))
    assert len(lone.node.membership.intents) <= NAMES_MAX


def test_topology_tells_the_intents() -> None:
    lone = three_and_one()
    lone.hear(CLIENT, ChangeMembers(7, b"", [JOIN_D]))
    ((_, topology),) = of(Topology, lone.hear(CLIENT, TopologyRequest(8)))
    assert topology.intents == [["d", "in", 1.0, "", 1, "a", 0, False]]


# --- a node that does not know its ring yet -------------------------------------------------------------------------------


def unsettled(**config: Any) -> LoneNode:
    """The node `a` in the first moment of its first life."""
    lone = LoneNode(members=("a", "b", "c", "d"), timing=TREES, **config)
    lone.disk = type(lone.disk)()
    lone.node = Node(lone.config, lone.disk, lone._random, lone.now, lone.wall_ms)
    lone.disk.commit()
    return lone


def refused(lone: LoneNode) -> bool:
    said = of(Failure, lone.hear(CLIENT, a_put(b"k")))
    return [(m.code, m.text) for _, m in said] == [(NOT_YET, "a is learning the ring")]


def test_it_serves_no_client_before_a_peer_has_told_it_the_ring() -> None:
    lone = unsettled()
    assert refused(lone)
    lone.hear("b", GossipDelta([], [], [], []))
    assert refused(lone), "b knows nothing either"
    newer = Ring(7, ("b", "c", "d", "a") * 4)
    lone.hear("c", GossipDelta([], [], newer.to_wire(), []))
    assert not refused(lone)
    assert lone.node.membership.ring == newer


def test_all_have_just_begun_and_agree_that_there_is_no_newer_ring() -> None:
    lone = unsettled()
    for name in ("b", "c", "d"):
        assert refused(lone)
        lone.hear(name, GossipDelta([], [], [], []))
    assert not refused(lone)


def test_it_asks_all_peers_again_and_again_and_never_relies_on_what_the_cluster_began_with() -> None:
    """It did after a second of silence: a node that had lost its disk then read from owners of years ago, and found nothing."""
    lone = unsettled()
    lone.away = {"b", "c", "d"}
    asked = set()
    for _ in range(500):
        lone.now += 0.01
        lone.node.tick(lone.now, lone.wall_ms)
        lone.disk.commit()
        said = [(to, m) for to, messages in lone.node.drain().items() for m in messages]
        asked |= {to for to, m in of(GossipDigest, said) if not m.members}
    assert asked == {"b", "c", "d"}
    assert refused(lone)
    assert any("waiting for a member that knows it, or for b, c, d" in note.text for note in lone.node.runtime.notes)


def test_a_greeting_says_nothing_of_whether_its_sender_knows_the_ring() -> None:
    lone = unsettled()
    for name in ("b", "c", "d"):
        lone.hear(name, GossipDelta([[name, f"ipc://{name}", 5, 5, "alive", b"", b""]], [], [], []))
    assert refused(lone)


def test_a_founder_on_an_empty_disk_waits_for_all_who_founded_the_cluster_or_for_one_who_knows() -> None:
    """Who was founded with it and has left can say nothing any more: then the cluster has lived."""
    lone = unsettled(founders=["a", "b", "x"])
    for name in ("b", "c", "d"):
        lone.hear(name, GossipDelta([], [], [], []))
    assert refused(lone)
    lone.hear("d", GossipDelta([], [], Ring(7, ("b", "c", "d", "a") * 4).to_wire(), []))
    assert not refused(lone)


def test_a_ring_told_by_one_that_is_gone_is_not_learned_and_shows_that_the_own_one_is_old() -> None:
    """It settled on the founders' ring, since somebody had told one, and wrote to owners of long ago."""
    lone = unsettled()
    lone.away = {"b", "c", "d"}
    newer = Ring(7, ("b", "c") * 8)
    lone.hear("d", GossipDelta([], [], newer.to_wire(), [], [["d", "left", 1.0, "", 2, "d"]]))
    lone.hear("b", GossipDelta([], [], [], []))
    lone.hear("c", GossipDelta([], [], [], []))
    lone.hear("d", GossipDelta([], [], [], []))
    assert refused(lone)
    lone.hear("b", GossipDelta([], [], newer.to_wire(), []))
    assert not refused(lone)
    assert lone.node.membership.ring == newer


def test_a_later_member_never_relies_on_itself() -> None:
    lone = unsettled(founders=["b", "c", "d"])
    lone.pass_time(5.0)
    assert refused(lone)
    assert lone.node.membership.standing == "joining"


def test_a_node_that_has_stored_its_ring_serves_at_once() -> None:
    lone = LoneNode(timing=TREES)
    lone.node = Node(lone.config, lone.disk, lone._random, lone.now, lone.wall_ms)
    assert lone.node.membership.settled
    assert not refused(lone)


def test_one_that_had_not_settled_when_it_died_has_not_when_it_starts_again() -> None:
    lone = unsettled()
    lone.node = Node(lone.config, lone.disk, lone._random, lone.now, lone.wall_ms)
    assert not lone.node.membership.settled


def test_no_step_is_made_on_what_could_not_be_stored() -> None:
    lone = three_and_one()
    membership = lone.node.membership
    lone.node.receive(CLIENT, ChangeMembers(7, b"", [JOIN_D]))
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.node.drain()
    for name in ("b", "c", "d"):
        known = membership.members[name]
        told = [name, known.endpoint, known.incarnation or 1, known.heartbeat + 1, "alive", membership.knowledge(), b""]
        lone.node.receive("b", GossipDelta([told], [], [], []))
    assert membership.awaited() == []
    assert membership.ring.version == 1, "this node does not know it for good"
    lone.pass_time(1.5)
    assert membership.ring.version == 2


def test_no_ring_is_learned_from_one_that_is_gone() -> None:
    lone = three_and_one()
    lone.hear("b", GossipDelta([], [], [], [], [["c", "gone", 1.0, "", 1, "b"]]))
    before = lone.node.membership.ring
    newer = Ring(9, ("c", "d") * 8)
    lone.hear("c", GossipDelta([], [], newer.to_wire(), []))
    assert lone.node.membership.ring == before
    lone.hear("b", GossipDelta([], [], newer.to_wire(), []))
    assert lone.node.membership.ring == newer


def test_what_could_not_be_stored_is_not_said_to_be_known_until_it_is() -> None:
    lone = three_and_one()
    knew = lone.node.membership.knowledge()
    lone.node.receive("b", GossipDelta([], [], Ring(2, ("b", "c", "a") * 5 + ("b",)).to_wire(), []))
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.flush()

    def own_record() -> list[Any]:
        lone.node.receive("b", GossipDigest([["a", 0, 0]], 0, b"", b""))
        lone.disk.commit()
        outbox = lone.node.drain().get("b", [])
        return next(row for m in outbox if isinstance(m, GossipDelta) for row in m.members if row[0] == "a")

    assert lone.node.membership.ring.version == 2
    assert own_record()[5] not in (knew, lone.node.membership.knowledge())
    lone.pass_time(1.5)
    assert own_record()[5] == lone.node.membership.knowledge()
    lone.start()
    assert lone.node.membership.ring.version == 2


def test_no_step_is_made_in_the_turn_in_which_what_it_rests_on_is_learned() -> None:
    """Seed 300103: its commit failed, and the ring of the next step was told all the same, two ahead of this node's disk."""
    lone = three_and_one()
    membership = lone.node.membership
    for name in ("b", "c", "d"):
        known = membership.members[name]
        told = [name, known.endpoint, known.incarnation or 1, known.heartbeat + 1, "alive", b"", b""]
        lone.node.receive("b", GossipDelta([told], [], [], []))
    lone.flush()
    lone.node.receive(CLIENT, ChangeMembers(7, b"", [JOIN_D]))
    for name in ("b", "c", "d"):
        known = membership.members[name]
        told = [name, known.endpoint, known.incarnation, known.heartbeat + 1, "alive", membership.knowledge(), b""]
        lone.node.receive("b", GossipDelta([told], [], [], []))
    assert membership.ring.version == 1, "the decision is not on the disk yet"
    lone.pass_time(1.5)
    assert membership.ring.version == 2

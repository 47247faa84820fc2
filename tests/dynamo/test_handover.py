"""§4.9: what a node holds that is no longer its own goes to its owners, and is dropped only when they all have it."""

from __future__ import annotations

from lone_node import CLIENT, LoneNode, a_put, bytes_of, of, written

from dynazmq.config import Timing
from dynazmq.dynamo.membership.change import IN, LEFT, OUT
from dynazmq.dynamo.membership.records import Member
from dynazmq.dynamo.messages import GossipDelta, Mend, MendReply, PutReply, Refused, StrayAsk, StrayTell, Write, WriteReply
from dynazmq.dynamo.values.merkle import row_hash
from dynazmq.dynamo.values.ring import Ring, place
from dynazmq.dynamo.values.versions import EMPTY, encode

OTHERS = ("b", "c", "d")
WITHOUT_A = Ring(4, OTHERS * 5 + ("b",))
PRIMARIES = set(OTHERS)


def with_ring() -> LoneNode:
    return LoneNode(timing=Timing(retirement_grace_ms=0, anti_entropy_interval_ms=1000))


def with_strays(*keys: bytes) -> LoneNode:
    """The node `a`, with rows of these keys, in a ring without it that has just come to rest."""
    lone = with_ring()
    for key in keys:
        lone.node.replica.merge("", place("default", key), "default", key, bytes_of(("b", key)))
    lone.flush()
    lone.node.membership.learn_ring(WITHOUT_A)
    return lone


def asked(lone: LoneNode) -> dict[str, StrayAsk]:
    """The first questions, by whom they are for."""
    for _ in range(800):
        if found := of(StrayAsk, lone.turn(0.01)):
            return {str(to): message for to, message in found}
    raise AssertionError("it asks nobody")


def test_strays_wait_for_a_grace_and_then_all_their_primaries_are_asked() -> None:
    lone = with_strays(b"k")
    assert not of(StrayAsk, lone.pass_time(1.5))
    assert lone.node.handover.strays == 1
    questions = asked(lone)
    assert questions.keys() == PRIMARIES
    assert {tuple(map(tuple, q.rows)) for q in questions.values()} == {
        (("default", b"k", row_hash(place("default", b"k"), bytes_of(("b", b"k")))),)
    }


def test_a_stray_is_dropped_when_all_have_it_and_not_before() -> None:
    lone = with_strays(b"k")
    questions = asked(lone)
    for name in ("b", "c"):
        lone.hear(name, StrayTell(questions[name].request_id, []))
        assert lone.stored(b"k").values == [b"k"]
    lone.hear("d", StrayTell(questions["d"].request_id, []))
    assert lone.stored(b"k").values == []
    assert lone.node.replica.keys == 0
    lone.pass_time(1.0)
    assert lone.node.handover.strays == 0


def test_what_a_primary_lacks_is_sent_and_its_acknowledgement_waited_for() -> None:
    lone = with_strays(b"k")
    questions = asked(lone)
    for name in ("b", "c"):
        lone.hear(name, StrayTell(questions[name].request_id, []))
    ((to, mend),) = of(Mend, lone.hear("d", StrayTell(questions["d"].request_id, [0])))
    assert (to, mend.key, mend.state) == ("d", b"k", bytes_of(("b", b"k")))
    assert lone.stored(b"k").values == [b"k"]
    lone.hear("c", MendReply(mend.request_id, b""))
    assert lone.stored(b"k").values == [b"k"], "it was not c who was sent it"
    lone.hear("d", MendReply(mend.request_id, b""))
    assert lone.stored(b"k").values == []


def test_a_stray_that_has_changed_meanwhile_stays_and_goes_the_same_way_again() -> None:
    lone = with_strays(b"k")
    questions = asked(lone)
    newer = encode(written(("b", b"k"), ("c", b"late"), covering=True))
    lone.node.replica.merge("", place("default", b"k"), "default", b"k", newer)
    for name in OTHERS:
        lone.hear(name, StrayTell(questions[name].request_id, []))
    assert lone.stored(b"k").values == [b"late"]
    again = asked(lone)
    for name in OTHERS:
        lone.hear(name, StrayTell(again[name].request_id, []))
    assert lone.stored(b"k").values == []


def test_nothing_is_asked_while_a_primary_is_away_and_all_again_when_one_refuses() -> None:
    lone = with_strays(b"k")
    lone.away.add("c")
    lone.pass_time(2.0)
    assert not of(StrayAsk, lone.pass_time(6.0))
    lone.away.clear()
    questions = asked(lone)
    lone.hear("b", Refused(questions["b"].request_id, "knows another ring"))
    lone.hear("c", StrayTell(questions["c"].request_id, []))
    lone.hear("d", StrayTell(questions["d"].request_id, []))
    assert lone.stored(b"k").values == [b"k"]
    assert asked(lone).keys() == PRIMARIES


def test_nothing_is_handed_over_while_the_ring_still_changes() -> None:
    lone = with_strays(b"k")
    lone.node.membership.learn_ring(Ring(5, WITHOUT_A.owners, ("b", "c", "d", "a") * 4, filling=True))
    assert not of(StrayAsk, lone.pass_time(8.0))
    assert lone.stored(b"k").values == [b"k"]


def test_bad_answers_are_refused_and_nothing_is_dropped() -> None:
    lone = with_strays(b"k")
    questions = asked(lone)
    lone.hear("b", StrayTell(questions["b"].request_id, [7]))
    lone.hear("c", StrayTell(questions["c"].request_id, [-1]))
    lone.hear("d", StrayTell(questions["b"].request_id, []))
    assert lone.node.runtime.counters["messages_refused"] == 2
    assert lone.stored(b"k").values == [b"k"]


# --- a primary's side -----------------------------------------------------------------------------------------------------


def test_a_primary_tells_which_of_the_states_it_lacks() -> None:
    lone = LoneNode()
    ring = lone.node.membership.ring
    at = place("default", b"k")
    lone.node.replica.merge("", at, "default", b"k", bytes_of(("b", b"v")))
    rows = [["default", b"k", row_hash(at, bytes_of(("b", b"v")))], ["default", b"k", 7], ["default", b"other", 7]]
    ((_, told),) = of(StrayTell, lone.hear("b", StrayAsk(3, ring.digest(), rows)))
    assert (told.request_id, told.missing) == (3, [1, 2])
    assert of(Refused, lone.hear("b", StrayAsk(4, b"another", rows)))
    assert of(Refused, lone.hear("b", StrayAsk(5, ring.digest(), [["default", b"k", 7]] * 65)))


def test_what_a_failed_turn_would_have_vouched_for_is_not_told() -> None:
    lone = LoneNode()
    lone.node.receive("b", StrayAsk(3, lone.node.membership.ring.digest(), []))
    lone.disk.rollback()
    lone.node.turn_failed()
    said = lone.flush()
    assert not of(StrayTell, said)
    assert of(Refused, said)


# --- hints, and the leaver ------------------------------------------------------------------------------------------------


def test_w18_hints_for_a_node_that_left_become_hints_for_the_primaries() -> None:
    lone = LoneNode()
    key = lone.key(0)
    gone = next(name for name in OTHERS if name in lone.walk(key)[:3])
    lone.away.add(gone)
    lone.pass_time(1.5)
    other = next(name for name in OTHERS if name != gone)
    lone.hear(other, Write(5, "default", key, bytes_of(("b", b"v")), gone, 1000))
    assert lone.node.hints.pending == {gone: 1}
    left = tuple(name for name in ("a", *OTHERS) if name != gone)
    lone.node.membership.learn_ring(Ring(4, left * 5 + left[:1]))
    lone.pass_time(8.0)
    assert gone not in lone.node.hints.pending
    assert lone.stored(key).values == [b"v"], "this node is one of them"


def test_s7_a_damaged_hint_for_a_node_that_left_is_given_up_and_the_others_go_on() -> None:
    """Nobody will ever ask for it: it would pend for ever, and a leaver that keeps it could not leave."""
    lone = LoneNode()
    key, other_key = [key for i in range(1000) if "b" in lone.walk(key := b"key %d" % i)[:3]][:2]
    lone.away.add("b")
    lone.pass_time(1.5)
    for each in (key, other_key):
        lone.hear("c", Write(5, "default", each, bytes_of(("c", b"v")), "b", 1000))
    assert lone.node.hints.pending == {"b": 2}
    lone.disk.damage_hints_of(place("default", key), "default", key)
    left = tuple(name for name in ("a", *OTHERS) if name != "b")
    lone.node.membership.learn_ring(Ring(4, left * 5 + left[:1]))
    lone.pass_time(8.0)
    assert "b" not in lone.node.hints.pending
    assert lone.node.runtime.counters["hints_dropped"] == 1
    assert lone.node.runtime.counters["hints_redirected"] == 1


def test_a_hint_for_a_member_that_was_removed_is_refused_and_one_for_a_stranger_is_garbage() -> None:
    lone = LoneNode()
    lone.hear("b", GossipDelta([], [], [], [], [["gone", "gone", 1.0, "", 1, "b"]]))
    assert of(Refused, lone.hear("b", Write(5, "default", b"k", bytes_of(("b", b"v")), "gone", 1000)))
    assert lone.node.runtime.counters["messages_refused"] == 0
    lone.hear("b", Write(6, "default", b"k", bytes_of(("b", b"v")), "stranger", 1000))
    assert lone.node.runtime.counters["messages_refused"] == 1
    assert lone.disk.hint_totals() == {}


def test_a_leaver_on_which_nothing_is_left_says_so() -> None:
    lone = with_strays(b"k")
    me = lone.node.membership
    lone.hear("b", GossipDelta([], [], [], [], [["a", OUT, 1.0, "", 1, "b"]]))
    assert me.standing == "leaving"
    questions = asked(lone)
    assert me.intents["a"].kind == OUT
    for name in OTHERS:
        lone.hear(name, StrayTell(questions[name].request_id, []))
    lone.pass_time(2.0)
    assert me.intents["a"][:2] == ("a", LEFT)
    assert me.standing == "leaving", "nobody has heard it yet"
    heard = Member("b", "ipc://b", 2, 1, "alive", me.knowledge())
    lone.hear("b", GossipDelta([list(heard)], [], [], []))
    assert me.standing == "left"


def test_a_leaver_that_a_member_tells_that_it_has_left_may_end_whatever_else_it_knows() -> None:
    lone = with_strays()
    me = lone.node.membership
    lone.hear("b", GossipDelta([], [], [], [], [["a", OUT, 1.0, "", 1, "b"]]))
    lone.pass_time(3.0)
    mine = list(me.intents["a"])
    assert mine[1] == LEFT
    lone.hear("x", GossipDelta([], [], [], [], [mine]))
    assert me.standing == "leaving", "x does not stay"
    lone.hear("b", GossipDelta([], [], [], [], [["c", "in", 2.0, "", 1, "b"]]))
    assert me.standing == "leaving", "it does not say what b knows of this node"
    lone.hear("b", GossipDelta([], [], [], [], [mine]))
    assert me.standing == "left"


def test_what_only_another_leaver_has_heard_may_be_lost_with_it() -> None:
    lone = with_strays()
    me = lone.node.membership
    lone.hear("b", GossipDelta([], [], [], [], [["a", OUT, 1.0, "", 1, "b"]]))
    lone.pass_time(3.0)
    assert me.intents["a"].kind == LEFT
    stranger = Member("x", "ipc://x", 2, 1, "alive", me.knowledge())
    lone.hear("b", GossipDelta([list(stranger)], [], [], []))
    assert "x" in me.members
    assert me.standing == "leaving"


def test_a_leaver_waits_for_its_own_puts_since_they_may_leave_hints_here() -> None:
    lone = with_ring()
    key = lone.key(0)
    second, third, *_ = lone.peers(key)
    ((_, write), _) = of(Write, lone.hear(CLIENT, a_put(key, budget_ms=30_000)))
    assert of(PutReply, lone.hear(second, WriteReply([write.request_id])))
    lone.node.membership.learn_ring(WITHOUT_A)
    lone.hear("b", GossipDelta([], [], [], [], [["a", OUT, 1.0, "", 1, "b"]]))
    for name, question in asked(lone).items():
        lone.hear(name, StrayTell(question.request_id, []))
    lone.pass_time(2.0)
    assert lone.stored(key) == EMPTY, "all of its new owners have it"
    assert lone.node.membership.intents["a"].kind == OUT, f"{third} has not said that it has it"
    lone.hear(third, WriteReply([write.request_id]))
    lone.pass_time(1.0)
    assert lone.node.membership.intents["a"].kind == LEFT


def test_a_leaver_that_shall_be_in_again_is_no_leaver() -> None:
    lone = with_strays()
    lone.hear("b", GossipDelta([], [], [], [], [["a", OUT, 1.0, "", 1, "b"]]))
    lone.pass_time(7.0)
    assert lone.node.membership.intents["a"].kind == LEFT
    lone.hear("b", GossipDelta([], [], [], [], [["a", IN, 1.0, "", 9, "b"]]))
    assert lone.node.membership.standing == "joining"

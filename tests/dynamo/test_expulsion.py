"""The pure functions of expulsion.py: whoever sees what, no two expulsions take effect that leave no majority."""

from __future__ import annotations

from random import Random

import pytest
from lone_node import CLIENT, LoneNode, of

from dynazmq.config import Timing
from dynazmq.dynamo.membership.change import EXPEL, GONE, IN, OUT, Intent
from dynazmq.dynamo.membership.expulsion import objection, outweighs, pardon, taking_effect, upheld, vote, withdrawn
from dynazmq.dynamo.messages import ChangeMembers, ChangeMembersReply, Failure, GossipDelta, Put
from dynazmq.dynamo.values.ring import Ring

NAMES = ("a", "b", "c", "d", "e")
RING = Ring(1, NAMES * 4)


def expelled(*names: str, kind: str = EXPEL, writer: str = "a", agreed: bool = False) -> dict[str, Intent]:
    return {name: Intent(name, kind, 1.0, "", 1, writer, agreed=agreed) for name in names}


def test_those_to_be_expelled_count_among_the_members_and_not_among_those_that_agree() -> None:
    assert vote(RING, {}) is None
    assert vote(RING, expelled("d", "e")) == (("d", "e"), ("a", "b", "c"), 3)
    assert vote(RING, expelled("d") | expelled("e", kind=GONE)) == (("d",), ("a", "b", "c"), 3)
    assert vote(RING, {"e": Intent("e", OUT, 1.0, "", 1, "a")} | expelled("d")) == (("d",), ("a", "b", "c", "e"), 3)
    assert vote(Ring(1, ("a", "b") * 4), expelled("b")) == (("b",), ("a",), 2)


def test_an_expulsion_takes_effect_when_more_than_half_know_of_it_and_not_before() -> None:
    intents = expelled("d", "e")
    assert taking_effect(RING, intents, {"a", "b", "d", "e"}.__contains__) == []
    assert taking_effect(RING, intents, {"a", "b", "c"}.__contains__) == [
        intent._replace(kind=GONE, agreed=True) for intent in intents.values()
    ]


def test_what_takes_effect_is_the_same_record_whoever_makes_it_and_outranks_all_but_a_pardon() -> None:
    (gone,) = taking_effect(RING, expelled("d"), lambda _: True)
    assert gone.rank > Intent("d", EXPEL, 1.0, "", 9, "z").rank
    assert gone.rank > Intent("d", IN, 1.0, "", 9, "z").rank
    assert pardon(gone).rank > gone.rank
    assert (pardon(gone).kind, pardon(gone).pardons, pardon(gone).agreed) == (IN, 1, False)


def test_what_can_never_take_effect_is_withdrawn_when_all_know_of_it_the_accused_included() -> None:
    intents = expelled("a", "b", "d", "e")
    assert taking_effect(RING, intents, lambda _: True) == []
    assert withdrawn(RING, intents, lambda name: name != "d") == []
    assert [each[:2] for each in withdrawn(RING, intents, lambda _: True)] == [(name, IN) for name in ("a", "b", "d", "e")]
    assert withdrawn(RING, expelled("a"), lambda _: True) == [], "that one can"


def test_an_objection_names_the_numbers_and_whom_it_reaches() -> None:
    assert objection(RING, expelled("d", "e"), ["a", "b", "c", "d"]) == ""
    assert objection(RING, expelled("c", "d", "e"), NAMES) == (
        "expelling c d e would leave 2 of 5 members, and more than half (3) must agree to it"
    )
    assert objection(RING, expelled("d"), ["a"]) == (
        "more than half of 5 members (3) must agree to expel d, and 1 can be reached: a"
    )
    assert objection(RING, expelled("d", kind=GONE), []) == ""


@pytest.mark.parametrize("seed", range(200))
def test_whatever_is_decided_where_and_heard_in_whatever_order_a_majority_is_never_expelled(seed: int) -> None:
    """What each knows grows by what it hears; whoever sees a majority at the very same makes the expulsion take effect."""
    random = Random(seed)
    names = NAMES[: random.randint(2, 5)]
    ring = Ring(1, names * 4)
    known: dict[str, dict[str, Intent]] = {name: {} for name in names}
    said: dict[str, dict[str, Intent]] = {name: {} for name in names}  # the newest word that has arrived of each, anywhere
    for _ in range(60):
        me = random.choice(names)
        step = random.random()
        if step < 0.2:
            other = random.choice([name for name in names if name != me])
            if other not in known[me]:
                known[me] = known[me] | expelled(other, writer=me)
        elif step < 0.6:
            other = random.choice(names)
            for name, intent in known[other].items():
                if name not in known[me] or known[me][name].rank < intent.rank:
                    known[me] = known[me] | {name: intent}
        elif step < 0.8:
            said[me] = known[me]
        else:
            mine = known[me]
            taken = taking_effect(ring, mine, lambda name: name == me or said[name] == mine)  # noqa: B023
            known[me] = known[me] | {intent.name: intent for intent in taken}
        gone = {name for intents in known.values() for name, intent in intents.items() if intent.kind == GONE}
        assert 2 * (len(names) - len(gone)) > len(names), "a majority is left, whoever is asked"


def test_of_two_sides_the_one_that_had_a_majority_outweighs_and_else_the_larger_one() -> None:
    few, many = expelled("c", "d", "e", kind=GONE), expelled("a", "b", kind=GONE, writer="c")
    assert outweighs(many, few, "c", "a")
    assert not outweighs(few, many, "a", "c")
    assert not outweighs(many, expelled("c", "d", "e", kind=GONE, agreed=True), "c", "a")
    assert outweighs(expelled("c", kind=GONE, agreed=True), many, "a", "c"), "however few it expelled"
    one, other = expelled("b", kind=GONE), expelled("a", kind=GONE, writer="b")
    assert outweighs(one, other, "a", "b") != outweighs(other, one, "b", "a"), "and of two equals one"


def test_one_that_says_that_we_are_to_be_expelled_or_knows_less_than_we_outweighs_nobody() -> None:
    ours = expelled("c", kind=GONE)
    assert not outweighs(expelled("a"), ours, "c", "a")
    assert not outweighs({}, ours, "c", "a")
    pardoned = {"a": Intent("a", IN, 1.0, "", 2, "b", pardons=1)}
    assert not outweighs(expelled("a", kind=GONE, agreed=True), ours | pardoned, "c", "a")


# --- at a node --------------------------------------------------------------------------------------------------------------


def a_node() -> LoneNode:
    return LoneNode(timing=Timing())


def say(lone: LoneNode, name: str, *, fresh: bool = True) -> None:
    """This peer says that it knows what this node knows."""
    known = lone.node.membership.members[name]
    digest = lone.node.membership.knowledge() if fresh else b""
    row = [name, known.endpoint, known.incarnation or 1, known.heartbeat + 1, "alive", digest, b""]
    lone.hear(name, GossipDelta([row], [], [], []))


def expel(lone: LoneNode, *names: str) -> list[tuple[object, Failure]]:
    return of(Failure, lone.hear(CLIENT, ChangeMembers(7, b"", [[name, "expel", 1.0, ""] for name in names])))


def test_nothing_follows_from_an_expulsion_until_a_majority_agrees() -> None:
    lone = a_node()
    membership = lone.node.membership
    assert expel(lone, "e") == []
    assert membership.hear("e", membership.incarnation_of("e")), "it is heard"
    say(lone, "b")
    assert membership.intents["e"].kind == EXPEL
    say(lone, "c")
    assert membership.intents["e"].kind == GONE
    assert not membership.hear("e", membership.incarnation_of("e"))
    assert "e" not in lone.node.failure.peers, "nobody asks it"
    lone.start()
    assert membership.intents["e"].kind == GONE
    assert not lone.node.membership.hear("e", 1 << 40)


def test_it_is_refused_where_too_few_can_be_reached() -> None:
    lone = a_node()
    lone.away |= {"b", "c", "d"}
    lone.pass_time(2.0)
    ((_, refused),) = expel(lone, "e")
    assert "more than half of 5 members (3) must agree to expel e, and 1 can be reached: a" in refused.text
    assert lone.node.membership.intents == {}


def test_the_same_decision_twice_is_one() -> None:
    lone = a_node()
    assert expel(lone, "e") == expel(lone, "e") == []
    assert lone.node.membership.intents["e"].version == 1


def test_an_outcast_serves_nobody_makes_no_step_and_waits_for_the_ring_to_be_without_it() -> None:
    lone = a_node()
    membership = lone.node.membership
    lone.hear("b", GossipDelta([], [], [], [], [["a", "gone", 1.0, "", 1, "b", 0, True]]))
    assert membership.outcast
    assert not membership.expelled
    ((_, refused),) = of(Failure, lone.hear(CLIENT, Put(1, "default", b"k", b"v", b"", b"w" * 16, 0, 0, 0, 0, 0, 2000)))
    assert "a is expelled from the cluster" in refused.text
    for name in ("b", "c", "d", "e"):
        say(lone, name)
    lone.pass_time(1.5)
    assert membership.ring.version == 1
    lone.hear("b", GossipDelta([], [], Ring(4, ("b", "c", "d", "e") * 4).to_wire(), []))
    assert membership.expelled


def test_a_pardon_makes_a_member_of_it_again() -> None:
    lone = a_node()
    lone.hear("b", GossipDelta([], [], [], [], [["a", "gone", 1.0, "", 1, "b", 0, True]]))
    lone.hear("b", GossipDelta([], [], [], [], [["a", "in", 1.0, "", 2, "c", 1, False]]))
    assert not lone.node.membership.outcast
    assert lone.node.membership.standing == "member"


def test_out_does_not_take_an_expulsion_back_and_in_does() -> None:
    lone = a_node()
    expel(lone, "e")
    ((_, refused),) = of(Failure, lone.hear(CLIENT, ChangeMembers(8, b"", [["e", "out", 1.0, ""]])))
    assert "e is being removed by force; take that back first" in refused.text
    assert of(ChangeMembersReply, lone.hear(CLIENT, ChangeMembers(9, b"", [["e", "in", 1.0, ""]])))
    assert lone.node.membership.intents["e"][1:] == ("in", 1.0, "", 2, "a", 1, False)
    lone.hear("b", GossipDelta([], [], [], [], [["e", "gone", 1.0, "", 1, "a", 0, True]]))
    assert lone.node.membership.intents["e"].kind == IN, "though it has taken effect meanwhile"


def test_what_one_that_is_gone_has_decided_is_not_learned() -> None:
    lone = a_node()
    lone.hear("b", GossipDelta([], [], [], [], [["e", "gone", 1.0, "", 1, "b", 0, True]]))
    lone.hear("e", GossipDelta([], [], [], [["x", 3, 2, 2, 1, "e", "siblings"]], [["d", "out", 1.0, "", 1, "e", 0, False]]))
    assert set(lone.node.membership.intents) == {"e"}
    assert lone.node.membership.policies == {}


def test_two_sides_that_expelled_each_other_meet_and_the_lighter_one_ends() -> None:
    lone = a_node()
    membership = lone.node.membership
    lone.hear("b", GossipDelta([], [], [], [], [[name, "gone", 1.0, "", 1, "b", 0, False] for name in ("c", "d", "e")]))
    lone.hear("b", GossipDelta([], [], Ring(4, ("a", "b") * 8).to_wire(), []))
    assert membership.estranged() == ["c", "d", "e"]
    assert membership.endpoint_of("c") == "ipc://c"
    assert not membership.expelled
    lone.hear("c", GossipDelta([], [], [], [], [[name, "gone", 1.0, "", 1, "c", 0, False] for name in ("a", "b")]))
    assert membership.expelled


GONE_E = ["e", "gone", 1.0, "", 1, "b", 0, True]
PARDON_OF_E = ["e", "in", 1.0, "", 2, "e", 1, False]


def without_e(lone: LoneNode) -> None:
    """It was expelled, and the ring does without it."""
    lone.hear("b", GossipDelta([], [], Ring(4, ("a", "b", "c", "d") * 4).to_wire(), [], [GONE_E]))


def test_who_was_pardoned_too_late_is_told_once_more_that_it_is_gone() -> None:
    lone = a_node()
    without_e(lone)
    for name in ("b", "c", "d"):
        say(lone, name)
    lone.hear("e", GossipDelta([], [], [], [], [PARDON_OF_E]))
    again = lone.node.membership.intents["e"]
    assert list(again) == ["e", "gone", 1.0, "", 1, "b", 1, True]
    assert again.rank > Intent.from_wire(PARDON_OF_E).rank, "and it will believe it"


def test_as_long_as_a_member_may_have_heard_of_a_pardon_nobody_says_that_it_came_too_late() -> None:
    lone = a_node()
    without_e(lone)
    for name in ("b", "c"):
        say(lone, name)
    lone.hear("e", GossipDelta([], [], [], [], [PARDON_OF_E]))
    assert list(lone.node.membership.intents["e"]) == GONE_E
    lone.hear("d", GossipDelta([], [], [], [], [PARDON_OF_E]))
    assert lone.node.membership.intents["e"].kind == IN, "d has"


def test_a_pardon_that_no_admin_can_have_made_is_not_answered() -> None:
    lone = a_node()
    without_e(lone)
    for name in ("b", "c", "d"):
        say(lone, name)
    lone.hear("e", GossipDelta([], [], [], [], [["e", "in", 1.0, "", 2, "e", 1 << 60, False]]))
    assert list(lone.node.membership.intents["e"]) == GONE_E


def test_no_removal_is_final_before_the_ring_is_at_rest_without_the_member() -> None:
    mine, theirs = expelled("c", kind=GONE, agreed=True), {"c": Intent("c", IN, 1.0, "", 2, "c", pardons=1)}
    with_it, without = ("a", "b", "c") * 4, ("a", "b") * 6
    assert [upheld(ring, mine, theirs, []) for ring in (Ring(1, with_it), Ring(2, with_it, without, True))] == [[], []]
    assert upheld(Ring(3, without, with_it), mine, theirs, []) == []
    assert upheld(Ring(4, without), mine, theirs, ["b"]) == []
    assert upheld(Ring(4, without), mine, theirs, []) == [mine["c"]._replace(pardons=1)]
    assert upheld(Ring(4, without), expelled("c"), theirs, []) == [], "whom nobody has agreed to expel is heard"


def test_which_side_outweighs_the_other_does_not_depend_on_pardons_that_came_too_late() -> None:
    one, other = expelled("b", kind=GONE), expelled("a", kind=GONE, writer="b")
    later = {name: intent._replace(pardons=3) for name, intent in one.items()}
    assert outweighs(one, other, "a", "b") == outweighs(later, other, "a", "b")

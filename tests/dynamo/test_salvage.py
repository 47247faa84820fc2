"""§4.9: what others still hold of partitions whose holders are all gone is asked for, page by page, before it is called lost."""

from __future__ import annotations

from typing import Any

import pytest
from lone_node import LoneNode, bytes_of, of

from dynazmq.config import Timing
from dynazmq.dynamo.membership.change import GONE, Intent, goal
from dynazmq.dynamo.membership.records import Member
from dynazmq.dynamo.messages import FillAsk, FillTell, GossipDelta, Message, Refused, Write
from dynazmq.dynamo.repair.exchange import START
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.values.ring import Ring, place

OLD = Ring(1, ("a", "b", "c", "d") * 4)
NEW = goal(OLD, {"d": Intent("d", GONE, 1.0, "", 1, "b")}, 1)
FILLING = Ring(2, OLD.owners, NEW, filling=True)
MINE = [partition for partition in OLD.owned_by("d") if NEW[partition] == "a"]  # held by d alone, at N=1, and to be a's


def a_node(name: str = "a") -> LoneNode:
    """One of three that stay; d, which is gone, had partitions of its own. Everybody knows of the change."""
    lone = LoneNode(name, ("a", "b", "c", "d"), n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    lone.hear(others(name)[0], GossipDelta([], [], FILLING.to_wire(), [], [["d", "gone", 1.0, "", 1, "b", 0, True]]))
    return lone


def others(name: str) -> list[str]:
    return [each for each in ("a", "b", "c") if each != name]


def know(lone: LoneNode) -> None:
    for name in others(lone.name):
        was = lone.node.membership.members[name]
        told = Member(name, was.endpoint, was.incarnation or 1, was.heartbeat + 1, "alive", lone.node.membership.knowledge())
        lone.hear(name, GossipDelta([list(told)], [], [], []))


def keys_in(partition: int, count: int) -> list[bytes]:
    """In the order of their places."""
    found = [key for i in range(5000) if OLD.partition_of(place("default", key := b"key %d" % i)) == partition]
    return sorted(found[:count], key=lambda key: place("default", key))


def at(key: bytes) -> tuple[int, str, bytes]:
    return place("default", key), "default", key


def asked(lone: LoneNode) -> tuple[str, FillAsk]:
    for _ in range(300):
        if questions := of(FillAsk, lone.turn(0.01)):
            to, question = questions[0]
            return str(to), question
    raise AssertionError("it asks nobody")


def answer(question: FillAsk, keys: list[bytes] = [], more: bool = False) -> FillTell:  # noqa: B006
    rows = [["default", key, bytes_of(("d", b"v"))] for key in keys]
    return FillTell(question.request_id, rows, more, *(at(keys[-1]) if more else START))


def test_everybody_who_stays_is_asked_for_each_partition_and_then_it_confirms() -> None:
    lone = a_node()
    know(lone)
    for name in ("b", "c"):
        for partition in MINE:
            assert not lone.node.transfer.confirmed
            to, question = asked(lone)
            assert (to, question.partition, question.salvage) == (name, partition, True)
            lone.hear(to, answer(question))
    assert of(FillAsk, lone.pass_time(1.0)) == []
    assert lone.node.transfer.confirmed
    assert lone.node.transfer.left == 0


def test_of_buckets_that_get_other_replicas_each_partition_without_a_source_is_looked_for_once() -> None:
    """c and d are gone. Of x and z their partitions have no source; of y those of which both had the copies, and a gets them."""
    gone = {name: Intent(name, GONE, 1.0, "", 1, "a", agreed=True) for name in ("c", "d")}
    before, after = (("x", 1, 1, 1), ("y", 2, 1, 2), ("z", 1, 1, 1)), (("x", 2, 1, 2), ("y", 1, 1, 1), ("z", 3, 2, 2))
    filling = Ring(2, OLD.owners, goal(OLD, gone, 1), True, before, after)
    lone = LoneNode("b", ("a", "b", "c", "d"), n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    policies = [[*quorums, 1, "a", "siblings"] for quorums in after]
    lone.hear("a", GossipDelta([], [], filling.to_wire(), policies, [list(intent) for intent in gone.values()]))
    lone.turn()
    was = lone.node.membership.members["a"]
    told = Member("a", was.endpoint, was.incarnation or 1, was.heartbeat + 1, "alive", lone.node.membership.knowledge())
    lone.hear("a", GossipDelta([list(told)], [], [], []))
    looked_for = []
    for _ in range(600):
        for _, question in of(FillAsk, lone.turn(0.01)):
            lone.hear("a", FillTell(question.request_id, [], False, *START))
            looked_for += [question.partition] if question.salvage else []
    assert looked_for == [partition for partition in range(16) if OLD.walk(partition)[0] in gone]


def test_nobody_is_asked_before_all_write_to_the_new_owners_too() -> None:
    lone = a_node()
    assert of(FillAsk, lone.pass_time(3.0)) == []
    assert lone.node.transfer.left == len(MINE)


def test_what_is_found_is_merged_page_by_page() -> None:
    lone = a_node()
    know(lone)
    to, question = asked(lone)
    keys = keys_in(question.partition, 3)
    lone.hear(to, answer(question, keys[:2], more=True))
    _, following = asked(lone)
    assert (following.partition, following.after_key) == (question.partition, keys[1])
    lone.hear(to, answer(following, keys[2:]))
    assert [lone.stored(key).values for key in keys] == [[b"v"]] * 3
    assert lone.node.admin.status()["transfer"]["salvaged"] == 3


def test_own_hints_for_who_is_gone_are_found_as_well() -> None:
    lone = LoneNode("a", ("a", "b", "c", "d"), n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    (key,) = keys_in(MINE[0], 1)
    lone.away.add("d")
    lone.pass_time(2.0)
    lone.hear("b", Write(5, "default", key, bytes_of(("b", b"kept")), "d", 1000))
    lone.hear("b", GossipDelta([], [], FILLING.to_wire(), [], [["d", "gone", 1.0, "", 1, "b", 0, True]]))
    know(lone)
    lone.pass_time(0.5)
    assert lone.stored(key).values == [b"kept"]


def test_a_member_that_refuses_or_is_away_is_asked_again_and_waited_for() -> None:
    lone = a_node()
    know(lone)
    to, question = asked(lone)
    lone.hear(to, Refused(question.request_id, "does not know of this change"))
    assert asked(lone)[1].partition == question.partition
    lone.away.add(to)
    lone.pass_time(10.0)
    assert not lone.node.transfer.confirmed
    lone.away.clear()
    assert asked(lone)[0] == to


def test_a_page_that_could_not_be_stored_makes_it_begin_anew() -> None:
    lone = a_node()
    know(lone)
    to, question = asked(lone)
    lone.node.receive(to, answer(question, keys_in(question.partition, 2)))
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.flush()
    know(lone)
    again = asked(lone)[1]
    assert (again.partition, again.after_place) == (MINE[0], -1)


def test_what_it_cannot_read_of_its_own_it_looks_for_later() -> None:
    lone = LoneNode("a", ("a", "b", "c", "d"), n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    lone.away.add("d")
    lone.pass_time(2.0)
    (key,) = keys_in(MINE[0], 1)
    lone.hear("b", Write(5, "default", key, bytes_of(("b", b"kept")), "d", 1000))
    lone.hear("b", GossipDelta([], [], FILLING.to_wire(), [], [["d", "gone", 1.0, "", 1, "b", 0, True]]))
    know(lone)
    lone.disk.fail_reads = True
    assert of(FillAsk, lone.pass_time(1.0)) == []
    lone.disk.fail_reads = False
    assert asked(lone)[0] == "b"
    assert lone.stored(key).values == [b"kept"]


@pytest.mark.parametrize("rows", [[["default", b"k", b"no state"]], [["default", 7, b""]], [7], [["default", b""]]])
def test_bad_rows_are_refused_and_asked_for_again(rows: list[Any]) -> None:
    lone = a_node()
    know(lone)
    to, question = asked(lone)
    lone.hear(to, FillTell(question.request_id, rows, False, *START))
    assert lone.node.runtime.counters["messages_refused"] == 1
    assert asked(lone)[1].partition == question.partition


def test_a_row_of_another_partition_or_a_page_that_does_not_go_forward_is_refused() -> None:
    lone = a_node()
    know(lone)
    to, question = asked(lone)
    lone.hear(to, answer(question, keys_in(MINE[1], 1)))
    to, question = asked(lone)
    lone.hear(to, FillTell(question.request_id, [], True, *START))
    assert lone.node.runtime.counters["messages_refused"] == 2


# --- at the one who is asked ------------------------------------------------------------------------------------------------


def shown(said: list[tuple[Address, Message]]) -> FillTell:
    ((_, told),) = of(FillTell, said)
    return told


def test_it_shows_hints_for_whomever_and_rows_that_it_has_not_handed_over_in_pages() -> None:
    lone = LoneNode("b", ("a", "b", "c", "d"), n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    lone.away.add("d")
    lone.pass_time(2.0)
    partition = MINE[0]
    keys = keys_in(partition, 150)
    for i, key in enumerate(keys):
        for target in {"d", "c"} if i % 3 == 0 else {"d"}:
            lone.hear("c", Write(1, "default", key, bytes_of((target, b"kept")), target, 1000))
    stray = keys_in(partition, 151)[-1]
    lone.disk.write(*at(stray), bytes_of(("x", b"stray")))
    lone.hear("c", Write(1, "default", keys_in(MINE[1], 1)[0], bytes_of(("d", b"kept")), "d", 1000))
    lone.hear("c", GossipDelta([], [], FILLING.to_wire(), [], [["d", "gone", 1.0, "", 1, "c", 0, True]]))
    digest, after, found = lone.node.membership.ring.digest(), START, []
    for _ in range(20):
        told = shown(lone.hear("a", FillAsk(9, digest, partition, *after, True)))
        found += [(key, state) for _, key, state in told.rows]
        after = (told.next_place, told.next_bucket, told.next_key)
        if not told.more:
            break
    assert {key for key, _ in found} == {*keys, stray}
    assert len(found) == 150 + 50 + 1, "both hints of a key, each once"
    assert lone.node.hints.pending["d"] == 151, "nothing is given up"


def test_large_hints_make_short_pages_and_none_is_left_out() -> None:
    lone = LoneNode("b", ("a", "b", "c", "d"), n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    lone.away.add("d")
    lone.pass_time(2.0)
    keys = keys_in(MINE[0], 6)
    for key in keys:
        for target in ("c", "d"):
            lone.hear("c", Write(1, "default", key, bytes_of((target, b"x" * 200_000)), target, 1000))
    lone.hear("c", GossipDelta([], [], FILLING.to_wire(), [], [["d", "gone", 1.0, "", 1, "c", 0, True]]))
    digest, after, pages, found = lone.node.membership.ring.digest(), START, 0, 0
    while True:
        told = shown(lone.hear("a", FillAsk(9, digest, MINE[0], *after, True)))
        pages, found = pages + 1, found + len(told.rows)
        after = (told.next_place, told.next_bucket, told.next_key)
        if not told.more:
            break
    assert found == 12
    assert pages >= 3


def test_without_being_asked_to_salvage_it_shows_its_own_rows_alone() -> None:
    lone = LoneNode("b", ("a", "b", "c", "d"), n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    lone.away.add("d")
    lone.pass_time(2.0)
    lone.hear("c", Write(1, "default", keys_in(MINE[0], 1)[0], bytes_of(("d", b"kept")), "d", 1000))
    lone.hear("c", GossipDelta([], [], FILLING.to_wire(), [], [["d", "gone", 1.0, "", 1, "c", 0, True]]))
    assert shown(lone.hear("a", FillAsk(9, lone.node.membership.ring.digest(), MINE[0], *START, False))).rows == []

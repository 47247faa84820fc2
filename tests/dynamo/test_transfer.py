"""§4.9: a new owner fetches its keys page by page, compares with all old owners, and only then confirms."""

from __future__ import annotations

from typing import Any

import pytest
from lone_node import LoneNode, bytes_of, of, written

from dynazmq.config import Timing
from dynazmq.dynamo.membership.change import IN, Intent, goal
from dynazmq.dynamo.membership.records import Member
from dynazmq.dynamo.messages import FillAsk, FillTell, GossipDelta, Refused, TreeAsk, TreeTell
from dynazmq.dynamo.values.ring import Ring, place
from dynazmq.dynamo.values.versions import decode, encode

OLD = Ring(1, ("b", "c", "d") * 5 + ("b",))
JOIN = Intent("a", IN, 1.0, "", 1, "b")
NEW = goal(OLD, {"a": JOIN}, 3)


def filling(**config: Any) -> LoneNode:
    """The node `a`, a new owner of a ring that fills."""
    lone = LoneNode(founders=["b", "c", "d"], timing=Timing(retirement_grace_ms=0), **config)
    lone.node.membership.learn_intents([list(JOIN)], "b")
    lone.node.membership.learn_ring(Ring(2, OLD.owners, NEW, filling=True))
    return lone


def first_question(lone: LoneNode) -> tuple[str, FillAsk]:
    for _ in range(200):
        if asked := of(FillAsk, lone.turn(0.01)):
            to, message = asked[0]
            assert isinstance(to, str)
            return to, message
    raise AssertionError("it asks nobody")


def keys_in(partition: int, count: int) -> list[bytes]:
    """In the order of their places."""
    found = [key for i in range(5000) if OLD.partition_of(place("default", key := b"key %d" % i)) == partition]
    return sorted(found[:count], key=lambda key: place("default", key))


def page(question: FillAsk, keys: list[bytes], more: bool = False) -> FillTell:
    rows = [["default", key, bytes_of(("b", b"v"))] for key in keys]
    behind = (place("default", keys[-1]), "default", keys[-1]) if more else (-1, "", b"")
    return FillTell(question.request_id, rows, more, *behind)


def know(lone: LoneNode, *names: str) -> None:
    """These members say that they know what the node knows."""
    knowledge = lone.node.membership.knowledge()
    for name in names:
        was = lone.node.membership.members[name]
        told = Member(name, was.endpoint, was.incarnation or 1, was.heartbeat + 1, "alive", knowledge, was.filled)
        lone.hear(name, GossipDelta([list(told)], [], [], []))


def stream_all(lone: LoneNode) -> None:
    source, question = first_question(lone)
    while lone.node.transfer.left > 1:
        lone.hear(source, page(question, []))
        source, question = first_question(lone)
    lone.hear(source, page(question, []))


def test_a_new_owner_asks_an_old_one_for_the_first_of_its_partitions() -> None:
    lone = filling()
    source, question = first_question(lone)
    assert source in OLD.primaries(question.partition, 3)
    assert question.ring_digest == lone.node.membership.ring.digest()
    assert "a" in lone.node.membership.ring.extras(question.partition, 3)
    assert question.after_place == -1


def test_a_page_is_merged_and_the_next_one_asked_for_behind_it() -> None:
    lone = filling()
    source, question = first_question(lone)
    keys = keys_in(question.partition, 4)
    lone.hear(source, page(question, keys[:2], more=True))
    assert [lone.stored(key).values for key in keys] == [[b"v"], [b"v"], [], []]
    _, following = first_question(lone)
    assert (following.partition, following.after_key) == (question.partition, keys[1])
    lone.hear(source, page(following, keys[2:]))
    _, other = first_question(lone)
    assert other.partition != question.partition
    assert [lone.stored(key).values for key in keys] == [[b"v"]] * 4


def test_a_restarted_node_goes_on_where_it_was() -> None:
    lone = filling()
    source, question = first_question(lone)
    keys = keys_in(question.partition, 2)
    lone.hear(source, page(question, keys[:1], more=True))
    lone.start()
    _, following = first_question(lone)
    assert (following.partition, following.after_key) == (question.partition, keys[0])
    assert lone.node.transfer.keys == 1


def test_a_page_that_could_not_be_stored_is_asked_for_again() -> None:
    lone = filling()
    source, question = first_question(lone)
    lone.node.receive(source, page(question, keys_in(question.partition, 2)))
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.flush()
    _, again = first_question(lone)
    assert (again.partition, again.after_place) == (question.partition, question.after_place)
    assert lone.node.transfer.keys == 0


def test_another_source_is_asked_when_one_goes_away_or_refuses() -> None:
    lone = filling()
    source, question = first_question(lone)
    lone.hear(source, Refused(question.request_id, "does not know of this change"))
    _, again = first_question(lone)
    assert again.partition == question.partition
    lone.away.add(source)
    other, third = of(FillAsk, lone.pass_time(3.0))[-1]
    assert other != source
    assert third.partition == question.partition


def test_nothing_is_confirmed_before_everybody_knows_and_every_old_owner_was_compared_with() -> None:
    lone = filling()
    stream_all(lone)
    assert not of(TreeAsk, lone.pass_time(2.0)), "b, c and d may still write to the old owners alone"
    know(lone, "b", "c", "d")
    compared: set[str] = set()
    while not lone.node.transfer.confirmed:
        for to, question in of(TreeAsk, lone.turn(0.01)):
            assert isinstance(to, str)
            compared.add(to)
            lone.hear(to, TreeTell(question.request_id, [0] * (len(question.nodes) // 3)))
    assert compared == {"b", "c", "d"}
    assert lone.node.transfer.confirmed
    filling_ring = Ring(2, OLD.owners, NEW, filling=True)
    assert lone.node.membership.members["a"].filled == filling_ring.digest()
    lone.turn()
    assert lone.node.membership.ring == Ring(3, NEW, OLD.owners), "all know, the only new owner has confirmed: it is flipped"


@pytest.mark.parametrize(
    "rows",
    [
        [["default", b"k"]],
        [["default", "k", b""]],
        [["default", b"k", "state"]],
        [7],
    ],
)
def test_bad_rows_are_refused_and_asked_for_again(rows: list[Any]) -> None:
    lone = filling()
    source, question = first_question(lone)
    lone.hear(source, FillTell(question.request_id, rows, False, -1, "", b""))
    assert lone.node.runtime.counters["messages_refused"] == 1
    _, again = first_question(lone)
    assert again.partition == question.partition


def test_a_row_of_another_partition_or_a_page_that_does_not_go_forward_is_refused() -> None:
    lone = filling()
    source, question = first_question(lone)
    stranger = keys_in((question.partition + 3) % 16, 1)
    lone.hear(source, page(question, stranger))
    assert lone.stored(stranger[0]).values == []
    source, question = first_question(lone)
    lone.hear(source, FillTell(question.request_id, [], True, -1, "", b""))
    assert lone.node.runtime.counters["messages_refused"] == 2
    assert lone.node.transfer.left > 0


def test_a_page_that_nobody_waits_for_changes_nothing() -> None:
    lone = filling()
    source, question = first_question(lone)
    keys = keys_in(question.partition, 1)
    other = next(name for name in ("b", "c", "d") if name != source)
    lone.hear(other, page(question, keys))
    lone.hear(source, page(FillAsk(question.request_id + 1, b"", 0, -1, "", b""), keys))
    assert lone.stored(keys[0]).values == []


# --- the source's side ----------------------------------------------------------------------------------------------------


def source() -> tuple[LoneNode, Ring]:
    """The node `b`, of which `a` gains keys."""
    lone = LoneNode("b", founders=["b", "c", "d"])
    ring = Ring(2, OLD.owners, NEW, filling=True)
    lone.node.membership.learn_ring(OLD)
    lone.node.membership.learn_ring(ring)
    lone.pass_time(0.1)
    return lone, ring


def test_a_source_sends_what_the_asker_will_hold_in_the_order_of_places() -> None:
    lone, ring = source()
    partition = next(p for p in range(16) if "a" in ring.extras(p, 3))
    keys = keys_in(partition, 100)
    for key in keys:
        lone.disk.write(place("default", key), "default", key, encode(written(("b", b"v"))))
    lone.disk.commit()
    after, got = (-1, "", b""), []
    for _ in range(10):
        ((_, told),) = of(FillTell, lone.hear("a", FillAsk(1, ring.digest(), partition, *after)))
        got += [key for _, key, state in told.rows if decode(state).values == [b"v"]]
        after = told.next_place, told.next_bucket, told.next_key
        if not told.more:
            break
    assert got == keys
    ((_, told),) = of(FillTell, lone.hear("c", FillAsk(1, ring.digest(), partition, -1, "", b"")))
    assert told.rows == [], "c gains nothing of it"


def test_a_source_that_knows_another_ring_refuses() -> None:
    lone, _ = source()
    ((_, refused),) = of(Refused, lone.hear("a", FillAsk(5, b"another", 0, -1, "", b"")))
    assert refused.request_id == 5


def test_a_partition_that_there_is_not_is_refused() -> None:
    lone, ring = source()
    assert of(Refused, lone.hear("a", FillAsk(5, ring.digest(), 16, -1, "", b"")))
    assert of(FillTell, lone.hear("a", FillAsk(6, ring.digest(), 15, -1, "", b"")))


def test_what_a_failed_turn_would_have_told_is_not_told() -> None:
    lone, ring = source()
    lone.node.receive("a", FillAsk(5, ring.digest(), 0, -1, "", b""))
    lone.disk.rollback()
    lone.node.turn_failed()
    said = lone.flush()
    assert not of(FillTell, said)
    assert [message.request_id for _, message in of(Refused, said)] == [5]

"""§4.6: hints are kept for who is away, brought home, and forgotten only then."""

from __future__ import annotations

from typing import Any

import pytest
from lone_node import CLIENT, LoneNode, a_put, of, written

from dynazmq.dynamo.messages import Handoff, HandoffReply, HintsAsk, HintsTell, Refused, Write
from dynazmq.dynamo.runtime import DamagedRow, OwnRow, Row
from dynazmq.dynamo.values.merkle import row_hash
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import Siblings, decode, encode


def keeping(count: int = 1, handoff_batch: int = 64) -> tuple[LoneNode, str]:
    """A node with so many hints for a target that is away."""
    lone = LoneNode()
    lone.node.hints._batch = handoff_batch
    keys = [b"k%d" % i for i in range(count)]
    target = next(name for name in ("c", "d") if count > 9 or all(name in lone.walk(key)[:3] for key in keys))
    lone.away.add(target)
    lone.pass_time(1.5)
    for key in keys:
        lone.hear("b", a_hint(key, written(("b", b"v")), target))
    return lone, target


def a_hint(key: bytes, state: Siblings, target: str) -> Write:
    return Write(5, "default", key, encode(state), target, 1000)


def come_back(lone: LoneNode, target: str) -> list[tuple[str, Handoff]]:
    """Until the first handoffs leave."""
    lone.away.discard(target)
    for _ in range(100):
        if handoffs := of(Handoff, lone.turn(0.05)):
            return handoffs  # type: ignore[return-value]
    return []


def test_nothing_is_sent_while_the_target_is_away() -> None:
    lone, target = keeping(3)
    assert lone.node.hints.pending == {target: 3}
    assert of(Handoff, lone.pass_time(5.0)) == []


def test_a_hint_goes_home_and_is_deleted_when_it_is_durable_there() -> None:
    lone, target = keeping()
    ((to, handoff),) = come_back(lone, target)
    assert (to, decode(handoff.state).values) == (target, [b"v"])
    assert lone.disk.hint_total(target).count == 1, "not before"
    lone.hear(target, HandoffReply(handoff.request_id))
    assert (lone.disk.hint_totals(), lone.node.hints.pending) == ({}, {})


def test_many_writes_to_a_key_are_one_hint() -> None:
    lone, target = keeping()
    for value in (b"w", b"x"):
        lone.hear("b", a_hint(b"k0", written(("b", b"v"), ("b", value), covering=True), target))
    assert lone.node.hints.pending == {target: 1}


def test_a_write_that_came_while_the_hint_was_under_way_is_not_forgotten_with_it() -> None:
    lone, target = keeping()
    ((_, handoff),) = come_back(lone, target)
    newer = written(("b", b"v"), ("b", b"newer"), covering=True)
    lone.hear("b", a_hint(b"k0", newer, target))
    said = lone.hear(target, HandoffReply(handoff.request_id))
    said += lone.pass_time(1.0)
    ((_, again),) = of(Handoff, said)
    assert decode(again.state).values == [b"newer"]
    lone.hear(target, HandoffReply(again.request_id))
    assert lone.disk.hint_totals() == {}


def test_one_batch_is_under_way_at_a_time_and_its_acknowledgements_pace_the_next() -> None:
    lone, target = keeping(10, handoff_batch=4)
    batch = come_back(lone, target)
    assert len(batch) == 4
    assert of(Handoff, lone.pass_time(1.0)) == []
    said = []
    for _, handoff in batch:
        said += lone.hear(target, HandoffReply(handoff.request_id))
    assert len(of(Handoff, said)) == 4


def test_a_batch_that_is_not_acknowledged_is_sent_again_from_the_beginning() -> None:
    lone, target = keeping(2)
    first = come_back(lone, target)
    again = of(Handoff, lone.pass_time(3.0))
    assert sorted(h.key for _, h in again) == sorted(h.key for _, h in first)
    lone.hear(target, HandoffReply(first[0][1].request_id))  # too late to be believed: it is sent again
    assert lone.node.hints.pending == {target: 2}


def test_a_target_that_refuses_is_asked_again_later() -> None:
    lone, target = keeping()
    ((_, handoff),) = come_back(lone, target)
    lone.hear(target, Refused(handoff.request_id, "full"))
    ((_, again),) = of(Handoff, lone.pass_time(0.6))
    assert again.key == handoff.key


def test_hints_are_counted_again_after_a_restart() -> None:
    lone, target = keeping(3)
    lone.start()
    assert lone.node.hints.pending == {target: 3}


def test_a_store_that_cannot_be_read_for_a_while_does_not_end_the_process_nor_the_delivery() -> None:
    lone, target = keeping()
    lone.disk.fail_reads = True
    assert come_back(lone, target) == []
    assert lone.node.runtime.counters["store_failures"] >= 1
    lone.disk.fail_reads = False
    assert len(of(Handoff, lone.pass_time(1.0))) == 1


def test_a_dot_given_as_a_stand_in_is_never_given_again_after_its_hint_went_home() -> None:
    lone = LoneNode()
    key = lone.key(3)
    away = lone.peers(key)[:3]
    actors = set()
    for i in range(3):
        lone.away.update(away)
        lone.pass_time(1.5)
        lone.hear(CLIENT, a_put(key, b"v", write_id=b"%016d" % i, w=1))
        actors.add(lone.node.identity.stand_in_actor)
        for target in away:
            for to, handoff in come_back(lone, target):
                lone.hear(to, HandoffReply(handoff.request_id))
            for to, handoff in of(Handoff, lone.pass_time(1.0)):
                lone.hear(to, HandoffReply(handoff.request_id))
        assert lone.node.hints.pending == {}
    assert len(actors) == 3
    assert lone.disk.read(place("default", key), "default", key) == b""


LAST_PLACE = (1 << 64) - 1


def test_who_looks_is_shown_the_hints_for_a_target_page_by_page_and_they_stay() -> None:
    lone, target = keeping(150)
    seen, after, pages = [], (-1, "", b""), 0
    while True:
        ((_, told),) = of(HintsTell, lone.hear(CLIENT, HintsAsk(9, target, LAST_PLACE, *after)))
        seen += told.rows
        pages += 1
        after = (told.next_place, told.next_bucket, told.next_key)
        if not told.more:
            break
    assert pages == 3
    state = encode(written(("b", b"v")))
    kept = sorted((place("default", key), key) for key in (b"k%d" % i for i in range(150)))
    assert seen == [["default", key, row_hash(at, state), len(state)] for at, key in kept]
    assert lone.node.hints.pending == {target: 150}
    ((_, told),) = of(HintsTell, lone.hear(CLIENT, HintsAsk(9, target, kept[3][0], -1, "", b"")))
    assert ([row[1] for row in told.rows], told.more) == ([key for _, key in kept[:4]], False), "up to a place"
    ((_, told),) = of(HintsTell, lone.hear(CLIENT, HintsAsk(9, "nobody", LAST_PLACE, -1, "", b"")))
    assert (told.rows, told.more) == ([], False)


def test_pages_that_are_short_or_empty_are_not_taken_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store ends a page early where states are large, and shows none of what the turn has deleted."""
    lone, target = keeping(12)
    hints = lone.disk.hints

    def one_or_none(target: str, after: Row, limit: int) -> tuple[list[OwnRow], Row | None]:
        rows, behind = hints(target, after, 1)
        return [row for row in rows if row[0] % 2], behind

    monkeypatch.setattr(lone.disk, "hints", one_or_none)
    shown = sorted(key for key in (b"k%d" % number for number in range(12)) if place("default", key) % 2)
    assert 0 < len(shown) < 12
    assert sorted(row[2] for _, row, _ in lone.node.hints.all()) == shown
    seen, after = [], (-1, "", b"")
    while True:
        ((_, told),) = of(HintsTell, lone.hear(CLIENT, HintsAsk(9, target, LAST_PLACE, *after)))
        seen += [row[1] for row in told.rows]
        after = (told.next_place, told.next_bucket, told.next_key)
        if not told.more:
            break
    assert sorted(seen) == shown
    home, sent = [], come_back(lone, target)
    while sent:
        home += [handoff.key for _, handoff in sent]
        sent = [each for to, handoff in sent for each in of(Handoff, lone.hear(to, HandoffReply(handoff.request_id)))]
    assert sorted(home) == shown


def test_s7_a_damaged_hint_is_forgotten_and_does_not_hold_up_the_others_or_pend_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    lone, target = keeping(3)
    hints, read = lone.disk.hints, lone.disk.read_hint

    def read_hint(to: str, at: int, bucket: str, key: bytes) -> bytes:
        if key == b"k1" and read(to, at, bucket, key):
            raise DamagedRow("k1")
        return read(to, at, bucket, key)

    def damaged(*page: Any) -> tuple[list[OwnRow], Row | None]:
        rows, behind = hints(*page)
        return [(*row[:3], None if row[2] == b"k1" else row[3]) for row in rows], behind

    monkeypatch.setattr(lone.disk, "hints", damaged)
    monkeypatch.setattr(lone.disk, "read_hint", read_hint)
    handoffs = come_back(lone, target)
    assert sorted(message.key for _, message in handoffs) == [b"k0", b"k2"]
    for to, message in handoffs:
        lone.hear(to, HandoffReply(message.request_id))
    assert lone.node.hints.pending == {}
    assert lone.node.runtime.counters["rows_damaged"] == 1

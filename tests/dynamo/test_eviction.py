"""§4.6 §4.7 Past a limit of bytes hints go that all other primaries have, and no others."""

from __future__ import annotations

from typing import Any

from lone_node import LoneNode, of, written

from dynazmq.config import Timing
from dynazmq.dynamo.messages import Mend, MendReply, Refused, SetAntiEntropy, Write
from dynazmq.dynamo.values.ring import Ring, place
from dynazmq.dynamo.values.versions import encode

STATE = encode(written(("b", b"v")))
WITH_TREES = Timing(anti_entropy_interval_ms=100_000)  # it works, and asks nothing by itself here


def keeping(count: int = 1, **config: Any) -> tuple[LoneNode, str, list[bytes]]:
    """A node that stands in for a primary of some keys of which it is none, and may keep no byte."""
    lone = LoneNode(timing=WITH_TREES, **{"max_hint_bytes": 0, **config})
    keys = [key for i in range(1000) if "a" not in lone.walk(key := b"k%d" % i)[:3] and "c" in lone.walk(key)[:3]][:count]
    lone.away.add("c")
    lone.pass_time(1.5)
    for key in keys:
        lone.hear("b", Write(5, "default", key, STATE, "c", 1000))
    return lone, "c", keys


def others(lone: LoneNode, key: bytes, target: str) -> list[str]:
    return [name for name in lone.walk(key)[:3] if name != target]


def offered(lone: LoneNode) -> list[tuple[str, Mend]]:
    said = of(Mend, lone.pass_time(1.0))
    return [(str(to), mend) for to, mend in said]


def test_a_hint_goes_when_all_other_primaries_have_it() -> None:
    lone, target, (key,) = keeping()
    offers = offered(lone)
    assert [to for to, _ in offers] == others(lone, key, target)
    assert {(mend.key, mend.state) for _, mend in offers} == {(key, STATE)}
    (first, mend), (second, again) = offers
    lone.hear(first, MendReply(mend.request_id, b""))
    assert lone.node.hints.pending == {target: 1}, "the other one may not have it"
    lone.hear(second, MendReply(again.request_id, b"more than that"))
    assert (lone.node.hints.pending, lone.disk.hint_totals()) == ({}, {})
    assert lone.node.runtime.counters["hints_evicted"] == 1


def test_below_the_limit_nothing_is_offered() -> None:
    lone, _, _ = keeping(max_hint_bytes=10_000)
    assert offered(lone) == []


def test_nobody_can_say_for_another_that_he_has_it() -> None:
    lone, target, _ = keeping()
    (first, mend), (_, again) = offered(lone)
    lone.hear(first, MendReply(mend.request_id, b""))
    lone.hear(first, MendReply(again.request_id, b""))
    assert lone.node.hints.pending == {target: 1}


def test_a_hint_that_was_written_to_meanwhile_stays() -> None:
    lone, target, (key,) = keeping()
    offers = offered(lone)
    newer = encode(written(("b", b"v"), ("b", b"w")))
    lone.hear("b", Write(6, "default", key, newer, target, 1000))
    for to, mend in offers:
        lone.hear(to, MendReply(mend.request_id, b""))
    assert lone.node.hints.pending == {target: 1}
    assert {mend.state for _, mend in offered(lone)} == {newer}, "it is offered as it is now"


def test_a_hint_stays_where_others_became_primaries_while_it_was_offered() -> None:
    lone, target, (key,) = keeping()
    offers = offered(lone)
    ring = lone.node.membership.ring
    leaver, heir = others(lone, key, target)[0], "a"
    lone.node.membership.learn_ring(Ring(ring.version + 1, tuple(heir if name == leaver else name for name in ring.owners)))
    for to, mend in offers:
        lone.hear(to, MendReply(mend.request_id, b""))
    assert lone.node.hints.pending == {target: 1}
    lone.pass_time(6.0)
    assert leaver not in {to for to, _ in offered(lone)}, "it is offered to those who are primaries now"


def test_what_is_refused_stays_and_is_offered_again() -> None:
    lone, target, _ = keeping()
    (first, mend), (second, again) = offered(lone)
    lone.hear(first, Refused(mend.request_id, "its disk is full"))
    lone.hear(second, MendReply(again.request_id, b""))
    assert lone.node.hints.pending == {target: 1}
    assert len(offered(lone)) == 2


def test_s7_a_damaged_hint_is_given_up_and_the_others_are_offered() -> None:
    lone, target, (damaged, sound) = keeping(2)
    lone.disk.damage_hints_of(place("default", damaged), "default", damaged)
    assert {mend.key for _, mend in offered(lone)} == {sound}
    assert lone.node.hints.pending == {target: 1}
    assert lone.node.runtime.counters["hints_dropped"] == 1


def test_what_is_not_answered_is_offered_again() -> None:
    lone, target, _ = keeping()
    assert len(offered(lone)) == 2
    assert offered(lone) == [], "it is waited for"
    assert len(of(Mend, lone.pass_time(6.0))) == 2
    assert lone.node.hints.pending == {target: 1}


def test_nothing_goes_while_another_primary_is_away() -> None:
    lone, target, (key,) = keeping()
    lone.away.add(others(lone, key, target)[0])
    lone.pass_time(3.0)
    assert of(Mend, lone.pass_time(15.0)) == []
    assert lone.node.hints.pending == {target: 1}


def test_nothing_goes_that_the_other_primaries_are_too_few_for() -> None:
    lone, target, _ = keeping(w=3)
    assert of(Mend, lone.pass_time(15.0)) == []
    assert lone.node.hints.pending == {target: 1}


def test_nothing_goes_while_anti_entropy_is_off_since_nothing_would_bring_it() -> None:
    lone, target, _ = keeping()
    lone.node.receive(b"an operator", SetAntiEntropy(1, True))
    assert of(Mend, lone.pass_time(15.0)) == []
    assert lone.node.hints.pending == {target: 1}


def test_pages_follow_each_other_until_there_is_room() -> None:
    lone, target, _ = keeping(100, max_hint_bytes=40 * (len(STATE) + 4))
    waiting = offered(lone)
    for _ in range(1000):
        if not waiting:
            break
        to, mend = waiting.pop(0)
        waiting += [(str(to), each) for to, each in of(Mend, lone.hear(to, MendReply(mend.request_id, b"")))]
    left = lone.disk.hint_total(target)
    assert 0 < left.count <= 40
    assert left.bytes <= lone.config.max_hint_bytes

"""LookAsk: what a node holds of one key, told without changing anything (promise 8)."""

from __future__ import annotations

from lone_node import CLIENT, LoneNode, a_put, bytes_of, of

from dynazmq.dynamo.messages import LookAsk, LookTell, Refused, TraceAsk, Write
from dynazmq.dynamo.values.ring import place

STATE = bytes_of(("b", b"1"))


def look(lone: LoneNode, key: bytes, bucket: str = "default") -> LookTell:
    ((to, told),) = of(LookTell, lone.hear(CLIENT, LookAsk(7, bucket, key)))
    assert (to, told.request_id) == (CLIENT, 7)
    return told


def hold(lone: LoneNode, key: bytes, state: bytes = STATE, hint_for: str = "") -> None:
    lone.hear(lone.peers(key)[0], Write(1, "default", key, state, hint_for, 1000))


def test_a_node_shows_its_own_copy_as_it_is_stored() -> None:
    lone = LoneNode()
    key = lone.key(0)
    hold(lone, key)
    assert look(lone, key) == LookTell(7, STATE, False, [])


def test_a_key_that_was_never_written_and_an_unknown_bucket_are_nothing_and_no_error() -> None:
    lone = LoneNode()
    assert look(lone, b"never") == LookTell(7, b"", False, [])
    assert look(lone, lone.key(0), "a bucket of nobody") == LookTell(7, b"", False, [])


def test_hints_are_shown_with_their_target_and_for_how_long_they_have_been_kept() -> None:
    lone = LoneNode()
    key = lone.key(3)
    first, second, *_ = lone.walk(key)
    hold(lone, key, hint_for=first)
    lone.pass_time(1.0)
    hold(lone, key, bytes_of(("b", b"1"), ("b", b"2"), covering=True), hint_for=second)
    lone.away |= {first, second}
    told = look(lone, key)
    assert told.state == b"", "it is no copy of its own"
    assert [hint[0] for hint in told.hints] == [first, second]
    assert told.hints[0][1] == STATE
    assert 1000 <= told.hints[0][2] <= 1100
    assert told.hints[1][2] < 100


def test_a_hint_that_was_written_again_is_as_old_as_its_first_write() -> None:
    lone = LoneNode()
    key = lone.key(3)
    target = lone.walk(key)[0]
    hold(lone, key, hint_for=target)
    lone.pass_time(1.0)
    newer = bytes_of(("b", b"1"), ("b", b"2"), covering=True)
    hold(lone, key, newer, hint_for=target)
    ((_, state, age_ms),) = look(lone, key).hints
    assert state == newer
    assert age_ms >= 1000


def test_of_a_hint_of_an_earlier_life_the_age_is_not_known() -> None:
    lone = LoneNode()
    key = lone.key(3)
    target = lone.walk(key)[0]
    hold(lone, key, hint_for=target)
    lone.start()
    assert look(lone, key).hints == [[target, STATE, -1]]


def test_a_hint_that_has_gone_home_is_not_shown() -> None:
    lone = LoneNode()
    key = lone.key(3)
    target = lone.walk(key)[0]
    hold(lone, key, hint_for=target)
    lone.node.hints.forget(target, place("default", key), "default", key)
    assert look(lone, key).hints == []


def test_a_damaged_row_is_shown_as_one_and_stays_as_it_is() -> None:
    lone = LoneNode()
    key = lone.key(0)
    hold(lone, key)
    assert lone.disk.damage(place("default", key), "default", key)
    epoch = lone.node.identity.epoch
    for _ in range(2):
        assert look(lone, key) == LookTell(7, b"", True, [])
    assert lone.node.identity.epoch == epoch, "who only looks gives up nothing"
    assert lone.node.runtime.counters["rows_damaged"] == 0


def test_a_damaged_hint_is_shown_without_a_state_and_is_not_given_up() -> None:
    lone = LoneNode()
    key = lone.key(3)
    target = lone.walk(key)[0]
    hold(lone, key, hint_for=target)
    lone.disk.damage_hints(target)
    ((who, state, _),) = look(lone, key).hints
    assert (who, state) == (target, b"")
    assert lone.node.hints.pending == {target: 1}


def test_looking_changes_nothing() -> None:
    lone = LoneNode()
    key = lone.key(0)
    hold(lone, key)
    before, epoch, counters = lone.disk.committed(), lone.node.identity.epoch, dict(lone.node.runtime.counters)
    for each in (key, b"never", lone.key(3)):
        look(lone, each)
    assert lone.disk.committed() == before
    assert lone.node.identity.epoch == epoch
    assert dict(lone.node.runtime.counters) == counters
    assert lone.node.in_flight == 0


def test_what_a_failed_commit_takes_back_is_not_shown_but_refused() -> None:
    lone = LoneNode()
    key = lone.key(0)
    lone.node.receive(CLIENT, a_put(key))
    lone.node.receive(b"another", LookAsk(7, "default", key))
    lone.disk.rollback()
    lone.node.turn_failed()
    ((to, message),) = [each for each in lone.flush() if each[0] == b"another"]
    assert to == b"another"
    assert isinstance(message, Refused)


def test_a_node_whose_driver_cannot_trace_says_so() -> None:
    lone = LoneNode()
    ((_, refused),) = of(Refused, lone.hear(CLIENT, TraceAsk(7, 1, "default", b"k", 1000, 0)))
    assert "a cannot trace" in refused.text

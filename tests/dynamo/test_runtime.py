"""Timers: called in order of their ticks, never before their time."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dynazmq.config import NodeConfig
from dynazmq.dynamo.runtime import Runtime
from dynazmq.storage.memory import MemoryStorage

TICK_S = 1 / 1024


def a_runtime(now: float) -> Runtime:
    config = NodeConfig(name="n1", cluster="c", cluster_id=1, secret=bytes(32), data_dir="", endpoint="ipc://n1")
    return Runtime(config, MemoryStorage(), Random(1), now, 0)


@given(st.floats(0, 1e7), st.lists(st.floats(0, 2), min_size=1, max_size=20))
def test_each_timer_is_called_once_and_between_its_time_and_a_tick_later(start: float, delays: list[float]) -> None:
    runtime = a_runtime(start)
    called: list[tuple[float, float]] = []
    for delay in delays:
        runtime.call_at(start + delay, lambda when: called.append((when, runtime.now)), start + delay)

    while (due := runtime.next_timer()) is not None:
        assert due > runtime.now
        runtime.now = due
        runtime.run_timers()

    assert sorted(when for when, _ in called) == sorted(start + delay for delay in delays)
    assert all(when < now <= when + 1.001 * TICK_S for when, now in called)
    assert [now for _, now in called] == sorted(now for _, now in called)


def test_a_timer_that_is_set_by_a_timer_waits_for_another_turn() -> None:
    runtime = a_runtime(100.0)
    calls: list[float] = []

    def again(_: None) -> None:
        calls.append(runtime.now)
        runtime.call_at(runtime.now, again, None)

    runtime.call_at(100.0, again, None)
    runtime.now = 101.0
    runtime.run_timers()
    assert calls == [101.0]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.lists(st.booleans(), max_size=40))
def test_what_a_turn_has_no_time_for_is_called_in_a_later_one_in_the_same_order(ticks: list[int], hurries: list[bool]) -> None:
    runtime = a_runtime(100.0)
    called: list[tuple[int, int]] = []
    for number, tick in enumerate(ticks):
        runtime.call_at(100.0 + tick * TICK_S, called.append, (tick, number))
    runtime.now = 101.0

    def hurry() -> bool:
        return hurries.pop() if hurries else False

    while runtime.next_timer() is not None:
        before = len(called)
        runtime.run_timers(hurry)
        assert len(called) > before, "a turn does one thing at least"

    assert called == sorted((tick, number) for number, tick in enumerate(ticks))


def test_what_is_set_for_the_same_tick_while_others_still_wait_comes_behind_them() -> None:
    runtime = a_runtime(100.0)
    called: list[str] = []
    runtime.call_at(100.0, lambda _: (called.append("first"), runtime.call_at(100.0, called.append, "late")), None)
    runtime.call_at(100.0, called.append, "second")
    runtime.now = 100.5

    while runtime.next_timer() is not None:
        runtime.run_timers(lambda: True)

    assert called == ["first", "second", "late"]

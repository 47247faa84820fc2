"""Turns are short, and how long the longest was is known."""

from __future__ import annotations

from dynazmq.wire.turns import TURN_S, Turns


class Clock:
    """And what was used of a processor, which is less."""

    def __init__(self) -> None:
        self.now, self.busy = 100.0, 0.0

    def __call__(self) -> float:
        return self.now

    def used(self) -> float:
        return self.busy


def a_loop() -> tuple[Turns, Clock]:
    clock = Clock()
    return Turns(clock, clock.used), clock


def turn(turns: Turns, clock: Clock, used_ms: float = 0.0, **parts_ms: float) -> None:
    began, ends = clock.now, {}
    turns.woke()
    clock.busy += used_ms / 1000
    for part, ms in parts_ms.items():
        clock.now += ms / 1000
        ends[part] = clock.now
    if turns.notable(began, clock.now):
        turns.over(began, **ends)


def test_a_part_of_a_turn_is_in_a_hurry_when_it_has_had_its_time_and_the_next_part_is_not() -> None:
    turns, clock = a_loop()
    turns.begin(clock.now)
    assert not turns.hurry()
    clock.now += TURN_S + 0.001
    assert turns.hurry()
    turns.begin(clock.now)
    assert not turns.hurry()


def test_the_longest_turn_is_told_with_its_longest_part() -> None:
    turns, clock = a_loop()
    assert turns.report() == {"longest_ms": 0.0, "part": "", "part_ms": 0.0, "busiest_ms": 0.0}
    turn(turns, clock, hearing=3, commit=1)
    turn(turns, clock, hearing=9, commit=20, sending=2)
    turn(turns, clock, hearing=4)
    assert turns.report() == {"longest_ms": 31.0, "part": "commit", "part_ms": 20.0, "busiest_ms": 0.0}


def test_the_most_that_a_turn_has_used_of_a_processor_is_told_beside_the_longest() -> None:
    turns, clock = a_loop()
    turn(turns, clock, 4.0, commit=100)
    turn(turns, clock, 25.0, hearing=30)
    turn(turns, clock, 9.0, hearing=40)
    assert turns.report() == {"longest_ms": 100.0, "part": "commit", "part_ms": 100.0, "busiest_ms": 25.0}
    clock.now += 61
    assert turns.report()["busiest_ms"] == 0.0


def test_a_turn_that_was_long_is_forgotten_after_a_minute_and_shorter_ones_since_then_are_told() -> None:
    turns, clock = a_loop()
    turn(turns, clock, commit=500)
    clock.now += 30
    turn(turns, clock, hearing=40)
    clock.now += 25
    turn(turns, clock, hearing=7)
    assert turns.report()["longest_ms"] == 500.0
    clock.now += 10
    turn(turns, clock, hearing=7)
    assert turns.report()["longest_ms"] == 40.0
    clock.now += 61
    assert turns.report()["longest_ms"] == 0.0

"""Faults as values: what may be one, its form in the file, what it means to each node; and the file that says what is on."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynazmq.cluster.directory import faults
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.faults import (
    DISK_FULL,
    DROP,
    ISOLATE,
    ONE_WAY,
    PARTITION,
    SKEW,
    SLOW,
    Effects,
    Fault,
    as_text,
    check,
    describe,
    from_text,
    lasts,
    same,
    touches,
)
from dynazmq.paths import faults_path

NAMES = ["n1", "n2", "n3", "n4", "n5"]

SPLIT = Fault(kind=PARTITION, sides=(("n1", "n2"), ("n3", "n4", "n5")), id="f1")
ONEWAY = Fault(kind=ONE_WAY, sides=(("n1",), ("n2",)), id="f2")
ALONE = Fault(kind=ISOLATE, nodes=("n3",), id="f3")
LATE = Fault(kind=SLOW, nodes=("n3",), delay_ms=200, jitter_ms=50, id="f4")
LOSSY = Fault(kind=DROP, sides=(("n1",), ("n2",)), rate=0.1, id="f5")
AHEAD = Fault(kind=SKEW, nodes=("n2",), by_ms=300_000, id="f6")
FULL = Fault(kind=DISK_FULL, nodes=("n4",), id="f7")
ALL = [SPLIT, ONEWAY, ALONE, LATE, LOSSY, AHEAD, FULL]


def cuts(*on: Fault) -> set[tuple[str, str]]:
    """(from, to) of all links that let nothing through."""
    return {(one, other) for one in NAMES for other in NAMES if one != other and Effects(one, on).link(other).cut}


# --- one node's view ------------------------------------------------------------------------------------------------------


def test_a_partition_cuts_both_ways_between_sides_and_nothing_within_them_or_for_who_is_on_none() -> None:
    left, right = ("n1", "n2"), ("n3", "n4")
    across = {pair for one in left for other in right for pair in ((one, other), (other, one))}
    assert cuts(replace(SPLIT, sides=(left, right))) == across
    assert cuts(replace(SPLIT, sides=(("n1",), ("n2",), ("n3",)))) == {
        (one, other) for one in NAMES[:3] for other in NAMES[:3] if one != other
    }


def test_a_one_way_cuts_one_direction_and_an_isolated_node_reaches_nobody_and_is_reached_by_nobody() -> None:
    assert cuts(ONEWAY) == {("n1", "n2")}
    assert cuts(ALONE) == {pair for other in NAMES if other != "n3" for pair in (("n3", other), (other, "n3"))}


def test_delays_add_up_and_chances_of_loss_combine() -> None:
    on = [LATE, replace(LATE, id="f8", nodes=("n1", "n2"), delay_ms=100, jitter_ms=0), LOSSY, replace(LOSSY, id="f9", rate=0.5)]
    assert Effects("n1", on).link("n3")[1:3] == (pytest.approx(0.3), pytest.approx(0.05))
    assert Effects("n1", on).link("n2") == (False, 0.1, 0.0, pytest.approx(0.55))
    assert Effects("n4", on).link("n5") == (False, 0.0, 0.0, 0.0)
    assert Effects("n4", [replace(LOSSY, sides=(), nodes=("n5",))]).link("n5").loss == pytest.approx(0.1)


def test_clock_and_disk_are_those_of_the_nodes_that_are_named() -> None:
    on = [AHEAD, FULL, replace(AHEAD, id="f8", by_ms=-100_000)]
    assert (Effects("n2", on).skew_ms, Effects("n1", on).skew_ms) == (200_000, 0)
    assert (Effects("n4", on).disk_full, Effects("n1", on).disk_full) == ("disk full (fault f7)", "")
    assert (Effects("n4", on).ids, Effects("n4", on).network) == (["f7"], False)
    assert Effects("n1", [SPLIT]).network


def test_a_fault_that_is_over_does_nothing_and_the_next_end_is_known() -> None:
    on = [replace(SPLIT, until=100.0), replace(ALONE, until=200.0), LATE]
    assert (Effects("n1", on, 99.9).ids, Effects("n1", on, 99.9).ends_at) == (["f1", "f3", "f4"], 100.0)
    assert (Effects("n1", on, 100.0).ids, Effects("n1", on, 100.0).ends_at) == (["f3", "f4"], 200.0)
    assert Effects("n1", on, 200.0).ends_at == float("inf")


@given(st.permutations(NAMES), st.integers(1, 4), st.sampled_from(ALL))
def test_whoever_is_touched_by_a_fault_and_nobody_else_has_to_do_with_it(names: list[str], cut: int, fault: Fault) -> None:
    fault = replace(fault, sides=(tuple(names[:cut]), tuple(names[cut:])) if fault.sides else ())
    for name in NAMES:
        effects = Effects(name, [fault])
        does = (
            effects.skew_ms or effects.disk_full or any(effects.link(peer) != (False, 0, 0, 0) for peer in NAMES if peer != name)
        )
        assert bool(does) == touches(fault, name) == (effects.ids == [fault.id])


# --- what may be one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (replace(SPLIT, kind="earthquake"), "no fault 'earthquake'"),
        (replace(SPLIT, sides=(("n1",), ("n9",))), "no node 'n9'; there are n1 n2"),
        (replace(ALONE, nodes=("nx",)), "no node 'nx'"),
        (replace(SPLIT, sides=(("n1", "n2"), ("n2", "n3"))), "n2 is on two sides"),
        (replace(SPLIT, sides=(("n1",), ())), "a side of the partition is empty"),
        (replace(SPLIT, sides=(("n1",),)), "two sides"),
        (replace(ONEWAY, sides=(("n1",), ("n2",), ("n3",))), "two sides"),
        (replace(ALONE, nodes=()), "isolate of which nodes?"),
        (replace(ALONE, nodes=(), sides=(("n1",), ("n2",))), "takes nodes, not sides"),
        (replace(LATE, delay_ms=0), "a delay is 1ms to 1m, not 0s"),
        (replace(LATE, delay_ms=60_001), "a delay is 1ms to 1m, not 60001ms"),
        (replace(LATE, jitter_ms=201), "a jitter is 0 to the delay, 200ms, not 201ms"),
        (replace(LATE, jitter_ms=-1), "a jitter is"),
        (replace(LOSSY, rate=0.0), "a rate is more than 0 and at most 1"),
        (replace(LOSSY, rate=1.01), "not 1.01"),
        (replace(LOSSY, rate=float("nan")), "not nan"),
        (replace(AHEAD, by_ms=0), "a clock is ahead or behind by 1ms to 365d, not 0s"),
        (replace(AHEAD, by_ms=-366 * 86_400_000), "not -366d"),
    ],
)
def test_what_cannot_be_is_refused_with_the_limit_and_what_was_given(fault: Fault, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(fault, NAMES)
    assert says in str(refused.value)


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.kind)
def test_each_kind_can_be_and_comes_back_from_the_file_as_it_was(fault: Fault) -> None:
    check(fault, NAMES)
    timed = replace(fault, since=12.5, until=99.0)
    assert from_text(as_text([fault, timed])) == [fault, timed]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": "dynazmq.faults/2", "faults": []}',
        '{"schema": "dynazmq.faults/1"}',
        '{"schema": "dynazmq.faults/1", "faults": [7]}',
        '{"schema": "dynazmq.faults/1", "faults": [{"id": "f1", "kind": "partition"}]}',
        '{"schema": "dynazmq.faults/1", "faults": [{"kind": "isolate", "nodes": ["n1"]}]}',
        '{"schema": "dynazmq.faults/1", "faults": [{"id": "f1", "kind": "slow", "nodes": ["n1"], "delay_ms": Infinity}]}',
        '{"schema": "dynazmq.faults/1", "faults": [{"id": "f1", "kind": "isolate", "nodes": ["n1"], "until": NaN}]}',
        '{"schema": "dynazmq.faults/1", "faults": [{"id": "f1", "kind": "isolate", "nodes": ["n1"], "until": "soon"}]}',
        "[" * 100_000,
    ],
)
def test_a_file_that_is_not_whole_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_text(text)


def test_the_file_has_the_figures_of_its_kind_and_no_others() -> None:
    rows = {row["kind"]: set(row) - {"id", "kind", "since", "until"} for row in json.loads(as_text(ALL))["faults"]}
    assert rows == {
        PARTITION: {"sides"},
        ONE_WAY: {"sides"},
        ISOLATE: {"nodes"},
        SLOW: {"nodes", "delay_ms", "jitter_ms"},
        DROP: {"sides", "rate"},
        SKEW: {"nodes", "by_ms"},
        DISK_FULL: {"nodes"},
    }


def test_two_faults_of_a_kind_at_one_place_are_the_same_whatever_their_figures_and_the_order_of_sides() -> None:
    assert same(SPLIT, replace(SPLIT, sides=(("n5", "n4", "n3"), ("n2", "n1"))))
    assert same(LATE, replace(LATE, delay_ms=7))
    assert not same(ONEWAY, replace(ONEWAY, sides=(("n2",), ("n1",))))
    assert not same(ALONE, replace(ALONE, kind=DISK_FULL))


def test_each_fault_has_one_line() -> None:
    assert [describe(fault) for fault in ALL] == [
        "partition n1 n2 ⇹ n3 n4 n5",
        "one-way n1 ↛ n2",
        "isolate n3 ⇹ all others",
        "slow n3 by 200ms ± 50ms each way",
        "drop 10% between n1 / n2",
        "skew n2, wall clock 5m ahead",
        "disk-full n4",
    ]
    assert (lasts(SPLIT, 5.0), lasts(replace(SPLIT, until=13.2), 5.0)) == ("until healed", "8s left")


# --- the file -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "nodes").mkdir()
    return tmp_path


def wanted(fault: Fault) -> Fault:
    return replace(fault, id="")


def test_what_is_switched_on_is_on_until_it_is_healed_and_then_there_is_no_file(directory: Path) -> None:
    assert faults.load(directory) == []
    first = faults.put_on(directory, wanted(SPLIT), NAMES)
    second = faults.put_on(directory, wanted(LATE), NAMES)
    assert [first.id, second.id] == ["f1", "f2"]
    assert faults.load(directory) == [first, second]
    assert stat.S_IMODE(os.stat(faults_path(directory)).st_mode) == 0o600
    assert faults.heal(directory, ["f1"]) == [first]
    assert faults.load(directory) == [second]
    assert faults.heal(directory) == [second]
    assert not faults_path(directory).exists()
    assert faults.heal(directory) == []


def test_what_is_on_already_or_is_not_on_is_refused_and_nothing_changes(directory: Path) -> None:
    on = faults.put_on(directory, wanted(LATE), NAMES)
    with pytest.raises(InvalidRequest, match="that is on already: f1, slow n3 by 200ms"):
        faults.put_on(directory, replace(LATE, delay_ms=70), NAMES)
    with pytest.raises(InvalidRequest, match="no fault 'f9' is on; there are f1"):
        faults.heal(directory, ["f1", "f9"])
    with pytest.raises(InvalidRequest, match="no node 'n9'"):
        faults.put_on(directory, replace(ALONE, nodes=("n9",)), NAMES)
    for never in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidRequest, match="lasts for more than 0s"):
            faults.put_on(directory, wanted(ALONE), NAMES, never)
    assert faults.load(directory) == [on]


def test_a_timed_fault_is_taken_out_of_the_file_by_whoever_looks_next(directory: Path) -> None:
    stays = faults.put_on(directory, wanted(LATE), NAMES)
    short = faults.put_on(directory, wanted(SPLIT), NAMES, 0.001)
    assert short.until == short.since + 0.001
    while time.time() < short.until:
        pass
    assert len(from_text(faults_path(directory).read_text())) == 2
    assert faults.load(directory) == [stays]
    assert from_text(faults_path(directory).read_text()) == [stays]


def test_a_damaged_file_switches_nothing_on_is_told_to_who_asks_and_removed_by_heal(directory: Path) -> None:
    faults_path(directory).write_text('{"schema": "dyna')
    assert faults.load(directory) == []
    for attempt in (faults.read, lambda at: faults.put_on(at, wanted(SPLIT), NAMES), lambda at: faults.heal(at, ["f1"])):
        with pytest.raises(ClusterError, match="To remove it: dynazmq heal"):
            attempt(directory)
    assert faults.heal(directory) == []
    assert not faults_path(directory).exists()


def test_there_is_a_limit_to_how_many_are_on(directory: Path) -> None:
    names = [f"n{i}" for i in range(100)]
    for name in names[:64]:
        faults.put_on(directory, Fault(kind=ISOLATE, nodes=(name,)), names)
    with pytest.raises(InvalidRequest, match="64 faults are on already, the limit"):
        faults.put_on(directory, Fault(kind=ISOLATE, nodes=("n99",)), names)


def test_of_many_who_write_at_once_none_is_forgotten(directory: Path) -> None:
    names = [f"n{i}" for i in range(40)]
    ids: list[Any] = []

    def put(mine: list[str]) -> None:
        ids.extend(faults.put_on(directory, Fault(kind=ISOLATE, nodes=(name,)), names).id for name in mine)

    writers = [threading.Thread(target=put, args=(names[i::4],)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(ids) == sorted(f"f{i}" for i in range(1, 41))
    assert {fault.nodes[0] for fault in faults.load(directory)} == set(names)

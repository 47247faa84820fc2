"""Faults done to a node: its frames with a clock of our own, then real processes that look at the file by themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from client_nodes import Nodes, eventually

import dynazmq
from dynazmq.cluster.directory import faults
from dynazmq.cluster.observe.observe import Observer
from dynazmq.dynamo.runtime import StoreFailed
from dynazmq.errors import DynazmqError
from dynazmq.faults import DISK_FULL, DROP, ISOLATE, PARTITION, SKEW, SLOW, Fault, as_text, touches
from dynazmq.paths import faults_path, node_log
from dynazmq.storage.base import Storage
from dynazmq.storage.memory import MemoryStorage
from dynazmq.storage.sqlite import SqliteStorage
from dynazmq.wire.faulty import FaultyNode

SPLIT = Fault(kind=PARTITION, sides=(("n1",), ("n2",)), id="f1")
LATE = Fault(kind=SLOW, nodes=("n1",), delay_ms=200, id="f2")


class Bench:
    """n1 with a clock that stands still, a file of faults, and a transport that notes what leaves."""

    def __init__(self, directory: Path) -> None:
        self.now = 100.0
        self.wall = 1_000.0
        self.path = directory / "faults.json"
        self.left: list[tuple[str, bytes]] = []
        self.takes = True
        self.said: list[str] = []
        self.counters: Counter[str] = Counter()
        self.node = FaultyNode("n1", self.path, lambda: self.now, Random(7), lambda *line: self.said.append(line[2]))
        self.node.attach(self.transport, self.counters)

    def transport(self, peer: str, frame: bytes) -> bool:
        if self.takes:
            self.left.append((peer, frame))
        return self.takes

    def on(self, *on: Fault) -> bool:
        if on:
            self.path.with_suffix(".new").write_text(as_text(on))
            self.path.with_suffix(".new").replace(self.path)
        else:
            self.path.unlink()
        return self.node.look(self.now, self.wall)

    def send(self, *frames: bytes, to: str = "n2") -> list[bool]:
        return [self.node.send(to, frame) for frame in frames]

    def pass_(self, seconds: float) -> list[bytes]:
        """What leaves meanwhile."""
        before = len(self.left)
        self.now += seconds
        if self.now >= self.node.due_at:
            self.node.release(self.now)
        return [frame for _, frame in self.left[before:]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_without_a_file_a_node_sends_with_its_transport_itself(bench: Bench) -> None:
    assert not bench.node.look(bench.now, bench.wall)
    assert bench.node.send == bench.transport
    assert bench.node.look_at == bench.now + 0.05
    assert bench.on(Fault(kind=SKEW, nodes=("n1",), by_ms=5, id="f1"))
    assert bench.node.send == bench.transport, "nor with a fault that is not of the network"


def test_what_is_cut_is_lost_and_the_sender_does_not_hear_of_it(bench: Bench) -> None:
    assert bench.on(SPLIT)
    bench.takes = False
    assert bench.send(b"a", b"b") == [True, True]
    assert bench.send(b"c", to="n3") == [False], "a link that is open is what the transport says"
    assert bench.counters == {"fault_frames_lost": 2}
    bench.takes = True
    assert bench.on()
    assert bench.send(b"d") == [True]
    assert bench.left == [("n2", b"d")]
    assert bench.said == ["f1 on: partition n1 ⇹ n2", "f1 off: partition n1 ⇹ n2"]


def test_what_is_slow_leaves_late_and_in_its_order(bench: Bench) -> None:
    bench.on(replace(LATE, jitter_ms=150))
    frames = [b"%d" % i for i in range(50)]
    assert all(bench.send(*frames))
    assert bench.left == []
    assert bench.now + 0.05 <= bench.node.due_at <= bench.now + 0.35
    assert bench.pass_(0.36) == frames
    assert (bench.node.due_at, bench.counters["fault_frames_late"]) == (math.inf, 50)


def test_one_slow_link_does_not_hold_up_another(bench: Bench) -> None:
    bench.on(replace(LATE, nodes=("n2",)))
    bench.send(b"slow")
    bench.send(b"fast", to="n3")
    assert bench.left == [("n3", b"fast")]
    assert bench.pass_(0.1) == []
    assert bench.pass_(0.11) == [b"slow"]


def test_healed_what_was_held_leaves_at_once_before_what_comes_then(bench: Bench) -> None:
    bench.on(LATE)
    bench.send(b"1", b"2")
    bench.on()
    bench.send(b"3")
    assert [frame for _, frame in bench.left] == [b"1", b"2", b"3"]
    assert bench.node.due_at == math.inf


def test_what_is_under_way_when_the_link_is_cut_is_lost(bench: Bench) -> None:
    bench.on(LATE)
    bench.send(b"1")
    bench.on(LATE, SPLIT)
    assert bench.pass_(1.0) == []
    bench.on()
    assert bench.left == []


def test_a_slow_link_holds_so_much_and_refuses_more(bench: Bench) -> None:
    bench.on(LATE)
    frame = bytes(16 << 20)
    assert bench.send(frame, frame, frame, frame, b"x") == [True, True, True, True, False]
    assert len(bench.pass_(0.3)) == 4
    assert all(bench.send(*[b"x"] * 10_000))
    assert bench.send(b"x") == [False]


def test_of_a_link_that_drops_a_tenth_about_a_tenth_is_lost_and_the_same_for_one_seed(bench: Bench) -> None:
    bench.on(Fault(kind=DROP, nodes=("n1",), rate=0.1, id="f1"))
    bench.send(*[b"x"] * 2_000)
    assert 1_700 < len(bench.left) < 1_900
    assert len(bench.left) + bench.counters["fault_frames_lost"] == 2_000


def test_a_timed_fault_ends_by_the_wall_clock_though_nobody_touches_the_file(bench: Bench) -> None:
    bench.on(replace(SPLIT, until=1_010.0))
    assert bench.node.effects.ids == ["f1"]
    assert not bench.node.look(bench.now, 1_009.9)
    assert bench.node.look(bench.now, 1_010.0)
    assert (bench.node.effects.ids, bench.node.send) == ([], bench.transport)
    assert not bench.node.look(bench.now, 1_011.0)


def test_a_damaged_file_is_no_fault_and_one_line_of_the_log(bench: Bench) -> None:
    bench.on(SPLIT)
    bench.path.write_text("{")
    assert bench.node.look(bench.now, bench.wall)
    assert not bench.node.look(bench.now, bench.wall)
    assert bench.node.effects.ids == []
    assert [line for line in bench.said if "cannot be read, so no fault is on" in line] == [bench.said[1]]


# --- the disk -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    store: Storage = MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "data.db")
    yield store
    store.close()


def test_a_full_disk_takes_no_row_and_no_hint_keeps_what_it_has_and_is_as_before_when_healed(store: Storage) -> None:
    store.write(1, "b", b"k", b"old")
    store.commit()
    store.full = "disk full (fault f1)"
    for write in (lambda: store.write(1, "b", b"k", b"new"), lambda: store.write_hint("n2", 1, "b", b"k", b"hint")):
        write()
        store.set_meta("m", b"with it")
        with pytest.raises(StoreFailed, match=r"disk full \(fault f1\)"):
            store.commit()
        store.rollback()
        assert (store.read(1, "b", b"k"), store.read_hint("n2", 1, "b", b"k"), store.get_meta("m")) == (b"old", b"", None)
    store.set_meta("m", b"alone")
    assert store.commit() == 1, "who it is and whom it knows it may still note: else it could not even start"
    store.full = ""
    store.write(1, "b", b"k", b"new")
    assert store.commit() == 1
    assert (store.read(1, "b", b"k"), store.get_meta("m")) == (b"new", b"alone")


# --- real processes -------------------------------------------------------------------------------------------------------


class Faulty(Nodes):
    """Nodes whose faults are switched on and seen."""

    def put_on(self, fault: Fault) -> Fault:
        on = faults.put_on(self.dir, replace(fault, id=""), self.names)
        concerned = {name for name in self.names if touches(on, name)}
        eventually(lambda: {name for name, node in self.look().items() if on.id in node.faults} == concerned, "it is applied")
        return on

    def heal(self) -> None:
        faults.heal(self.dir)
        eventually(lambda: not self.applied(), "no node applies anything")

    def look(self) -> dict[str, Any]:
        with Observer(self.dir) as observer:
            return {node.name: node for node in observer.look(1.0).nodes}

    def applied(self) -> set[str]:
        return {id_ for node in self.look().values() for id_ in node.faults}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Faulty]:
    nodes = Faulty("n1", "n2", "n3")
    try:
        nodes.start()
        nodes.wait_ready()
        yield nodes
    finally:
        nodes.close()


@pytest.fixture
def client(nodes: Faulty) -> Iterator[dynazmq.Client]:
    with dynazmq.connect(nodes.dir, timeout=5.0) as client:
        yield client
    if nodes.applied():
        nodes.heal()


def all_up(nodes: Faulty) -> bool:
    return all(len(node.seen_by) == 2 and set(node.seen_by.values()) == {"up"} for node in nodes.look().values())


def test_an_isolated_node_is_down_to_its_peers_and_they_to_it_until_it_is_healed(nodes: Faulty, client: dynazmq.Client) -> None:
    nodes.put_on(Fault(kind=ISOLATE, nodes=("n3",)))
    apart = {
        "n1": {"n2": "up", "n3": "down"},
        "n2": {"n1": "up", "n3": "down"},
        "n3": {"n1": "down", "n2": "down"},
    }
    eventually(lambda: {name: node.seen_by for name, node in nodes.look().items()} == apart, "n3 is down, and the others to it")
    seen = nodes.look()
    assert [node.faults for node in seen.values()] == [["f1"]] * 3
    assert seen["n3"].counters["fault_frames_lost"] > 0
    nodes.heal()
    eventually(lambda: all_up(nodes), "all are up")


def test_a_slow_node_answers_late_and_nothing_is_lost(nodes: Faulty, client: dynazmq.Client) -> None:
    nodes.put_on(Fault(kind=SLOW, nodes=("n2",), delay_ms=40, jitter_ms=10))
    for i in range(5):
        client.put(f"slow{i}", b"v", w=3)
    seen = nodes.look()
    assert seen["n1"].counters["fault_frames_late"] > 0
    assert seen["n2"].counters["fault_frames_late"] > 0
    assert [client.get(f"slow{i}", r=3).values for i in range(5)] == [[b"v"]] * 5
    nodes.heal()


def test_a_skewed_clock_stamps_what_it_coordinates_and_deadlines_are_kept(nodes: Faulty, client: dynazmq.Client) -> None:
    nodes.put_on(Fault(kind=SKEW, nodes=tuple(nodes.names), by_ms=3_600_000))
    client.put("skewed", b"v", client.get("skewed").context)
    (ahead,) = client.get("skewed").siblings
    nodes.heal()
    client.put("right", b"v", client.get("right").context)
    (right,) = client.get("right").siblings
    assert 3_500 < ahead.written_at - right.written_at < 3_600


def test_a_node_with_a_full_disk_holds_nothing_new_says_so_and_gets_all_of_it_when_it_is_healed(
    nodes: Faulty, client: dynazmq.Client
) -> None:
    before = {f"d{i}": b"old" for i in range(10)}
    client.put_many(before, w=3)
    nodes.put_on(Fault(kind=DISK_FULL, nodes=("n2",)))
    contexts = client.get_many(list(before))
    for key, found in contexts.ok.items():
        done = client.put(key, b"new", found.context)
        assert "n2" not in done.acked
    with pytest.raises(DynazmqError):
        client.put("d0", b"all", client.get("d0").context, w=3, pw=3, timeout=0.5)
    assert [client.get(key).values for key in before if key != "d0"] == [[b"new"]] * 9
    assert "disk full (fault f1)" in node_log(nodes.dir, "n2").read_text()
    nodes.heal()
    eventually(lambda: not any(node.hints_pending or node.compares_with for node in nodes.look().values()), "n2 has all of it")
    nodes.kill("n1"), nodes.kill("n3")
    eventually(lambda: nodes.look()["n2"].answers, "n2 answers")
    assert all(client.get(key, r=1).values == [b"new"] for key in before if key != "d0")
    nodes.start("n1", "n3")
    eventually(lambda: all_up(nodes), "all are up")


def test_a_fault_reaches_a_node_that_starts_or_goes_on_after_it_was_switched_on(nodes: Faulty, client: dynazmq.Client) -> None:
    nodes.kill("n1")
    nodes.pause("n2")
    on = faults.put_on(nodes.dir, Fault(kind=PARTITION, sides=(("n1",), ("n2", "n3"))), nodes.names)
    nodes.start("n1")
    nodes.resume("n2")
    eventually(lambda: all(node.faults == [on.id] for node in nodes.look().values()), "all apply it")
    eventually(lambda: nodes.look()["n1"].seen_by == {"n2": "down", "n3": "down"}, "n1 was never seen")
    assert faults_path(nodes.dir).exists()
    nodes.heal()
    eventually(lambda: all_up(nodes), "all are up")

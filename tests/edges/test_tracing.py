"""Tracing at one node: which points are noted for whom, and the limits. Gate and node are real, the clock is the test's."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from dynazmq.config import NodeConfig, Timing
from dynazmq.dynamo.messages import (
    Get,
    Message,
    Probe,
    ProbeReply,
    Put,
    PutReply,
    ReadReply,
    Refused,
    TraceAsk,
    TraceTell,
    Write,
    WriteReply,
)
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.runtime import Address, unhurried
from dynazmq.dynamo.values.ring import place
from dynazmq.simulator.world.disk import Disk
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, Envelope, decode_body, encode, open_frame
from dynazmq.wire.gate import Gate
from dynazmq.wire.tracing import POINTS_MAX, TRACES_MAX, Tracer

NAMES = ("a", "b", "c", "d")
ME, OTHER = b"our client", b"another client"


class Traced:
    """The node "a", its gate and its tracer. Peers answer probes, and nothing else by themselves."""

    def __init__(self) -> None:
        self.us = 1_000_000
        members = {name: f"ipc://{name}" for name in NAMES}
        config = NodeConfig(
            name="a", cluster="t", cluster_id=7, secret=b"s" * 32, data_dir="", endpoint=members["a"], members=members,
            partitions=16, timing=Timing(anti_entropy_interval_ms=0),
        )  # fmt: skip
        self.disk = Disk()
        self.node = Node(config, self.disk, Random(1), 100.0, 1_700_000_000_000)
        self.node.membership.settle()
        self.gate = Gate(self.node, 7, lambda identity: identity[5:].decode() if identity.startswith(b"peer:") else None)
        self.tracer = Tracer(self.node, self.gate, self.tick, "this clock")
        self.said: list[tuple[Address, Message]] = []
        self.deaf: set[str] = set()
        for _ in range(15):
            self.turn(seconds=0.1)
        ring = self.node.membership.ring
        self.key = next(key for i in range(99) if ring.walk(ring.partition_of(place("default", key := b"k%d" % i)))[0] == "a")
        self.peers = [each for each in ring.walk(ring.partition_of(place("default", self.key))) if each != "a"]
        self.said.clear()

    def tick(self) -> int:
        self.us += 10
        return self.us

    def turn(self, *heard: tuple[Address, Message], seconds: float = 0.001) -> list[tuple[Address, Message]]:
        """As the server does it; what was said in it."""
        node, gate = self.node, self.gate
        now = node.runtime.now + seconds
        begun = len(self.said)
        if (watch := gate.watch) is not None:
            watch.idle()
            watch.woke()
        node.wake(now, 1_700_000_000_000)
        for sender, message in heard:
            kind, identity = (FROM_NODE, b"peer:" + sender.encode()) if isinstance(sender, str) else (FROM_CLIENT, sender)
            (frame,) = encode(Envelope(kind, 7, node.membership.incarnation_of(str(sender)), 0, int(now * 1000)), [message])
            gate.work(gate.open(identity, frame), unhurried)
        node.tick(now, 1_700_000_000_000)
        while True:
            if watch is not None:
                watch.committing()
            rows = self.disk.commit()
            if watch is not None:
                watch.committed(rows)
            if not (outbox := node.drain()):
                break
            gate.speak(outbox, int(now * 1000), self._send)
        if watch is not None:
            watch.turned()
        for to, message in self.said[begun:]:
            if isinstance(message, Probe):
                node.receive(to, ProbeReply(message.sequence))
        return [each for each in self.said[begun:] if type(each[1]).__name__ not in ("Probe", "GossipDigest", "GossipDelta")]

    def _send(self, to: Address, frame: bytes) -> bool:
        if to in self.deaf:
            return False
        self.said += [(to, message) for message in decode_body(open_frame(frame)[1])]
        return True

    def arm(self, number: int = 1, note_ms: int = 5_000, asker: bytes = ME) -> None:
        ((_, told),) = self.turn((asker, TraceAsk(1, number, "default", self.key, note_ms, 0)))
        assert told == TraceTell(1, "this clock", 0, [])

    def collect(self, number: int = 1, asker: bytes = ME) -> list[list[Any]]:
        ((_, told),) = self.turn((asker, TraceAsk(2, number, "default", b"any", 0, 0)))
        assert isinstance(told, TraceTell), told
        return told.points

    def put(self, request_id: int = 9, client: bytes = ME) -> list[tuple[Address, Message]]:
        return self.turn((client, Put(request_id, "default", self.key, b"v", b"", b"%016d" % request_id, 0, 0, 0, 0, 0, 2000)))


def shape(points: list[list[Any]]) -> list[tuple[str, str, str]]:
    return [(what, peer, message) for _, what, peer, message, *_ in points]


def test_a_message_was_sent_when_it_was_given_to_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gets it may have answered by then: the process that sends it may not run again for a while."""
    traced = Traced()
    traced.arm()
    send = traced._send

    def wait_for_a_processor(to: Address, frame: bytes) -> bool:
        taken = send(to, frame)
        traced.us += 1_000_000
        return taken

    monkeypatch.setattr(traced, "_send", wait_for_a_processor)
    traced.put()
    points = traced.collect()
    (heard,) = [at for at, what, *_ in points if what == "heard"]
    sent = sorted(at for at, what, *_ in points if what == "sent")
    assert len(sent) == 2, "to the two other primaries"
    assert heard < sent[0] < heard + 1_000_000 < sent[1] < heard + 2_000_000


def test_a_put_is_noted_from_its_hearing_to_the_last_answer() -> None:
    traced = Traced()
    traced.arm()
    said = traced.put()
    (first, write), (second, _) = said
    assert isinstance(write, Write)
    traced.turn((first, WriteReply([write.request_id])))
    traced.turn((second, WriteReply([write.request_id])))
    points = traced.collect()
    assert shape(points) == [
        ("heard", "", "Put"), ("done", "", ""), ("committed", "", ""), ("sent", first, "Write"), ("sent", second, "Write"),
        ("heard", first, "WriteReply"), ("done", "", ""), ("committed", "", ""), ("sent", "", "PutReply"),
        ("heard", second, "WriteReply"), ("done", "", ""), ("committed", "", ""),
    ]  # fmt: skip
    times = [point[0] for point in points]
    assert times == sorted(times)
    assert {point[5] for point in points} == {1}, "all of it is one operation"


def test_a_replica_notes_what_it_is_asked_and_answers() -> None:
    traced = Traced()
    peer = traced.peers[0]
    state = traced.put()[0][1].state  # type: ignore[union-attr]
    traced.arm()
    traced.turn((peer, Write(44, "default", traced.key, state, "", 1000)))
    assert shape(traced.collect()) == [
        ("heard", peer, "Write"), ("done", "", ""), ("committed", "", ""), ("sent", peer, "WriteReply"),
    ]  # fmt: skip


def test_keys_and_buckets_beside_it_are_not_noted() -> None:
    traced = Traced()
    traced.arm()
    traced.turn((ME, Get(9, "another", traced.key, 0, 0, 0, 2000)), (ME, Get(10, "default", b"another", 0, 0, 0, 2000)))
    assert traced.collect() == []


def test_two_requests_about_one_key_are_told_apart_though_both_ask_the_same_nodes() -> None:
    traced = Traced()
    traced.arm()
    said = traced.turn((ME, Get(9, "default", traced.key, 0, 0, 0, 2000)), (OTHER, Get(9, "default", traced.key, 0, 0, 0, 2000)))
    for to, message in said:
        traced.turn((to, ReadReply(message.request_id, b"")))  # type: ignore[union-attr]
    points = traced.collect()
    by_operation = {number: shape([point for point in points if point[5] == number]) for number in (1, 2)}
    assert by_operation[1][0] == ("heard", "", "Get")
    assert by_operation[2][0] == ("heard", "client", "Get")
    assert by_operation[1][-1] == ("sent", "", "GetReply")
    assert by_operation[2][-1] == ("sent", "client", "GetReply")
    assert [kind for kind, *_ in by_operation[1]] == [kind for kind, *_ in by_operation[2]]


def test_what_the_transport_does_not_take_is_noted_as_unsent_and_a_stand_in_as_its() -> None:
    traced = Traced()
    traced.arm()
    gone = traced.peers[0]
    traced.deaf.add(gone)
    traced.put()
    points = traced.collect()
    assert ("unsent", gone, "Write") in shape(points)
    stand_in = next(point for point in points if point[1] == "sent" and point[6])
    assert (stand_in[2], stand_in[3], stand_in[6]) == (traced.peers[2], "Write", gone)
    assert stand_in[5] == 1


def test_while_nobody_traces_the_gate_has_no_watch() -> None:
    traced = Traced()
    assert traced.gate.watch is None
    traced.arm()
    assert traced.gate.watch is traced.tracer
    traced.collect()
    assert traced.gate.watch is None


def test_a_trace_that_nobody_collects_ends_by_itself() -> None:
    traced = Traced()
    traced.arm(note_ms=1_000)
    traced.us += 1_000_000
    traced.put()
    traced.us += 5_000_000
    traced.turn()
    assert traced.gate.watch is None
    ((_, refused),) = traced.turn((ME, TraceAsk(2, 1, "default", traced.key, 0, 0)))
    assert isinstance(refused, Refused)
    assert "no trace 1 of yours" in refused.text


def test_after_its_time_nothing_more_is_noted() -> None:
    traced = Traced()
    traced.arm(note_ms=1_000)
    traced.us += 1_000_000
    traced.put()
    assert traced.collect() == []


def test_more_points_than_the_limit_are_counted_and_not_kept() -> None:
    traced = Traced()
    traced.arm()
    for i in range(200):
        traced.put(i + 10)
    ((_, told),) = [each for each in traced.turn((ME, TraceAsk(2, 1, "default", traced.key, 0, 0))) if each[0] == ME]
    assert isinstance(told, TraceTell)
    assert len(told.points) == POINTS_MAX
    assert told.lost >= 1


def test_a_ninth_trace_is_refused_and_named() -> None:
    traced = Traced()
    for number in range(TRACES_MAX):
        traced.arm(number)
    ((_, refused),) = traced.turn((ME, TraceAsk(1, 99, "default", traced.key, 1000, 0)))
    assert isinstance(refused, Refused)
    assert "8 traces are under way at a, the limit" in refused.text
    traced.collect(0)
    traced.arm(99)


def test_a_trace_belongs_to_who_asked_for_it() -> None:
    traced = Traced()
    traced.arm()
    ((_, refused),) = traced.turn((OTHER, TraceAsk(1, 1, "default", traced.key, 0, 0)))
    assert isinstance(refused, Refused)
    traced.collect()


def test_who_waits_is_told_when_the_last_answer_has_come() -> None:
    traced = Traced()
    traced.arm()
    (first, write), (second, _) = traced.put()
    assert isinstance(write, Write)
    assert traced.turn((ME, TraceAsk(2, 1, "default", traced.key, 0, 1_000))) == []
    said = traced.turn((first, WriteReply([write.request_id])))
    assert [type(message) for _, message in said] == [PutReply]
    traced.turn((second, WriteReply([write.request_id])))
    ((to, told),) = traced.turn(seconds=0.05)
    assert to == ME
    assert isinstance(told, TraceTell)
    assert len(told.points) == 12
    assert len(traced.collect()) == 12, "waiting does not end it"


def test_who_waits_is_told_after_its_time_at_the_latest() -> None:
    traced = Traced()
    traced.arm()
    traced.put()
    assert traced.turn((ME, TraceAsk(2, 1, "default", traced.key, 0, 100))) == []
    told = [message for _ in range(20) for _, message in traced.turn(seconds=0.01) if isinstance(message, TraceTell)]
    assert len(told) == 1

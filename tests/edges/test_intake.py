"""What waits for its turn at a node: who is next, what waits for nothing, and what is declined."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from dynazmq.config import NodeConfig
from dynazmq.dynamo.membership.stale_disks import SURE
from dynazmq.dynamo.messages import (
    OVERLOADED,
    Failure,
    Get,
    Probe,
    ProbeReply,
    Put,
    Read,
    ReadReply,
    Refused,
    Scan,
    StatusReply,
    StatusRequest,
    TopologyRequest,
)
from dynazmq.dynamo.node import Node
from dynazmq.storage.memory import MemoryStorage
from dynazmq.wire import intake
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, BadFrame, Envelope, encode
from dynazmq.wire.gate import Gate
from dynazmq.wire.intake import Intake

NOW = 100.0


class Door:
    """A node and its intake; a turn has time for `messages`."""

    def __init__(self) -> None:
        members = {name: f"ipc://{name}" for name in ("a", "b", "c")}
        config = NodeConfig(
            name="a", cluster="t", cluster_id=1, secret=b"s" * 32, data_dir="", endpoint="ipc://a", members=members, partitions=8
        )
        self.node = Node(config, MemoryStorage(), Random(1), NOW, 1_700_000_000_000)
        self.node.membership.settled = True
        self.bad: list[bytes] = []
        self.gate = Gate(self.node, 1, lambda identity: identity.decode() if identity in (b"b", b"c") else None)
        self.intake = Intake(self.gate, lambda identity, _frame, _error: self.bad.append(identity))
        self.intake.hurry = self._hurry
        self.left = 0
        self.worked: list[tuple[Any, int]] = []  # (sender, request id), in the order of the work
        receive = self.node.receive

        def noting(sender: Any, message: Any) -> None:
            self.worked.append((sender, getattr(message, "request_id", 0)))
            receive(sender, message)

        self.node.receive = noting  # type: ignore[method-assign]

    def _hurry(self) -> bool:
        self.left -= 1
        return self.left <= 0

    def send(self, identity: bytes, *messages: Any) -> None:
        peer = identity in (b"b", b"c")
        envelope = Envelope(FROM_NODE if peer else FROM_CLIENT, 1, 1 if peer else 0, 0, int(NOW * 1000))
        for frame in encode(envelope, messages):
            self.intake.take(identity, frame)

    def turn(self, time_for: int) -> None:
        self.intake.begin()
        self.left = time_for

    def answers(self, to: Any) -> list[Any]:
        return list(self.node.runtime.outbox.get(to, []))


def reads(*ids: int) -> list[Read]:
    return [Read(request_id, "default", b"k", 1_000) for request_id in ids]


def asks(*ids: int) -> list[TopologyRequest]:
    return [TopologyRequest(request_id) for request_id in ids]


def test_a_frame_is_worked_on_at_once_while_there_is_time() -> None:
    door = Door()
    door.turn(time_for=100)
    door.send(b"client", *asks(1, 2, 3))
    assert door.worked == [(b"client", 1), (b"client", 2), (b"client", 3)]
    assert door.intake.waiting == door.intake.waiting_bytes == 0


def test_what_is_left_of_a_frame_goes_on_in_later_turns_and_nothing_is_done_twice() -> None:
    door = Door()
    door.turn(time_for=2)
    door.send(b"client", *asks(*range(1, 8)))
    assert door.intake.waiting == 1
    while door.intake.waiting:
        assert door.intake.waiting_bytes > 0
        door.turn(time_for=2)
        door.intake.go_on()
    assert [request_id for _, request_id in door.worked] == list(range(1, 8))
    assert door.intake.waiting_bytes == 0


def test_clients_take_turns_however_much_one_of_them_has_sent() -> None:
    door = Door()
    door.turn(time_for=1)
    door.send(b"greedy", *asks(*range(1, 400)))
    door.send(b"modest", *asks(1_000))
    door.turn(time_for=40)
    door.intake.go_on()
    assert (b"modest", 1_000) in door.worked
    assert door.worked.index((b"modest", 1_000)) <= 1 + 16


def test_peers_come_before_clients_and_one_client_is_served_in_every_turn() -> None:
    door = Door()
    door.turn(time_for=1)
    door.send(b"client", *asks(1, 2))
    door.send(b"b", *reads(10, 11, 12))
    door.worked.clear()
    door.turn(time_for=1)
    door.intake.go_on()
    assert [sender for sender, _ in door.worked] == ["b", b"client"]


def test_probes_wait_for_nothing_behind_a_peers_own_work() -> None:
    door = Door()
    door.turn(time_for=1)
    door.send(b"b", *reads(1, 2, 3))
    door.send(b"b", *reads(4), Probe(7), *reads(5))
    assert door.answers("b")[-1] == ProbeReply(7, 0, SURE)
    while door.intake.waiting:
        door.turn(time_for=10)
        door.intake.go_on()
    told = [each.request_id for each in door.answers("b") if isinstance(each, ReadReply | Refused)]
    assert sorted(told) == [1, 2, 3, 4, 5]


def test_a_client_that_sends_more_than_may_wait_is_told_to_come_back_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SENDER_FRAMES_MAX", 3)
    door = Door()
    door.turn(time_for=1)
    door.send(b"slow", *asks(1, 2))
    for request_id in range(10, 15):
        door.send(b"greedy", Get(request_id, "default", b"k", 0, 0, 0, 1_000))
    door.node.wake(NOW + 0.4, 1_700_000_000_400)
    door.send(b"greedy", Put(20, "default", b"k", b"v", b"", bytes(16), 0, 0, 0, 0, 0, 1_000))
    door.send(b"greedy", Scan(21, "default", [0], -1, b"", 10, 1_000))
    refused = door.answers(b"greedy")
    assert [(each.request_id, each.code) for each in refused] == [(n, OVERLOADED) for n in (13, 14, 20, 21)]
    assert [each.retry_after_ms for each in refused] == [50, 50, 400, 400], "as long as what waits has waited, or a little"
    assert door.node.runtime.counters["overloads"] == 4
    door.send(b"other", *asks(30))
    assert door.answers(b"other") == []


def test_a_peer_that_sends_more_than_may_wait_is_refused_what_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SENDER_FRAMES_MAX", 1)
    door = Door()
    door.turn(time_for=1)
    door.send(b"b", *reads(1, 2))
    door.send(b"b", *reads(3), Probe(4))
    assert [each for each in door.answers("b") if isinstance(each, Refused)] == [Refused(3, "a has too much to do")]
    assert ProbeReply(4, 0, SURE) in door.answers("b")


def test_all_clients_together_have_no_more_waiting_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BYTES_MAX", 2_000)
    door = Door()
    door.turn(time_for=1)
    for number in range(100):
        door.send(b"client %d" % number, Get(1, "default", b"k" * 100, 0, 0, 0, 1_000), *asks(2))
        assert door.intake.waiting_bytes <= 2_000
    assert door.node.runtime.counters["overloads"] > 0


def test_a_turn_begins_no_more_frames_when_it_has_begun_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "TURN_BYTES_MAX", 5_000)
    door = Door()
    door.turn(time_for=1_000)
    for request_id in range(5):
        door.send(b"client", Put(request_id, "default", b"k", b"v" * 3_000, b"", bytes(16), 0, 0, 0, 0, 0, 1_000))
    assert [request_id for _, request_id in door.worked] == [0, 1]
    for _ in range(2):
        door.turn(time_for=1_000)
        door.intake.go_on()
    assert [request_id for _, request_id in door.worked] == [0, 1, 2, 3, 4]


def test_a_bad_frame_that_had_to_wait_is_dropped_and_told_of_when_its_turn_comes() -> None:
    door = Door()
    door.turn(time_for=1)
    door.send(b"client", *asks(1, 2))
    door.intake.take(b"vandal", b"no frame at all")
    assert door.bad == []
    while door.intake.waiting:
        door.turn(time_for=10)
        door.intake.go_on()
    assert door.bad == [b"vandal"]
    with pytest.raises(BadFrame):
        door.gate.open(b"vandal", b"no frame at all")


def test_what_a_request_has_waited_is_taken_off_its_time() -> None:
    door = Door()
    door.turn(time_for=1)
    door.send(b"client", *asks(1), Get(2, "default", b"k", 0, 0, 0, 300))
    door.node.wake(NOW + 0.4, 1_700_000_000_400)
    door.turn(time_for=10)
    door.intake.go_on()
    assert door.node.runtime.counters["expired"] == 1


def test_status_is_answered_while_others_wait() -> None:
    door = Door()
    door.turn(time_for=1)
    door.send(b"greedy", *asks(*range(1, 100)))
    door.send(b"looking", StatusRequest(5))
    door.turn(time_for=30)
    door.intake.go_on()
    (reply,) = door.answers(b"looking")
    assert isinstance(reply, StatusReply)
    assert json.loads(reply.status)["name"] == "a"
    assert not any(isinstance(each, Failure) for each in door.answers(b"greedy"))

"""Each message is declared once: what follows from that, and that nothing else is let in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import msgpack
import pytest
from admitted import SAMPLES, least, messages
from hypothesis import given, settings

from dynazmq.config import BUCKET_BYTES_MAX, FRAME_BYTES_MAX, KEY_BYTES_MAX, NodeConfig
from dynazmq.dynamo.membership.losses import Losses
from dynazmq.dynamo.membership.records import Kept, Member
from dynazmq.dynamo.membership.stale_disks import SURE
from dynazmq.dynamo.messages import (
    ANSWER_TO,
    DECLARATIONS,
    DECLINED_BY_FAILURE,
    DECLINED_BY_REFUSAL,
    FROM_CLIENTS,
    FROM_PEERS,
    FROM_STRANGERS,
    INVALID,
    TIMEOUT,
    Failure,
    Get,
    GetReply,
    LookTell,
    Message,
    Probe,
    ProbeReply,
    Put,
    Read,
    Refused,
    StatusRequest,
    TopologyRequest,
)
from dynazmq.dynamo.messages.fields import AGE_MS_MAX, Bytes, Kind, Many, Real, Row, Text, Whole, aged, is_endpoint
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.runtime import unhurried
from dynazmq.dynamo.values.ring import Ring
from dynazmq.simulator.world.disk import Disk
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, BadFrame, Envelope, decode_body, encode, open_frame, seal
from dynazmq.wire.gate import Gate
from dynazmq.wire.rows import OutOfBounds, arrays_in, from_row, to_row

ALL = [pytest.param(each, id=each.name) for each in DECLARATIONS]


def beyond(kind: Kind) -> Iterator[Any]:
    """Values of the right type that are just not admitted."""
    match kind:
        case Whole(low, high):
            yield from (each for each in (low - 1, high + 1) if -(1 << 63) <= each < 1 << 64)
        case Real(high):
            yield from (0.0, -1.0, high * 1.001, float("inf"), float("nan"))
        case Bytes(low, high, _):
            yield from (bytes(size) for size in (low - 1, high + 1) if 0 <= size < FRAME_BYTES_MAX)
        case Text(low, high, name):
            yield from ("x" * size for size in (low - 1, high + 1) if size >= 0)
            yield "ü" * (high // 2 + 1)
            if name:
                yield "a\n"
        case Many(of, high):
            yield [least(of)] * (high + 1)
            yield from ([least(of), each] for each in beyond(of))
        case Row(_, columns, _, _):
            good = [least(column) for _, column in columns]
            for at, (_, column) in enumerate(columns):
                yield from ([*good[:at], each, *good[at + 1 :]] for each in beyond(column))


def at_the_edges(kind: Kind) -> Iterator[Any]:
    """The least and the greatest that is admitted."""
    match kind:
        case Whole(low, high):
            yield from (low, high)
        case Real(high):
            yield from (5e-324, high)
        case Bytes(low, high, nil):
            yield from (bytes(low), bytes(min(high, 1 << 20)), *([None] if nil else []))
        case Text(low, high, _):
            yield from ("x" * low, "x" * high, "ü" * (high // 2))
        case Many(of, high):
            yield []
            yield [least(of)] * high
            yield from ([each] for each in at_the_edges(of))
        case Row(_, columns, required, empty):
            good = [least(column) for _, column in columns]
            yield from (good[:width] for width in range(required, len(columns) + 1))
            if empty:
                yield []
            for at, (_, column) in enumerate(columns):
                yield from ([*good[:at], each, *good[at + 1 :]] for each in at_the_edges(column))


@pytest.mark.parametrize("each", ALL)
def test_each_field_admits_what_is_at_its_edges_and_refuses_what_is_beyond_them(each: Any) -> None:
    row = list(to_row(SAMPLES[each.cls]))
    for at, (name, kind) in enumerate(each.fields, start=1):
        for value in at_the_edges(kind):
            good = [*row[:at], value, *row[at + 1 :]]
            assert to_row(from_row(list(good))) == tuple(good), name
            assert kind.fault(value) is None, name
        for value in beyond(kind):
            with pytest.raises(OutOfBounds, match=f"{each.name}.{name}: "):
                from_row([*row[:at], value, *row[at + 1 :]])


@settings(max_examples=1000, deadline=None)
@given(messages)
def test_what_the_compiled_decoder_admits_is_what_the_kinds_admit(message: Message) -> None:
    (frame,) = encode(Envelope(FROM_NODE, 1, 1, 1, 1), [message])
    assert decode_body(open_frame(frame)[1]) == [message]


@pytest.mark.parametrize("each", ALL)
def test_what_a_later_release_appends_to_rows_is_cut_off(each: Any) -> None:
    row = list(to_row(SAMPLES[each.cls]))
    for at, (name, kind) in enumerate(each.fields, start=1):
        if isinstance(kind, Many) and isinstance(kind.of, Row):
            longer = [*least(kind.of), "later", [1]]
            read = from_row([*row[:at], [longer, longer[:]], *row[at + 1 :]])
            assert getattr(read, name) == [least(kind.of)] * 2


def test_arrays_of_a_message_are_counted_as_its_receiver_counts_them() -> None:
    look = LookTell(1, b"", False, [["n1", b"", 1], ["n2", b"", 1]])
    assert arrays_in(look) == 4
    assert arrays_in(Probe(1)) == 1


# --- who, and in answer to what --------------------------------------------------------------------------------------------


def a_node() -> tuple[Node, Disk]:
    members = {name: f"ipc://{name}" for name in ("a", "b", "c")}
    config = NodeConfig(
        name="a", cluster="t", cluster_id=1, secret=b"s" * 32, data_dir="", endpoint="ipc://a", members=members, partitions=8
    )
    disk = Disk()
    return Node(config, disk, Random(1), 100.0, 1_700_000_000_000), disk


def test_a_node_handles_whatever_it_may_be_sent_and_nothing_else() -> None:
    node, _ = a_node()
    assert set(node._from_clients) == set(FROM_CLIENTS)
    assert set(node._from_peers) == set(FROM_PEERS)


def test_strangers_may_ask_only_where_everything_is_and_how_a_node_is() -> None:
    assert set(FROM_STRANGERS) == {TopologyRequest, StatusRequest}


def test_whatever_is_declined_has_an_answer_and_a_number() -> None:
    for each in DECLARATIONS:
        if each.cls in DECLINED_BY_FAILURE | DECLINED_BY_REFUSAL:
            assert each.cls in ANSWER_TO
            assert each.fields[0][0] == "request_id"


@pytest.mark.parametrize("each", ALL)
def test_nobody_can_declare_a_code_twice_or_a_field_without_bounds(each: Any) -> None:
    assert DECLARATIONS[each.code] is each
    assert len(each.fields) == len(each.cls.__slots__)


# --- at the gate -----------------------------------------------------------------------------------------------------------


def heard(kind: int, rows: list[Any], identity: bytes = b"client", cluster_id: int = 1) -> tuple[Node, list[Message]]:
    node, disk = a_node()
    gate = Gate(node, 1, lambda identity: identity.decode() if identity in (b"b", b"c") else None)
    node.membership.settled = True
    frame = seal(Envelope(kind, cluster_id, 1, 0, 100_000), msgpack.packb(rows))
    gate.work(gate.open(identity, frame), unhurried)
    disk.commit()
    return node, [message for messages in node.drain().values() for message in messages]


def test_a_client_is_told_what_is_wrong_with_one_message_and_its_others_are_heard() -> None:
    bad, good = Get(7, "default", bytes(KEY_BYTES_MAX + 1), 0, 0, 0, 1000), StatusRequest(8)
    node, said = heard(FROM_CLIENT, [list(to_row(each)) for each in (bad, good)])
    failures = [each for each in said if isinstance(each, Failure)]
    assert [(each.request_id, each.code, each.text) for each in failures] == [
        (7, INVALID, "Get.key: 1 to 1,024 bytes, not 1,025")
    ]
    assert any(type(each).__name__ == "StatusReply" for each in said)
    assert node.runtime.counters["messages_refused"] == 1


@pytest.mark.parametrize(
    ("bucket", "key", "words"),
    [
        ("default", b"", "key: 1 to 1,024 bytes, not 0"),
        ("default", bytes(KEY_BYTES_MAX + 1), "key: 1 to 1,024 bytes, not 1,025"),
        ("", b"k", "bucket: 1 to 64 bytes of UTF-8, not 0"),
        ("\u00e9" * 33, b"k", "bucket: 1 to 64 bytes of UTF-8, not 66"),
        ("bell\a", b"k", "bucket: no control characters"),
    ],
)
@pytest.mark.parametrize(
    "kind", [each.cls for each in DECLARATIONS if each.cls in FROM_CLIENTS and {"bucket", "key"} <= set(each.cls.__slots__)]
)
def test_what_no_key_can_be_is_refused_with_the_limit_whatever_is_asked(
    kind: Any, bucket: str, key: bytes, words: str
) -> None:
    asked: Any = replace(SAMPLES[kind], bucket=bucket, key=key)
    _, said = heard(FROM_CLIENT, [list(to_row(asked))])
    (refusal,) = [each for each in said if isinstance(each, Failure | Refused)]
    assert (refusal.request_id, refusal.text) == (asked.request_id, f"{kind.__name__}.{words}")


def test_a_peer_is_refused_what_is_out_of_bounds_and_its_other_messages_are_heard() -> None:
    bad, good = Read(7, "b" * (BUCKET_BYTES_MAX + 1), b"k", 1000), Probe(8)
    _, said = heard(FROM_NODE, [list(to_row(each)) for each in (bad, good)], b"b")
    assert Refused(7, "Read.bucket: 1 to 64 bytes of UTF-8, not 65") in said
    assert ProbeReply(8, 0, SURE) in said


def test_a_message_whose_very_number_is_out_of_bounds_is_counted_and_not_answered() -> None:
    node, said = heard(FROM_NODE, [[13, -1, "default", b"k", 1000, 0]], b"b")
    assert said == []
    assert node.runtime.counters["messages_refused"] == 1


def test_a_stranger_is_told_nothing_of_what_he_may_not_ask() -> None:
    with pytest.raises(BadFrame, match="another cluster"):
        heard(FROM_CLIENT, [list(to_row(Get(7, "", b"k", 0, 0, 0, 1)))], cluster_id=0)


def test_an_age_that_grows_stays_one_that_can_be_sent() -> None:
    assert aged(0, 5) == 5
    assert aged(AGE_MS_MAX, 1) == AGE_MS_MAX
    assert aged(AGE_MS_MAX - 1, 1 << 70) == AGE_MS_MAX
    assert aged(0, -(1 << 70)) == 0


@pytest.mark.parametrize("good", ["ipc:///run/n1", "ipc://a", "tcp://127.0.0.1:7000", "tcp://[::1]:1", "tcp://localhost:65535"])
def test_an_endpoint_names_a_path_or_a_host_and_port(good: str) -> None:
    assert is_endpoint(good)


NO_ENDPOINTS = [
    "", "bogus", "ipc://", "tcp://", "tcp://a", "tcp://:1", "tcp://a:0", "tcp://a:65536", "tcp://a:\u0661",
    "tcp://a:" + "9" * 5000, "inproc://a", "ipc://a\x00b", "ipc://" + "a" * 300, "udp://127.0.0.1:1", " ipc://a", 7, None,
]  # fmt: skip


@pytest.mark.parametrize("bad", NO_ENDPOINTS)
def test_anything_else_is_no_endpoint(bad: object) -> None:
    assert not is_endpoint(bad)


def test_a_put_with_an_age_beyond_all_bounds_is_refused_by_the_first_node_that_hears_it() -> None:
    put = list(to_row(Put(7, "default", b"k", b"v", b"", b"w" * 16, (1 << 64) - 1, 0, 0, 0, 0, 2000)))
    _, said = heard(FROM_CLIENT, [put])
    (failure,) = said
    assert isinstance(failure, Failure)
    assert failure.text == "Put.age_ms: 0 to 2^48, not 18,446,744,073,709,551,615"


# --- what is said ----------------------------------------------------------------------------------------------------------


def spoken(*messages: Message, to: str | bytes = b"client") -> tuple[Node, list[Message], list[Message]]:
    """(the node, what has left, what the node then says further)."""
    node, _ = a_node()
    gate = Gate(node, 1, lambda _: None)
    frames: list[bytes] = []
    node.drain()
    gate.speak({to: list(messages)}, 1, lambda _, frame: frames.append(frame) is None)
    later = [message for said in node.drain().values() for message in said]
    return node, [message for frame in frames for message in decode_body(open_frame(frame)[1])], later


@pytest.mark.parametrize(
    "bad",
    [
        GetReply(7, [bytes(FRAME_BYTES_MAX)], [], b"", []),
        GetReply(7, [], [["n1", 1 << 64, 0]], b"", []),
        GetReply(7, [], [], b"", ["\ud800"]),
        GetReply(7, [object()], [], b"", []),  # type: ignore[list-item]
    ],
    ids=["too large", "a number beyond all", "half a character", "no value"],
)
def test_one_message_that_cannot_be_encoded_is_dropped_and_the_others_leave(bad: Message) -> None:
    node, left, later = spoken(ProbeReply(1), bad, ProbeReply(2))
    assert left == [ProbeReply(1), ProbeReply(2)]
    assert node.runtime.counters["unsendable"] == 1
    assert later == [Failure(7, TIMEOUT, 0, 0, 0, "the answer of a fits into no frame")], "who waits for it is told"
    assert node.runtime.counters["replies_undeliverable"] == 0


def test_nobody_is_suspected_for_a_message_that_cannot_be_encoded() -> None:
    node, left, _ = spoken(Read(7, "default", b"k", 1 << 70), Probe(1), to="b")
    assert left == [Probe(1)]
    assert node.runtime.counters["suspicions"] == 0


# --- what is believed ------------------------------------------------------------------------------------------------------


def test_no_version_can_be_brought_to_its_end_by_a_single_word() -> None:
    node, _ = a_node()
    membership = node.membership
    owners = membership.ring.owners
    for ring_version, version in ((1 << 62, 1 << 61), ((1 << 20) + 2, (1 << 40) + 1)):
        membership.learn_ring(Ring(ring_version, owners))
        membership.learn_intents([["b", "out", 1.0, "", version, "b"]], "b")
        membership.learn_policy(["carts", 3, 2, 2, version, "b", "lww"])
    assert (membership.ring.version, membership.intents, membership.policies) == (1, {}, {})
    assert node.runtime.counters["gossip_refused"] == 6
    membership.learn_ring(Ring(1 << 20, owners))
    assert membership.ring.version == 1 << 20


def test_a_stored_member_at_no_endpoint_does_not_keep_a_node_from_starting() -> None:
    """An earlier release believed it."""
    node, disk = a_node()
    members = {**node.membership.members, "d": Member("d", "bogus", 1, 1, "alive"), "b": Member("b", "bogus", 1, 1, "alive")}
    disk.set_meta("membership", Kept(members, node.membership.ring, {}, {}, True, Losses(), []).pack())
    disk.commit()
    again = Node(node.runtime.config, disk, Random(2), 100.0, 1_700_000_000_000)
    assert {name: member.endpoint for name, member in again.membership.members.items()} == {
        name: f"ipc://{name}" for name in ("a", "b", "c")
    }


def test_a_fault_of_ours_that_a_message_finds_ends_the_message_and_an_assertion_the_process() -> None:
    node, _ = a_node()

    def fails(error: Exception) -> Any:
        def handler(_sender: object, _message: object) -> None:
            raise error

        return handler

    node._from_peers[Read] = fails(KeyError("x"))
    node.membership.settled = True
    node.receive("b", Read(7, "default", b"k", 1000))
    assert node.runtime.counters["handlers_failed"] == 1
    assert node.drain()["b"][-1] == Refused(7, "a could not work on it: KeyError")
    node._from_peers[Read] = fails(AssertionError())
    with pytest.raises(AssertionError):
        node.receive("b", Read(7, "default", b"k", 1000))

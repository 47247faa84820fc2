"""Frames: every message comes back as it was; everything else is a BadFrame, soon, and costs little memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from typing import Any

import msgpack
import pytest
from admitted import SAMPLES, messages
from hypothesis import given, settings
from hypothesis import strategies as st

from dynazmq.config import FRAME_BYTES_MAX, FRAME_BYTES_TARGET, MESSAGES_PER_FRAME_MAX
from dynazmq.dynamo.messages import (
    DECLARATIONS,
    MESSAGES,
    GetReply,
    GossipDelta,
    Message,
    Probe,
    Put,
    ReadReply,
    Scan,
    ScanReply,
    Topology,
    Write,
    WriteReply,
)
from dynazmq.dynamo.messages.fields import OUT_OF_BOUNDS
from dynazmq.wire.codec import (
    CONTAINERS_MAX,
    FROM_CLIENT,
    FROM_NODE,
    HEADER,
    PROTOCOL_VERSION,
    BadFrame,
    Envelope,
    OtherVersion,
    decode_body,
    encode,
    introduction,
    open_frame,
    seal,
    to_row,
)

ENVELOPE = Envelope(FROM_NODE, 7, 3, 4, 5)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
flat = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | texts | st.binary(max_size=40)
envelopes = st.builds(Envelope, st.sampled_from([FROM_NODE, FROM_CLIENT]), *[st.integers(0, (1 << 64) - 1)] * 4)


def decoded(frames: list[bytes]) -> list[Message]:
    return [message for frame in frames for message in decode_body(open_frame(frame)[1])]


def refused(frame: bytes) -> str:
    with pytest.raises(BadFrame) as caught:
        decode_body(open_frame(frame)[1])
    return caught.value.reason


def framed(body: object) -> bytes:
    return seal(ENVELOPE, msgpack.packb(body))


def header(magic: bytes = b"DZ", version: int = PROTOCOL_VERSION, kind: int = FROM_NODE, body: bytes = b"\x90") -> bytes:
    head = HEADER.pack(magic, version, kind, 7, 3, 4, 5, 0)[:-4]
    return head + zlib.crc32(head + body).to_bytes(4, "big") + body


# --- what is ours ----------------------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(envelopes, st.lists(messages, min_size=1, max_size=6))
def test_every_message_and_envelope_comes_back_as_it_was(envelope: Envelope, sent: list[Message]) -> None:
    frames = list(encode(envelope, sent))
    assert [open_frame(frame)[0] for frame in frames] == [envelope]
    assert decoded(frames) == sent


def test_a_frame_has_the_bytes_that_the_documented_protocol_says() -> None:
    (frame,) = encode(Envelope(FROM_CLIENT, 0x1122334455667788, 1, 2, 3), [Probe(9)])
    head = b"DZ\x05\x02" + bytes.fromhex("1122334455667788") + struct.pack(">QQQ", 1, 2, 3)
    body = bytes([0x91, 0x92, 22, 9])
    assert frame == head + zlib.crc32(head + body).to_bytes(4, "big") + body
    assert len(head) + 4 == HEADER.size == 40


def test_codes_never_change() -> None:
    assert [cls.__name__ for cls in MESSAGES] == [
        "Get",
        "GetReply",
        "Put",
        "PutReply",
        "Failure",
        "Scan",
        "ScanReply",
        "TopologyRequest",
        "Topology",
        "SetBucket",
        "SetBucketReply",
        "StatusRequest",
        "StatusReply",
        "Read",
        "ReadReply",
        "Write",
        "WriteReply",
        "Refused",
        "Recall",
        "RecallReply",
        "Handoff",
        "HandoffReply",
        "Probe",
        "ProbeReply",
        "GossipDigest",
        "GossipDelta",
        "TreeAsk",
        "TreeTell",
        "RowsAsk",
        "RowsTell",
        "Mend",
        "MendReply",
        "RetireAsk",
        "RetireTell",
        "Retire",
        "HintsAsk",
        "HintsTell",
        "SetAntiEntropy",
        "SetAntiEntropyReply",
        "Stopping",
        "ChangeMembers",
        "ChangeMembersReply",
        "FillAsk",
        "FillTell",
        "StrayAsk",
        "StrayTell",
        "LookAsk",
        "LookTell",
        "TraceAsk",
        "TraceTell",
        "Decided",
        "DecidedReply",
        "AcknowledgeLosses",
        "AcknowledgeLossesReply",
        "PutAsk",
        "PutTell",
    ]


def test_no_messages_are_no_frame() -> None:
    assert list(encode(ENVELOPE, [])) == []


def test_a_batch_is_split_at_the_target_size_and_keeps_its_order() -> None:
    sent: list[Message] = [Write(i, "b", b"k", bytes(100_000), "", 1) for i in range(64)]
    frames = list(encode(ENVELOPE, sent))
    assert len(frames) == 7
    assert all(len(frame) <= FRAME_BYTES_TARGET + HEADER.size + 5 for frame in frames)
    assert decoded(frames) == sent


def test_a_message_over_the_target_travels_alone_and_does_not_hold_up_the_ones_before_it() -> None:
    sent: list[Message] = [WriteReply([1]), ReadReply(2, bytes(5 << 20)), WriteReply([3])]
    assert [len(decoded([frame])) for frame in encode(ENVELOPE, sent)] == [1, 1, 1]


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 10_000])
def test_many_small_messages_are_split_by_number(count: int) -> None:
    sent: list[Message] = [WriteReply([i]) for i in range(count)]
    frames = list(encode(ENVELOPE, sent))
    assert len(frames) == -(-count // 1024)
    assert decoded(frames) == sent


def a_ring(members: int) -> list[Any]:
    return [1, [f"n{i}" for i in range(members)], [0] * 4096, [], 0]


@pytest.mark.parametrize(
    "message",
    [
        GetReply(1, [b"v"] * 20, [["n1", 1, 2]] * 20, b"c", ["n1", "n2"]),
        ScanReply(1, [[i, b"k" * 1024, True] for i in range(2000)], True, 1, b"k"),
        ScanReply(1, [[i, b"k", True] for i in range(2000)], True, 1, b"k"),
        Topology(1, "c", 7, "n1", a_ring(128), [["n1", "ipc://e", 1, "up"]] * 128, [], 3, 2, 2, 1),
        GossipDelta([["n1", "ipc://e", 1, 1, "alive"]] * 128, ["n1"] * 128, a_ring(1), [["b", 3, 2, 2, 1, "n1"]] * 256),
        Scan(1, "b", list(range(4096)), -1, b"", 2000, 1000),
    ],
    ids=lambda message: type(message).__name__,
)
def test_no_batch_of_messages_passes_a_limit_of_its_receiver(message: Message) -> None:
    """A batch that its receiver refuses is a batch of requests that time out: senders must keep to what receivers check."""
    sent = [message] * 40
    assert decoded(list(encode(ENVELOPE, sent))) == sent


def test_a_message_that_fits_into_no_frame_is_refused_at_its_sender() -> None:
    with pytest.raises(BadFrame) as caught:
        list(encode(ENVELOPE, [ReadReply(1, bytes(FRAME_BYTES_MAX))]))
    assert caught.value.reason == "too large"


def test_surplus_fields_of_a_later_release_are_cut_off() -> None:
    for sample in SAMPLES.values():
        assert decoded([framed([[*to_row(sample), "new", [1], None]])]) == [sample]


def test_a_value_of_none_and_one_of_no_bytes_are_two_things() -> None:
    tombstone, empty = (Put(1, "b", b"k", value, b"", b"w" * 16, 0, 0, 0, 0, 0, 1) for value in (None, b""))
    assert decoded(list(encode(ENVELOPE, [tombstone, empty]))) == [tombstone, empty]
    assert tombstone != empty


# --- what is not -----------------------------------------------------------------------------------------------------------


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_w1_random_bytes_are_a_bad_frame(raw: bytes) -> None:
    refused(raw)


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_w1_random_bytes_behind_a_true_checksum_are_messages_or_a_bad_frame(body: bytes) -> None:
    try:
        decode_body(open_frame(seal(ENVELOPE, body))[1])
    except BadFrame:
        pass


tree = st.recursive(
    flat | st.floats(), lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=2), max_leaves=15
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, len(MESSAGES)), tree, tree, tree).map(list) | tree, max_size=3) | tree)
def test_w9_random_trees_are_messages_or_a_bad_frame(body: object) -> None:
    try:
        found = decode_body(open_frame(framed(body))[1])
    except BadFrame:
        return
    assert all(type(message) in MESSAGES for message in found)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 5,
        bytes(100),
        b"\xff" * 100,
    ],
)
def test_w1_other_protocols_are_not_dynazmq(raw: bytes) -> None:
    assert refused(raw) == "not dynazmq"


FRAME = next(iter(encode(ENVELOPE, [Write(7, "carts", b"alice", b"state" * 5, "n3", 900), Probe(3)])))


def test_w3_a_frame_that_was_cut_anywhere_is_refused() -> None:
    for end in range(len(FRAME)):
        assert refused(FRAME[:end]) == ("too short" if end < HEADER.size else "checksum")
    assert refused(FRAME + b"\x00") == "checksum"


def test_n20_a_bit_flipped_anywhere_is_found() -> None:
    for at in range(len(FRAME)):
        for bit in range(8):
            refused(FRAME[:at] + bytes([FRAME[at] ^ 1 << bit]) + FRAME[at + 1 :])


def test_two_frames_with_their_bodies_exchanged_are_refused() -> None:
    other = next(iter(encode(Envelope(FROM_NODE, 8, 3, 4, 5), [Probe(4)])))
    assert refused(FRAME[: HEADER.size] + other[HEADER.size :]) == "checksum"


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (header(magic=b"ZD"), "not dynazmq"),
        (header(version=0), "protocol version"),
        (header(version=PROTOCOL_VERSION + 1), "protocol version"),
        (header(kind=0), "unknown kind"),
        (header(kind=3), "unknown kind"),
        (header(body=b""), "not msgpack"),
        (b"", "too short"),
    ],
)
def test_c24_a_foreign_magic_version_or_kind_is_named(frame: bytes, reason: str) -> None:
    assert refused(frame) == reason


def test_c24_a_frame_of_another_version_says_which_whatever_else_is_in_it() -> None:
    for frame in (header(version=6), b"DZ\x06" + bytes(37), b"DZ\x06" + b"\xff" * 100):
        with pytest.raises(OtherVersion) as caught:
            open_frame(frame)
        assert caught.value.version == 6


def test_c24_an_introduction_is_a_frame_without_messages() -> None:
    envelope, body = open_frame(introduction(ENVELOPE))
    assert envelope == ENVELOPE
    assert decode_body(body) == []


def test_w10_a_frame_over_the_limit_is_refused_before_its_checksum_is_computed() -> None:
    assert refused(bytes(FRAME_BYTES_MAX + 1)) == "too large"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xc1", "not msgpack"),
        (b"\x90\x90", "not msgpack"),
        (b"\x91", "not msgpack"),
        (b"\x91" * 1_000_000, "not msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),
        (b"\xdf\xff\xff\xff\xff", "not msgpack"),
        (b"\xdb\xff\xff\xff\xff", "not msgpack"),
        (b"\xc6\xff\xff\xff\xff", "not msgpack"),
        (b"\xc9\xff\xff\xff\xff\x01", "not msgpack"),
        (b"\x91\x81\x01\x01", "not msgpack"),
        (b"\x91\x80", "not a message"),
        (b"\x91\xd4\x01\x00", "not msgpack"),
        (b"\x91\xd6\xff\x00\x00\x00\x00", "not msgpack"),
        (b"\x91\xa1\xff", "not msgpack"),
        (b"\xdc\x20\x00" + b"\x90" * 8192, "not msgpack"),
        (b"\xc0", "not a list of messages"),
        (b"\x01", "not a list of messages"),
        (b"\xa3abc", "not a list of messages"),
        (b"\x91\x90", "not a message"),
        (b"\x91\xc0", "not a message"),
        (b"\x91\x91\xc3", "not a message"),
        (b"\x91\x91\xa1a", "not a message"),
        (b"\x91\x91\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "not a message"),
        (b"\x91\x91\xff", "unknown message"),
        (b"\x91\x91\x7f", "unknown message"),
        (b"\x91\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "unknown message"),
    ],
    ids=lambda value: value[:12].hex() if isinstance(value, bytes) else value,
)
def test_w3_to_w8_a_body_that_breaks_a_rule_is_refused_by_that_rule(body: bytes, reason: str) -> None:
    assert refused(seal(ENVELOPE, body)) == reason


def test_w9_each_missing_field_of_each_message_is_noticed() -> None:
    for sample in SAMPLES.values():
        row = to_row(sample)
        for width in range(1, len(row)):
            assert refused(framed([row[:width]])) == "missing fields"


def test_w9_each_field_of_each_message_refuses_every_other_type() -> None:
    wrong: list[Any] = [None, True, 1, 1.5, "s", b"b", [1]]
    for each in DECLARATIONS:
        row = to_row(SAMPLES[each.cls])
        for at, (name, kind) in enumerate(each.fields, start=1):
            for value in wrong:
                if (fault := kind.fault(value)) is not None and fault.reason != OUT_OF_BOUNDS:
                    assert refused(framed([[*row[:at], value, *row[at + 1 :]]])) == fault.reason, (each.name, name, value)


def test_w9_elements_of_typed_lists_are_looked_at() -> None:
    assert refused(framed([to_row(GetReply(1, ["text"], [], b"", []))])) == "wrong type"  # type: ignore[list-item]
    assert refused(framed([to_row(GetReply(1, [], [], b"", ["n1", b"n2"]))])) == "wrong type"  # type: ignore[list-item]
    assert refused(framed([to_row(Scan(1, "b", [1, True], -1, b"", 1, 1))])) == "wrong type"


def test_one_wrong_message_spoils_its_whole_frame() -> None:
    assert refused(framed([[22, 1], [22, "x"]])) == "wrong type"


@pytest.mark.parametrize("depth", [2, 100, 1000])
def test_w5_fields_nested_deeper_than_allowed_are_refused(depth: int) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    row = [25, nested, [], [], [], []]
    assert refused(framed([row])) in ("wrong type", "missing fields", "not msgpack")


def limited(body: bytes) -> tuple[str, float, int]:
    """(why it is refused, seconds that took, bytes at the peak beside the body itself)."""
    frame = seal(ENVELOPE, body)
    tracemalloc.start()
    try:
        reason = refused(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    begin = time.process_time()
    refused(frame)
    return reason, time.process_time() - begin, peak


def test_w6_frames_of_the_largest_size_made_of_the_smallest_parts_cost_bounded_time_and_memory() -> None:
    def array(element: bytes, count: int) -> bytes:
        return b"\xdc" + count.to_bytes(2, "big") + element * count

    rest = FRAME_BYTES_MAX - HEADER.size - 3
    empties = array(array(b"\x90", 4096), rest // 4099)
    strings = array(array(b"\xa2ab", 4096), rest // (3 * 4096 + 3))
    nothing = array(array(b"\xc0", 4096), rest // 4099)
    for body, why in ((empties, "too many containers"), (strings, "too many elements"), (nothing, "too many elements")):
        reason, seconds, peak = limited(body)
        assert reason == why
        assert peak < 8 * FRAME_BYTES_MAX
        assert seconds < 1.0


def test_the_longest_array_allowed_is_as_long_as_stated() -> None:
    assert len(decoded([framed([[22, i] for i in range(MESSAGES_PER_FRAME_MAX)])])) == MESSAGES_PER_FRAME_MAX
    assert refused(framed([[22, i] for i in range(MESSAGES_PER_FRAME_MAX + 1)])) == "not msgpack"
    assert CONTAINERS_MAX > MESSAGES_PER_FRAME_MAX

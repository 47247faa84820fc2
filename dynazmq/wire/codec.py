"""Frames: one envelope around one msgpack array of messages, all for one destination.

    envelope (40 bytes, big-endian)                                  body
    "DZ" | version | kind | cluster id | sender's incarnation |      [[code, field, …], [code, field, …], …]
    addressee's incarnation | sent at, ms | crc-32 of the rest

Every frame is checked before anything in it is believed: a plain ROUTER lets random bytes through (W1), and one flipped
bit in gossip once took a large store down for hours (N20). The checksum covers the envelope and the body.

The decoder's limits are those of `config.py`: no maps, no extension types, arrays of at most `MESSAGES_PER_FRAME_MAX`, at most
`CONTAINERS_MAX` of them and `ELEMENTS_MAX` elements in a frame (a megabyte of empty lists would become 72 MB of memory, W6), and
each message must have the fields that are declared, within their bounds (rows.py, W9). Surplus fields of a newer version are cut
off.

A frame that breaks a rule raises `BadFrame` and nothing else (`OtherVersion` is one); its `reason` is a short constant, good as
the name of a counter.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from dynazmq.config import FRAME_BYTES_MAX, FRAME_BYTES_TARGET, MESSAGES_PER_FRAME_MAX
from dynazmq.dynamo.messages import Message
from dynazmq.signals import raised_by_handler
from dynazmq.wire.rows import BadFrame as BadFrame
from dynazmq.wire.rows import OtherCluster as OtherCluster
from dynazmq.wire.rows import OutOfBounds as OutOfBounds
from dynazmq.wire.rows import arrays_in, from_row, from_rows
from dynazmq.wire.rows import to_row as to_row

PROTOCOL_VERSION = 5
FROM_NODE, FROM_CLIENT = 1, 2

CONTAINERS_MAX = 2 * MESSAGES_PER_FRAME_MAX + 1024
"""Arrays in one frame, nested ones counted."""

ELEMENTS_MAX = FRAME_BYTES_TARGET
"""Elements of all of them together: each has a byte at least, so a sender that keeps to the target cannot have more."""

_SMALL_BYTES = 2 * MESSAGES_PER_FRAME_MAX
"""Arrays and elements have a byte each at least, so no limit on their number can be passed in as few bytes: none is counted."""

_SMALL_MESSAGES = 256

_MESSAGES_TARGET = 1024
"""A sender starts a new frame after this many: a receiver works through a frame in one turn."""

HEADER = struct.Struct(">2sBBQQQQI")
_COVERED = struct.Struct(">2sBBQQQQ")  # by the checksum, whose own four bytes come last
_MAGIC = b"DZ"


class OtherVersion(BadFrame):
    """A frame of another version of this protocol: its first three bytes are the same in all, nothing else need be."""

    def __init__(self, version: int) -> None:
        super().__init__("protocol version", f"{version}, this is {PROTOCOL_VERSION}")
        self.version = version


SENT_MS_MAX = (1 << 63) - 1
"""Beyond it, or 0, a sender has no clock."""


class Envelope(NamedTuple):
    """kind: FROM_NODE or FROM_CLIENT. to_incarnation: 0 if the sender does not know it. sent_ms: the sender's monotonic clock."""

    kind: int
    cluster_id: int
    incarnation: int
    to_incarnation: int
    sent_ms: int


_envelope = partial(tuple.__new__, Envelope)  # of a tuple: for each frame, half a microsecond less than by its fields


# --- frames ---------------------------------------------------------------------------------------------------------------

_packer = msgpack.Packer(use_bin_type=True, autoreset=True)
_pack = _packer.pack


def encode(envelope: Envelope, messages: Iterable[Message]) -> Iterator[bytes]:
    """The frames that carry these messages, in order: usually one, another before any limit of the receiver is passed.

    Raises BadFrame("too large") for a message that fits into no frame.
    """
    return (frame for frame, _ in encode_counted(envelope, messages))


def encode_counted(envelope: Envelope, messages: Iterable[Message]) -> Iterator[tuple[bytes, int]]:
    """The same, each frame with the number of messages in it: for a sender that must know which ones have left."""
    messages = list(messages)
    if len(messages) <= _SMALL_MESSAGES:
        body = _pack([to_row(message) for message in messages])
        if len(body) <= _SMALL_BYTES:
            if messages:
                yield seal(envelope, body), len(messages)
            return
    yield from _encode_many(envelope, messages)


def _encode_many(envelope: Envelope, messages: list[Message]) -> Iterator[tuple[bytes, int]]:
    """Row by row, since a limit may be met between any two."""
    rows: list[bytes] = []
    size, containers = 0, 1
    for message in messages:
        packed = _pack(to_row(message))
        arrays = arrays_in(message)
        if rows and (
            size + len(packed) > FRAME_BYTES_TARGET or containers + arrays > CONTAINERS_MAX or len(rows) == _MESSAGES_TARGET
        ):
            yield seal(envelope, _body(rows)), len(rows)
            rows, size, containers = [], 0, 1
        rows.append(packed)
        size += len(packed)
        containers += arrays
    if rows:
        yield seal(envelope, _body(rows)), len(rows)


def _body(rows: list[bytes]) -> bytes:
    return b"".join((_packer.pack_array_header(len(rows)), *rows))


def seal(envelope: Envelope, body: bytes) -> bytes:
    """Envelope, checksum and body as one frame."""
    if len(body) + HEADER.size > FRAME_BYTES_MAX:
        raise BadFrame("too large", f"{len(body):,} bytes, limit {FRAME_BYTES_MAX:,}")
    head = _COVERED.pack(_MAGIC, PROTOCOL_VERSION, *envelope)
    return b"".join((head, crc32(body, crc32(head)).to_bytes(4, "big"), body))


def introduction(envelope: Envelope) -> bytes:
    """A frame without messages: it answers one of another version, whose sender then knows which version is spoken here."""
    return seal(envelope, _body([]))


def open_frame(frame: bytes) -> tuple[Envelope, bytes]:
    """Check envelope and checksum; the body is still packed. Raises BadFrame."""
    if not HEADER.size <= len(frame) <= FRAME_BYTES_MAX:
        if len(frame) < HEADER.size:
            raise BadFrame("too short", f"{len(frame)} bytes")
        raise BadFrame("too large", f"{len(frame):,} bytes, limit {FRAME_BYTES_MAX:,}")
    magic, version, kind, cluster_id, incarnation, to_incarnation, sent_ms, checksum = HEADER.unpack_from(frame)
    if magic != _MAGIC:
        raise BadFrame("not dynazmq")
    if version != PROTOCOL_VERSION:
        raise OtherVersion(version)
    body = frame[HEADER.size :]
    if crc32(body, crc32(frame[: _COVERED.size])) != checksum:
        raise BadFrame("checksum")
    if kind not in (FROM_NODE, FROM_CLIENT):
        raise BadFrame("unknown kind", str(kind))
    return _envelope((kind, cluster_id, incarnation, to_incarnation, sent_ms)), body


def decode_body(body: bytes, out_of_bounds: list[OutOfBounds] | None = None) -> list[Message]:
    """All messages of a frame, or BadFrame if one of them is wrong: who does not speak this protocol is not believed in part.

    out_of_bounds: takes those with values that are not admitted; without it one of these spoils its frame as well.
    """
    try:
        rows = msgpack.unpackb(
            body,
            list_hook=_counting() if len(body) > _SMALL_BYTES else None,
            max_array_len=MESSAGES_PER_FRAME_MAX,
            max_map_len=0,
            max_ext_len=0,
            raw=False,
        )
    except BadFrame:
        raise
    except Exception as error:  # msgpack raises seven kinds and promises none of them
        if raised_by_handler(error):
            raise
        raise BadFrame("not msgpack", type(error).__name__) from None
    if rows.__class__ is not list:
        raise BadFrame("not a list of messages")
    try:
        return from_rows(rows)
    except OutOfBounds:
        if out_of_bounds is None:
            raise
    messages = []
    for row in rows:
        try:
            messages.append(from_row(row))
        except OutOfBounds as error:
            out_of_bounds.append(error)
    return messages


def _counting() -> Callable[[list[Any]], list[Any]]:
    """Is called with each array of a body, when it is complete. Raises BadFrame as soon as there are too many."""
    containers = elements = 0

    def count(items: list[Any]) -> list[Any]:
        nonlocal containers, elements
        containers += 1
        elements += len(items)
        if containers > CONTAINERS_MAX or elements > ELEMENTS_MAX:
            raise BadFrame("too many containers" if containers > CONTAINERS_MAX else "too many elements")
        return items

    return count

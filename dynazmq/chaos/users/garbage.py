"""Frames that nobody should send: such as are no messages, and messages with one thing that is not as it should be.

A node drops what it cannot understand, declines what is not admitted, and goes on. What is drawn here is made from the
declarations of the messages (simulator/run/draw.py), as in the fuzzer.

**What is not sent**: whatever a node would follow with more than an answer. A decision of an admin that happens to be in order, a
word that peers alone may say, a write to another bucket than the abuse's own would do to this cluster what they say. So each
frame is read here first, as a node would read it, and one with such a message in it is drawn anew (`is_harmless`).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgpack

from dynazmq.chaos.users import tally
from dynazmq.chaos.users.plan import BUCKET
from dynazmq.chaos.users.speaker import Speaker
from dynazmq.chaos.users.stage import Scene, Steps
from dynazmq.dynamo.messages import (
    DECLARATIONS,
    FROM_CLIENTS,
    Get,
    HintsAsk,
    LookAsk,
    Message,
    Put,
    RowsAsk,
    Scan,
    StatusRequest,
    TopologyRequest,
    TraceAsk,
    TreeAsk,
)
from dynazmq.simulator.run.draw import Draw
from dynazmq.wire.codec import FROM_CLIENT, HEADER, BadFrame, Envelope, decode_body, open_frame, seal

HARMLESS: frozenset[type[Message]] = frozenset(
    [Get, HintsAsk, LookAsk, RowsAsk, Scan, StatusRequest, TopologyRequest, TraceAsk, TreeAsk]
)
"""What a client may ask that changes nothing. A `Put` is harmless in one bucket; all others decide something."""

FRAME_BYTES_MAX = 64 << 10
"""Of nearly all frames."""

HUGE_BYTES = 2 << 20
_HUGE = 0.002  # of the frames

_STEP_S, _AT_A_TIME = 0.03, 12
_LOUD_MAX = 3  # clients at a time
_STAYS = 0.05  # of the steps one of them is replaced
_KEYS = 50
_CODES = sorted(FROM_CLIENTS, key=lambda kind: kind.__name__)
_PEER_CODES = [each.cls for each in DECLARATIONS if each.cls not in FROM_CLIENTS]


def is_harmless(frame: bytes) -> bool:
    """Whether no node, whatever it makes of this frame, does more than answer it or write to the abuse's own bucket."""
    try:
        messages = decode_body(open_frame(frame)[1], [])
    except BadFrame:
        return True
    return all(type(message) in HARMLESS or (isinstance(message, Put) and message.bucket == BUCKET) for message in messages)


class Garbage:
    """Draws frames. Pure: of one source of chance. cluster_id: of those to whom they go."""

    def __init__(self, random: Random, cluster_id: int) -> None:
        self._random = random
        self._draw = Draw(random)
        self._cluster_id = cluster_id
        self._makers: tuple[tuple[Callable[[], list[bytes]], float], ...] = (
            (self._noise, 1.0), (self._many_parts, 0.5), (self._bad_envelope, 1.0), (self._bad_body, 1.0), (self._cut, 1.0),
            (self._flipped, 2.0), (self._message, 2.0), (self._spoiled, 4.0), (self._flipped_within, 3.0),
        )  # fmt: skip

    def parts(self) -> list[bytes]:
        """One message of ZeroMQ: mostly a frame."""
        makers, weights = zip(*self._makers, strict=True)
        while True:
            parts = self._random.choices(makers, weights)[0]() if self._random.random() >= _HUGE else [bytes(HUGE_BYTES)]
            if all(map(is_harmless, parts)):
                return parts

    # --- no messages ------------------------------------------------------------------------------------------------------

    def _noise(self) -> list[bytes]:
        return [self._random.randbytes(self._random.choice((0, 1, HEADER.size, 300, 5_000)))]

    def _many_parts(self) -> list[bytes]:
        return [self._sealed(self._rows()), *[self._random.randbytes(20) for _ in range(self._random.randint(1, 20))]]

    def _bad_envelope(self) -> list[bytes]:
        """Another protocol or version of it, another checksum; or, with the right one, another kind or cluster."""
        chance, frame = self._random, bytearray(self._sealed(self._rows()))
        body = bytes(frame[HEADER.size :])
        match chance.randrange(5):
            case 0:
                frame[:2] = b"HT"
            case 1:
                frame[2] = chance.randrange(1 << 8)
            case 2:
                frame[HEADER.size - 1] ^= 1
            case 3:
                frame[:] = seal(self._envelope()._replace(kind=chance.randrange(1 << 8)), body)
            case 4:
                frame[:] = seal(self._envelope()._replace(cluster_id=chance.randrange(1 << 64)), body)
        return [bytes(frame)]

    def _bad_body(self) -> list[bytes]:
        """In order outside, and no list of messages within."""
        chance = self._random
        body = chance.choice((
            b"", b"\xc1", chance.randbytes(200), msgpack.packb({"a": 1}), msgpack.packb(7), msgpack.packb([[1000, 1]]),
            msgpack.packb([[]]), msgpack.packb([None] * 100), b"\x91" * 2_000 + b"\x90", b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff", msgpack.packb([[0] * 3_000] * 10),
        ))  # fmt: skip
        return [seal(self._envelope(), body)]

    # --- nearly messages --------------------------------------------------------------------------------------------------

    def _cut(self) -> list[bytes]:
        frame = self._sealed(self._rows())
        return [frame[: self._random.randrange(len(frame))]]

    def _flipped(self) -> list[bytes]:
        """On the way: the checksum tells it."""
        return [_flip(self._sealed(self._rows()), self._random)]

    def _flipped_within(self) -> list[bytes]:
        """Before it was sealed: the checksum is right."""
        return [seal(self._envelope(), _flip(msgpack.packb(self._rows()), self._random))]

    def _message(self) -> list[bytes]:
        """In order, with its values at their edges."""
        return [self._sealed(self._rows())]

    def _spoiled(self) -> list[bytes]:
        """One field out of bounds, of another type, or missing; of messages that clients may not send at all, too."""
        kind = self._random.choice(_CODES if self._random.random() < 0.7 else _PEER_CODES)
        return [self._sealed([*self._rows(), self._draw.spoiled(self._row(kind))])]

    def _rows(self) -> list[list[object]]:
        kinds = sorted([*HARMLESS, Put], key=lambda kind: kind.__name__)
        return [self._row(self._random.choice(kinds)) for _ in range(self._random.choice((1, 1, 1, 3)))]

    def _row(self, kind: type[Message]) -> list[object]:
        key = b"garbage-%d" % self._random.randrange(_KEYS)
        return self._draw.message(kind, bucket=BUCKET, key=key, context=b"")

    def _sealed(self, rows: list[list[object]]) -> bytes:
        body = msgpack.packb(rows)
        return seal(self._envelope(), body if len(body) <= FRAME_BYTES_MAX else msgpack.packb(rows[:1])[:FRAME_BYTES_MAX])

    def _envelope(self) -> Envelope:
        chance = self._random
        sent_ms = chance.choice((0, 1, chance.randrange(1 << 40), (1 << 64) - 1))
        return Envelope(FROM_CLIENT, self._cluster_id, chance.choice((0, 1, (1 << 64) - 1)), 0, sent_ms)


def _flip(raw: bytes, random: Random) -> bytes:
    """One to three bits are others."""
    changed = bytearray(raw)
    for _ in range(random.randint(1, 3)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def garbage(scene: Scene) -> Steps:
    """Some clients that send nothing else, and read what they are told now and then."""
    random, there = scene.random, list(scene.endpoints.values())
    draw = Garbage(random, scene.cluster_id)
    loud: list[Speaker] = []
    try:
        while True:
            if len(loud) < _LOUD_MAX:
                loud.append(Speaker(scene.context, random.choice(there), scene.cluster_id))
                scene.tally[tally.LOUD] += 1
            for _ in range(random.randint(1, _AT_A_TIME)):
                scene.tally[tally.FRAMES] += random.choice(loud).throw(draw.parts())
            random.choice(loud).hear()
            if random.random() < _STAYS:
                loud.pop(random.randrange(len(loud))).close()
            yield _STEP_S * random.random() * 2
    finally:
        for speaker in loud:
            speaker.close()

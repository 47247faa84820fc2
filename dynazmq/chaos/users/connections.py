"""Connections: many clients that ask one thing and go, and raw connections that are held open, half open, or begin with noise.

A node lets in as many as it has descriptors for, keeps a reserve for its peers, and lets go of who does not end the handshake.
"""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress
from random import Random

from dynazmq.chaos.users import tally
from dynazmq.chaos.users.plan import BUCKET
from dynazmq.chaos.users.speaker import Speaker
from dynazmq.chaos.users.stage import Scene, Steps
from dynazmq.dynamo.messages import Get, Message, StatusRequest, TopologyRequest

HELD_MAX = 150
"""Raw connections at a time."""

_SHORT_LIVED = 4  # clients at a time
_ASKS_S, _PAUSE_S = 0.03, 0.05
_DIAL_S = 0.05

_GREETING = (b"\xff" + bytes(8) + b"\x7f\x03\x00NULL").ljust(64, b"\0")
_READY = b"\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
SILENT, HALF_GREETING, GREETED, NOISE, OTHER_PROTOCOL, GREETED_NOISE, ENDLESS_FRAME = (
    "silent", "half greeting", "greeted", "noise", "other protocol", "greeted noise", "endless frame",
)  # fmt: skip
MANNERS = (SILENT, HALF_GREETING, GREETED, NOISE, OTHER_PROTOCOL, GREETED_NOISE, ENDLESS_FRAME)


def opening(manner: str, random: Random) -> bytes:
    """What somebody of this manner says before he falls silent (ZMTP 3.0: greeting, READY, frames)."""
    match manner:
        case "half greeting":
            return _GREETING[: random.randrange(1, len(_GREETING))]
        case "greeted":
            return _GREETING
        case "noise":
            return random.randbytes(random.randrange(1, 4096))
        case "other protocol":
            return random.choice((b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"*1\r\n$4\r\nPING\r\n"))
        case "greeted noise":
            return _GREETING + random.randbytes(random.randrange(1, 512))
        case "endless frame":  # a long frame of 2^62 bytes begins
            return _GREETING + _READY + b"\x02" + (1 << 62).to_bytes(8, "big") + random.randbytes(100)
    return b""


def dial(endpoint: str) -> socket.socket:
    """A connection to what listens there, without ZeroMQ. Raises OSError."""
    scheme, _, address = endpoint.partition("://")
    if scheme == "tcp":
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), _DIAL_S)
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(_DIAL_S)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


def connections(scene: Scene) -> Steps:
    held: deque[socket.socket] = deque()
    try:
        while True:
            _hold(scene, held)
            while len(held) > HELD_MAX:
                held.popleft().close()
            yield from _short_lived(scene)
            yield _PAUSE_S * scene.random.random()
    finally:
        for connection in held:
            connection.close()


def _hold(scene: Scene, held: deque[socket.socket]) -> None:
    random, there = scene.random, list(scene.endpoints.values())
    for _ in range(random.randint(0, 4)):
        manner = random.choice(MANNERS)
        scene.tally[tally.CONNECTIONS] += 1
        scene.tally[tally.HELD if manner == SILENT else tally.BROKEN] += 1
        try:
            connection = dial(random.choice(there))
        except OSError:  # its queue is full, or nobody is there
            scene.tally[tally.NOT_LET_IN] += 1
            continue
        held.append(connection)
        with suppress(OSError):  # the node may have let go of it already
            connection.send(opening(manner, random))


def _short_lived(scene: Scene) -> Steps:
    """Ordinary ones. Half of them do not wait for their answer."""
    random, there = scene.random, list(scene.endpoints.values())
    speakers: list[Speaker] = []
    try:
        for _ in range(random.randint(1, _SHORT_LIVED)):
            speaker = Speaker(scene.context, random.choice(there), scene.cluster_id)
            speakers.append(speaker)
            scene.tally[tally.CONNECTIONS] += 1
            speaker.say([_question(random)])
        yield _ASKS_S * random.random()
        for speaker in speakers:
            if random.random() < 0.5:
                speaker.hear()
    finally:
        for speaker in speakers:
            speaker.close()


def _question(random: Random) -> Message:
    return random.choice(
        (StatusRequest(1), TopologyRequest(1), Get(1, BUCKET, b"burst-%d" % random.randrange(100), 0, 0, 0, 1_000))
    )

"""Slow readers: clients that ask for many large values at once, read few of the answers or none, and go away.

What a node holds for such a client is bounded, and neither the others' clients nor its peers wait for it. Here nothing piles up:
a socket takes in two answers, and what is behind them waits on the node's side.
"""

from __future__ import annotations

from dynazmq.chaos.users import tally
from dynazmq.chaos.users.plan import BUCKET
from dynazmq.chaos.users.speaker import Speaker
from dynazmq.chaos.users.stage import Scene, Steps
from dynazmq.dynamo.messages import Get, GetReply, Put

READERS_MAX = 4
"""At a time."""

GETS_MAX = 400
"""Of each of them."""

VALUES = tuple(b"large-%d" % i for i in range(4))
VALUE_BYTES = 256 << 10

_PUT_IDS = 1 << 32  # no other request of the same client has one of these
_QUEUED = 1
_BUDGET_MS = 10_000
_READS_S = 0.4
_COME_S = 0.1


def put_values(scene: Scene) -> list[Put]:
    """What there is to read. The last write wins: it is there once, however often it is put."""
    random = scene.random
    return [
        Put(_PUT_IDS + i, BUCKET, key, random.randbytes(VALUE_BYTES), b"", random.randbytes(16), 0, 0, 0, 0, 0, _BUDGET_MS)
        for i, key in enumerate(VALUES)
    ]


def slow_readers(scene: Scene) -> Steps:
    random, there = scene.random, list(scene.endpoints.values())
    readers: list[Speaker] = []
    asked = heard = 0
    try:
        for number in range(random.randint(1, READERS_MAX)):
            reader = Speaker(scene.context, random.choice(there), scene.cluster_id, _QUEUED)
            readers.append(reader)
            scene.tally[tally.READERS] += 1
            if number == 0:
                for put in put_values(scene):
                    reader.say([put])
                    yield _COME_S  # one at a time: its socket has no room for more
            gets = [Get(100 + i, BUCKET, random.choice(VALUES), 0, 0, 0, _BUDGET_MS) for i in range(random.randint(50, GETS_MAX))]
            if reader.say(gets):
                asked += len(gets)
            yield _COME_S
        slow = [reader for reader in readers if random.random() < 0.5]
        while True:
            for reader in slow:
                heard += sum(isinstance(message, GetReply) for message in reader.hear(1))
            yield _READS_S
    finally:
        scene.tally[tally.UNREAD] += asked - heard
        for reader in readers:
            reader.close()

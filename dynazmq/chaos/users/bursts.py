"""Overload: far more requests at a time than a node takes, in as few frames as possible, by a client that waits for none of them.

    puts    thousands of small ones
    gets    hundreds in one frame, of small values or of large ones
    scans   hundreds in one frame, of whole pages

A node does what it can, answers the others `Overloaded` at once or gives them up by age, and serves its other clients meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from dynazmq.chaos.users import tally
from dynazmq.chaos.users.plan import BUCKET
from dynazmq.chaos.users.readers import VALUES, put_values
from dynazmq.chaos.users.speaker import Speaker
from dynazmq.chaos.users.stage import Scene, Steps
from dynazmq.dynamo.messages import (
    Failure,
    Get,
    GetReply,
    Message,
    Put,
    PutReply,
    Scan,
    ScanReply,
    Topology,
    TopologyRequest,
)
from dynazmq.dynamo.messages.client import OVERLOADED, TIMEOUT
from dynazmq.dynamo.values.ring import Ring

PUTS, GETS, LARGE_GETS, SCANS = "puts", "gets", "large gets", "scans"
SHAPES = {PUTS: (2_000, 8_000), GETS: (500, 3_000), LARGE_GETS: (100, 400), SCANS: (50, 300)}
"""Shape → how many requests at least and at most."""

_WEIGHTS = {PUTS: 4, GETS: 2, LARGE_GETS: 2, SCANS: 2}
_KEYS = 1_000
_BUDGET_MS = 3_000
_PAGE = 2_000
_COME_S, _LOOK_S = 0.15, 0.02
_REPLIES = (GetReply, PutReply, ScanReply)


def burst(shape: str, count: int, held: list[int], random: Random) -> list[Message]:
    """So many requests of one shape, numbered from 1. held: partitions that the node holds, of which alone it tells the keys."""
    numbers = range(1, count + 1)
    match shape:
        case "puts":
            return [
                Put(i, BUCKET, _key(random), random.randbytes(100), b"", random.randbytes(16), 0, 0, 0, 0, 0, _BUDGET_MS)
                for i in numbers
            ]
        case "scans":
            return [Scan(i, BUCKET, held, -1, b"", _PAGE, _BUDGET_MS) for i in numbers]
    large = shape == LARGE_GETS
    return [Get(i, BUCKET, random.choice(VALUES) if large else _key(random), 0, 0, 0, _BUDGET_MS) for i in numbers]


def outcome(message: Message, count: int) -> str:
    """The figure to which an answer to one of so many requests belongs; "" for what is none."""
    if not isinstance(message, (*_REPLIES, Failure)) or not 1 <= message.request_id <= count:
        return ""
    if not isinstance(message, Failure):
        return tally.DONE
    return {OVERLOADED: tally.OVERLOADED, TIMEOUT: tally.LATE}.get(message.code, tally.REFUSED)


def bursts(scene: Scene) -> Steps:
    """One burst: what is not answered when the spell is over counts as that."""
    random = scene.random
    shape = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    with Speaker(scene.context, random.choice(list(scene.endpoints.values())), scene.cluster_id) as speaker:
        speaker.say([TopologyRequest(0), *(put_values(scene) if shape == LARGE_GETS else ())])
        yield _COME_S  # until it is connected: what waits in a socket is no burst
        held = [partition for message in speaker.hear() for partition in partitions_held(message)]
        yield from _throw(speaker, burst(shape, random.randint(*SHAPES[shape]), held, random), scene.tally)


def partitions_held(message: Message) -> list[int]:
    """By the node that tells of the cluster; none if the message does not."""
    if not isinstance(message, Topology):
        return []
    try:
        ring = Ring.from_wire(message.ring)
    except (ValueError, TypeError):
        return []
    return [partition for partition in range(ring.partitions) if message.name in ring.holders(partition, message.n)]


def _throw(speaker: Speaker, requests: Sequence[Message], counted: Counter[str]) -> Steps:
    """All at once, and look what comes of them."""
    if not speaker.say(requests):
        return
    counted[tally.BURSTS] += 1
    counted[tally.REQUESTS] += len(requests)
    left = len(requests)
    try:
        while left > 0:
            yield _LOOK_S
            for message in speaker.hear():
                if found := outcome(message, len(requests)):
                    counted[found] += 1
                    left -= 1
    finally:
        counted[tally.UNANSWERED] += left


def _key(random: Random) -> bytes:
    return b"burst-%d" % random.randrange(_KEYS)

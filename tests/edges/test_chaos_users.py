"""The abuse by users of `verify --chaos --users`: what each kind sends, that it is bounded, that it stops. No cluster runs."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

import psutil
import pytest
import zmq
from patience import PATIENCE_S

from dynazmq.chaos.record import Record, hashed
from dynazmq.chaos.users import tally
from dynazmq.chaos.users.beside import Beside
from dynazmq.chaos.users.bursts import GETS, LARGE_GETS, PUTS, SCANS, SHAPES, burst, bursts
from dynazmq.chaos.users.connections import HELD_MAX, MANNERS, SILENT, connections, opening
from dynazmq.chaos.users.garbage import FRAME_BYTES_MAX, HUGE_BYTES, Garbage, garbage, is_harmless
from dynazmq.chaos.users.large import counted
from dynazmq.chaos.users.plan import BUCKET, KINDS, LARGE_BUCKET, Spell, spells
from dynazmq.chaos.users.readers import GETS_MAX, READERS_MAX, VALUE_BYTES, VALUES, slow_readers
from dynazmq.chaos.users.stage import CORE_SHARE, Scene, Steps, lasting, play, row
from dynazmq.client.core.requests import Options, put_request
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import (
    ChangeMembers,
    Failure,
    Get,
    GetReply,
    Message,
    Put,
    PutReply,
    Scan,
    ScanReply,
    SetAntiEntropy,
    SetBucket,
    Topology,
    TopologyRequest,
    Write,
)
from dynazmq.dynamo.messages.client import OVERLOADED, TIMEOUT, UNAVAILABLE
from dynazmq.dynamo.values.ring import Ring
from dynazmq.paths import ClusterFile
from dynazmq.simulator.cluster.history import History
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, BadFrame, Envelope, decode_body, encode, open_frame

CLUSTER = 7
Context = zmq.Context[zmq.Socket[bytes]]
RING = Ring(1, tuple("abc"[i % 3] for i in range(9)))
MEMBERS = [[name, f"ipc://{name}", 1, "up"] for name in "abc"]
TOPOLOGY = Topology(0, "t", CLUSTER, "a", RING.to_wire(), MEMBERS, [], 2, 2, 2, 1 << 20)


# --- the plan -------------------------------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_spells_each_time_and_another_seed_others() -> None:
    first, second, other = ([list(islice(spells(seed, kind, 180.0), 20)) for kind in KINDS] for seed in (1, 1, 2))
    assert first == second != other


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_begins_soon_and_is_on_many_times_in_a_run_of_any_length(kind: str) -> None:
    for seconds in (4.0, 60.0, 1800.0):
        first, *_ = drawn = list(islice(spells(3, kind, seconds), 50))
        assert 0 < first.gap_s < seconds / 2
        assert all(spell.lasting_s <= 10.0 for spell in drawn)
        assert len({spell.seed for spell in drawn}) == 50
    assert sum(spell.gap_s + spell.lasting_s for spell in drawn[:20]) < 240.0


# --- the stage ------------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes when somebody sleeps, or works."""

    def __init__(self) -> None:
        self.time = self.used = 0.0

    def now(self) -> float:
        return self.time

    def cpu(self) -> float:
        return self.used

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def work(self, seconds: float) -> None:
        self.time += seconds
        self.used += seconds


def endless(clock: Clock, did: list[str], work_s: float = 0.001) -> Steps:
    try:
        while True:
            clock.work(work_s)
            did.append("step")
            yield 0.01
    finally:
        did.append("closed")


def nowhere(_: Spell) -> Scene:
    return Scene(CLUSTER, {}, zmq.Context.instance(), Random(1), Counter())


def test_a_spell_ends_when_its_time_is_over_and_lets_go_of_what_it_holds() -> None:
    clock, did = Clock(), list[str]()
    for wait_s in lasting(endless(clock, did), 1.0, clock):
        clock.sleep(wait_s)
    assert did[-1] == "closed"
    assert clock.time == pytest.approx(1.0, abs=0.02)


def test_a_row_plays_one_spell_after_the_other_and_tells_when_each_begins_and_ends() -> None:
    clock, did, told = Clock(), list[str](), list[tuple[str, bool]]()
    plan = iter([Spell("x", 0.5, 1.0, "1"), Spell("x", 0.5, 1.0, "2")])
    steps = row(lambda _: endless(clock, did), plan, nowhere, clock, lambda kind, on: told.append((kind, on)))
    play([steps], lambda: False, clock, lambda: None)
    assert told == [("x", True), ("x", False)] * 2
    assert did.count("closed") == 2
    assert clock.time == pytest.approx(3.0, abs=0.1)


def test_whoever_plays_when_it_is_over_is_ended_at_once() -> None:
    clock, did = Clock(), list[str]()
    play([endless(clock, did), endless(clock, did)], lambda: clock.time >= 2.0, clock, lambda: None)
    assert did.count("closed") == 2
    assert clock.time < 2.3


def test_all_of_it_together_takes_no_more_than_its_share_of_a_core() -> None:
    clock, did = Clock(), list[str]()
    play([endless(clock, did, 0.05) for _ in range(5)], lambda: clock.time >= 60.0, clock, lambda: None)
    assert clock.used / clock.time == pytest.approx(CORE_SHARE, abs=0.03)


# --- a node that is none --------------------------------------------------------------------------------------------------


class Answering:
    """A ROUTER that answers each message as it is told to, and counts what it has heard. In a thread."""

    def __init__(self, path: Path, answer: Callable[[Message], Message | None]) -> None:
        self.endpoint = f"ipc://{path}"
        self.heard: list[Message] = []
        self.frames: list[list[bytes]] = []
        self._answer = answer
        self._context: Context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(self.endpoint)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._end.is_set():
            if not self._socket.poll(10):
                continue
            identity, *parts = self._socket.recv_multipart()
            self.frames.append(parts)
            try:
                messages = decode_body(open_frame(parts[0])[1])
            except BadFrame:
                continue
            self.heard += messages
            replies = [reply for message in messages if (reply := self._answer(message)) is not None]
            for frame in encode(Envelope(FROM_NODE, CLUSTER, 1, 0, 0), replies):
                self._socket.send_multipart([identity, frame], zmq.NOBLOCK)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._context.destroy(linger=0)


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[..., Answering]]:
    made: list[Answering] = []

    def make(answer: Callable[[Message], Message | None]) -> Answering:
        made.append(Answering(tmp_path / f"r{len(made)}", answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(linger=0)


def scene(context: Context, endpoint: str, seed: str = "1") -> Scene:
    return Scene(CLUSTER, {"a": endpoint}, context, Random(seed), Counter())


def play_until(steps: Steps, enough: Callable[[], bool], steps_max: int = 2_000) -> None:
    """Step by step, in a tenth of the time that each of them asks for."""
    waiting = threading.Event()
    for wait_s in islice(steps, steps_max):
        if enough():
            break
        waiting.wait(min(wait_s, 0.02))
    else:
        assert enough(), "it never came so far"
    steps.close()


def hold_all(message: Message) -> Message | None:
    """Says what a node says that has all that is asked for."""
    match message:
        case Get():
            return GetReply(message.request_id, [bytes(10_000)], [["a", 1, 0]], b"", ["a"])
        case Put():
            return PutReply(message.request_id, b"", ["a"], [])
        case TopologyRequest():
            return TOPOLOGY
        case Scan():
            return ScanReply(message.request_id, [], False, -1, b"")
    return None


# --- slow readers ---------------------------------------------------------------------------------------------------------


def test_slow_readers_ask_for_many_large_values_and_go_away_without_most_of_them(
    answering: Callable[..., Answering], context: Context
) -> None:
    node = answering(hold_all)
    play_in = scene(context, node.endpoint, "several")
    play_until(slow_readers(play_in), lambda: sum(isinstance(each, Get) for each in node.heard) > 100)
    puts = [each for each in node.heard if isinstance(each, Put)]
    assert {(put.bucket, put.key, len(put.value or b"")) for put in puts} <= {(BUCKET, key, VALUE_BYTES) for key in VALUES}
    gets = [each for each in node.heard if isinstance(each, Get)]
    assert {get.key for get in gets} == set(VALUES)
    assert 1 <= play_in.tally[tally.READERS] <= READERS_MAX
    assert len(gets) / 2 <= play_in.tally[tally.UNREAD] <= READERS_MAX * GETS_MAX


def test_slow_readers_beside_a_node_that_is_away_hold_nothing_and_end(context: Context, tmp_path: Path) -> None:
    play_in = scene(context, f"ipc://{tmp_path}/nobody")
    for _ in islice(steps := slow_readers(play_in), 20):
        pass
    steps.close()
    assert play_in.tally[tally.READERS] <= READERS_MAX


# --- connections ----------------------------------------------------------------------------------------------------------


def test_raw_connections_begin_in_many_manners_and_never_end_a_handshake_with_a_message() -> None:
    said = {manner: opening(manner, Random(1)) for manner in MANNERS}
    assert said[SILENT] == b""
    assert all(len(each) > 0 for manner, each in said.items() if manner != SILENT)
    assert len(set(said.values())) == len(MANNERS)
    assert max(map(len, said.values())) < 5_000


def test_connections_are_held_up_to_a_limit_and_all_of_them_are_let_go_in_the_end(context: Context, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "l"))
    listener.listen(2_000)
    listener.setblocking(False)
    before = psutil.Process().num_fds()
    play_in = scene(context, f"ipc://{tmp_path}/l")
    most = 0
    steps = connections(play_in)
    for _ in islice(steps, 400):
        most = max(most, psutil.Process().num_fds() - before)
    steps.close()
    listener.close()
    assert play_in.tally[tally.CONNECTIONS] > 2 * HELD_MAX
    assert play_in.tally[tally.HELD] > 10
    assert play_in.tally[tally.BROKEN] > 100
    assert HELD_MAX <= most < 3 * HELD_MAX, "what was let go is closed by ZeroMQ's own thread, in its time"
    context.destroy(linger=0)
    assert psutil.Process().num_fds() <= before


def test_connections_that_nobody_takes_are_counted_and_are_no_end(context: Context, tmp_path: Path) -> None:
    play_in = scene(context, f"ipc://{tmp_path}/nobody")
    play_until(connections(play_in), lambda: play_in.tally[tally.NOT_LET_IN] > 5)
    assert play_in.tally[tally.NOT_LET_IN] == play_in.tally[tally.HELD] + play_in.tally[tally.BROKEN]


# --- garbage --------------------------------------------------------------------------------------------------------------


def drawn_frames(count: int) -> list[list[bytes]]:
    draw = Garbage(Random(1), CLUSTER)
    return [draw.parts() for _ in range(count)]


def test_garbage_is_noise_and_messages_that_are_nearly_in_order_and_some_that_are() -> None:
    seen = Counter[str]()
    for parts in drawn_frames(3_000):
        refused: list[BadFrame] = []
        try:
            messages = decode_body(open_frame(parts[0])[1], refused)  # type: ignore[arg-type]
        except BadFrame as error:
            seen[error.reason] += 1
        else:
            seen["out of bounds" if refused else "in order"] += 1
            seen.update(type(message).__name__ for message in messages)
    assert seen["in order"] > 300
    assert seen["out of bounds"] > 100
    reasons = {"too short", "not dynazmq", "checksum", "protocol version", "unknown kind", "not msgpack", "wrong type"}
    assert reasons <= seen.keys()
    assert {"Get", "Put", "Scan", "StatusRequest", "TreeAsk", "LookAsk"} <= seen.keys()


def test_no_garbage_can_be_taken_for_a_decision_or_for_a_write_elsewhere() -> None:
    frames = [part for parts in drawn_frames(3_000) for part in parts]
    assert all(map(is_harmless, frames))
    assert all(len(frame) <= FRAME_BYTES_MAX + 100 or len(frame) == HUGE_BYTES for frame in frames)


@pytest.mark.parametrize(
    "message",
    [
        ChangeMembers(1, b"", []), SetBucket(1, "carts", 1, 1, 1), SetAntiEntropy(1, False),
        Put(1, "carts", b"k", b"v", b"", b"i" * 16, 0, 0, 0, 0, 0, 1), Write(1, BUCKET, b"k", b"", "", 1),
    ],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_what_a_node_would_follow_is_not_sent_as_garbage(message: Message) -> None:
    harmless = Put(1, BUCKET, b"k", b"v", b"", b"i" * 16, 0, 0, 0, 0, 0, 1)
    envelope = Envelope(FROM_CLIENT, CLUSTER, 1, 0, 0)
    assert all(map(is_harmless, encode(envelope, [harmless])))
    assert not any(map(is_harmless, encode(envelope, [harmless, message])))


def test_garbage_comes_from_a_few_clients_that_are_replaced_now_and_then(
    answering: Callable[..., Answering], context: Context
) -> None:
    node = answering(lambda _: None)
    play_in = scene(context, node.endpoint)
    play_until(garbage(play_in), lambda: len(node.frames) > 300)
    assert play_in.tally[tally.FRAMES] >= 300
    assert 3 <= play_in.tally[tally.LOUD] < 60


# --- bursts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_burst_fits_into_few_frames_and_writes_to_a_bounded_number_of_keys(shape: str) -> None:
    requests = burst(shape, SHAPES[shape][1], [1, 2], Random(1))
    assert len(requests) == SHAPES[shape][1]
    frames = list(encode(Envelope(FROM_CLIENT, CLUSTER, 1, 0, 0), requests))
    assert len(frames) <= 8
    if shape == PUTS:
        assert len({put.key for put in requests if isinstance(put, Put)}) <= 1_000
    kinds = {PUTS: Put, GETS: Get, LARGE_GETS: Get, SCANS: Scan}
    assert {type(request) for request in requests} == {kinds[shape]}


def some_of_each(message: Message) -> Message | None:
    """Of five requests one is done, one fails in each of three ways, and one is given up."""
    if isinstance(message, TopologyRequest):
        return TOPOLOGY
    number = message.request_id  # type: ignore[attr-defined]
    codes = {1: OVERLOADED, 2: TIMEOUT, 3: UNAVAILABLE}
    if code := codes.get(number % 5):
        return Failure(number, code, 0, 0, 0, "")
    return hold_all(message) if number % 5 else None


def test_each_request_of_a_burst_is_counted_once_by_what_came_of_it(
    answering: Callable[..., Answering], context: Context
) -> None:
    node = answering(some_of_each)
    play_in = scene(context, node.endpoint)
    counts = play_in.tally
    ends = (tally.DONE, tally.OVERLOADED, tally.LATE, tally.REFUSED)
    # A fifth is never answered: what is left then counts as that when the burst is cut off.
    play_until(bursts(play_in), lambda: sum(counts[end] for end in ends) >= counts[tally.REQUESTS] // 5 * 4 > 0)
    assert counts[tally.BURSTS] == 1
    parts = [counts[end] for end in (*ends, tally.UNANSWERED)]
    assert sum(parts) == counts[tally.REQUESTS]
    assert max(parts) - min(parts) < 10


def test_a_burst_is_over_by_itself_when_all_of_it_is_answered(answering: Callable[..., Answering], context: Context) -> None:
    node = answering(hold_all)
    play_in = scene(context, node.endpoint)
    waiting = threading.Event()
    for wait_s in islice(bursts(play_in), 500):
        waiting.wait(wait_s)
    assert play_in.tally[tally.DONE] == play_in.tally[tally.REQUESTS] > 0
    assert play_in.tally[tally.UNANSWERED] == 0


def test_nothing_is_thrown_at_a_node_that_is_away(context: Context, tmp_path: Path) -> None:
    play_in = scene(context, f"ipc://{tmp_path}/nobody")
    steps = bursts(play_in)
    for _ in islice(steps, 20):
        pass
    steps.close()
    assert play_in.tally[tally.UNANSWERED] == play_in.tally[tally.REQUESTS]


# --- large values ---------------------------------------------------------------------------------------------------------


def test_of_large_values_the_record_keeps_who_wrote_them_and_their_hash() -> None:
    record = Record(History(b"s" * 32, sees_commits=False), frozenset([LARGE_BUCKET]))
    view = View.of(TOPOLOGY)
    values = [b"large1-%d " % i + bytes(1_000_000) for i in range(3)]
    requests = [put_request(Options(bucket=LARGE_BUCKET), view, "k", value, None) for value in values]
    for request, reply in zip(requests, (PutReply(1, b"", ["a", "b"], []), None, None), strict=True):
        request.reply = reply
    record.end(record.begin("c", requests, view))
    kept = [op.value for op in record.history.ops]
    assert kept == [hashed(value) for value in values]
    assert len(set(kept)) == 3
    assert all(each is not None and each.startswith(b"large1-") and len(each) < 100 for each in kept)
    assert counted(record.history) == Counter({tally.LARGE_PUTS: 3, tally.LARGE_UNKNOWN: 2, tally.LARGE_REFUSED: 0})


# --- the tally ------------------------------------------------------------------------------------------------------------


def test_the_tally_says_in_words_what_was_tried() -> None:
    counts = Counter({
        tally.FRAMES: 12_400, tally.READERS: 14, tally.UNREAD: 6_200, tally.CONNECTIONS: 3_100, tally.HELD: 40, tally.BROKEN: 300,
        tally.LARGE_PUTS: 410, tally.BURSTS: 9, tally.REQUESTS: 52_000, tally.DONE: 48_100, tally.OVERLOADED: 3_900,
    })  # fmt: skip
    assert tally.in_words(counts) == (
        "garbage frames 12,400, slow readers 14 (6,200 replies not read), "
        "connections 3,100 (40 held open, 300 broken handshakes), large puts 410, "
        "bursts 9 (52,000 requests: 48,100 ok, 3,900 overloaded)"
    )


# --- its process ----------------------------------------------------------------------------------------------------------


def a_cluster_that_is_away(directory: Path) -> Path:
    members = {name: f"ipc://{directory}/{name}" for name in "abc"}
    ClusterFile(name="c", cluster_id=CLUSTER, secret=b"s" * 32, members=members, home=str(directory)).save(directory)
    return directory


def await_that(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def test_its_process_tells_what_it_tries_and_is_gone_when_it_is_stopped(tmp_path: Path) -> None:
    noted: list[str] = []
    beside = Beside(a_cluster_that_is_away(tmp_path), 1, 60.0, noted.append)
    beside.start()
    try:
        await_that(lambda: beside.tally[tally.FRAMES] > 10 and beside.tally[tally.READERS], "it tries something")
        (process,) = [each for each in psutil.Process().children() if "dynazmq.chaos.users" in each.cmdline()]
        assert process.nice() >= 10
    finally:
        beside.stop()
    assert beside.failure == ""
    assert not process.is_running()
    assert "users: garbage" in noted
    assert noted.count("users: garbage") == noted.count("over: users: garbage")


def test_its_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    a_cluster_that_is_away(tmp_path)
    readable, writable = os.pipe()
    process = psutil.Popen(
        Beside(tmp_path, 1, 60.0, print)._command, stdin=readable, stdout=-3, stderr=-3, start_new_session=True
    )
    os.close(readable)
    await_that(lambda: process.num_threads() > 1, "it has begun")
    os.close(writable)  # as when its parent is killed
    assert process.wait(PATIENCE_S) == 0


def test_a_process_that_ends_by_a_mistake_says_why(tmp_path: Path) -> None:
    beside = Beside(tmp_path / "no cluster", 1, 60.0, print)
    beside.start()
    try:
        await_that(lambda: beside.failure, "it ends")
    finally:
        beside.stop()
    assert "NoSuchCluster" in beside.failure

"""A node as a process, at its port: what is no frame of ours is counted and dropped, the node goes on (W1-W9)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from client_nodes import Nodes, eventually

import dynazmq
from dynazmq.config import FRAME_BYTES_MAX
from dynazmq.dynamo.messages import (
    OTHER_CLUSTER,
    Failure,
    GossipDelta,
    Put,
    PutReply,
    Scan,
    StatusReply,
    StatusRequest,
    Topology,
    TopologyRequest,
    Write,
)
from dynazmq.logs import Log
from dynazmq.paths import config_path, node_log
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, Envelope, decode_body, encode, open_frame, seal

CLUSTER = 0x5E17


@pytest.fixture(scope="module")
def node() -> Iterator[Nodes]:
    nodes = Nodes("n1", cluster_id=CLUSTER)
    try:
        nodes.start()
        assert serves(nodes)
        yield nodes
    finally:
        nodes.close()


class Port:
    """One raw DEALER at a node's endpoint."""

    def __init__(self, endpoint: str, identity: bytes = b"") -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if identity:
            self.socket.identity = identity
        self.socket.connect(endpoint)

    def send(self, *parts: bytes) -> None:
        self.socket.send_multipart(parts)

    def ask(self, message: Any, cluster_id: int = CLUSTER, kind: int = FROM_CLIENT, wait_ms: int = 5_000) -> Any:
        """The first message that comes back, or None."""
        sent_ms = int(time.monotonic() * 1000)
        for frame in encode(Envelope(kind, cluster_id, 0, 0, sent_ms), [message]):
            self.socket.send(frame)
        if not self.socket.poll(wait_ms):
            return None
        return decode_body(open_frame(self.socket.recv())[1])[0]

    def counters(self) -> dict[str, int]:
        reply = self.ask(StatusRequest(99))
        assert isinstance(reply, StatusReply)
        counted: dict[str, int] = json.loads(reply.status)["counters"]
        return counted

    def __enter__(self) -> Port:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()


@contextmanager
def connected(nodes: Nodes, timeout: float = 5.0) -> Iterator[dynazmq.Bucket]:
    """The one node is all replicas that there are."""
    with dynazmq.connect(nodes.dir, timeout=timeout) as client:
        yield client.with_options(n=1, r=1, w=1)


def serves(nodes: Nodes) -> bool:
    with connected(nodes) as bucket:
        value = os.urandom(8)
        bucket.put("still", value, bucket.get("still").context)
        return bool(bucket.get("still").values == [value])


def put(cluster_id: int = CLUSTER) -> bytes:
    message = Put(7, "default", b"foreign", b"value", b"", bytes(16), 0, 0, 0, 1, 0, 2_000)
    return next(encode(Envelope(FROM_CLIENT, cluster_id, 0, 0, 0), [message]))


def nested(depth: int) -> bytes:
    return seal(Envelope(FROM_CLIENT, CLUSTER, 0, 0, 0), b"\x91" * depth + b"\xc0")


def bad_frames() -> dict[str, list[bytes]]:
    whole, noise = put(), random.Random(7)
    flipped = bytearray(whole)
    flipped[-9] ^= 0x10
    return {
        "random bytes": [noise.randbytes(n) for n in (1, 40, 41, 1_000, 100_000)],
        "nothing at all": [b""],
        "a frame cut short": [whole[:n] for n in (2, 39, 40, 60, len(whole) - 1)],
        "one flipped bit": [bytes(flipped)],
        "msgpack cut short, under a good checksum": [seal(Envelope(FROM_CLIENT, CLUSTER, 0, 0, 0), b"\x93\x01\xc4")],
        "a million nested arrays": [nested(1_000_000)],
        "a million empty arrays": [seal(Envelope(FROM_CLIENT, CLUSTER, 0, 0, 0), b"\xdd\x00\x0f\x42\x40" + b"\x90" * 1_000_000)],
        "maps and extension types": [
            seal(Envelope(FROM_CLIENT, CLUSTER, 0, 0, 0), msgpack.packb(body))
            for body in ([{"a": 1}], [[2, msgpack.ExtType(5, b"x")]], {"a": {}})
        ],
        "an unknown message": [seal(Envelope(FROM_CLIENT, CLUSTER, 0, 0, 0), msgpack.packb([[255, 1]]))],
        "fields of the wrong type": [seal(Envelope(FROM_CLIENT, CLUSTER, 0, 0, 0), msgpack.packb([[2, "x", 5]]))],
        "a client that says it is a node": [next(encode(Envelope(FROM_NODE, CLUSTER, 1, 1, 0), [GossipDelta([], [], [], [])]))],
    }


@pytest.mark.parametrize("what", bad_frames())
def test_w1_what_is_no_frame_of_ours_is_counted_and_dropped_and_the_node_goes_on_serving(node: Nodes, what: str) -> None:
    frames = bad_frames()[what]
    with Port(node.endpoints["n1"]) as port:
        before = port.counters()
        for frame in frames:
            port.send(frame)
        after = port.counters()  # on the same connection, so it is answered behind all of them
    assert after["frames_refused"] - before.get("frames_refused", 0) == len(frames)
    assert serves(node)
    with connected(node) as client:
        assert not client.get("foreign").found


def test_a_client_that_means_another_cluster_is_told_that_this_is_not_it(node: Nodes) -> None:
    """It waited for an answer for ever where another cluster had been made in its own one's place."""
    with Port(node.endpoints["n1"]) as port:
        before = port.counters()
        message = Put(7, "default", b"foreign", b"value", b"", bytes(16), 0, 0, 0, 1, 0, 2_000)
        for asked in (message, StatusRequest(7), TopologyRequest(7)):
            answer = port.ask(asked, cluster_id=CLUSTER + 1)
            assert isinstance(answer, Failure)
            assert (answer.request_id, answer.code) == (7, OTHER_CLUSTER)
        assert port.counters()["frames_refused"] - before.get("frames_refused", 0) == 3
    with connected(node) as client:
        assert not client.get("foreign").found


def test_a_message_of_several_parts_is_dropped(node: Nodes) -> None:
    with Port(node.endpoints["n1"]) as port:
        before = port.counters().get("frames_refused", 0)
        port.send(b"one", b"two", b"three")
        assert port.counters()["frames_refused"] == before + 1
    assert serves(node)


def test_a_frame_over_the_limit_of_the_socket_ends_that_connection_alone(node: Nodes) -> None:
    with Port(node.endpoints["n1"]) as port, Port(node.endpoints["n1"]) as other:
        assert isinstance(other.ask(TopologyRequest(1)), Topology)
        port.send(bytes(FRAME_BYTES_MAX + 1))
        assert isinstance(other.ask(TopologyRequest(2)), Topology)
    assert serves(node)


def test_a_stranger_may_ask_where_everything_is_and_nothing_else(node: Nodes) -> None:
    with Port(node.endpoints["n1"]) as port:
        assert isinstance(port.ask(TopologyRequest(5), cluster_id=0), Topology)
        assert isinstance(port.ask(StatusRequest(5), cluster_id=0), StatusReply)
        write = Put(7, "default", b"foreign", b"value", b"", bytes(16), 0, 0, 0, 1, 0, 2_000)
        assert port.ask(write, cluster_id=0, wait_ms=200) is None
        assert isinstance(port.ask(write), PutReply)
    with connected(node) as client:
        client.delete("foreign")


def test_a_client_cannot_speak_as_a_replica(node: Nodes) -> None:
    with Port(node.endpoints["n1"]) as port:
        before = port.counters().get("messages_refused", 0)
        assert port.ask(Write(3, "default", b"k", b"state", "", 1_000), wait_ms=200) is None
        assert port.counters()["messages_refused"] == before + 1


def test_what_goes_wrong_a_thousand_times_is_one_line_of_the_log(node: Nodes) -> None:
    with Port(node.endpoints["n1"]) as port:
        before = node_log(node.dir, "n1").read_text().count("too short")
        for _ in range(1_000):
            port.send(b"short")
        port.counters()
    assert node_log(node.dir, "n1").read_text().count("too short") - before <= 2


def test_a_client_that_never_reads_its_answers_does_not_stop_the_node(node: Nodes) -> None:
    deaf = Port(node.endpoints["n1"])
    deaf.socket.rcvhwm = 1
    frames = list(encode(Envelope(FROM_CLIENT, CLUSTER, 0, 0, 0), [StatusRequest(i) for i in range(3_000)]))
    try:
        for frame in frames * 3:
            deaf.send(frame)
        assert serves(node)
    finally:
        deaf.__exit__()


# --- its life as a process ------------------------------------------------------------------------------------------------


def run(nodes: Nodes, *, wait_s: float = 10.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "dynazmq.server", str(config_path(nodes.dir, "n1"))]
    return subprocess.run(command, capture_output=True, text=True, timeout=wait_s)


def test_one_frame_of_many_scans_does_not_keep_the_node_from_answering_others(node: Nodes) -> None:
    """What others are told does not come behind all of it: the greedy one has not had all its answers by then."""
    with connected(node) as client:
        client.put_many({f"scanned-{i}": b"v" for i in range(2_000)}).raise_for_errors()
    count = 1_000
    with Port(node.endpoints["n1"]) as greedy, Port(node.endpoints["n1"]) as modest:
        assert isinstance(modest.ask(TopologyRequest(1), cluster_id=0), Topology)
        sent_ms = int(time.monotonic() * 1000)
        partitions = list(range(120))
        scans = [Scan(n + 1, "default", partitions, -1, b"", 2_000, 60_000) for n in range(count)]
        (frame,) = encode(Envelope(FROM_CLIENT, CLUSTER, 0, 0, sent_ms), scans)
        greedy.socket.rcvhwm = 0
        greedy.send(frame)
        assert greedy.socket.poll(10_000), "it has begun"
        answered = len(decode_body(open_frame(greedy.socket.recv())[1]))
        assert isinstance(modest.ask(StatusRequest(2)), StatusReply)
        while greedy.socket.poll(0):
            answered += len(decode_body(open_frame(greedy.socket.recv())[1]))
        assert answered < count
        while answered < count:
            assert greedy.socket.poll(20_000)
            answered += len(decode_body(open_frame(greedy.socket.recv())[1]))
        assert json.loads(modest.ask(StatusRequest(3)).status)["turns"]["longest_ms"] > 0
        nothing = {"senders": 0, "bytes": 0}
        eventually(lambda: json.loads(modest.ask(StatusRequest(4)).status)["waiting"] == nothing, "nothing waits any more")


def test_p10_a_second_process_on_a_data_directory_is_refused(node: Nodes) -> None:
    done = run(node)
    assert done.returncode == 1
    assert "another process serves" in done.stderr
    assert "Traceback" not in done.stderr
    assert serves(node)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"endpoint": "tcp://0.0.0.0:7000"}, "not on loopback"),
        ({"endpoint": "ipc:///" + "x" * 200}, "cannot listen on"),
        ({"data_dir": "/proc/nowhere"}, "cannot use"),
        ({"secret": "zz"}, "cannot read"),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_line_and_exits(change: dict[str, Any], says: str) -> None:
    nodes = Nodes("n1")
    try:
        path = config_path(nodes.dir, "n1")
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        done = run(nodes)
        assert done.returncode == 1
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        nodes.close()


def test_p7_a_second_signal_ends_a_node_at_once_and_loses_nothing_that_was_acknowledged() -> None:
    """It wakes to both signals at a time, so the second comes when it has only begun to end."""
    nodes = Nodes("n1")
    try:
        nodes.start()
        with connected(nodes) as client:
            client.put("k", b"v")
        process = nodes.processes["n1"]
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            process.send_signal(number)
        assert process.wait(timeout=10) == 1, "not in good order, which is 0"
        nodes.start()
        with connected(nodes) as client:
            assert eventually(lambda: _all(client, ["k"]), "the node serves again").ok["k"].values == [b"v"]
    finally:
        nodes.close()


def test_a_term_signal_finishes_what_is_under_way_and_loses_nothing() -> None:
    nodes = Nodes("n1")
    try:
        nodes.start()
        acknowledged: list[str] = []
        failed = threading.Event()
        with connected(nodes) as client:

            def write() -> None:
                for number in range(1_000_000):
                    try:
                        client.put(f"k{number}", b"v", timeout=0.5)
                    except dynazmq.DynazmqError:
                        failed.set()
                        return
                    acknowledged.append(f"k{number}")

            writer = threading.Thread(target=write)
            writer.start()
            eventually(lambda: len(acknowledged) > 50, "writes")
            process = nodes.processes["n1"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
            writer.join(timeout=10)
            assert failed.is_set()
        nodes.start()
        with connected(nodes) as client:
            found = eventually(lambda: _all(client, acknowledged), "the node serves again")
            assert all(result.found for result in found.ok.values())
    finally:
        nodes.close()


def _all(client: dynazmq.Bucket, keys: list[str]) -> Any:
    batch = client.get_many(keys)
    return batch if not batch.failed else None


def test_a_config_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "dynazmq.server"]
    done = subprocess.run([*command, str(tmp_path / "none.json")], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert subprocess.run(command, capture_output=True, timeout=10).returncode == 2


def test_what_differs_in_what_somebody_has_sent_is_one_fact_in_the_log(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("dynazmq.logs.time.monotonic", lambda: now)
    log = Log()
    for size in range(1_000):
        log.rarely("WARN", "wire", f"dropped a frame of {size} bytes", about="frames of clients: checksum")
    log.rarely("WARN", "wire", "dropped a frame of 7 bytes", about="frames of clients: too short")
    now += 3600.0
    log.rarely("WARN", "wire", "dropped a frame of 5 bytes", about="frames of clients: checksum")
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition(" wire")[2].strip() for line in lines] == [
        "dropped a frame of 0 bytes",
        "dropped a frame of 7 bytes",
        "dropped a frame of 5 bytes (and 999 more like it before)",
    ]

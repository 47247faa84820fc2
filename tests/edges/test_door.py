"""A node's door: who is let in, who is told that there is no room, and no number of connections ends the node (P14, N15, N18)."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from client_nodes import Nodes, eventually

import dynazmq
from dynazmq.config import FRAME_BYTES_MAX
from dynazmq.dynamo.messages import OVERLOADED, Failure, StatusReply, StatusRequest
from dynazmq.errors import ClusterUnreachable
from dynazmq.wire import descriptors
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, Envelope, decode_body, encode, open_frame
from dynazmq.wire.door import Door, inner_endpoint

REASON = next(encode(Envelope(FROM_NODE, 7, 1, 0, 0), [Failure(0, OVERLOADED, 0, 0, 1_000, "no room")]))


class House:
    """A ROUTER behind a door, and DEALERs that come to it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.context = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.door = Door(self.router, endpoint)
        self.door.explain = lambda: REASON
        self.comers: list[zmq.Socket[bytes]] = []

    def comer(self, endpoint: str = "") -> zmq.Socket[bytes]:
        dealer = self.context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.maxmsgsize = FRAME_BYTES_MAX
        dealer.connect(endpoint or self.endpoint)
        self.comers.append(dealer)
        return dealer

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def met() -> bool:
            self.door.look()
            return condition()

        eventually(met, what)

    def serves(self, dealer: zmq.Socket[bytes]) -> None:
        dealer.send(b"question")
        self.until(lambda: bool(self.router.poll(0)), "the question is there")
        identity, frame = self.router.recv_multipart()
        assert frame == b"question"
        self.router.send_multipart([identity, b"answer"])
        assert dealer.poll(5_000)
        assert dealer.recv() == b"answer"

    def fill(self, left: int = 0) -> None:
        """So many descriptors are left for the next one."""
        self.door.limit = descriptors.count_open() + left

    def close(self) -> None:
        for dealer in self.comers:
            dealer.close()
        self.door.stop()
        self.router.close(linger=0)
        self.context.term()
        self.door.close()


@contextmanager
def house(endpoint: str) -> Iterator[House]:
    made = House(endpoint)
    try:
        yield made
    finally:
        made.close()


def endpoints(tmp_path: Path) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"ipc": f"ipc://{tmp_path / 'n1.sock'}", "tcp": f"tcp://127.0.0.1:{port}", "by name": f"tcp://localhost:{port}"}


@pytest.mark.parametrize("kind", ["ipc", "tcp", "by name"])
def test_who_comes_is_let_in_and_served_one_after_the_other_and_many_at_once(tmp_path: Path, kind: str) -> None:
    with house(endpoints(tmp_path)[kind]) as made:
        for _ in range(3):
            made.serves(made.comer())
        many = [made.comer() for _ in range(40)]
        for dealer in many:
            made.serves(dealer)


@pytest.mark.parametrize("kind", ["ipc", "tcp"])
def test_who_cannot_be_let_in_is_told_why_and_those_who_are_inside_go_on(tmp_path: Path, kind: str) -> None:
    with house(endpoints(tmp_path)[kind]) as made:
        inside = made.comer()
        made.serves(inside)
        made.fill()
        outside = made.comer()
        made.until(lambda: bool(outside.poll(0)), "the reason is there")
        assert outside.recv() == REASON
        made.serves(inside)
        outside.close()
        made.fill(left=10_000)
        made.serves(made.comer())


def test_members_are_let_in_when_there_is_no_room_for_clients_any_more(tmp_path: Path) -> None:
    with house(endpoints(tmp_path)["ipc"]) as made:
        made.door.expect(members=5)
        made.fill(left=55)
        outside = made.comer()
        made.until(lambda: bool(outside.poll(0)), "a client is told that there is no room")
        made.serves(made.comer(inner_endpoint(made.endpoint)))


def test_n15_who_says_nothing_holds_up_nobody_that_is_to_be_told(tmp_path: Path) -> None:
    with house(endpoints(tmp_path)["ipc"]) as made:
        made.fill()
        silent = []
        for _ in range(100):
            made.door.look()
            silent.append(connection := socket.socket(socket.AF_UNIX))
            connection.setblocking(False)
            try:
                connection.connect(made.endpoint.removeprefix("ipc://"))
            except BlockingIOError:
                continue
        outside = made.comer()
        made.until(lambda: bool(outside.poll(0)), "the reason is there")
        for connection in silent:
            connection.close()


def test_nothing_is_left_of_a_door_that_was_closed(tmp_path: Path) -> None:
    before = descriptors.count_open()
    with house(endpoints(tmp_path)["ipc"]) as made:
        made.serves(made.comer())
        assert {path.name for path in tmp_path.iterdir()} == {"n1.sock", "n1.peer"}
    assert descriptors.count_open() == before
    assert list(tmp_path.iterdir()) == []


def test_p11_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    endpoint = endpoints(tmp_path)["tcp"]
    with house(endpoint):
        context = zmq.Context()
        router = context.socket(zmq.ROUTER)
        with pytest.raises(zmq.ZMQError, match="in use"):
            Door(router, endpoint)
        router.close()
        context.term()


def test_p12_a_port_of_which_connections_are_still_in_time_wait_is_no_obstacle(tmp_path: Path) -> None:
    endpoint = endpoints(tmp_path)["tcp"]
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    with socket.socket() as client:
        with socket.socket() as listener:  # whoever closes first has the connection in TIME_WAIT, as a node that ends has
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, int(port)))
            listener.listen()
            client.connect((host, int(port)))
            listener.accept()[0].close()
        assert client.recv(1) == b""
    with socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind((host, int(port)))
    with house(endpoint) as made:
        made.serves(made.comer())


def test_what_an_earlier_process_has_left_at_the_path_is_replaced(tmp_path: Path) -> None:
    for name in ("n1.sock", "n1.next", "n1.peer"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(tmp_path / name))
        left.close()
    with house(endpoints(tmp_path)["ipc"]) as made:
        made.serves(made.comer())


# --- a node ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def poor() -> Iterator[Nodes]:
    """A node that may have 160 descriptors, and no more if it asks."""
    nodes = Nodes("n1")
    try:
        nodes.start(before_exec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)))
        yield nodes
    finally:
        nodes.close()


def test_a_thousand_connections_in_one_go_end_no_node_that_may_have_160_descriptors(poor: Nodes) -> None:
    path = poor.endpoints["n1"].removeprefix("ipc://")
    with dynazmq.connect(poor.dir, timeout=5.0) as before:
        bucket = before.with_options(n=1, r=1, w=1)
        bucket.put("k", b"1")
        held: list[socket.socket] = []

        def come_all() -> None:
            """Who says nothing is let go after three seconds, and on a busy machine these may be over: then they come again."""
            while held:
                held.pop().close()
            for _ in range(1_000):
                held.append(connection := socket.socket(socket.AF_UNIX))
                connection.connect(path)

        def told_why() -> bool:
            come_all()
            return "n1 has as many connections as it can have: its limit is 160" in said_to(poor)

        eventually(told_why, "the reason is told")
        bucket.put("k", b"2", bucket.get("k").context)
        told = status(poor)
        assert told["descriptors"]["limit"] == 160
        assert told["descriptors"]["open"] <= 160
        assert told["counters"]["connections_refused"] > 500
        for connection in held:
            connection.close()
        assert poor.processes["n1"].poll() is None
        with dynazmq.connect(poor.dir, timeout=5.0) as after:
            assert after.with_options(n=1, r=1, w=1).get("k").values == [b"2"]


def said_to(nodes: Nodes) -> str:
    """Why somebody who comes now is not let in; "" if there is room."""
    try:
        dynazmq.connect(nodes.dir, timeout=1.0).close()
    except ClusterUnreachable as refused:
        return str(refused)
    return ""


def status(nodes: Nodes) -> dict[str, dict[str, int]]:
    """As those see it who look after the cluster: by the members' way in."""
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(inner_endpoint(nodes.endpoints["n1"]))
    dealer.send(next(encode(Envelope(FROM_CLIENT, 0, 0, 0, int(time.monotonic() * 1000)), [StatusRequest(1)])))
    assert dealer.poll(5_000)
    reply = decode_body(open_frame(dealer.recv())[1])[0]
    dealer.close()
    context.term()
    assert isinstance(reply, StatusReply)
    told: dict[str, dict[str, int]] = json.loads(reply.status)
    return told


# --- descriptors ----------------------------------------------------------------------------------------------------------


def test_a_process_takes_the_hard_limit_for_its_soft_one() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from dynazmq.wire import descriptors; print(descriptors.limit(), descriptors.raise_limit())"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300)),
        capture_output=True, text=True, check=True, timeout=50,
    ).stdout  # fmt: skip
    assert said.split() == ["100", "300"]


def test_descriptors_are_counted() -> None:
    before = descriptors.count_open()
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    assert descriptors.count_open() == before + 5
    for each in held:
        os.close(each)


def test_resident_memory_is_told_without_a_descriptor_to_spare() -> None:
    memory = descriptors.ResidentMemory()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert memory.bytes() > 1 << 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        memory.close()


STOPS = """
import sys
import zmq
from dynazmq.wire.door import Door
for number in range(int(sys.argv[2])):
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    door = Door(router, sys.argv[1])
    comers = [context.socket(zmq.DEALER) for _ in range(8)]
    for comer in comers[:number % 9]:
        comer.linger = 0
        comer.connect(sys.argv[1])
    for _ in range(number % 7):
        door.look()
    for comer in comers:
        comer.close()
    door.stop()
    router.close(linger=0)
    context.term()
    door.close()
print("stopped")
"""


@pytest.mark.parametrize("kind", ["ipc", "tcp"])
def test_a_node_may_stop_at_any_moment_while_others_come(tmp_path: Path, kind: str) -> None:
    """libzmq ends the process where it is about to accept from what can no longer be accepted from."""
    command = [sys.executable, "-c", STOPS, endpoints(tmp_path)[kind], "400"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert (ran.stdout, ran.stderr) == ("stopped\n", "")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC], ids=os.strerror)
def test_who_comes_is_let_in_where_no_other_socket_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file system that is full, or has become read-only: whoever looks after the cluster must get in."""

    def refused(_queue: object) -> socket.socket:
        raise OSError(number, os.strerror(number))

    with house(endpoints(tmp_path)["ipc"]) as made:
        made.serves(made.comer())
        with monkeypatch.context() as patch:
            patch.setattr("dynazmq.wire.door._Queue._listen_at_path", refused)
            for _ in range(3):
                made.serves(made.comer())
                made.serves(made.comer(inner_endpoint(made.endpoint)))
            many = [made.comer() for _ in range(40)]
            for dealer in many:
                made.serves(dealer)
        made.serves(made.comer())
        made.fill()
        refused_one = made.comer()
        refused_one.send(b"question")
        made.until(lambda: bool(refused_one.poll(0)), "it is told why")

"""A node's sockets follow the members: who was removed costs no socket, who is unknown gets none (N14)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from patience import PATIENCE_S

from dynazmq.wire.lending import LARGE
from dynazmq.wire.sockets import Sockets, set_options


def test_a_removed_peers_socket_is_closed_and_a_strangers_is_never_made(tmp_path: Path) -> None:
    members = {name: f"ipc://{tmp_path / name}.sock" for name in ("a", "b", "c")}
    sockets = Sockets("a", 1, members["a"], lambda name: members.get(name, ""))
    try:
        for peer in ("b", "c"):
            sockets.connect(peer)
        sockets.keep(members)
        assert sockets.peers == {"b", "c"}
        del members["c"]
        sockets.keep(members)
        assert sockets.peers == {"b", "c"}, "no more sockets than members: nothing was looked at"
        del members["b"]
        sockets.keep(members)
        assert sockets.peers == set()
        assert not sockets.send_to_peer("c", b"frame")
        assert not sockets.send_to_peer("stranger", b"frame")
        assert sockets.peers == set()
    finally:
        sockets.close()


def test_a_peer_with_another_address_gets_another_socket(tmp_path: Path) -> None:
    members = {name: f"ipc://{tmp_path / name}.sock" for name in ("a", "b")}
    sockets = Sockets("a", 1, members["a"], lambda name: members.get(name, ""))
    try:
        sockets.connect("b")
        members["b"] = f"ipc://{tmp_path / 'elsewhere'}.sock"
        sockets.send_to_peer("b", b"frame")
        assert sockets.peers == {"b"}
    finally:
        sockets.close()


def test_n16_nothing_waits_for_a_peer_that_is_not_there(tmp_path: Path) -> None:
    """ZeroMQ would keep a thousand frames for whoever comes to that endpoint next."""
    members = {name: f"ipc://{tmp_path / name}.sock" for name in ("a", "b")}
    sockets = Sockets("a", 1, members["a"], lambda name: members.get(name, ""))
    try:
        sockets.connect("b")
        assert [sockets.send_to_peer("b", b"frame") for _ in range(5)] == [False] * 5
    finally:
        sockets.close()


def test_an_endpoint_to_which_nobody_can_connect_costs_that_peer_alone(tmp_path: Path) -> None:
    members = {"a": f"ipc://{tmp_path}/a", "b": "bogus", "c": f"ipc://{tmp_path}/{'c' * 200}"}
    sockets = Sockets("a", 1, members["a"], lambda name: members.get(name, ""))
    try:
        for peer in ("b", "c"):
            sockets.connect(peer)
            assert not sockets.send_to_peer(peer, b"frame")
        assert sockets.peers == set()
        assert {peer: endpoint for peer, (endpoint, _) in sockets.unconnectable.items()} == {"b": "bogus", "c": members["c"]}
        members["b"] = f"ipc://{tmp_path}/b"
        sockets.connect("b")
        assert sockets.peers == {"b"}, "it has said where it is"
        sockets.keep(["a", "b"])
        assert sockets.unconnectable == {}
    finally:
        sockets.close()


# --- who does not read ------------------------------------------------------------------------------------------------------

MIB = 1 << 20


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    made = Sockets("a", 1, f"ipc://{tmp_path / 'a.sock'}", lambda name: f"ipc://{tmp_path / name}.sock")
    try:
        yield made
    finally:
        made.close()


class Client:
    """One that has said a word and reads when it is told to."""

    def __init__(self, socket: zmq.Socket[bytes], name: bytes) -> None:
        self.socket = socket
        self.name = name


Connect = Callable[[str], Client]


@pytest.fixture
def connect(sockets: Sockets, tmp_path: Path) -> Iterator[Connect]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made: list[zmq.Socket[bytes]] = []

    def one(name: str) -> Client:
        socket = context.socket(zmq.DEALER)
        made.append(socket)
        set_options(socket, 0)
        socket.identity = name.encode()
        socket.rcvhwm = 1  # what its own library takes in is not what this is about
        socket.connect(f"ipc://{tmp_path / 'a.sock'}")
        socket.send(b"here")
        deadline = time.monotonic() + PATIENCE_S
        while sockets.receive() is None:
            assert time.monotonic() < deadline, "nobody connects"
            sockets.poll(50)
        return Client(socket, name.encode())

    try:
        yield one
    finally:
        for socket in made:
            socket.close(0)
        context.term()


def taken(sockets: Sockets, client: bytes, frame: bytes, most: int) -> int:
    """How many of these frames are taken for a client, one after the other."""
    for count in range(most):
        if not sockets.send_to_client(client, frame):
            return count
    return most


def test_what_waits_for_a_client_that_does_not_read_is_bounded_in_bytes(sockets: Sockets, connect: Connect) -> None:
    client = connect("silent")
    count = taken(sockets, client.name, bytes(MIB), 100)
    assert 8 <= count <= 24, "8 MiB wait here; a little more lies in the kernel and in the client's own library"
    assert sockets.unsent_bytes()["clients"] <= 8 * MIB
    assert sockets.send_to_client(client.name, b"small"), "so it can be told"
    frames = [client.socket.recv() for _ in range(count + 1)]
    assert [len(frame) for frame in frames] == [MIB] * count + [5], "what was taken comes, all of it, in its order"


def test_who_reads_again_is_sent_to_again(sockets: Sockets, connect: Connect) -> None:
    client = connect("slow")
    count = taken(sockets, client.name, bytes(MIB), 100)
    for _ in range(count):
        client.socket.recv()
    deadline = time.monotonic() + PATIENCE_S
    while sockets.unsent_bytes()["clients"]:
        assert time.monotonic() < deadline, "it has read all"
        time.sleep(0.001)
    assert taken(sockets, client.name, bytes(MIB), 8) == 8


def test_one_that_does_not_read_takes_nothing_from_another(sockets: Sockets, connect: Connect) -> None:
    silent = [connect(f"silent {number}") for number in range(6)]
    reader = connect("reader")
    for client in silent:
        taken(sockets, client.name, bytes(MIB), 100)
    assert sockets.unsent_bytes()["clients"] <= 32 * MIB + len(silent) * MIB, "for all of them: one frame each when that is full"
    for _ in range(3):
        assert sockets.send_to_client(reader.name, bytes(8 * MIB)), "whoever has nothing waiting is sent a frame of any size"
        assert len(reader.socket.recv()) == 8 * MIB
        deadline = time.monotonic() + PATIENCE_S
        while not sockets._to_clients.has_room(reader.name, 64 * MIB):
            assert time.monotonic() < deadline, "it has come back"
            time.sleep(0.001)


def test_a_client_that_goes_leaves_nothing_behind(sockets: Sockets, connect: Connect) -> None:
    client = connect("gone")
    taken(sockets, client.name, bytes(MIB), 100)
    client.socket.close()
    deadline = time.monotonic() + PATIENCE_S
    while sockets.unsent_bytes()["clients"]:
        assert time.monotonic() < deadline, "what waited for it is given up"
        sockets.poll(1)
        sockets.receive()


def test_many_small_frames_are_bounded_by_their_number(sockets: Sockets, connect: Connect) -> None:
    client = connect("silent")
    count = taken(sockets, client.name, bytes(LARGE - 1), 10_000)
    assert 256 <= count <= 600, "as many again may lie in what ZeroMQ has taken out of its queue already"
    assert sockets.unsent_bytes()["clients"] == 0, "they were copied"


def test_who_floods_a_node_and_goes_ends_nothing(sockets: Sockets, connect: Connect) -> None:
    """libzmq 4.3.5 aborts when a heartbeat is due on a connection whose queue is full and whose other side has gone."""
    client = connect("flood")
    for _ in range(5_000):
        try:
            client.socket.send(bytes(2_000), zmq.NOBLOCK)
        except zmq.Again:
            break
    client.socket.close()
    assert sockets._router.getsockopt(zmq.HEARTBEAT_IVL) == 0, "so none is ever due"
    assert sockets._router.getsockopt(zmq.TCP_KEEPALIVE) == 1, "and a host that has gone is noticed all the same"
    connect("another")

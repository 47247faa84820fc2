"""A node's sockets follow the members: who was removed costs no socket, who is unknown gets none (N14)."""

from __future__ import annotations

from pathlib import Path

from dynazmq.wire.sockets import Sockets


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

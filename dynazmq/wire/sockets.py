"""A node's sockets: one ROUTER that hears everybody, one DEALER per peer that speaks to it (docs/decisions/0005).

All that goes from node to node, requests and replies alike, leaves through the sender's own DEALER for that peer; the ROUTER
answers clients only. So each direction of a link is one socket with one queue, and what a slow or frozen peer does not take shows
up here, at its sender: with IMMEDIATE a DEALER has a queue only while its connection is up, so that a send which does not fit, or
has nobody to go to, fails at once (`False`). The core hears of it and asks somebody else; nothing piles up for a dead peer.

Whether somebody new may connect to the ROUTER is decided by door.py.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Collection
from functools import lru_cache

import zmq

from dynazmq.config import FRAME_BYTES_MAX
from dynazmq.wire.door import Door, inner_endpoint
from dynazmq.wire.lending import LARGE, Lending

_PEER = b"peer:"
_FRAMES_QUEUED_MAX = 1_000  # each way and connection: beyond it the sender is told, instead of memory being filled (N7)
_REPLIES_QUEUED_MAX = 256  # for one client: with what it may have in large ones, 24 MiB are never passed

_CLIENT_BYTES_MAX, _CLIENTS_BYTES_MAX = 8 << 20, 32 << 20
"""Large frames that wait for one client, and for all. A client of ours has four MiB under way at most (LINK_BYTES_MAX)."""

_PEER_BYTES_MAX, _PEERS_BYTES_MAX = 32 << 20, 64 << 20
"""The same of peers: as much as the puts of one node may hold (max_bytes_in_flight), so that those alone never pass it."""

_PEER_HEARTBEAT_MS = 200
"""A peer that is frozen is disconnected after three of these: what is sent to it then fails at once."""

CLIENT_HEARTBEAT_MS = 5_000
"""A client asks elsewhere after a fraction of this anyway, and 10,000 connections that are held open make 10,000 heartbeats each
time: at one a second, the p99 of gets was measured at three times what it is without them."""

_KEEPALIVE_IDLE_S, _KEEPALIVE_EVERY_S, _KEEPALIVES = 20, 20, 2
"""For clients whose host has gone without a word (N12): else each connection is the other side's to watch over. The kernel's, not
ZeroMQ's heartbeats: those end the process (an assertion, in 4.3.5) where somebody has sent more than may be queued, has gone, and
the next one is due before what he sent was read (https://github.com/zeromq/libzmq/issues/4841)."""

_HEARTBEATS_MISSED = 3
_HANDSHAKE_MS = 3_000  # who connects and says nothing is let go after this long (N15)
_RECONNECT_MS, _RECONNECT_MAX_MS = 100, 500
_FAREWELL_MS = 200


# As plain numbers: an enum's members cost half a microsecond where they are joined or handed to C.
NOBLOCK, RCVMORE = int(zmq.NOBLOCK), int(zmq.RCVMORE)
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def set_options(socket: zmq.Socket[bytes], heartbeat_ms: int) -> None:
    """What every socket of the protocol has, the client's as well. heartbeat_ms: 0 for none."""
    socket.linger = 0
    socket.maxmsgsize = FRAME_BYTES_MAX
    socket.sndhwm = socket.rcvhwm = _FRAMES_QUEUED_MAX
    socket.handshake_ivl = _HANDSHAKE_MS
    if heartbeat_ms:
        socket.heartbeat_ivl = heartbeat_ms
        socket.heartbeat_timeout = _HEARTBEATS_MISSED * heartbeat_ms


class Sockets:
    """Opens them; sends without ever waiting; receives what is there."""

    def __init__(self, name: str, incarnation: int, endpoint: str, endpoint_of: Callable[[str], str]) -> None:
        """endpoint_of: a peer's name → where its ROUTER listens, as the membership knows it now. Raises zmq.ZMQError."""
        self._identity = b"%s%s:%x" % (_PEER, name.encode(), incarnation)
        self._endpoint_of = endpoint_of
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._dealers: dict[str, tuple[str, zmq.Socket[bytes]]] = {}
        self._expected = 0
        self.unconnectable: dict[str, tuple[str, str]] = {}
        """Peer → its endpoint, and why no socket can be connected to it."""
        self._router = self._context.socket(zmq.ROUTER)
        set_options(self._router, 0)
        self._router.tcp_keepalive = 1
        self._router.tcp_keepalive_idle, self._router.tcp_keepalive_intvl = _KEEPALIVE_IDLE_S, _KEEPALIVE_EVERY_S
        self._router.tcp_keepalive_cnt = _KEEPALIVES
        self._router.sndhwm = _REPLIES_QUEUED_MAX
        self._router.router_handover = 1  # a restarted client or peer takes its identity over from its dead connection
        self._router.router_mandatory = 1  # a reply that nobody takes is an error to count, not silence
        self.door = Door(self._router, endpoint)
        self._descriptor = int(self._router.getsockopt(zmq.FD))
        self._poller = select.poll()
        for descriptor in (self._descriptor, *self.door.descriptors):
            self._poller.register(descriptor, select.POLLIN)
        # Part by part: half the time of recv_multipart and send_multipart (2.0 for 4.1 µs, 2.3 for 3.3 µs).
        self._receive = self._router.recv
        self._option = self._router.getsockopt
        self._answer = self._router.send
        self._to_clients = Lending(_CLIENT_BYTES_MAX, _CLIENTS_BYTES_MAX)
        self._to_peers = Lending(_PEER_BYTES_MAX, _PEERS_BYTES_MAX)

    def poll(self, timeout_ms: int) -> None:
        """Wait until there is something to receive. Who wants to connect meanwhile is let in.

        The ROUTER's descriptor tells that something has happened there, once; whoever has used the socket since may have taken
        that in. So it is asked before it is waited for. ZeroMQ's own poll does the same, in two calls of the system for one.
        """
        if timeout_ms and int(self._option(_EVENTS)) & _READABLE:
            timeout_ms = 0
        ready = self._poller.poll(timeout_ms)
        if self.door.busy or (ready and (len(ready) > 1 or ready[0][0] != self._descriptor)):
            self.door.look()

    def receive(self) -> tuple[bytes, bytes] | None:
        """(who sent it, the frame), or None when nothing is there. An empty frame stands for a message of several parts."""
        receive = self._receive
        try:
            identity = receive(NOBLOCK)
        except zmq.Again:
            return None
        frame = receive()  # a ROUTER puts the identity before one part at least, and messages come whole
        if not self._option(RCVMORE):
            return identity, frame
        while self._option(RCVMORE):
            receive()
        return identity, b""

    def connect(self, peer: str) -> None:
        """Begin to connect, ahead of the first message."""
        self._dealer(peer)

    def send_to_peer(self, peer: str, frame: bytes) -> bool:
        """False: not now, its queue is full or it has no connection; or nobody knows where it is."""
        dealer = self._dealer(peer)
        if dealer is None:
            return False
        large = len(frame) >= LARGE
        if large and not self._to_peers.has_room(peer, len(frame)):
            return False
        try:
            if large:
                self._to_peers.send(dealer, peer, frame, NOBLOCK)
            else:
                dealer.send(frame, NOBLOCK)
        except zmq.Again:
            return False
        return True

    def send_to_client(self, identity: bytes, frame: bytes) -> bool:
        """False: it is gone, or it does not read."""
        large = len(frame) >= LARGE
        if large and not self._to_clients.has_room(identity, len(frame)):
            return False
        try:
            self._answer(identity, _NOBLOCK_MORE)
            if large:
                self._to_clients.send(self._router, identity, frame, NOBLOCK)
            else:
                self._answer(frame, NOBLOCK)
        except zmq.ZMQError:  # EHOSTUNREACH, EAGAIN
            return False
        return True

    def _dealer(self, peer: str) -> zmq.Socket[bytes] | None:
        """None for a peer that is no member any more, or not yet."""
        endpoint = self._endpoint_of(peer)
        known = self._dealers.get(peer)
        if known is not None:
            if known[0] == endpoint:
                return known[1]
            known[1].close()
            del self._dealers[peer]
        if not endpoint or self.unconnectable.get(peer, ("",))[0] == endpoint:
            return None
        self.unconnectable.pop(peer, None)
        dealer = self._context.socket(zmq.DEALER)
        set_options(dealer, _PEER_HEARTBEAT_MS)
        dealer.identity = self._identity
        dealer.immediate = 1
        dealer.reconnect_ivl, dealer.reconnect_ivl_max = _RECONNECT_MS, _RECONNECT_MAX_MS
        try:
            dealer.connect(inner_endpoint(endpoint))
        except zmq.ZMQError as error:  # the peer's misfortune, or what somebody has told of it: it is away until it says another
            dealer.close()
            self.unconnectable[peer] = endpoint, str(error)
            return None
        self._dealers[peer] = endpoint, dealer
        return dealer

    def unsent_bytes(self) -> dict[str, int]:
        """Of large frames that wait for those who are to read them; for `status`."""
        return {"clients": self._to_clients.settle(), "peers": self._to_peers.settle()}

    @property
    def peers(self) -> set[str]:
        """To whom there is a socket."""
        return set(self._dealers)

    def keep(self, peers: Collection[str]) -> None:
        """Close the sockets to all others, if there are any: to members that were removed (N14: nothing leaks)."""
        if len(peers) != self._expected:
            self._expected = len(peers)
            self.door.expect(self._expected)
        if self.unconnectable:
            for name in [name for name in self.unconnectable if name not in peers]:
                del self.unconnectable[name]
        if len(self._dealers) <= len(peers):
            return
        for name in [name for name in self._dealers if name not in peers]:
            self._dealers.pop(name)[1].close()

    def close(self) -> None:
        """What was said last still leaves, unless nobody takes it: that is waited for no longer than a moment."""
        for _, dealer in self._dealers.values():
            dealer.close(linger=_FAREWELL_MS)
        self.door.stop()
        self._router.close(linger=_FAREWELL_MS)
        self._context.term()
        self.door.close()


@lru_cache(maxsize=1024)
def peer_name(identity: bytes) -> str | None:
    """The node's name in the identity of a peer's DEALER; None for a client's."""
    if not identity.startswith(_PEER):
        return None
    return identity[len(_PEER) :].rpartition(b":")[0].decode("ascii", "replace") or None

"""A client's sockets, one DEALER for each node, and the core that they serve: what both faces, sync and async, share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

import zmq

from dynazmq import users
from dynazmq.client.core.core import ClientCore
from dynazmq.client.values.view import Link, View, is_endpoint
from dynazmq.config import MEMBERS_MAX
from dynazmq.dynamo.messages import OTHER_CLUSTER, Failure
from dynazmq.errors import DynazmqError, InvalidRequest, NoSuchCluster
from dynazmq.paths import ClusterFile, cluster_dir, where
from dynazmq.wire.codec import (
    FROM_CLIENT,
    FROM_NODE,
    PROTOCOL_VERSION,
    BadFrame,
    Envelope,
    OtherVersion,
    decode_body,
    encode_counted,
    open_frame,
)
from dynazmq.wire.sockets import CLIENT_HEARTBEAT_MS, NOBLOCK, RCVMORE, set_options

_RECONNECT_MS, _RECONNECT_MAX_MS = 20, 250
_LOOK_S = 0.1
_ROUNDS_MAX = MEMBERS_MAX  # by then a request that no node takes has been offered to all of them
_FRAMES_MAX = 64


class Target:
    """Which cluster is meant: where its nodes may be found, and its id when that is known."""

    def __init__(self, dir: str | os.PathLike[str] | None, endpoints: Sequence[str] | None) -> None:
        """Reads DIR/cluster.json unless endpoints are given. Raises NoSuchCluster, InvalidRequest."""
        self.cluster_id: int | None = None
        self._place: Path | None = None
        if endpoints is not None:
            if dir is not None:
                raise InvalidRequest("dir and endpoints both say where the cluster is: give one of them")
            if isinstance(endpoints, str) or not isinstance(endpoints, Iterable):
                endpoints = [endpoints]
            self.endpoints = list(dict.fromkeys([_check_endpoint(endpoint) for endpoint in endpoints]))
            if not self.endpoints:
                raise InvalidRequest("endpoints is empty: name at least one node, such as 'tcp://127.0.0.1:7000'")
        else:
            given: object = dir
            if given is not None and not isinstance(given, (str, os.PathLike)):
                raise InvalidRequest(f"dir is the path of a cluster's directory, not {type(given).__name__}")
            self._place = place = Path(cluster_dir(dir))
            cluster = ClusterFile.load(place)
            if (original := cluster.original(place)) is not None:  # its endpoints may be those of that one
                raise NoSuchCluster(
                    f"{place} is a copy of the cluster in {original}, and was not started: dynazmq up{where(place)}"
                )
            self.endpoints = list(cluster.members.values())
            _check_permitted(self.endpoints, place)
            self.cluster_id = cluster.cluster_id


    def successor(self) -> Target | None:
        """The cluster that is in DIR now, if it is another one than the one that was meant."""
        if self._place is None:
            return None
        try:
            found = Target(self._place, None)
        except DynazmqError:
            return None
        return found if found.cluster_id != self.cluster_id else None

    def __str__(self) -> str:
        return str(self._place) if self._place is not None else ", ".join(self.endpoints)


def _check_permitted(endpoints: Iterable[str], directory: Path) -> None:
    """A socket that this user may not connect to looks like a node that is down. Raises NotPermitted."""
    for endpoint in endpoints:
        if endpoint.startswith("ipc://"):
            path = Path(endpoint.removeprefix("ipc://"))
            try:
                path.stat()
            except PermissionError:
                raise users.refused(path, directory) from None
            except OSError:
                continue
            if not os.access(path, os.W_OK):
                raise users.refused(path, directory)


def _check_endpoint(endpoint: object) -> str:
    if not is_endpoint(endpoint):
        raise InvalidRequest(f"an endpoint is 'ipc://PATH' or 'tcp://HOST:PORT', not {endpoint!r}")
    return str(endpoint)


class Links:
    """Sends what the core wants sent and gives it what has come. Not thread-safe: one driver at a time.

    The driver waits at the sockets. It finds new ones in `opened`, and in `retired` those that it must let go of and close.
    """

    def __init__(self, target: Target) -> None:
        """Raises InvalidRequest for an endpoint that ZeroMQ cannot connect to."""
        self.core = ClientCore(target.endpoints, target.cluster_id, SystemRandom(), time.monotonic())
        self.opened: list[tuple[Link, zmq.Socket[bytes]]] = []
        self.retired: list[tuple[Link, zmq.Socket[bytes]]] = []
        self.used: dict[Link, zmq.Socket[bytes]] = {}
        """Those by which something was sent in the last turn: the signal that something has come may be taken in with that."""
        self.successor: Target | None = None
        """The cluster that is now where this one was; then nothing is done here any more."""
        self._target = target
        self._look_at = 0.0  # when DIR may be looked at again
        self._pid = os.getpid()
        self._seeds = target.endpoints
        self._view: View | None = None  # the one that the sockets stand for
        self._sockets: dict[Link, zmq.Socket[bytes]] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        try:
            for link in target.endpoints:
                self._open(link)
        except zmq.ZMQError as error:
            self.close()
            raise InvalidRequest(f"cannot connect to {link!r}: {error}") from None

    def _open(self, link: Link) -> zmq.Socket[bytes]:
        """Raises zmq.ZMQError."""
        socket = self._context.socket(zmq.DEALER)
        try:
            set_options(socket, CLIENT_HEARTBEAT_MS)
            socket.immediate = 1  # a node that cannot be reached is known at once, nothing is queued for it
            socket.reconnect_ivl, socket.reconnect_ivl_max = _RECONNECT_MS, _RECONNECT_MAX_MS
            socket.connect(link)
        except BaseException:
            socket.close()
            raise
        self._sockets[link] = socket
        self.opened.append((link, socket))
        return socket

    def turn(self) -> None:
        """Let time pass and send what there is. What cannot be sent is the core's to place anew, so there may be rounds."""
        core = self.core
        self.used.clear()
        now = time.monotonic()
        core.tick(now)
        if core.view is not self._view:
            self._follow_view()
        for _ in range(_ROUNDS_MAX):
            outbox = core.drain()
            if not outbox:
                return
            envelope = Envelope(FROM_CLIENT, core.view.cluster_id if core.view else 0, 0, 0, int(now * 1000))
            for link, messages in outbox.items():
                left = self._send(link, envelope, messages)
                if left < len(messages):
                    core.undeliverable(link, messages[left:], now)
                    self._look_for_successor(now)

    def _follow_view(self) -> None:
        """A node has come, moved or left: connect ahead of the first request, and let go of what would reconnect for ever."""
        self._view = self.core.view
        assert self._view is not None
        for link in self._view.links.values():
            if link not in self._sockets:
                try:
                    self._open(link)
                except zmq.ZMQError:
                    continue  # what is sent there is undeliverable
        wanted = {*self._view.links.values(), *self._seeds}
        for link in [link for link in self._sockets if link not in wanted]:
            self.retired.append((link, self._sockets.pop(link)))

    def _send(self, link: Link, envelope: Envelope, messages: list[Any]) -> int:
        """How many of the messages have left."""
        left = 0
        try:
            socket = self._sockets.get(link) or self._open(link)
            self.used[link] = socket
            for frame, count in encode_counted(envelope, messages):
                socket.send(frame, NOBLOCK)
                left += count
        except zmq.ZMQError:  # mostly EAGAIN; in `_open`, an endpoint that this host cannot use
            return left
        return left

    def receive(self, link: Link) -> bool:
        """Everything that this node has sent, up to a bound. False when the bound was met: there may be more."""
        core, socket = self.core, self._sockets.get(link)
        if socket is None:
            return True  # retired since it had something to say
        for _ in range(_FRAMES_MAX):
            try:
                frame = socket.recv(NOBLOCK)
            except zmq.Again:
                return True
            try:
                while socket.getsockopt(RCVMORE):  # nothing of ours has several parts
                    socket.recv()
                    frame = b""
                envelope, body = open_frame(frame)
                ours = core.view is None or envelope.cluster_id == core.view.cluster_id
                if envelope.kind == FROM_NODE and not ours:
                    self._meet_another_cluster(link, envelope, body)
                    continue
                if envelope.kind != FROM_NODE:
                    raise BadFrame("not a node")
                messages = decode_body(body)
            except OtherVersion as error:
                said = f"speaks protocol {error.version}, this client {PROTOCOL_VERSION}"
                core.of_another_version(link, said, time.monotonic())
                continue
            except BadFrame as error:
                core.tried[link] = f"not a node of this cluster and version: {error}"
                continue
            core.receive(link, messages, time.monotonic())
        return False

    def _meet_another_cluster(self, link: Link, envelope: Envelope, body: bytes) -> None:
        """What it says of what it was asked is all that matters. Raises BadFrame."""
        said = [message for message in decode_body(body) if isinstance(message, Failure) and message.code == OTHER_CLUSTER]
        if not said:
            raise BadFrame("another cluster", f"{envelope.cluster_id:016x}")
        now = time.monotonic()
        self.core.of_another_cluster(link, said, now)
        self._look_for_successor(now)

    def _look_for_successor(self, now: float) -> None:
        """Something is not as it was: another cluster may have been made in DIR."""
        if now < self._look_at or self.successor is not None:
            return
        self._look_at = now + _LOOK_S
        self.successor = self._target.successor()
        if self.successor is not None:
            self.core.outlive(self.outlived)

    @property
    def outlived(self) -> str:
        """Why nothing is done here any more, for people."""
        return f"the cluster in {self._target} is not there any more, another was made there, and what is asked next goes to it"

    def sockets(self) -> list[tuple[Link, zmq.Socket[bytes]]]:
        return list(self._sockets.items())

    def close(self) -> None:
        """Again does nothing; so does a forked child, whose sockets they are not."""
        if os.getpid() != self._pid:
            return
        for _, socket in (*self.sockets(), *self.retired):
            socket.close()
        self._sockets.clear()
        self.used.clear()
        self.opened.clear()
        self.retired.clear()
        self._context.destroy(linger=0)  # not term, which would wait for a socket that a cut-off call has lost

    def abandon(self) -> None:
        """After a fork: these sockets are the parent's. Neither used nor closed here, and never collected."""
        _abandoned.append((self._context, self._sockets, self.retired))


_abandoned: list[Any] = []

"""A client's sockets, one DEALER for each node, and the core that they serve: what both faces, sync and async, share."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

import zmq

from dynazmq.client.core import ClientCore
from dynazmq.client.requests import Options
from dynazmq.client.view import Link
from dynazmq.errors import InvalidRequest
from dynazmq.paths import ClusterFile, cluster_dir
from dynazmq.wire.codec import FROM_CLIENT, BadFrame, Envelope, decode_body, encode_counted, open_frame
from dynazmq.wire.sockets import set_options

_RECONNECT_MS, _RECONNECT_MAX_MS = 20, 250
_ROUNDS_MAX = 64
_FRAMES_MAX = 64


class Target:
    """Which cluster is meant: where its nodes may be found, and its id when that is known."""

    def __init__(self, dir: str | os.PathLike[str] | None, endpoints: Sequence[str] | None) -> None:
        """Reads DIR/cluster.json unless endpoints are given. Raises NoSuchCluster, InvalidRequest."""
        self.cluster_id: int | None = None
        if endpoints is not None:
            if dir is not None:
                raise InvalidRequest("dir and endpoints both say where the cluster is: give one of them")
            if isinstance(endpoints, str):
                endpoints = [endpoints]
            self.endpoints = [check_endpoint(endpoint) for endpoint in endpoints]
            if not self.endpoints:
                raise InvalidRequest("endpoints is empty: name at least one node, such as 'tcp://127.0.0.1:7000'")
        else:
            cluster = ClusterFile.load(Path(cluster_dir(dir)))
            self.endpoints = list(cluster.members.values())
            self.cluster_id = cluster.cluster_id


def check_endpoint(endpoint: object) -> str:
    if not isinstance(endpoint, str) or not endpoint.startswith(("ipc://", "tcp://")) or len(endpoint) <= len("ipc://"):
        raise InvalidRequest(f"an endpoint is 'ipc://PATH' or 'tcp://HOST:PORT', not {endpoint!r}")
    return endpoint


class Links:
    """Sends what the core wants sent and gives it what has come. Not thread-safe: one driver at a time."""

    def __init__(self, target: Target) -> None:
        self.core = ClientCore(target.endpoints, target.cluster_id, SystemRandom(), time.monotonic())
        self._cluster_id = 0
        self._context: zmq.Context[zmq.Socket[bytes]] | None = zmq.Context(io_threads=1)
        self._sockets: dict[Link, zmq.Socket[bytes]] = {}
        self._seeds = target.endpoints
        self.opened: list[tuple[Link, zmq.Socket[bytes]]] = []
        """Sockets that the driver does not watch yet: it takes them from here."""
        for link in target.endpoints:
            self._open(link)

    def _open(self, link: Link) -> zmq.Socket[bytes]:
        assert self._context is not None
        socket = self._context.socket(zmq.DEALER)
        set_options(socket)
        socket.immediate = 1  # a node that cannot be reached is known at once, nothing is queued for it
        socket.reconnect_ivl, socket.reconnect_ivl_max = _RECONNECT_MS, _RECONNECT_MAX_MS
        try:
            socket.connect(link)
        except zmq.ZMQError as error:
            socket.close()
            raise InvalidRequest(f"cannot connect to {link!r}: {error}") from None
        self._sockets[link] = socket
        self.opened.append((link, socket))
        return socket

    def turn(self) -> None:
        """Let time pass and send what there is. What cannot be sent is the core's to place anew, so there may be rounds."""
        core = self.core
        now = time.monotonic()
        core.tick(now)
        for _ in range(_ROUNDS_MAX):
            outbox = core.drain()
            if not outbox:
                return
            envelope = Envelope(FROM_CLIENT, core.view.cluster_id if core.view else 0, 0, 0, int(now * 1000))
            for link, messages in outbox.items():
                left = self._send(link, envelope, messages)
                if left < len(messages):
                    core.undeliverable(link, messages[left:], now)

    def _send(self, link: Link, envelope: Envelope, messages: list[Any]) -> int:
        """How many of the messages have left."""
        socket = self._sockets.get(link) or self._open(link)
        left = 0
        for frame, count in encode_counted(envelope, messages):
            try:
                socket.send(frame, zmq.NOBLOCK)
            except zmq.Again:
                return left
            left += count
        return left

    def receive(self, link: Link) -> bool:
        """Everything that this node has sent, up to a bound. False when the bound was met: there may be more."""
        receive = self._sockets[link].recv_multipart
        for _ in range(_FRAMES_MAX):
            try:
                parts = receive(zmq.NOBLOCK)
            except zmq.Again:
                return True
            try:
                _, body = open_frame(parts[0] if len(parts) == 1 else b"")
                messages = decode_body(body)
            except BadFrame as error:
                self.core.tried[link] = f"not a node of this version: {error}"
                continue
            self.core.receive(link, messages, time.monotonic())
        return False

    def sockets(self) -> list[tuple[Link, zmq.Socket[bytes]]]:
        return list(self._sockets.items())

    def close(self) -> None:
        if self._context is None:
            return
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()
        self.opened.clear()
        self._context.term()
        self._context = None

    def abandon(self) -> None:
        """After a fork: these sockets are the parent's. Neither used nor closed here, and never collected."""
        _abandoned.append((self._context, self._sockets))
        self._context, self._sockets = None, {}


_abandoned: list[Any] = []


def first_options(timeout: float, bucket: str) -> Options:
    return Options().with_(timeout=timeout, bucket=bucket)

"""Nodes that misbehave: a real ROUTER in a thread, which does with each message what the test says."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import zmq
from client_bench import CLUSTER_ID, topology

from dynazmq.dynamo.messages import Get, GetReply, Put, PutReply, TopologyRequest
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, BadFrame, Envelope, decode_body, encode, open_frame

POLL_MS = 5


def reply_to(message: Any) -> Any:
    """What a node that has it would answer: a get finds its own key."""
    if isinstance(message, Put):
        return PutReply(message.request_id, b"", ["n1", "n2"], [])
    assert isinstance(message, Get)
    return GetReply(message.request_id, [message.key], [["n1", 1, 0]], b"", ["n1"])


def sealed(*messages: Any, kind: int = FROM_NODE, cluster_id: int = CLUSTER_ID) -> list[bytes]:
    return list(encode(Envelope(kind, cluster_id, 1, 0, 0), messages))


Behaviour = Callable[[str, Any], list[bytes]]
"""Of a node's name and a message: the frames with which it answers."""


def silent(_name: str, _message: Any) -> list[bytes]:
    return []


def good(_name: str, message: Any) -> list[bytes]:
    return sealed(reply_to(message))


class Fakes:
    """A cluster of them: they tell the truth about who they are, and treat the rest as `behaviour` does."""

    def __init__(self, *names: str, behaviour: Behaviour = good) -> None:
        self.dir = tempfile.mkdtemp(prefix="dz", dir="/tmp")
        self.behaviour = behaviour
        self.heard: list[tuple[str, Any]] = []
        self.version = 1
        self.endpoints = {name: f"ipc://{self.dir}/{name}" for name in names}
        self._context: zmq.Context[Any] = zmq.Context()
        self._routers = {name: self._context.socket(zmq.ROUTER) for name in names}
        self._waiting: list[tuple[str, bytes, list[bytes]]] = []
        self._stopped = threading.Event()
        for name, router in self._routers.items():
            router.linger = 0
            router.bind(self.endpoints[name])
        self._thread = threading.Thread(target=self._serve, name="fakes")
        self._thread.start()

    def topology(self, request_id: int) -> Any:
        message = topology(list(self.endpoints), version=self.version)
        message.request_id = request_id
        message.members = [[name, endpoint, 1, "up"] for name, endpoint in self.endpoints.items()]
        return message

    def _serve(self) -> None:
        poller = zmq.Poller()
        for router in self._routers.values():
            poller.register(router, zmq.POLLIN)
        while not self._stopped.is_set():
            ready = dict(poller.poll(POLL_MS))
            for name, router in self._routers.items():
                if router in ready:
                    self._hear(name, router)

    def _hear(self, name: str, router: Any) -> None:
        identity, frame = router.recv_multipart()
        try:
            envelope, body = open_frame(frame)
            messages = decode_body(body)
        except BadFrame:
            return
        assert envelope.kind == FROM_CLIENT
        for message in messages:
            if isinstance(message, TopologyRequest):
                frames = sealed(self.topology(message.request_id))
            else:
                frames = self.behaviour(name, message)
                self.heard.append((name, message))
            for answer in frames:
                router.send_multipart([identity, answer])

    def __enter__(self) -> Fakes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        for router in self._routers.values():
            router.close()
        self._context.term()
        shutil.rmtree(self.dir)
        assert not os.path.exists(self.dir)

"""The supervisor's control socket: JSON lines over a Unix stream, one request, one reply, in order.

    → {"verb": "kill", "nodes": ["n3"], "place": [device, inode]}
    ← {"ok": true, …}   or   {"ok": false, "error": "one line for a person"}

`place` is the cluster's directory as whoever asks sees it. A socket can have a second name, in a copy of the directory that was
made of hard links: the supervisor refuses what is meant for another directory than its own ("elsewhere": true).

Every verb is answered at once: what takes time (a stop with its grace) is begun, and whoever asked watches `facts` for its end.
So nothing that a client does, or fails to do, can hold up the supervisor: reads and writes never block, both buffers are
bounded. Who may connect is decided by the directory that the socket is in (mode 0700).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from dynazmq import durable, paths, users
from dynazmq.cluster.directory import ownership
from dynazmq.errors import ClusterError

REQUEST_BYTES_MAX = 64 << 10
REPLY_BYTES_MAX = 4 << 20
CONNECTIONS_MAX = 64

Document = dict[str, Any]


class NoSupervisor(ClusterError):
    """Nobody answers at the control socket."""


# --- asking ---------------------------------------------------------------------------------------------------------------


class Control:
    """A connection to the supervisor, made at the first call and again after a failure. For one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = paths.supervisor_socket(directory)
        self._socket: socket.socket | None = None

    def call(self, verb: str, timeout: float = 5.0, **arguments: Any) -> Document:
        """Raises NoSupervisor when nobody answers in time, ClusterError with the supervisor's words when it refuses.

        NotPermitted: it is another user's.
        """
        if verb != "facts":
            ownership.check_own(self._directory)
        paths.check_private(self._path.parent, self._directory)
        deadline = time.monotonic() + timeout
        try:
            request = json.dumps({"verb": verb, **arguments, "place": place_of(self._directory)}).encode() + b"\n"
            reply = json.loads(self._exchange(request, deadline))
        except PermissionError:
            self.close()
            raise users.refused(self._path, self._directory) from None
        except (OSError, ValueError) as error:
            self.close()
            raise NoSupervisor(f"no supervisor answers at {self._path}: {error}") from None
        if reply.get("elsewhere"):
            self.close()
            raise NoSupervisor(f"no supervisor answers at {self._path}: {reply['error']}")
        if not reply.get("ok"):
            raise ClusterError(str(reply.get("error", "the supervisor refused")))
        document: Document = reply
        return document

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_left(deadline))
            self._socket.connect(os.fspath(self._path))
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(request)
        reply = bytearray()
        while not reply.endswith(b"\n"):
            self._socket.settimeout(_left(deadline))
            part = self._socket.recv(1 << 16)
            if not part:
                raise ConnectionResetError("it ended")
            reply += part
            if len(reply) > REPLY_BYTES_MAX:
                raise ValueError("reply too long")
        return bytes(reply)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Control:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def place_of(directory: Path) -> list[int]:
    """Which directory it is, however it is called. Raises OSError."""
    found = os.stat(directory)
    return [found.st_dev, found.st_ino]


def call(directory: Path, verb: str, timeout: float = 5.0, **arguments: Any) -> Document:
    """One request over a connection of its own."""
    with Control(directory) as control:
        return control.call(verb, timeout, **arguments)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


# --- answering ------------------------------------------------------------------------------------------------------------


class _Connection:
    __slots__ = ("incoming", "outgoing", "socket")

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self.incoming = bytearray()
        self.outgoing = bytearray()


class ControlServer:
    """The supervisor's end. The loop polls `descriptors` and calls `serve` with the ready ones; `answer` never blocks."""

    def __init__(self, path: Path, answer: Callable[[Document], Document], directory: Path) -> None:
        """directory: the cluster's. Raises OSError."""
        self._path = path
        self._place = place_of(directory)
        self._answer = answer
        self._connections: dict[int, _Connection] = {}
        self._listener = self._listen()

    def _listen(self) -> socket.socket:
        self._path.unlink(missing_ok=True)  # a dead supervisor's: we hold the lock
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(os.fspath(self._path))
            self._path.chmod(0o600)
            self._file = self._path.lstat()
            listener.listen(CONNECTIONS_MAX)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    def bind_again(self) -> bool:
        """Listen anew where the socket's file was removed, and say whether it was. Raises OSError."""
        if self._is_there():
            return False
        paths.make_private(self._path.parent)
        listener = self._listen()
        self._listener.close()
        self._listener = listener
        return True

    def descriptors(self) -> Iterator[tuple[int, bool]]:
        """(descriptor, whether to wait until it can be written to as well)."""
        yield self._listener.fileno(), False
        for descriptor, connection in self._connections.items():
            yield descriptor, bool(connection.outgoing)

    def serve(self, descriptor: int) -> None:
        """Do what can be done at this descriptor. One that is not ours is not an error: the loop need not know."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif connection := self._connections.get(descriptor):
            try:
                self._read(connection)
                self._write(connection)
            except (OSError, ValueError):
                self._drop(descriptor)

    def close(self) -> None:
        for descriptor in list(self._connections):
            self._drop(descriptor)
        self._listener.close()
        if self._is_there():
            durable.remove_if_possible(self._path)

    def _is_there(self) -> bool:
        """Whether the socket at the path is this one."""
        try:
            return os.path.samestat(self._path.lstat(), self._file)
        except OSError:
            return False

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        if len(self._connections) >= CONNECTIONS_MAX:
            accepted.close()
            return
        self._connections[accepted.fileno()] = _Connection(accepted)

    def _read(self, connection: _Connection) -> None:
        try:
            part = connection.socket.recv(1 << 16)
        except BlockingIOError:
            return
        if not part:
            raise ConnectionResetError
        connection.incoming += part
        while (end := connection.incoming.find(b"\n")) >= 0:
            line = bytes(connection.incoming[:end])
            del connection.incoming[: end + 1]
            connection.outgoing += json.dumps(self._reply(line)).encode() + b"\n"
            if len(connection.outgoing) > REPLY_BYTES_MAX:
                raise ValueError("it asks and does not listen")
        if len(connection.incoming) > REQUEST_BYTES_MAX:
            raise ValueError("request too long")

    def _reply(self, line: bytes) -> Document:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"not a request: {error}"}
        if request.pop("place", self._place) != self._place:  # an earlier release says nothing of it
            return {"ok": False, "error": "it is another directory's", "elsewhere": True}
        try:
            return {"ok": True, **self._answer(request)}
        except ClusterError as error:
            return {"ok": False, "error": str(error)}

    def _write(self, connection: _Connection) -> None:
        if connection.outgoing:
            try:
                sent = connection.socket.send(connection.outgoing)
            except BlockingIOError:
                return
            del connection.outgoing[:sent]

    def _drop(self, descriptor: int) -> None:
        self._connections.pop(descriptor).socket.close()

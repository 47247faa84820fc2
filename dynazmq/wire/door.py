"""A node's door: connections are let in while there are descriptors for them (P14, N15, N18).

libzmq accepts whoever connects. Its listener for ipc ends the process when there is no descriptor for a connection (EMFILE is an
assertion, in 4.3.5), and its socket monitor tells of connections that have been accepted already. So it is never given a queue
that others can fill while it empties it:

    queue    a listening socket of ours at the node's path. The kernel keeps up to a number of connections waiting in it
    inside   the descriptor that libzmq accepts from (ZMQ_USE_FD)
    bell     what libzmq waits for. It was at that descriptor when libzmq began to listen, and an epoll knows what it watches by
             what was opened, not by its number. So we say when connections are accepted: while the bell rings

Somebody waits in the queue, and there is room for all that may be in it: a new queue takes its place at the path; the old one,
which nobody can reach any more, is put inside; the bell rings until libzmq has accepted them all, some 50 µs each. There is no
room: those who wait are told so and let go, a few at each look, and find that out in a moment. Their libraries try again.

Members come in by a queue of their own, beside the other (`inner_endpoint`), with a reserve of descriptors that clients leave
alone: a peer that was restarted finds its way back to a node that is full of clients. So do people who look after the cluster.

A TCP port cannot be handed from one socket to another without a gap. There the one queue stays inside, and it is only said when
it may be emptied. That too many come in such a moment does no harm: to libzmq's listener for TCP, EMFILE is a connection that was
not accepted. A path on a file system that is full or has become read-only gets no other socket either, and its queue stays, too:
whoever looks after that cluster must get in.

Tried, and worse: unbinding ends all connections that the listener has accepted; a proxy costs each request its latency.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import zmq

from dynazmq.config import CONNECTIONS_MAX
from dynazmq.wire import descriptors

_QUEUE_MIN, _QUEUE_MAX, _QUEUES = 16, 128, 64
"""Connections in a queue: a part of the limit, so that near it few descriptors stay unused. It is emptied in each turn
of the loop; who finds it full tries again, as libzmq does by itself."""

_RESERVE = 32
"""Descriptors that no connection gets: the node opens files, the next queue, a connection to be refused."""

_PER_MEMBER = 3
"""A member takes so many when it comes back: a socket for it, a connection to it, one from it."""

_NEWCOMERS = 4
_TURNED_AWAY_MAX, _TURNED_AWAY_S, _SOON_S = 16, 0.5, 0.005
_GREETING_S = 10.0
_PAUSE_S, _PAUSES = 0.00005, 20  # for libzmq to empty a queue: mostly it is done in the first
_STOP_S = 0.2

_GREETING = (b"\xff" + bytes(8) + b"\x7f\x03\x00NULL").ljust(64, b"\0")
_READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00"


def inner_endpoint(endpoint: str) -> str:
    """Where a node's members connect to, and those who look after the cluster."""
    return endpoint.removesuffix(".sock") + ".peer" if endpoint.startswith("ipc://") else endpoint


class _Queue:
    """Connections that wait at one address. `descriptor` stays the same when another socket takes its place."""

    def __init__(self, endpoint: str, length: int) -> None:
        """length: so many connections may wait at a time. Raises OSError."""
        self.length = length
        self._file: os.stat_result | None = None  # at the address
        self.reserve = _RESERVE  # so many descriptors must be left when they have been let in
        scheme, _, self._address = endpoint.partition("://")
        self.replaceable = scheme == "ipc"
        self.next_path = self._address.removesuffix(".sock").removesuffix(".peer") + ".next"
        self.descriptor = (self._listen_at_path() if self.replaceable else self._listen_at_port()).detach()

    def hand_over(self, to: int) -> bool:
        """Put the queue at the descriptor `to`. Whether who connects from now on waits in a new one. Raises OSError."""
        if not self.replaceable:
            return False
        try:
            new = self._listen_at_path()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            os.dup2(self.descriptor, to, inheritable=False)
            return False
        os.dup2(self.descriptor, to, inheritable=False)
        os.dup2(new.fileno(), self.descriptor, inheritable=False)
        new.close()
        return True

    def bind_again(self) -> bool:
        """Make a new queue where its file was removed, and say whether it was. Who had not been let in yet tries again.

        Raises OSError.
        """
        if self.is_there:
            return False
        new = self._listen_at_path()
        os.dup2(new.fileno(), self.descriptor, inheritable=False)
        new.close()
        return True

    def _listen_at_path(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with suppress(FileNotFoundError):
                os.unlink(self.next_path)
            made.setblocking(False)
            made.bind(self.next_path)
            made.listen(self.length - 1)  # the kernel takes one more
            file = os.lstat(self.next_path)
            os.rename(self.next_path, self._address)  # over whatever an earlier process has left there
            self._file = file
        except OSError:
            made.close()
            raise
        return made

    def _listen_at_port(self) -> socket.socket:
        host, _, port = self._address.rpartition(":")
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no obstacle (P12)
            made.bind(address)
            made.listen(self.length - 1)  # the kernel takes one more
        except OSError:
            made.close()
            raise
        return made

    def accept(self) -> socket.socket | None:
        """The next one, to be refused; None when nobody waits."""
        listener = socket.socket(fileno=self.descriptor)
        try:
            return listener.accept()[0]
        except OSError:
            return None
        finally:
            listener.detach()

    @property
    def is_there(self) -> bool:
        """Whether it is what one finds at the address: not when its file was removed, or the directory around it was moved."""
        if self._file is None:
            return True  # a port is nobody else's
        try:
            return os.path.samestat(os.lstat(self._address), self._file)
        except OSError:
            return False

    def close(self) -> None:
        os.close(self.descriptor)
        if self.replaceable and self.is_there:
            with suppress(OSError):
                os.unlink(self._address)


class Door:
    """One ROUTER's. Whoever polls `look`s when one of `descriptors` is readable, and in each turn while it is `busy`."""

    def __init__(self, router: zmq.Socket[bytes], endpoint: str) -> None:
        """Begin to listen. Raises zmq.ZMQError, whatever it is that cannot be."""
        self._router = router
        self.limit = min(descriptors.limit(), CONNECTIONS_MAX)
        self._open_at_most = self.limit  # descriptors: as many as were counted, and all that may have been let in since
        self._open = False  # libzmq is about to accept what is inside
        self.explain: Callable[[], bytes] = bytes
        """Called for each connection that is refused: the frame that it is told."""
        self._turned_away: list[tuple[socket.socket, float, bytes]] = []  # since when they are here, what they are to hear
        self._queues: list[_Queue] = []
        length = min(max(self.limit // _QUEUES, _QUEUE_MIN), _QUEUE_MAX)
        try:
            self._queues.append(_Queue(endpoint, length))
            if (inner := inner_endpoint(endpoint)) != endpoint:
                self._queues.append(_Queue(inner, _QUEUE_MIN))
            self._ringer, self._bell = socket.socketpair()
            self._listen(endpoint)
        except OSError as error:  # ZMQError is none
            self._close_queues()
            raise zmq.ZMQError(error.errno, None if error.errno else str(error)) from None
        except zmq.ZMQError:
            self._close_queues()
            raise
        self.expect(0)

    def _listen(self, endpoint: str) -> None:
        """Give the bell to libzmq, and wait until it waits for it. Raises OSError, zmq.ZMQError."""
        self._inside = os.dup(self._bell.fileno())  # libzmq's from now on: it closes it
        self._router.setsockopt(zmq.USE_FD, self._inside)
        self._router.bind(endpoint)
        self._router.setsockopt(zmq.USE_FD, -1)
        self._await_libzmq()
        if not self._queues[0].replaceable:
            os.dup2(self._queues[0].descriptor, self._inside, inheritable=False)

    def _await_libzmq(self) -> None:
        """Until its one thread has done what it had begun. Raises OSError, zmq.ZMQError.

        It begins to listen in the order of `bind`, and does what an epoll has told it before it asks that again: when a listener
        answers that came later than a descriptor was given or the bell was silent, it has begun with the one and is done with
        the other.
        """
        first = self._queues[0]
        self._made_by_libzmq = first.next_path if first.replaceable else ""
        self._router.bind(f"ipc://{first.next_path}" if first.replaceable else "tcp://127.0.0.1:*")
        another = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        address = another.partition("://")[2]
        with socket.socket(socket.AF_UNIX if first.replaceable else socket.AF_INET) as probe:
            if first.replaceable:
                probe.connect(address)
            else:
                host, _, port = address.rpartition(":")
                probe.connect((host, int(port)))
            probe.settimeout(_GREETING_S)
            probe.recv(1)
        self._router.unbind(another)

    @property
    def descriptors(self) -> list[int]:
        """What becomes readable when somebody waits."""
        return [queue.descriptor for queue in self._queues]

    @property
    def busy(self) -> bool:
        return self._open or bool(self._turned_away)

    def report(self) -> dict[str, int]:
        """For `status`."""
        try:
            return {"open": descriptors.count_open(), "limit": self.limit}
        except OSError:  # there is none left to count them with
            return {"open": self.limit, "limit": self.limit}

    def expect(self, members: int) -> None:
        """There are so many members: descriptors for all of them, and for some more, are kept from clients."""
        self._queues[0].reserve = _RESERVE + _PER_MEMBER * (members + _NEWCOMERS)

    def bind_again(self) -> bool:
        """Cleaners remove files that look old to them, such as sockets: nobody new could connect. Whether one was missing.

        Only for whoever the paths belong to. Raises OSError.
        """
        mended = [queue.bind_again() for queue in self._queues]
        return any(mended)

    # --- who waits --------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Let in who waits, if there is room; else say so."""
        if self._turned_away:
            self._part()
        if self._open and not self._close_if_empty():
            return
        for queue in reversed(self._queues):  # members first
            if not _readable(queue.descriptor):
                continue
            if not self._room(queue.length + queue.reserve):
                self._turn_away(queue)
            elif not self._let_in(queue):
                return

    def _room(self, wanted: int) -> bool:
        """Whether so many descriptors are left. Counting them is dear on some systems: it is done when it might matter."""
        if self._open_at_most + wanted > self.limit:
            try:
                self._open_at_most = descriptors.count_open()
            except OSError:
                return False
        return self._open_at_most + wanted <= self.limit

    def _let_in(self, queue: _Queue) -> bool:
        """Whether all are in; else libzmq is about to accept them, and the door stays open."""
        try:
            replaced = queue.hand_over(self._inside)
        except OSError:
            return True  # nothing has changed
        # Of a queue that stays where it is nobody knows how many come in: it is counted again.
        self._open_at_most += queue.length if replaced else self.limit
        self._open = True
        self._ringer.send(b"\1")
        for _ in range(_PAUSES):
            time.sleep(_PAUSE_S)
            if self._close_if_empty():
                return True
        return False

    def _close_if_empty(self) -> bool:
        if self._queues[0].replaceable and _readable(self._inside):
            return False
        self._bell.recv(1)
        self._open = False
        return True

    # --- who cannot be let in ---------------------------------------------------------------------------------------------

    def _turn_away(self, queue: _Queue) -> None:
        """Begin to speak ZMTP with the next ones: their libraries take in what they are told when the handshake is over.

        Who says nothing is not waited for as long when others come.
        """
        waiting = self._turned_away
        if len(waiting) >= _TURNED_AWAY_MAX and time.monotonic() - waiting[0][1] > _SOON_S:
            waiting.pop(0)[0].close()
        while len(waiting) < _TURNED_AWAY_MAX and (connection := queue.accept()) is not None:
            connection.setblocking(False)
            with suppress(OSError):
                connection.send(_GREETING + _READY)
            waiting.append((connection, time.monotonic(), self.explain()))

    def _part(self) -> None:
        """Tell why to those who have said their part of the handshake, and let go of them, and of who says nothing."""
        now = time.monotonic()
        still = []
        for connection, since, frame in self._turned_away:
            try:
                greeted = len(connection.recv(len(_GREETING) + 1, socket.MSG_PEEK)) > len(_GREETING)
                if greeted:
                    connection.send(b"\x02" + len(frame).to_bytes(8, "big") + frame)
            except BlockingIOError:
                greeted = False
            except OSError:
                greeted = True  # it has gone by itself
            if not greeted and now - since < _TURNED_AWAY_S:
                still.append((connection, since, frame))
                continue
            connection.close()
        self._turned_away = still

    # --- the end ----------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let nobody in any more. Before the ROUTER is closed: libzmq then asks its epoll to forget what it had been given.

        That is put back as soon as it cannot be about to accept from it: to accept from a bell ends the process (EINVAL is an
        assertion). Where it cannot be asked whether it has done so, it is given more than the time.
        """
        if self._open:
            self._bell.recv(1)
            self._open = False
        try:
            if not self._queues[0].is_there:  # what is in that directory now is another's
                raise FileNotFoundError
            self._await_libzmq()
        except (OSError, zmq.ZMQError):  # no directory any more, or no descriptor
            time.sleep(_STOP_S)
        os.dup2(self._bell.fileno(), self._inside, inheritable=False)
        for connection, *_ in self._turned_away:
            connection.close()
        self._close_queues()

    def close(self) -> None:
        """After the context's end: a bell whose ringer is gone would ring. And libzmq may have made a file again by then."""
        self._ringer.close()
        self._bell.close()
        if self._made_by_libzmq:
            with suppress(OSError):
                os.unlink(self._made_by_libzmq)

    def _close_queues(self) -> None:
        for queue in self._queues:
            queue.close()
        self._queues.clear()


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))

"""What happened, for the checkers: every request of a client with its outcome, and every dot that a node made durable.

Values are unique and each write has its own write id, so that a write can be told anywhere: in an answer by its value, on a
disk by its id. What a context covers is recorded as the writes that its holder was shown (`covers`), and not as the dots in its
token: a token that covers more than was shown would silently overwrite what its holder never saw. Such a set of writes of one key
is a number, with a bit for each of them: a key that is written again and again is covered by every later write.

It is the simulator's, which sees every commit, and that of a load on real processes (`sees_commits`), which sees answers alone.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dynazmq.dynamo.messages import GetReply, PutReply
from dynazmq.dynamo.values.lww import CLOCK
from dynazmq.dynamo.values.versions import Context, Dot, open_context
from dynazmq.errors import (
    DynazmqError,
    InvalidRequest,
    Overloaded,
    StorageError,
    Unavailable,
)

PENDING, OK, FAILED, UNKNOWN = "pending", "ok", "failed", "unknown"
_SHOWN_BYTES = 40
_NOTHING_HAPPENED = (InvalidRequest, Overloaded, StorageError, Unavailable)


@dataclass(slots=True, eq=False)
class Op:
    """One request of a client. outcome "failed" means that nothing was attempted, "unknown" that it may have been done."""

    index: int
    client: str
    kind: str  # get | put | delete
    bucket: str
    key: bytes
    began: float
    value: bytes | None = None
    write_id: bytes = b""
    number: int = -1  # of a write, among those of its key
    needed: int = 0  # copies, until it may be acknowledged; for who judges by what clients know (chaos/verdict.py)
    level: tuple[int, int, int] = (0, 0, 0)  # n, w, pw of a write, as it names them (messages.Put)
    covers: int = 0  # bits of the writes that its context's holder was shown, and of what those replaced
    given: bytes = b""  # the context's token
    acked: tuple[str, ...] = ()  # who acknowledged it; stand-ins beside whom they stand in for
    stand_ins: tuple[str, ...] = ()
    ended: float = -1.0
    outcome: str = PENDING
    error: str = ""
    values: tuple[bytes, ...] = ()  # what a get found
    responders: tuple[str, ...] = ()  # whom it asked
    token: bytes = b""  # the context that came back
    tries: int = 0
    again: int = 0  # times that it was sent once more when it was over

    @property
    def bit(self) -> int:
        """It alone, as a set of writes."""
        return 1 << self.number

    def __str__(self) -> str:
        said = f"{self.kind} {self.key!r}"
        if self.kind == "put":
            said += f" = {_shown(self.value)}"
        found = f" found [{', '.join(map(_shown, self.values))}]" if self.kind == "get" else ""
        again = f", sent again {self.again} times" if self.again else ""
        return f"[{self.began:.3f}-{self.ended:.3f}] {self.client} {said} {self.outcome}{again}{found} {self.error}".rstrip()


def _shown(value: bytes | None) -> str:
    return f"{value!r}" if value is None or len(value) <= _SHOWN_BYTES else f"{value[:_SHOWN_BYTES]!r}…"


@dataclass(slots=True)
class History:
    """A run's record."""

    secret: bytes
    doubled: bool = False  # frames may come twice, as TCP never lets them: a refusal may be of one copy, and the other be done
    sees_commits: bool = True  # whether `dots` has every dot that was made durable
    ops: list[Op] = field(default_factory=list)
    writes: dict[bytes, Op] = field(default_factory=dict)  # write id → op
    writes_of: dict[bytes, list[Op]] = field(default_factory=dict)  # key → its writes, by number
    by_value: dict[tuple[bytes, bytes], Op] = field(default_factory=dict)  # (key, value) → op
    dots: dict[tuple[bytes, str, int], bytes] = field(default_factory=dict)  # (key, actor, counter) → write id
    dots_of: dict[bytes, set[Dot]] = field(default_factory=dict)  # write id → its dots; several if a retry was written anew
    tombstones: dict[bytes, list[Op]] = field(default_factory=dict)  # key → its deletes
    coordinated: dict[bytes, Context] = field(default_factory=dict)  # write id → what its first coordinator knew, if of retries
    covered_by: dict[bytes, list[Op]] = field(default_factory=dict)  # write id → the writes whose context covers it
    shown: dict[tuple[str, bytes], int] = field(default_factory=dict)  # (client, token) → the writes that it was shown
    shown_with: dict[bytes, int] = field(default_factory=dict)  # token → what anybody was shown with it
    seen: set[bytes] = field(default_factory=set)  # write ids that some get has found
    broken: list[str] = field(default_factory=list)  # promises seen broken on the way
    disks_lost: int = 0
    robbed: set[str] = field(default_factory=set)  # whose
    rotted: Counter[bytes] = field(default_factory=Counter)  # key → how often a copy of it was damaged
    evicted: Counter[bytes] = field(default_factory=Counter)  # key → how often a hint of it was let go, since others have it

    # --- clients ----------------------------------------------------------------------------------------------------------

    def begin(self, client: str, kind: str, message: Any, now: float) -> Op:
        op = Op(len(self.ops), client, kind, message.bucket, message.key, now)
        if kind != "get":
            op.value, op.write_id, op.given = message.value, message.write_id, message.context
            op.covers = self._covered(client, message.context)
            self.writes[op.write_id] = op
            of_key = self.writes_of.setdefault(op.key, [])
            op.number = len(of_key)
            of_key.append(op)
            if op.value is not None:
                self.by_value[op.key, op.value] = op
            else:
                self.tombstones.setdefault(op.key, []).append(op)
            for covered in of_key:
                if op.covers & covered.bit:
                    self.covered_by.setdefault(covered.write_id, []).append(op)
        self.ops.append(op)
        return op

    def end(self, op: Op, reply: Any, error: DynazmqError | None, tries: int, now: float) -> None:
        op.ended, op.tries = now, tries
        if error is not None:
            nothing = isinstance(error, InvalidRequest) or (isinstance(error, _NOTHING_HAPPENED) and not self.doubled)
            op.outcome = FAILED if nothing else UNKNOWN
            op.error = f"{type(error).__name__}: {error}"
            return
        op.outcome, op.token = OK, reply.context
        if isinstance(reply, GetReply):
            op.values, op.responders = tuple(reply.values), tuple(reply.responders)
            found = self.found_by(op)
            self.seen.update(write.write_id for write in found if write.outcome != FAILED)
            self._show(op, found)
        elif isinstance(reply, PutReply):
            op.acked, op.stand_ins = tuple(reply.acked), tuple(node for node, _ in reply.stand_ins)
            self.dots_of.setdefault(op.write_id, set()).update(self._told_dots(op, op.token))
            self._show(op, [op])

    def end_again(self, op: Op, reply: Any, error: DynazmqError | None, now: float) -> None:
        """A write that is over was sent once more, under the same id, and this came of it: what is known best stays known."""
        op.again += 1
        if op.outcome == OK or (op.outcome == UNKNOWN and error is not None):
            if error is None:
                self.dots_of.setdefault(op.write_id, set()).update(self._told_dots(op, reply.context))
            return
        self.end(op, reply, error, op.tries + 1, now)

    def _told_dots(self, op: Op, token: bytes) -> list[Dot]:
        """The dot that an acknowledgement names. Perhaps no commit ever saw it: overwritten in the turn in which it came."""
        seen, now = (self.context_of(each, op.bucket, op.key) for each in (op.given, token))
        dots = [*now.vector.items(), *now.cloud]
        return [(actor, counter) for actor, counter in dots if actor != CLOCK and not seen.covers(actor, counter)]

    def found_by(self, op: Op) -> list[Op]:
        """The writes that an answer shows. What nobody has put is none of them."""
        known = (self.by_value.get((op.key, value)) for value in op.values)
        return [write for write in known if write is not None]

    def _covered(self, client: str, token: bytes) -> int:
        """What the holder of a context was shown: this client, or whoever passed the context on to it."""
        if not token:
            return 0
        own = self.shown.get((client, token))
        return self.shown_with.get(token, 0) if own is None else own

    def _show(self, op: Op, seen: list[Op]) -> None:
        """The token that came with this answer covers what it showed, what that replaced, and the tombstones in it."""
        covers = op.covers
        for write in seen:
            covers |= write.bit | write.covers
        context = self.context_of(op.token, op.bucket, op.key)
        for delete in self.tombstones.get(op.key, ()):  # no get shows a tombstone
            if any(context.covers(*dot) for dot in self.dots_of.get(delete.write_id, ())):
                covers |= delete.bit | delete.covers
        self.shown[op.client, op.token] = covers
        self.shown_with[op.token] = self.shown_with.get(op.token, 0) | covers

    def context_of(self, token: bytes, bucket: str, key: bytes) -> Context:
        return open_context(token, bucket, key, self.secret)

    # --- disks ------------------------------------------------------------------------------------------------------------

    def robs(self, name: str) -> None:
        """A node's disk may have forgotten anything."""
        self.disks_lost += 1
        self.robbed.add(name)

    def lost(self, key: bytes) -> int:
        """How many copies of a key a disk may have forgotten so far."""
        return self.disks_lost + self.rotted[key]

    @property
    def lost_any(self) -> bool:
        """Whether a disk may have forgotten anything."""
        return bool(self.disks_lost or self.rotted)

    def rewritten(self, write_id: bytes) -> bool:
        """Whether a write has two dots, since a retry of it could not learn of its first try."""
        return len(self.dots_of.get(write_id, ())) > 1

    def seen_too_early(self, by: Op, write: Op) -> bool:
        """Whether the writer of one write was shown another, which has two dots, under one that a try has given which did not
        know that there was another, and before its put had come to an end; and nobody who had a part in it could tell: neither
        the context that was shown, nor the coordinator of the one, unless it had met both tries of the other.

        Such a try may come second, when its frame was long under way. Who sees answers alone knows the dot of an
        acknowledgement: what was shown before under another has two."""
        seen, dots = self.context_of(by.given, by.bucket, by.key), self.dots_of.get(write.write_id, set())
        covered = {dot for dot in dots if seen.covers(*dot)}
        if write.write_id in seen.retried:
            return False
        if self.sees_commits:
            known = self.coordinated.get(by.write_id)
            met = known is not None and write.write_id in known.retried and any(known.covers(*dot) for dot in sorted(covered))
            if not covered or covered == dots or met:
                return False
        elif covered or write.outcome != OK:
            return False
        ended = write.ended if write.outcome == OK else math.inf
        return any(op.token == by.given and op.ended < ended for op in self.ops if op.key == by.key and op.outcome == OK)

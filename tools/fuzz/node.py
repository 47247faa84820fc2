"""One node, with SQLite beneath, among peers that are not there: what comes to it from them and from clients."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgpack

from dynazmq.config import NodeConfig, Timing
from dynazmq.dynamo.membership.change import intent_rows
from dynazmq.dynamo.membership.records import policies_digest, policy_rows
from dynazmq.dynamo.messages import (
    ANSWER_TO,
    FROM_CLIENTS,
    FROM_PEERS,
    Failure,
    GetReply,
    GossipDelta,
    GossipDigest,
    Handoff,
    Message,
    Probe,
    ProbeReply,
    ReadReply,
    Refused,
    Write,
    request_id_of,
)
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.runtime import Address, unhurried
from dynazmq.dynamo.values.versions import decode, node_of, seal_context
from dynazmq.simulator.run.draw import NAMES, Draw
from dynazmq.storage.sqlite import SqliteStorage
from dynazmq.wire.codec import FROM_CLIENT, FROM_NODE, BadFrame, Envelope, decode_body, encode, open_frame, seal
from dynazmq.wire.gate import Gate

CLIENTS = (b"client 1", b"client 2")
_ASKED_MAX = 64
_CALLS = 8  # of a trace
_RESTART_EVERY, _FRESH_EVERY = 4_000, 20_000  # frames
_CLIENT_KINDS = sorted(FROM_CLIENTS, key=lambda kind: kind.__name__)
_PEER_KINDS = sorted(FROM_PEERS, key=lambda kind: kind.__name__)


@dataclass(slots=True)
class Found:
    """frames: sent; refused: dropped whole; messages: that reached a handler; declined: of them, and of those out of bounds.

    ended: the exceptions that ended the node. unsendable: what was stored or said, and nobody would take.
    """

    frames: int = 0
    refused: int = 0
    messages: int = 0
    declined: int = 0
    commits: int = 0
    restarts: int = 0
    expelled: int = 0
    stored: int = 0
    ended: list[str] = field(default_factory=list)
    unsendable: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


class FuzzedNode:
    """`play` some frames; then look at `found`."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.found = Found()
        self._random = Random(seed)
        self._draw = Draw(self._random)
        self._directory = directory
        self._lives = self._begun = 0
        self._now = 1000.0
        self._wall_ms = 1_700_000_000_000
        self._asked: list[tuple[str, Message]] = []  # by the node, of its peers
        self._open_fresh()

    # --- its life ---------------------------------------------------------------------------------------------------------

    def _open_fresh(self) -> None:
        self._begun += 1
        self._path = self._directory / f"data{self._begun}.db"
        self._open()

    def _open(self) -> None:
        self._lives += 1
        members = {name: f"ipc://{name}" for name in NAMES}
        timing = Timing(retirement_grace_ms=self._random.choice((0, 300, 90_000)), anti_entropy_interval_ms=200)
        config = NodeConfig(
            name="a", cluster="t", cluster_id=1, secret=b"s" * 32, data_dir="", endpoint="ipc://a", members=members, partitions=8,
            timing=timing,
        )  # fmt: skip
        self._store = SqliteStorage(self._path, "normal")
        self.node = Node(config, self._store, Random(self._random.random()), self._now, self._wall_ms)
        self._store.commit()
        self.node.membership.settled = True
        self._gate = Gate(self.node, 1, lambda identity: identity.decode() if identity.decode() in NAMES else None)
        self._draw.epochs = (*self._draw.epochs[-3:], self.node.identity.epoch, f"{self.node.identity.epoch}.0")
        self._asked.clear()

    def _restart(self) -> None:
        """From the same disk, as after kill -9."""
        self._count()
        self.found.restarts += 1
        self._store.rollback()
        self._store.close()
        self._open()

    def _count(self) -> None:
        counters = self.node.runtime.counters
        self.found.declined += counters["messages_refused"]
        if counters["handlers_failed"]:
            self.found.ended += [note.text for note in self.node.runtime.notes if note.level == "ERROR"] or ["a handler failed"]

    def close(self) -> None:
        """Look through what is stored, and let go of it."""
        self._count()
        self._look_through()
        self._store.close()

    # --- playing ----------------------------------------------------------------------------------------------------------

    def play(self, frames: int) -> None:
        for _ in range(frames):
            self.found.frames += 1
            self._guarded(self._frame)
            if self._random.random() < 0.2:
                self._guarded(self._turn)
            if self.node.membership.expelled or self.node.membership.outcast:
                self.found.expelled += 1  # that is for peers to decide: it is no fault, but no life to play on, either
                self._begin_anew()
            elif self.found.frames % _FRESH_EVERY == 0:
                self._begin_anew()
            elif self.found.frames % _RESTART_EVERY == 0 or self.node.runtime.counters["handlers_failed"]:
                self._guarded(self._turn)
                self._guarded(self._restart)

    def _begin_anew(self) -> None:
        self._guarded(self._turn)
        self.close()
        self._open_fresh()

    def _guarded(self, step: Any) -> None:
        try:
            step()
        except Exception as error:
            calls = traceback.extract_tb(error.__traceback__)[-_CALLS:]
            path = " < ".join(f"{Path(call.filename).stem}.{call.name}:{call.lineno}" for call in reversed(calls))
            self.found.ended.append(f"{step.__name__}: {error!r} in {path}")
            self._store.rollback()
            self._store.close()
            try:
                self._open()
            except Exception as again:
                self.found.ended.append(f"it does not start again: {again!r}")
                self._open_fresh()

    def _turn(self) -> None:
        self._now += self._random.choice((0.001, 0.02, 0.2, 1.0))
        self.node.tick(self._now, self._wall_ms + int(self._now * 1000))
        for _ in range(8):
            self._store.commit()
            self.found.commits += 1
            outbox = self.node.drain()
            if not outbox:
                break
            self._gate.speak(outbox, int(self._now * 1000), self._said)
        if not any(note.level == "ERROR" for note in self.node.runtime.notes):
            self.node.runtime.notes.clear()

    def _said(self, to: Address, frame: bytes) -> bool:
        """What the node says is understood by whoever hears it. Its peers answer probes, and are asked what they are asked."""
        try:
            messages = decode_body(open_frame(frame)[1])
        except BadFrame as error:
            self.found.unsendable.append(f"said to {to!r}: {error}")
            return True
        if isinstance(to, str):
            if self._random.random() < 0.02:
                return False
            for message in messages:
                if isinstance(message, Probe) and self._random.random() < 0.9:
                    self.node.receive(to, ProbeReply(message.sequence))
                elif message.__class__ in ANSWER_TO:
                    self._asked.append((to, message))
            del self._asked[:-_ASKED_MAX]
        return True

    # --- frames -----------------------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        chance = self._random
        from_peer = chance.random() < 0.7
        sender = chance.choice(NAMES[1:]) if from_peer else ""
        rows = [self._row(sender) for _ in range(chance.choice((1, 1, 1, 2, 5)))]
        body = msgpack.packb(rows)
        if chance.random() < 0.05:
            changed = bytearray(body)
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
            body = bytes(changed)
        incarnation = self.node.membership.incarnation_of(sender) if from_peer else 0
        if chance.random() < 0.02:
            incarnation = chance.choice((0, incarnation + 1, (1 << 44) + 5, (1 << 64) - 1))
        sent_ms = chance.choice(
            (int(self._now * 1000),) * 20 + (0, int(self._now * 1000) - 400, (1 << 64) - 1 if not from_peer else 0)
        )
        envelope = Envelope(FROM_NODE if from_peer else FROM_CLIENT, 1, incarnation, 0, sent_ms)
        self.node.wake(self._now, self._wall_ms)
        try:
            identity = sender.encode() if from_peer else chance.choice(CLIENTS)
            heard = self._gate.open(identity, seal(envelope, body))
            self._gate.work(heard, unhurried)
            self.found.messages += len(heard.messages) + len(heard.refused)
        except BadFrame as error:
            self.found.refused += 1
            self.found.reasons[error.reason] += 1

    def _row(self, sender: str) -> list[Any]:
        chance, draw = self._random, self._draw
        mine = [message for to, message in self._asked if to == sender]
        if mine and chance.random() < 0.5:
            row = self._answer(chance.choice(mine))
        else:
            row = draw.message(chance.choice(_PEER_KINDS if sender else _CLIENT_KINDS))
            if row[0] == 25 and chance.random() < 0.99:
                row[5] = [intent for intent in row[5] if intent[0] != "a"]  # not to be expelled all the time
        return draw.spoiled(row) if chance.random() < 0.4 else row

    def _answer(self, asked: Message) -> list[Any]:
        """What a peer may say to this, or to something else under the same number."""
        chance, draw = self._random, self._draw
        kind = ANSWER_TO[asked.__class__] if chance.random() < 0.8 else chance.choice((Refused, Failure, *_PEER_KINDS))
        fixed: dict[str, Any] = {"request_id": request_id_of(asked), "request_ids": [request_id_of(asked)]}
        nodes = getattr(asked, "nodes", None)
        if nodes is not None:
            fixed["hashes"] = [chance.choice((0, 1, -1, 7)) for _ in range(len(nodes) // 3)]
        if hasattr(asked, "key") and chance.random() < 0.3 and hasattr(asked, "state"):
            fixed["state"] = asked.state
        return draw.message(kind, **fixed)

    # --- what is stored -----------------------------------------------------------------------------------------------------

    def _look_through(self) -> None:
        """All of it makes messages that their receivers would take."""
        last = (1 << 64) - 1
        after: Any = (-1, "", b"")
        while after is not None:
            rows, after = self._store.rows(0, last, after, 500)
            for _, bucket, key, state in rows:
                self._check_state(bucket, key, state)
        for target in self._store.hint_totals():
            after = (-1, "", b"")
            while after is not None:
                hints, after = self._store.hints(target, after, 500)
                for _, bucket, key, state in hints:
                    self._check_state(bucket, key, state)
                    self._check(Write(1, bucket, key, state or b"", target, 1))
        membership = self.node.membership
        members = [list(member) for member in membership.members.values()]
        self._check(
            GossipDelta(members, [], membership.ring.to_wire(), policy_rows(membership.policies), intent_rows(membership.intents))
        )
        lives = [list(member[:1] + member[2:4]) for member in membership.members.values()]
        ring = membership.ring
        self._check(
            GossipDigest(lives, ring.version, ring.digest(), policies_digest(membership.policies), membership.knowledge())
        )
        self._check(self.node.admin.topology(1))

    def _check_state(self, bucket: str, key: bytes, state: bytes | None) -> None:
        self.found.stored += 1
        try:
            known = decode(state or b"")
        except ValueError as error:
            self.found.unsendable.append(f"stored: {bucket}/{key!r}: {error}")
            return
        self._check(Handoff(1, bucket, key, state or b""))
        self._check(ReadReply(1, state or b""))
        values = [sibling for sibling in known.live if sibling.value is not None]
        origins = [[node_of(sibling.actor), sibling.counter, sibling.wall_ms] for sibling in values]
        token = seal_context(known.context, bucket, key, b"s" * 32)
        self._check(GetReply(1, [sibling.value or b"" for sibling in values], origins, token, ["a"]))

    def _check(self, message: Message) -> None:
        try:
            for frame in encode(Envelope(FROM_NODE, 1, 1, 0, 0), [message]):
                decode_body(open_frame(frame)[1])
        except (BadFrame, ValueError, TypeError, OverflowError) as error:
            self.found.unsendable.append(f"stored: {message.__class__.__name__}: {error}")

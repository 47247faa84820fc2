"""One client's core: what comes to it from its nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgpack

from dynazmq.client.core.core import ClientCore
from dynazmq.client.core.requests import Options, get_request, get_result, put_request, put_result
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import ANSWER_TO, Failure, Message, Refused, Topology, TopologyRequest, request_id_of
from dynazmq.dynamo.values.ring import Ring
from dynazmq.errors import DynazmqError
from dynazmq.simulator.run.draw import BUCKETS, KEYS, NAMES, Draw
from dynazmq.wire.codec import FROM_NODE, BadFrame, Envelope, decode_body, open_frame, seal

_LINKS = [f"ipc://{name}" for name in NAMES]
_ASKED_MAX = 64


@dataclass(slots=True)
class ClientFound:
    """ended: exceptions that are none of the client's own, out of its core or out of a result."""

    frames: int = 0
    refused: int = 0
    answered: int = 0
    ended: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)


class FuzzedClient:
    """`play` some frames; then look at `found`."""

    def __init__(self, seed: int) -> None:
        self.found = ClientFound()
        self._random = Random(seed)
        self._draw = Draw(self._random)
        self._now = 1000.0
        self._asked: list[Message] = []
        self._begin()

    def _begin(self) -> None:
        self.core = ClientCore(_LINKS, 1, Random(self._random.random()), self._now)
        owners = tuple(NAMES[i % 5] for i in range(8))
        members = [[name, f"ipc://{name}", 1, "up"] for name in NAMES]
        self.core.receive(
            _LINKS[0], [Topology(0, "t", 1, "a", Ring(1, owners).to_wire(), members, [], 3, 2, 2, 1 << 20)], self._now
        )
        assert isinstance(self.core.view, View)

    def play(self, frames: int) -> None:
        for _ in range(frames):
            self.found.frames += 1
            try:
                self._step()
            except Exception as error:
                trace = error.__traceback__
                while trace is not None and trace.tb_next is not None:
                    trace = trace.tb_next
                where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
                self.found.ended.append(f"{error!r} at {where}")
                self._begin()

    def _step(self) -> None:
        chance, core = self._random, self.core
        if chance.random() < 0.5:
            self._ask()
        for link, messages in core.drain().items():
            if chance.random() < 0.05:
                core.undeliverable(link, messages, self._now)
            else:
                self._asked += messages
        del self._asked[:-_ASKED_MAX]
        rows = [self._row() for _ in range(chance.choice((1, 1, 2, 4)))]
        try:
            messages = decode_body(open_frame(seal(Envelope(FROM_NODE, 1, 1, 0, 0), msgpack.packb(rows)))[1])
        except BadFrame:
            self.found.refused += 1
        else:
            core.receive(chance.choice(_LINKS), messages, self._now)
        self._now += chance.choice((0.0, 0.001, 0.01, 0.3))
        core.tick(self._now)

    def _ask(self) -> None:
        chance, core = self._random, self.core
        assert core.view is not None
        options = Options(bucket=chance.choice(BUCKETS))
        key = chance.choice(KEYS)
        try:
            if chance.random() < 0.5:
                request, result = get_request(options, core.view, key), lambda done: get_result(options, done)
            else:
                request, result = put_request(options, core.view, key, b"v", None), put_result
        except DynazmqError:
            return  # as the policies are that it was told

        def notify(done: Any) -> None:
            self.found.answered += 1
            try:
                result(done)
                self.found.outcomes["done"] += 1
            except DynazmqError as error:
                self.found.outcomes[type(error).__name__] += 1

        request.notify = notify
        core.start(request, self._now)

    def _row(self) -> list[Any]:
        chance, draw = self._random, self._draw
        asked = chance.choice(self._asked) if self._asked and chance.random() < 0.8 else TopologyRequest(1)
        kind = ANSWER_TO.get(asked.__class__, Topology) if chance.random() < 0.7 else chance.choice((Failure, Refused, Topology))
        row = draw.message(kind, request_id=request_id_of(asked))
        if kind is Topology and chance.random() < 0.5:
            row[3] = 1
        return draw.spoiled(row) if chance.random() < 0.4 else row

"""Looking closely at one key (`explain`, `trace`), for whoever asks. Nothing here changes anything (promise 8).

So a row or hint that turns out to be damaged is told as such and left as it is: that it is given up, with a new epoch, is for the
next request that needs it (replica.py, hints.py).
"""

from __future__ import annotations

from collections.abc import Callable

from dynazmq.dynamo.messages import LookAsk, LookTell, TraceAsk
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.dynamo.replica.replica import BadMessage
from dynazmq.dynamo.runtime import Address, DamagedRow, Runtime
from dynazmq.dynamo.values.ring import place


class Looking:
    """One node's answers. What it tells is committed by the time that it leaves; if the commit fails it is refused instead."""

    def __init__(self, runtime: Runtime, hints: Hints) -> None:
        self._runtime = runtime
        self._hints = hints
        self.driver_trace: Callable[[Address, TraceAsk], None] | None = None
        """Only the driver knows when a frame comes and goes, and what a commit takes; it puts itself here."""

    def on_look_ask(self, sender: Address, message: LookAsk) -> None:
        """Raises BadMessage, StoreFailed."""
        row = place(message.bucket, message.key), message.bucket, message.key
        state, damaged = b"", False
        try:
            state = self._runtime.store.read(*row)
        except DamagedRow:
            damaged = True
        reply = LookTell(message.request_id, state, damaged, self._hints.told(row))
        self._runtime.send(sender, reply)

    def on_trace_ask(self, sender: Address, message: TraceAsk) -> None:
        """Raises BadMessage."""
        if self.driver_trace is None:
            raise BadMessage(f"{self._runtime.name} cannot trace: nothing drives it that could")
        self.driver_trace(sender, message)

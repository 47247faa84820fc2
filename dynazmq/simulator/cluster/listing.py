"""A client that lists all keys of a bucket in virtual time: the real walk around the ring (client/core/scan.py), page after
page."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from dynazmq.client.core import flows
from dynazmq.client.core.requests import Request
from dynazmq.client.core.scan import Scanner
from dynazmq.errors import DynazmqError

if TYPE_CHECKING:
    from dynazmq.simulator.cluster.client import Client
    from dynazmq.simulator.cluster.presence import Presence


class Listing:
    """One walk, begun when it is made. `keys`: as they came; `error`: what ended it before its end."""

    def __init__(self, client: Client, presence: Presence, page_keys: int) -> None:
        """presence: is told when it begins and ends."""
        self._client = client
        self._presence = presence
        self._flow: Generator[list[Request], None, list[str | bytes]] | None = None
        self._waiting = 0
        self.began, self.ended = client.world.now, -1.0
        self.keys: list[str] = []
        self.error: DynazmqError | None = None
        self.then: Callable[[], None] | None = None
        client.connected()
        presence.list_began(self)
        options, standing = client.options, client.core.standing
        try:
            self._scanner = Scanner(options.bucket, options.timeout, client.connected, standing, page_keys=page_keys)
        except DynazmqError as error:
            self._end(error)
        else:
            self._next_page()

    @property
    def done(self) -> bool:
        return self.ended >= 0

    def __str__(self) -> str:
        said = f"error {self.error!r}" if self.error is not None else f"found {self.keys}"
        return f"[{self.began:.3f}-{self.ended:.3f}] {self._client.name} keys {said}"

    def _next_page(self) -> None:
        if self._scanner.done:
            self._end(None)
            return
        self._flow = flows.page(self._client.connected(), self._client.options, self._scanner)
        self._go_on()

    def _go_on(self) -> None:
        """Everything that the page has waited for is there."""
        assert self._flow is not None
        try:
            requests = next(self._flow)
        except StopIteration as stop:
            self.keys += map(str, stop.value)
            self._later(self._next_page)
        except DynazmqError as error:
            self._end(error)
        else:
            self._ask(requests)

    def _ask(self, requests: list[Request]) -> None:
        self._waiting = len(requests)
        if not requests:
            self._later(self._go_on)
        for request in requests:
            call = self._client.begin(request)
            if call.done:
                self._later(self._answered)
            else:
                call.then = self._answered

    def _later(self, action: Callable[[], None]) -> None:
        """Never inside of what has just happened: a walk of a thousand pages is no stack of a thousand calls."""
        self._client.world.at(self._client.world.now, action)

    def _answered(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._later(self._go_on)

    def _end(self, error: DynazmqError | None) -> None:
        self.ended, self.error = self._client.world.now, error
        self._presence.list_ended(self)
        if self.then is not None:
            self.then()


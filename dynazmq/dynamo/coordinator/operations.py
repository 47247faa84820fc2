"""Operations under way, with the bytes that they hold: a node bounds both (promise 7)."""

from __future__ import annotations

from typing import Protocol, TypeVar


class Holder(Protocol):
    """An operation that keeps states until it is over. held: how many bytes of them."""

    held: int


Op = TypeVar("Op", bound=Holder)


class Operations(dict[int, Op]):
    """By request id. Whoever is taken out holds nothing any more, so `bytes` is that of those that are in."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def hold(self, op: Op, size: int) -> None:
        """This operation, which is in, keeps so many bytes more."""
        op.held += size
        self.bytes += size

    def drop(self, request_id: int) -> None:
        """It is over, or begins anew. Again does nothing."""
        op = self.pop(request_id, None)
        if op is not None:
            self.bytes -= op.held
            op.held = 0

"""Every exception on one page.

All descend from `DynazmqError`. What a caller may conclude from one is in its docstring: *nothing happened*, *it may have
happened*, or *try again*. Operating errors carry numbers, so that programs need not parse text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from dynazmq.client.values.results import Result


class DynazmqError(Exception):
    """Base of everything that dynazmq raises."""


class InvalidRequest(DynazmqError, ValueError):
    """The request broke a rule of the API. Nothing was sent, nothing was stored."""


class ValueTooLarge(InvalidRequest):
    """The value is longer than the cluster accepts. Nothing was sent.

    Attributes: `limit` and `given`, both in bytes.
    """

    def __init__(self, limit: int, given: int) -> None:
        super().__init__(f"value of {given:,} bytes is over the limit of {limit:,} bytes")
        self.limit = limit
        self.given = given

    def __reduce__(self) -> tuple[type[ValueTooLarge], tuple[int, int]]:
        return type(self), (self.limit, self.given)


class KeyNotFound(DynazmqError, KeyError):
    """A value was asked for and a quorum of replicas says that there is none."""

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return str(self.args[0]) if self.args else "key not found"


class ConflictError(DynazmqError):
    """One value was asked for and there are several siblings. `result` holds them all and the context that covers them."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[ConflictError], tuple[str, Result]]:
        return type(self), (str(self), self.result)


class Unavailable(DynazmqError):
    """Too few replicas can be reached. Nothing was attempted.

    Attributes: `required` replies, `alive` replicas that could have given one.
    """

    def __init__(self, message: str, required: int = 0, alive: int = 0) -> None:
        super().__init__(message)
        self.required = required
        self.alive = alive


class QuorumTimeout(DynazmqError, TimeoutError):
    """The deadline passed before enough replicas answered.

    Attributes: `required` and `received` replies (received is what the last node asked knew; 0 when no node answered).
    """

    def __init__(self, message: str, required: int = 0, received: int = 0) -> None:
        super().__init__(message)
        self.required = required
        self.received = received


class ReadTimeout(QuorumTimeout):
    """A read met its deadline. Reading changes nothing that a caller can see: try again."""


class WriteTimeout(QuorumTimeout):
    """A write met its deadline. `outcome` is "unknown": some replicas may hold it, and if it ever shows, it stays.

    Repeat it only with the same context: as a new write it may become a sibling of itself.
    """

    outcome = "unknown"


class Overloaded(DynazmqError):
    """A node has as much to do as it accepts. Nothing was attempted; wait `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ClusterUnreachable(DynazmqError, ConnectionError):
    """No node answered at all. `tried` maps each endpoint to what came of it."""

    def __init__(self, message: str, tried: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.tried = dict(tried or {})


class ProtocolError(DynazmqError):
    """The other side speaks another version of the protocol, or sent what this version does not understand."""


class ClientClosed(DynazmqError):
    """The client was closed before or during the call. A write under way then has an unknown outcome."""


class StorageError(DynazmqError):
    """A node could not read or write its storage (disk full, I/O error, wrong or damaged file)."""


class UnusableDisk(StorageError):
    """A node's database is damaged, cut off, another's or of a newer release. Another try would find the same."""

    exit_code = 65
    """With which a node then ends (EX_DATAERR of sysexits.h): its supervisor does not start it again by itself."""


class Expelled(DynazmqError):
    """A node was removed from its cluster by force while it was away: its peers do not speak to it any more."""

    exit_code = 66
    """With which it then ends: its supervisor does not start it again by itself."""


class OldDisk(DynazmqError):
    """A node's disk is a copy from before something was forgotten everywhere: it would bring back what was deleted."""

    exit_code = 67
    """With which it then ends: its supervisor sets the disk aside and starts it on an empty one."""


class ClusterError(DynazmqError):
    """Administration failed: the message says what, and what to type next."""


class ClusterReplaced(ClusterError):
    """The cluster that was looked at is not there any more, and another one in its place. Whoever looks again sees that one."""


class NotPermitted(ClusterError):
    """It is another user's: the message says whose, and as whom to do it. directory: the cluster's, where that is known."""

    def __init__(self, message: str, directory: Path | None = None) -> None:
        super().__init__(message)
        self.directory = directory


class NoSuchCluster(ClusterError):
    """There is no cluster in that directory, or it is not running."""

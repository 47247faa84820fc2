"""What a caller is told when a request was not done: the error that says exactly as much as is known."""

from __future__ import annotations

from typing import Any

from dynazmq.client.core.requests import Request, about
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import INVALID, OVERLOADED, STORAGE, TIMEOUT, Get, Put, Scan
from dynazmq.errors import (
    ClusterUnreachable,
    DynazmqError,
    InvalidRequest,
    Overloaded,
    ProtocolError,
    ReadTimeout,
    StorageError,
    Unavailable,
    WriteTimeout,
)


def failure_of(request: Request) -> DynazmqError:
    """What the last refusal says, as far as it holds for all attempts: of a put, an earlier one may have been done."""
    failure: Any = request.refusal
    if failure.code == TIMEOUT or (request.maybe and request.message.__class__ is Put):
        return _timeout(request, failure.required, failure.received, failure.text)
    what = about(request)
    if failure.code == INVALID:
        return InvalidRequest(f"{what}: {failure.text}")
    if failure.code == OVERLOADED:
        return Overloaded(f"{what}: {failure.text}; nothing was attempted", max(failure.retry_after_ms, 10) / 1000)
    if failure.code == STORAGE:
        return StorageError(f"{what}: {failure.text}")
    # UNAVAILABLE, NOT_YET, ELSEWHERE
    return Unavailable(f"{what}: {failure.text}; nothing was attempted", failure.required, failure.received)


def late(request: Request, view: View) -> DynazmqError:
    """The deadline has passed."""
    failure: Any = request.refusal
    if failure is not None and not request.maybe:
        return failure_of(request)
    required, received = (failure.required, failure.received) if failure is not None else (0, 0)
    said = f"; last refusal: {failure.text}" if failure is not None else ""
    silent = view.name_of(request.link) if request.link is not None else ""
    text = f"no answer within {request.timeout:g} s" + (f", last asked {silent}" if silent else "") + said
    return _timeout(request, required or required_of(request.message, view), received, text)


def crowded_out(request: Request) -> Overloaded:
    """It has waited for its turn for as long as it had time, and nothing of this client was answered meanwhile."""
    text = f"{about(request)}: no room in {request.timeout:g} s, in which nothing of this client was answered"
    return Overloaded(f"{text}; nothing was attempted", request.timeout)


def required_of(message: object, view: View) -> int:
    """How many replicas a request wanted to hear of."""
    if isinstance(message, Put):
        given, primaries, policy = message.w, message.pw, view.policy(message.bucket)
        usual = policy.w
    elif isinstance(message, Get):
        given, primaries, policy = message.r, message.pr, view.policy(message.bucket)
        usual = policy.r
    else:
        return 1  # one node's own answer
    n = message.n or policy.n
    return max(n if given < 0 else given or min(usual, n), primaries)


def misunderstood(request: Request, said: str) -> DynazmqError:
    """All nodes that it could go to speak another version of the protocol."""
    if request.maybe and request.message.__class__ is Put:
        return _timeout(request, _required(request), 0, f"no node can be understood any more ({said})")
    return ProtocolError(f"{about(request)}: no node can be understood ({said}); nothing was attempted")


def outlived(request: Request, said: str, tried: dict[str, str]) -> DynazmqError:
    """Its cluster is not there any more."""
    if request.maybe and request.message.__class__ is Put:
        return _timeout(request, _required(request), 0, said)
    return ClusterUnreachable(f"{about(request)}: {said}; nothing was attempted", tried)


def _required(request: Request) -> int:
    failure: Any = request.refusal
    return failure.required if failure is not None else 0


def unreachable(tried: dict[str, str]) -> ClusterUnreachable:
    each = ", ".join(f"{where}: {what}" for where, what in tried.items())
    return ClusterUnreachable(f"no node can be reached ({each})", tried)


def _timeout(request: Request, required: int, received: int, text: str) -> DynazmqError:
    what = about(request)
    if request.message.__class__ is Get or request.message.__class__ is Scan:
        return ReadTimeout(f"{what}: {text}", required, received)
    return WriteTimeout(f"{what}: {text}; its outcome is unknown, some replicas may hold it", required, received)

"""What a caller is told when a request was not done: the error that says exactly as much as is known."""

from __future__ import annotations

from typing import Any

from dynazmq.client.requests import Request
from dynazmq.client.view import View
from dynazmq.dynamo.messages import INVALID, NOT_YET, OVERLOADED, STORAGE, UNAVAILABLE, Put
from dynazmq.errors import (
    ClusterUnreachable,
    DynazmqError,
    InvalidRequest,
    Overloaded,
    ReadTimeout,
    StorageError,
    Unavailable,
    WriteTimeout,
)


def failure_of(request: Request) -> DynazmqError:
    """What the last refusal says. Only for one after which nothing was attempted, or for a read."""
    failure: Any = request.refusal
    about = _about(request)
    if failure.code == INVALID:
        return InvalidRequest(f"{about}: {failure.text}")
    if failure.code == UNAVAILABLE:
        return Unavailable(f"{about}: {failure.text}; nothing was attempted", failure.required, failure.received)
    if failure.code == OVERLOADED:
        return Overloaded(f"{about}: {failure.text}; nothing was attempted", max(failure.retry_after_ms, 10) / 1000)
    if failure.code == STORAGE:
        return StorageError(f"{about}: {failure.text}")
    if failure.code == NOT_YET:
        return Unavailable(f"{about}: {failure.text}; nothing was attempted", failure.required, failure.received)
    return _timeout(request, failure.required, failure.received, failure.text)


def late(request: Request, view: View) -> DynazmqError:
    """The deadline has passed."""
    failure: Any = request.refusal
    if failure is not None and not request.maybe:
        return failure_of(request)
    required, received = (failure.required, failure.received) if failure is not None else (0, 0)
    if not required:
        policy = view.policy(getattr(request.message, "bucket", ""))
        required = policy.w if request.message.__class__ is Put else policy.r
    said = f"; last refusal: {failure.text}" if failure is not None else ""
    silent = view.name_of(request.link) if request.link is not None else ""
    text = f"no answer within {request.timeout:g} s" + (f", last asked {silent}" if silent else "") + said
    return _timeout(request, required, received, text)


def unreachable(tried: dict[str, str]) -> ClusterUnreachable:
    each = ", ".join(f"{where}: {what}" for where, what in tried.items())
    return ClusterUnreachable(f"no node can be reached ({each})", tried)


def _timeout(request: Request, required: int, received: int, text: str) -> DynazmqError:
    about = _about(request)
    if request.message.__class__ is Put:
        text = f"{about}: {text}; its outcome is unknown, some replicas may hold it"
        return WriteTimeout(text, required, received)
    return ReadTimeout(f"{about}: {text}", required, received)


def _about(request: Request) -> str:
    message = request.message
    if message.__class__ is Put and message.value is None:
        return f"delete {request.key!r}"
    verb = message.__class__.__name__.lower()
    return f"{verb} {request.key!r}" if request.key else verb

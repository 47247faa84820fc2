"""What `explain`, `trace_get`, `trace_put` and `trace_delete` of a bucket do, once for both faces (see flows.py)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from dynazmq.client.core.flows import AnyContext, Flow
from dynazmq.client.core.outcomes import required_of
from dynazmq.client.core.requests import Key, Options, Request, get_request, get_result, key_bytes, put_request, put_result
from dynazmq.client.inspect.explain import explain as explained
from dynazmq.client.inspect.explained import Explanation
from dynazmq.client.inspect.looked import Told
from dynazmq.client.inspect.trace import Timeline, read
from dynazmq.client.inspect.traced import CLIENT, Point, Trace
from dynazmq.client.values.context import Context
from dynazmq.client.values.view import View
from dynazmq.client.values.write_ids import new_write_id
from dynazmq.config import TRACE_MS_MAX
from dynazmq.dynamo.messages import LookAsk, StatusRequest, TopologyRequest, TraceAsk, TraceTell
from dynazmq.errors import DynazmqError, KeyNotFound
from dynazmq.wire.clock import clock_name

LOOK_S = 0.4
"""A node that tells nothing in this time is not waited for: it is away, frozen, or has other things to do."""

ARM_S = 0.15
"""The same before a traced request: less, or a replica that was just frozen is known to be by then, and is not asked at all."""

SETTLE_S = 1.2
"""For so long, after the answer, a trace waits for late ones: longer than a silent replica is given before another stands in."""


def explain(view: View, options: Options, key: Key) -> Flow[Explanation]:
    """All nodes at once, each asked all that there is to ask in one frame."""
    raw = key_bytes(key)
    patience = min(options.timeout, LOOK_S)
    asked: dict[str, tuple[Request, Request, Request]] = {}
    for name, link in view.links.items():
        messages = (LookAsk(0, options.bucket, raw), TopologyRequest(0), StatusRequest(0))
        look, topology, status = (_to(link, message, key, patience, "explain") for message in messages)
        asked[name] = look, topology, status
    yield [request for requests in asked.values() for request in requests]
    told = {
        name: Told(look.reply, topology.reply, status.reply, _why(look, patience))
        for name, (look, topology, status) in asked.items()
    }
    return explained(view, options.bucket, raw, told)


def _to(link: str, message: Any, key: Key, timeout: float, operation: str) -> Request:
    request = Request(message, key, 0, timeout, operation)
    request.only = link
    return request


def _why(request: Request, patience: float) -> str:
    """Why there is no answer, if there is none."""
    if request.error is None:
        return ""
    if type(request.error).__name__ == "ClusterError":  # it refused, and said why
        return str(request.error)
    return f"no answer in {patience:g} s" if request.sent else "no connection"


# --- one request, watched -------------------------------------------------------------------------------------------------


def trace_get(view: View, options: Options, key: Key) -> Flow[Trace]:
    request = get_request(options, view, key)
    found = yield from _trace(view, options, request, "get")
    return found if found.error is not None else _with_result(found, options, request)


def trace_put(view: View, options: Options, key: Key, value: Any, context: AnyContext) -> Flow[Trace]:
    request = put_request(options, view, key, options.codec.encode(value), context)
    found = yield from _trace(view, options, request, "put")
    return found if found.error is not None else replace(found, result=put_result(request))


def trace_delete(view: View, options: Options, key: Key, context: AnyContext) -> Flow[Trace]:
    """Without a context: of what a read finds before, which is not traced. Raises KeyNotFound when it finds nothing."""
    if context is None:
        reading = get_request(options.part_of("delete"), view, key)
        yield [reading]
        if reading.error is not None:
            raise reading.error
        if not reading.reply.values:
            raise KeyNotFound(f"no value for key {key!r}: there is nothing to delete")
        context = Context(reading.reply.context)
    request = put_request(options, view, key, None, context)
    found = yield from _trace(view, options, request, "delete")
    return found if found.error is not None else replace(found, result=put_result(request))


def _with_result(found: Trace, options: Options, request: Request) -> Trace:
    try:
        return replace(found, result=get_result(options, request))
    except DynazmqError as error:  # bytes that the codec did not write: the request was traced all the same
        return replace(found, error=error)


def _trace(view: View, options: Options, request: Request, operation: str) -> Flow[Trace]:
    """Have all nodes note, do the request, wait for what comes late, and collect."""
    number = int.from_bytes(new_write_id()[:4], "big")
    raw = request.message.key
    note_ms = min(TRACE_MS_MAX, int((options.timeout + SETTLE_S + LOOK_S) * 1000))

    def ask(names: Iterable[str], note_ms: int, wait_s: float, patience: float) -> dict[str, Request]:
        message = TraceAsk(0, number, options.bucket, raw, note_ms, int(wait_s * 1000))
        return {name: _to(view.links[name], replace(message), request.key, patience, operation) for name in names}

    armed = ask(view.links, note_ms, 0, ARM_S)
    yield list(armed.values())
    silent = {name: why for name, each in armed.items() if (why := _why(each, ARM_S))}
    asked_us = time.monotonic_ns() // 1_000
    yield [request]
    ended_us = time.monotonic_ns() // 1_000
    noting = [name for name in view.links if name not in silent]
    early = ask(noting, 0, SETTLE_S, SETTLE_S + LOOK_S)
    yield list(early.values())
    final = ask(noting, 0, 0, LOOK_S)
    yield list(final.values())
    told = {name: tell for name in noting if (tell := final[name].reply or early[name].reply) is not None}
    silent |= {name: _why(final[name], LOOK_S) for name in noting if name not in told}
    tries = [view.name_of(link) for link in request.tried]
    message, request_id = type(request.message).__name__, request.message.request_id
    asked = [Point(asked_us, CLIENT, "asked", tries[0] if tries else "", message, request_id)]
    if len(tries) > 1:
        asked.append(Point(int(request.asked * 1_000_000), CLIENT, "asked", tries[-1], message, request_id))
    outcome = "failed" if request.error is not None else "answered"
    ended = Point(ended_us, CLIENT, outcome, tries[-1] if tries else "", "", request_id, note=str(request.error or ""))
    return _traced(view, request, operation, told, silent, asked, ended)


def _traced(
    view: View,
    request: Request,
    operation: str,
    told: dict[str, TraceTell],
    silent: dict[str, str],
    asked: list[Point],
    ended: Point,
) -> Trace:
    noted = {}
    for name, tell in told.items():
        try:
            noted[name] = read(name, tell.points)
        except (ValueError, TypeError) as problem:
            silent[name] = f"it tells what makes no sense: {problem}"
    mine = clock_name()
    other = [name for name in noted if told[name].clock != mine]
    timeline = Timeline(asked, ended, noted, other)
    answer = timeline.answer()
    return Trace(
        operation=operation, bucket=request.message.bucket, key=request.message.key,
        needed=required_of(request.message, view), elapsed_us=ended.at_us - asked[0].at_us,
        quorum_us=answer.at_us if answer is not None else None,
        quorum_of=tuple(answer.note.split()) if answer is not None else (),
        rows=tuple(timeline.rows()), points=tuple(timeline.points()), comparable=not other, silent=silent,
        lost=sum(told[name].lost for name in noted), others=timeline.others, error=request.error,
    )  # fmt: skip

"""What each call of a bucket does, once for both faces.

A flow is a generator: it yields the requests that it wants done, is resumed when they are, and returns the call's result. The
blocking face waits for them with its thread, the asynchronous one with `await`; neither knows what a call means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from dynazmq.client.codecs import CODECS
from dynazmq.client.context import Context
from dynazmq.client.requests import Key, Options, Request, get_request, get_result, put_request, put_result
from dynazmq.client.results import Batch, PutResult, Result
from dynazmq.client.scan import Scanner
from dynazmq.client.view import View
from dynazmq.dynamo.messages import SetBucket
from dynazmq.errors import DynazmqError, InvalidRequest

T = TypeVar("T")
Flow = Generator[list[Request], None, T]
AnyContext = Context | str | None

_ANY = CODECS["raw"]
"""Reads any value: for calls that only want to know whether there is one."""


def get(view: View, options: Options, key: Key) -> Flow[Result]:
    """Read; siblings are resolved and the merged value is written back, if the bucket has a resolver."""
    request = get_request(options, view, key)
    yield [request]
    result = get_result(options, request)
    if options.resolver is not None and len(result.values) > 1:
        _resolve(options, result)
        left = max(0.05, request.deadline - time.monotonic())
        written = yield from put(view, replace(options, timeout=left), key, result.values[0], result.context)
        result.context = written.context
    return result


def _resolve(options: Options, result: Result) -> None:
    assert options.resolver is not None
    result.values = [options.resolver(list(result.values))]


def put(view: View, options: Options, key: Key, value: Any, context: AnyContext) -> Flow[PutResult]:
    request = put_request(options, view, key, options.codec.encode(value), context)
    yield [request]
    return put_result(request)


def delete(view: View, options: Options, key: Key, context: AnyContext) -> Flow[PutResult]:
    """Without a context: delete what a read finds, since a tombstone that has seen nothing would replace nothing."""
    timeout = options.timeout
    if context is None:
        reading = get_request(options, view, key)
        yield [reading]
        found = get_result(replace(options, codec=_ANY), reading)
        if not found.found:
            return PutResult(found.context, (), ())
        context = found.context
        timeout = max(0.05, reading.deadline - time.monotonic())
    request = put_request(replace(options, timeout=timeout), view, key, None, context)
    yield [request]
    return put_result(request)


# --- many at a time -------------------------------------------------------------------------------------------------------


def get_many(view: View, options: Options, keys: Iterable[Key]) -> Flow[Batch[Key, Result]]:
    batch: Batch[Key, Result] = Batch()
    requests = _build(batch, ((key, partial(get_request, options, view, key)) for key in keys))
    yield list(requests.values())
    for key, request in requests.items():
        _outcome(batch, key, partial(get_result, options, request))
    if options.resolver is not None:
        yield from _resolve_many(view, options, batch)
    return batch


def _resolve_many(view: View, options: Options, batch: Batch[Key, Result]) -> Flow[None]:
    several = {key: result for key, result in batch.ok.items() if len(result.values) > 1}
    for result in several.values():
        _resolve(options, result)
    contexts = {key: result.context for key, result in several.items()}
    if not several:
        return
    written = yield from put_many(view, options, {key: result.values[0] for key, result in several.items()}, contexts)
    for key, outcome in written.items():
        if isinstance(outcome, DynazmqError):
            batch[key] = outcome
        else:
            several[key].context = outcome.context


def put_many(
    view: View,
    options: Options,
    items: Mapping[Any, Any] | Iterable[tuple[Key, Any]],
    contexts: Mapping[Any, AnyContext] | None,
) -> Flow[Batch[Key, PutResult]]:
    pairs = items.items() if isinstance(items, Mapping) else items
    seen = contexts or {}

    def build(key: Key, value: Any) -> Request:
        return put_request(options, view, key, options.codec.encode(value), seen.get(key))

    return _write_many(((key, partial(build, key, value)) for key, value in pairs), Batch())


def delete_many(
    view: View, options: Options, keys: Iterable[Key], contexts: Mapping[Any, AnyContext] | None
) -> Flow[Batch[Key, PutResult]]:
    seen: dict[Key, AnyContext] = dict(contexts or {})
    keys = list(dict.fromkeys(keys))
    batch: Batch[Key, PutResult] = Batch()
    raw = replace(options, codec=_ANY, resolver=None)
    found = yield from get_many(view, raw, [key for key in keys if seen.get(key) is None])
    for key, outcome in found.items():
        if isinstance(outcome, DynazmqError):
            batch[key] = outcome
        elif outcome.found:
            seen[key] = outcome.context
        else:
            batch[key] = PutResult(outcome.context, (), ())
    wanted = [key for key in keys if key not in batch]
    return (yield from _write_many(((key, partial(put_request, options, view, key, None, seen[key])) for key in wanted), batch))


def _write_many(
    wanted: Iterable[tuple[Key, Callable[[], Request]]], batch: Batch[Key, PutResult]
) -> Flow[Batch[Key, PutResult]]:
    requests = _build(batch, wanted)
    yield list(requests.values())
    for key, request in requests.items():
        _outcome(batch, key, partial(put_result, request))
    return batch


def _build(batch: Batch[Key, Any], wanted: Iterable[tuple[Key, Callable[[], Request]]]) -> dict[Key, Request]:
    """Check all before any is sent; one that is refused is an outcome like any other."""
    requests: dict[Key, Request] = {}
    for key, build in wanted:
        try:
            requests[key] = build()
        except InvalidRequest as error:
            batch[key] = error
    return requests


def _outcome(batch: Batch[Key, Any], key: Key, result: Callable[[], Any]) -> None:
    try:
        batch[key] = result()
    except DynazmqError as error:
        batch[key] = error


# --- a bucket's keys and policy -------------------------------------------------------------------------------------------


def page(view: View, options: Options, scanner: Scanner) -> Flow[list[str | bytes]]:
    """The next keys: str where they are UTF-8."""
    requests = scanner.wanted()
    yield requests
    keys: list[str | bytes] = []
    for raw, certain in scanner.take(requests):
        if not certain:
            reading = get_request(options, view, raw)
            yield [reading]
            if not get_result(replace(options, codec=_ANY), reading).found:
                continue
        try:
            keys.append(raw.decode())
        except UnicodeDecodeError:
            keys.append(raw)
    return keys


def configure(view: View, options: Options, n: int | None, r: int | None, w: int | None) -> Flow[None]:
    """Raises InvalidRequest for what no cluster of this size can do."""
    members = len(view.links)
    n = view.default.n if n is None else n
    r = min(view.default.r, n) if r is None else r
    w = min(view.default.w, n) if w is None else w
    for what, given, limit in (("n", n, members), ("r", r, n), ("w", w, n)):
        if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= limit:
            raise InvalidRequest(f"{what}={given!r} is not in 1..{limit}")
    request = Request(SetBucket(0, options.bucket, n, r, w), options.bucket, 0, options.timeout)
    yield [request]
    if request.error is not None:
        raise request.error

"""What each call of a bucket does, once for both faces.

A flow is a generator: it yields the requests that it wants done, is resumed when they are, and returns the call's result. The
blocking face waits for them with its thread, the asynchronous one with `await`; neither knows what a call means.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from dynazmq.client.core.best_effort import read
from dynazmq.client.core.requests import Key, Options, Request, check_key, get_request, get_result, put_request, put_result
from dynazmq.client.core.scan import Scanner
from dynazmq.client.values.codecs import CODECS
from dynazmq.client.values.context import Context
from dynazmq.client.values.results import Batch, PutResult, Result
from dynazmq.client.values.view import View
from dynazmq.config import CONFLICTS, SIBLINGS
from dynazmq.dynamo.messages import SetBucket
from dynazmq.errors import ConflictError, DynazmqError, InvalidRequest
from dynazmq.signals import raised_by_handler

T = TypeVar("T")
Flow = Generator[list[Request], None, T]
AnyContext = Context | str | None
PutItem = tuple[Key, Any] | tuple[Key, Any, AnyContext]
DeleteItem = Key | tuple[Key, AnyContext]

_ANY = CODECS["raw"]
"""Reads any value: for calls that only want to know whether there is one."""


def get(view: View, options: Options, key: Key, best_effort: bool = False) -> Flow[Result]:
    """Read; siblings are resolved and the merged value is written back, if the bucket has a resolver."""
    if best_effort:
        deadline = time.monotonic() + options.timeout
        result = _raised((yield from read(view, options.part_of("get"), [key]))[key])
    else:
        request = get_request(options, view, key)
        yield [request]
        deadline = request.deadline
        result = get_result(options, request)
    if options.resolver is not None and len(result.values) > 1:
        request = _resolved(view, options.part_of("get"), result, deadline)
        yield [request]
        _written_back(result, request)
    return result


def _raised(outcome: Result | DynazmqError) -> Result:
    if isinstance(outcome, DynazmqError):
        raise outcome
    return outcome


def _resolved(view: View, options: Options, result: Result, deadline: float) -> Request:
    """Make one value of the siblings; the request that writes it back. Raises ConflictError when the resolver does."""
    assert options.resolver is not None
    try:
        value = options.resolver(list(result.values))
    except Exception as error:
        if raised_by_handler(error):
            raise
        text = f"key {result.key!r} has {len(result.values)} concurrent values, and their resolver failed: {error!r}"
        raise ConflictError(text, result) from error
    options = replace(options, timeout=_left(deadline))
    request = put_request(options, view, result.key, options.codec.encode(value), result.context)
    result.values = [value]
    return request


def _written_back(result: Result, request: Request) -> None:
    """The read stands without it: its context still covers all siblings, and the next read resolves them again."""
    if request.error is None:
        result.context = put_result(request).context
    elif isinstance(request.error, InvalidRequest):
        raise request.error


def _left(deadline: float) -> float:
    """What one step of a call leaves to the next: at least so much that it is not refused as no time at all."""
    return max(0.001, deadline - time.monotonic())


def put(view: View, options: Options, key: Key, value: Any, context: AnyContext) -> Flow[PutResult]:
    request = put_request(options, view, key, options.codec.encode(value), context)
    yield [request]
    return put_result(request)


def delete(view: View, options: Options, key: Key, context: AnyContext) -> Flow[PutResult]:
    """Without a context: delete what a read finds, since a tombstone that has seen nothing would replace nothing."""
    options = options.part_of("delete")
    timeout = options.timeout
    if context is None:
        reading = get_request(options, view, key)
        yield [reading]
        found = get_result(replace(options, codec=_ANY), reading)
        if not found.found:
            return PutResult(found.context, (), ())
        context = found.context
        timeout = _left(reading.deadline)
    request = put_request(replace(options, timeout=timeout), view, key, None, context)
    yield [request]
    return put_result(request)


# --- many at a time -------------------------------------------------------------------------------------------------------


def get_many(view: View, options: Options, keys: Iterable[Key], best_effort: bool = False) -> Flow[Batch[Key, Result]]:
    options = options.part_of("get")
    batch: Batch[Key, Result] = Batch()
    if best_effort:
        batch.update((yield from read(view, options, _each(keys))))
    else:
        requests = _build(batch, ((key, partial(get_request, options, view, key)) for key in _each(keys)))
        yield list(requests.values())
        for key, request in requests.items():
            _outcome(batch, key, partial(get_result, options, request))
    if options.resolver is not None:
        yield from _resolve_many(view, options, batch)
    return batch


def _resolve_many(view: View, options: Options, batch: Batch[Key, Result]) -> Flow[None]:
    several = {key: result for key, result in batch.ok.items() if len(result.values) > 1}
    deadline = time.monotonic() + options.timeout
    writes: dict[Key, Request] = {}
    for key, result in several.items():
        try:
            writes[key] = _resolved(view, options, result, deadline)
        except DynazmqError as error:
            batch[key] = error
    yield list(writes.values())
    for key, request in writes.items():
        try:
            _written_back(several[key], request)
        except DynazmqError as error:
            batch[key] = error


def put_many(
    view: View,
    options: Options,
    items: Mapping[Any, Any] | Iterable[tuple[Key, Any]],
    contexts: Mapping[Any, AnyContext] | None,
) -> Flow[Batch[Key, PutResult]]:
    pairs = _pairs(items)
    seen = _contexts(contexts)

    def build(key: Key, value: Any) -> Request:
        return put_request(options, view, key, options.codec.encode(value), seen.get(key))

    return _write_many(((key, partial(build, key, value)) for key, value in pairs), Batch())


def delete_many(
    view: View, options: Options, keys: Iterable[Key], contexts: Mapping[Any, AnyContext] | None
) -> Flow[Batch[Key, PutResult]]:
    options = options.part_of("delete")
    seen = dict(_contexts(contexts))
    keys = list(dict.fromkeys(_each(keys)))
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


# --- any number of them, one call each ------------------------------------------------------------------------------------

Begin = Callable[[Any], tuple[Key, Flow[T]]]
"""Of an item: its key and what is done for it. Raises InvalidRequest for what cannot be the name of an outcome."""


def begin_get(view: Callable[[], View], options: Options, best_effort: bool = False) -> Begin[Result]:
    """view: what is known by the time of an item's turn."""

    def begin(key: Any) -> tuple[Key, Flow[Result]]:
        check_key(key)
        return key, get(view(), options, key, best_effort)

    return begin


def begin_put(view: Callable[[], View], options: Options) -> Begin[PutResult]:
    """Items are (key, value) or (key, value, context)."""

    def begin(item: Any) -> tuple[Key, Flow[PutResult]]:
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
            raise InvalidRequest(f"items are (key, value) or (key, value, context), not {type(item).__name__}")
        key, value, context = item if len(item) == 3 else (*item, None)
        check_key(key)
        return key, put(view(), options, key, value, context)

    return begin


def begin_delete(view: Callable[[], View], options: Options) -> Begin[PutResult]:
    """Items are keys or (key, context)."""

    def begin(item: Any) -> tuple[Key, Flow[PutResult]]:
        key, context = item if isinstance(item, (tuple, list)) and len(item) == 2 else (item, None)
        check_key(key)
        return key, delete(view(), options, key, context)

    return begin


def one_by_one(given: object) -> Iterator[Any]:
    """The items of a stream."""
    _check_many(given, "items are given as an iterable of them")
    assert isinstance(given, Iterable)
    return iter(given)


def pairs_of(items: object) -> object:
    """What a stream of puts takes of a mapping."""
    return items.items() if isinstance(items, Mapping) else items


def known_items(items: Iterable[Any], contexts: Mapping[Any, AnyContext] | None) -> Iterator[tuple[Key, Any, AnyContext]]:
    """Pairs, each with its context if there is one by the time of its turn."""
    seen = _contexts(contexts)
    return ((key, value, seen.get(key)) for key, value in map(_pair, items))


def known_keys(keys: Iterable[Key], contexts: Mapping[Any, AnyContext] | None) -> Iterator[tuple[Key, AnyContext]]:
    """Keys, each with its context if there is one by the time of its turn."""
    seen = _contexts(contexts)
    return ((key, seen.get(key)) for key in _each(keys))


def is_lazy(given: object) -> bool:
    """Whether it has to be taken as it comes, such as a generator: nobody knows how much of it there will be."""
    return isinstance(given, Iterable) and not isinstance(given, Collection)


# --- what a batch may be --------------------------------------------------------------------------------------------------


def _each(keys: Iterable[Key]) -> Iterator[Key]:
    """The keys of a batch. What cannot be the name of an outcome is refused with the whole batch."""
    _check_many(keys, "keys are given as a list or another iterable of them")
    for key in keys:
        check_key(key)
        yield key


def _check_many(given: object, what: str) -> None:
    """A lone str is an iterable, too, and never meant as one."""
    if not isinstance(given, Iterable) or isinstance(given, (str, bytes)):
        raise InvalidRequest(f"{what}, not as {type(given).__name__}")


def _pairs(items: Mapping[Key, Any] | Iterable[tuple[Key, Any]]) -> list[tuple[Key, Any]]:
    _check_many(items, "items are given as a mapping or as pairs of key and value")
    pairs = list(items.items() if isinstance(items, Mapping) else items)
    for pair in pairs:
        _pair(pair)
    return pairs


def _pair(given: Any) -> tuple[Key, Any]:
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise InvalidRequest(f"items are pairs of key and value, not {type(given).__name__}")
    key, value = given
    check_key(key)
    return key, value


def _contexts(contexts: Mapping[Key, AnyContext] | None) -> Mapping[Key, AnyContext]:
    if contexts is not None and not isinstance(contexts, Mapping):
        raise InvalidRequest(f"contexts are given by key, as a mapping, not as {type(contexts).__name__}")
    return {} if contexts is None else contexts


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
    options = options.part_of("keys")
    requests = scanner.wanted()
    for request in requests:
        request.operation = options.operation
    yield requests
    found = list(scanner.take(requests))
    doubtful = {raw: get_request(options, view, raw) for raw, certain in found if not certain}
    yield list(doubtful.values())
    keys: list[str | bytes] = []
    for raw, certain in found:
        if not certain and not get_result(replace(options, codec=_ANY), doubtful[raw]).found:
            continue
        try:
            keys.append(raw.decode())
        except UnicodeDecodeError:
            keys.append(raw)
    return keys


def configure(view: View, options: Options, n: int | None, r: int | None, w: int | None, conflict: str = SIBLINGS) -> Flow[None]:
    """Raises InvalidRequest for what no cluster of this size can do."""
    members = len(view.links)
    n = view.default.n if n is None else n
    r = min(view.default.r, n) if r is None else r
    w = min(view.default.w, n) if w is None else w
    for what, given, limit in (("n", n, members), ("r", r, n), ("w", w, n)):
        if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= limit:
            raise InvalidRequest(f"{what}={given!r} is not in 1..{limit}")
    if conflict not in CONFLICTS:
        raise InvalidRequest(f"conflict={conflict!r} is not one of {', '.join(CONFLICTS)}")
    message = SetBucket(0, options.bucket, n, r, w, conflict)
    request = Request(message, options.bucket, 0, options.timeout, options.operation or "configure")
    yield [request]
    if request.error is not None:
        raise request.error

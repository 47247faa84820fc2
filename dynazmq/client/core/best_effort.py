"""A read for somebody who writes next: all that can be seen of some keys now, and whose copies were not seen.

A read that fails for want of R replicas must not keep a write away that W replicas would take (promise 2: a store is always
writeable). So a level that cannot be had is followed by a lower one, down to one replica and then to nothing at all. A write
replaces what its context has seen and nothing else, so what was not seen stays, as a sibling (promise 3). The result says what
it rests on.

    R replicas   too few can be reached, or too few primaries to call it absent ──▶ as many as can be reached, or one less
                 no answer in half of the time that is left                     ──▶ one replica
    one          the same                                                       ──▶ nothing was seen

No level takes more than half of the time that is left: the write needs some, too.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import replace

from dynazmq.client.core.outcomes import required_of
from dynazmq.client.core.requests import Key, Options, Request, get_request, get_result
from dynazmq.client.values.context import EMPTY
from dynazmq.client.values.results import Result
from dynazmq.client.values.view import View
from dynazmq.errors import DynazmqError, InvalidRequest, ReadTimeout, StorageError, Unavailable

_SHORTEST_S = 0.001
"""So much at least, or a level would be refused as having no time at all."""

_FEWER_WOULD_DO = (Unavailable, ReadTimeout, StorageError)


def read(view: View, options: Options, keys: Iterable[Key]) -> Generator[list[Request], None, dict[Key, Result | DynazmqError]]:
    """By key what can be seen; an error only where fewer replicas would not help (bad key, overload, no node to talk to).

    All keys that are at some level are read at the same time.
    """
    deadline = time.monotonic() + options.timeout
    outcomes: dict[Key, Result | DynazmqError] = {}
    required: dict[Key, int] = {}
    wanted = dict.fromkeys(keys, options)
    while wanted:
        timeout = max(_SHORTEST_S, (deadline - time.monotonic()) / 2)
        requests: dict[Key, Request] = {}
        for key, level in wanted.items():
            try:
                requests[key] = get_request(replace(level, timeout=timeout), view, key)
            except InvalidRequest as error:
                outcomes[key] = error
        yield list(requests.values())
        wanted = {}
        for key, request in requests.items():
            needed = required_of(request.message, view)
            required.setdefault(key, needed)
            if isinstance(request.error, _FEWER_WOULD_DO) and needed > 1:
                wanted[key] = replace(options, r=_lower(request.error, needed), pr=0)
            else:
                outcomes[key] = _outcome(view, options, request, required[key])
    return outcomes


def _lower(error: DynazmqError, needed: int) -> int:
    """How many replicas to read at when so many were too many."""
    if isinstance(error, Unavailable):
        return max(1, min(error.alive, needed - 1))
    return 1  # there is no time left for all the levels between


def _outcome(view: View, options: Options, request: Request, required: int) -> Result | DynazmqError:
    if isinstance(request.error, _FEWER_WOULD_DO):
        result = Result(request.key, [], EMPTY, (), [])
    else:
        try:
            result = get_result(options, request)
        except DynazmqError as error:
            return error
    result.required = required
    if len(result.responders) < required:
        n = options.n or view.policy(options.bucket).n
        primaries = view.ring.primaries(view.ring.partition_of(request.place), n)
        result.unseen = tuple(name for name in primaries if name not in result.responders)
    return result

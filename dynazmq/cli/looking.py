"""`explain` and `trace`: one key, looked at closely."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dynazmq.cli import OK, code_of
from dynazmq.cli.data import Access, checked_context, checked_value, key_of
from dynazmq.cli.terminal import columns, emit, show
from dynazmq.errors import InvalidRequest
from dynazmq.paths import ClusterFile

if TYPE_CHECKING:
    from dynazmq import Explanation, Trace


def explain(access: Access, key: str) -> int:
    with access.open() as bucket:
        found = bucket.explain(key_of(key))
    found = _with_processes(access, found)
    if access.as_json:
        emit("explain", found.document())
        return OK
    from dynazmq.cli.explained import lines

    show(lines(found, columns()))
    return OK


def _with_processes(access: Access, found: Explanation) -> Explanation:
    """What the supervisor knows of those that told nothing: killed, paused, stopped."""
    silent = [copy.node for copy in found.copies if not copy.answers]
    if not silent:
        return found
    from dynazmq.cluster.observe import Observer

    with Observer(access.directory) as observer:
        facts = observer.facts()
    known = {name: facts.nodes[name].process for name in silent if name in facts.nodes}
    return replace(found, copies=tuple(replace(copy, process=known.get(copy.node, "")) for copy in found.copies))


def trace_get(access: Access, key: str) -> int:
    with access.open() as bucket:
        found = bucket.trace_get(key_of(key))
    return _told(access, found)


def trace_put(access: Access, key: str, value: str | None, *, context: str | None, blind: bool) -> int:
    if blind and context is not None:
        raise InvalidRequest("--blind and --context contradict each other: choose one")
    seen = checked_context(context)
    data = checked_value(value, ClusterFile.load(access.directory).max_value_bytes)
    with access.open() as bucket:
        if seen is None and not blind:
            seen = bucket.get(key_of(key)).context
        found = bucket.trace_put(key_of(key), data, context=seen)
    return _told(access, found)


def trace_delete(access: Access, key: str, *, context: str | None) -> int:
    seen = checked_context(context)
    with access.open() as bucket:
        found = bucket.trace_delete(key_of(key), context=seen)
    return _told(access, found)


def _told(access: Access, found: Trace) -> int:
    """The exit code is that of the request."""
    if access.as_json:
        emit("trace", found.document())
    else:
        from dynazmq.cli.traced import lines

        show(lines(found, columns()))
    return OK if found.error is None else code_of(found.error)

"""`explain` and `trace`: one key, looked at closely."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dynazmq.cli import OK, code_of
from dynazmq.cli.data import (
    Access,
    check_absent,
    checked_context,
    checked_value,
    key_of,
    left,
    note_unseen,
    read_document,
    read_first,
)
from dynazmq.cli.terminal import columns, emit, show
from dynazmq.errors import InvalidRequest, KeyNotFound

if TYPE_CHECKING:
    from dynazmq import Explanation, Result, Trace


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
    from dynazmq.cluster.observe.observe import Observer

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
    data = checked_value(access, value)
    before, deadline = None, access.deadline()
    with access.open() as bucket:
        if seen is None and not blind:
            before = read_first(access, bucket, key)
            seen = before.context
        found = bucket.trace_put(key_of(key), data, context=seen, timeout=left(deadline))
    return _told_write(access, key, found, before)


def trace_delete(access: Access, key: str, *, context: str | None) -> int:
    seen = checked_context(context)
    before, deadline = None, access.deadline()
    with access.open() as bucket:
        if seen is None:
            before = read_first(access, bucket, key)
            if not before.found:
                check_absent(access, key, before)
                raise KeyNotFound(f"no value for key {key_of(key)!r}: there is nothing to delete")
            seen = before.context
        found = bucket.trace_delete(key_of(key), context=seen, timeout=left(deadline))
    return _told_write(access, key, found, before)


def _told_write(access: Access, key: str, found: Trace, before: Result | None) -> int:
    code = _told(access, found, **read_document(before))
    if before is not None:
        note_unseen(key, before)
    return code


def _told(access: Access, found: Trace, **more: object) -> int:
    """The exit code is that of the request."""
    if access.as_json:
        emit("trace", {**found.document(), **more})
    else:
        from dynazmq.cli.traced import lines

        show(lines(found, columns()))
    return OK if found.error is None else code_of(found.error)

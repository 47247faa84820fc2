"""Commands that look at one key closely: explain, trace get, trace put, trace delete."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.data_commands import Replicas
from dynazmq.cli.escaping import typed
from dynazmq.cli.options import Bucket, Dir, Escaped, Json, Timeout, Work, app, at, command, option, trace_app


@command(app)
def explain(
    key: str,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Show who holds what of a key, what a get returns now, and what repair does next.

    Hash, partition and preference list; who is primary and who stands in; each node's
    version and the hints for it. Changes nothing. What a node holds that does not
    answer in a moment is not known, and is said to be.

    \b
    Example:  dynazmq explain cart:42
              dynazmq explain cart:42 --json | jq .repair
    """

    def work() -> int:
        from dynazmq.cli.data import Access
        from dynazmq.cli.looking import explain

        return explain(Access("explain", at(directory), bucket, timeout, as_json), typed(key, is_escaped))

    return work


@command(trace_app)
def get(
    key: str,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    r: Annotated[str | None, option("-r", "--r", help="Replies to wait for: a number, one, quorum, all.", metavar="Q")] = None,
    n: Replicas = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Do a get, and draw its way through coordinator and replicas.

    An absent key is no error here. Otherwise the exit code is that of a get.

    \b
    Example:  dynazmq trace get cart:42
    """

    def work() -> int:
        from dynazmq.cli.data import Access
        from dynazmq.cli.looking import trace_get

        return trace_get(Access("trace get", at(directory), bucket, timeout, as_json, r, n=n), typed(key, is_escaped))

    return work


@command(trace_app)
def put(
    key: str,
    value: Annotated[str | None, typer.Argument(help="The value; - reads standard input.", show_default=False)] = None,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    w: Annotated[str | None, option("-w", "--w", help="Durable copies to wait for: a number, one, all.", metavar="Q")] = None,
    n: Replicas = None,
    context: Annotated[str | None, option(help="Replace what this token covers.", metavar="TOKEN")] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Do not read first: what is there may stay as a sibling.")] = False,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Do a put, and draw its way through coordinator and replicas.

    It is really done. As with put, what is there is read first; that is not traced.
    Answers that come after the client's are waited for, a second at most.

    \b
    Example:  dynazmq trace put cart:42 milk
              dynazmq kill n3 && dynazmq trace put cart:42 milk
    """

    def work() -> int:
        from dynazmq.cli.data import Access
        from dynazmq.cli.looking import trace_put

        return trace_put(
            Access("trace put", at(directory), bucket, timeout, as_json, w=w, n=n, escaped=is_escaped),
            typed(key, is_escaped), value, context=context, blind=blind,
        )  # fmt: skip

    return work


@command(trace_app)
def delete(
    key: str,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    w: Annotated[str | None, option("-w", "--w", help="Durable copies to wait for.", metavar="Q")] = None,
    n: Replicas = None,
    context: Annotated[str | None, option(help="Delete only what this token covers.", metavar="TOKEN")] = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Do a delete, and draw its way through coordinator and replicas.

    It is really done: a tombstone is written. What is there is read first; that is not
    traced.

    \b
    Example:  dynazmq trace delete cart:42
    """

    def work() -> int:
        from dynazmq.cli.data import Access
        from dynazmq.cli.looking import trace_delete

        return trace_delete(
            Access("trace delete", at(directory), bucket, timeout, as_json, w=w, n=n), typed(key, is_escaped), context=context
        )

    return work

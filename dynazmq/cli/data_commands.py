"""Commands on data: put, get, delete, exists, keys."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.options import Bucket, Dir, Json, Timeout, Work, app, at, command, option

Replicas = Annotated[int | None, option("-n", "--n", help="Copies to involve, at most the bucket's N.", metavar="N")]


@command(app)
def put(
    key: str,
    value: Annotated[str | None, typer.Argument(help="The value; - reads standard input.", show_default=False)] = None,
    bucket: Bucket = "default",
    w: Annotated[str | None, option("-w", "--w", help="Durable copies to wait for: a number, one, all.", metavar="Q")] = None,
    r: Annotated[str | None, option("-r", "--r", help="Replies to wait for when reading first.", metavar="Q")] = None,
    n: Replicas = None,
    context: Annotated[str | None, option(help="Replace what this token covers.", metavar="TOKEN")] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Do not read first: what is there may stay as a sibling.")] = False,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Store a value. What is there is read first and replaced, so that a person makes no siblings by accident.

    \b
    Example:  dynazmq put greeting hello
              echo hello | dynazmq put greeting -
    """

    def work() -> int:
        from dynazmq.cli.data import Access, put

        return put(Access(at(directory), bucket, timeout, as_json, r, w, n), key, value, context=context, blind=blind)

    return work


@command(app)
def get(
    key: str,
    bucket: Bucket = "default",
    r: Annotated[str | None, option("-r", "--r", help="Replies to wait for: a number, one, quorum, all.", metavar="Q")] = None,
    n: Replicas = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Print a key's value, byte for byte. Exit code 3 when there is none, 4 when there are several (--json has all).

    \b
    Example:  dynazmq get greeting
    """

    def work() -> int:
        from dynazmq.cli.data import Access, get

        return get(Access(at(directory), bucket, timeout, as_json, r, n=n), key)

    return work


@command(app)
def delete(
    key: str,
    bucket: Bucket = "default",
    w: Annotated[str | None, option("-w", "--w", help="Durable copies to wait for.", metavar="Q")] = None,
    n: Replicas = None,
    context: Annotated[str | None, option(help="Delete only what this token covers.", metavar="TOKEN")] = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Delete what a key holds now. Exit code 3 when it holds nothing.

    \b
    Example:  dynazmq delete greeting
    """

    def work() -> int:
        from dynazmq.cli.data import Access, delete

        return delete(Access(at(directory), bucket, timeout, as_json, w=w, n=n), key, context=context)

    return work


@command(app)
def exists(key: str, bucket: Bucket = "default", timeout: Timeout = "2s", directory: Dir = None, as_json: Json = False) -> Work:
    """Exit code 0 when the key has a value, 3 when it has none. Prints nothing.

    \b
    Example:  dynazmq exists greeting && echo yes
    """

    def work() -> int:
        from dynazmq.cli.data import Access, exists

        return exists(Access(at(directory), bucket, timeout, as_json), key)

    return work


@command(app)
def keys(
    prefix: Annotated[str, typer.Argument(help="Only keys that begin so.", show_default=False)] = "",
    bucket: Bucket = "default",
    limit: Annotated[int | None, option(help="At most so many.", min=1)] = None,
    timeout: Timeout = "10s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Print the keys of a bucket, one to a line.

    As they are found: in no order, and what is written meanwhile may be missing.

    \b
    Example:  dynazmq keys cart:
    """

    def work() -> int:
        from dynazmq.cli.data import Access, keys

        return keys(Access(at(directory), bucket, timeout, as_json), prefix, limit)

    return work

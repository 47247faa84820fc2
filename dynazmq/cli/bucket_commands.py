"""Commands on buckets: set, list."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.options import Dir, Json, Timeout, Work, at, bucket_app, command, option


@command(bucket_app, name="set")
def set_(
    name: str,
    conflict: Annotated[str, typer.Option(help="What becomes of concurrent writes.", metavar="siblings|lww")] = "siblings",
    n: Annotated[int | None, option("-n", "--n", help="Copies of each key.", metavar="N")] = None,
    r: Annotated[int | None, option("-r", "--r", help="Replies to a get.", metavar="R")] = None,
    w: Annotated[int | None, option("-w", "--w", help="Durable copies of a put.", metavar="W")] = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Give a bucket a policy of its own. What is not given: the cluster's.

    siblings keeps concurrent writes side by side, for a reader to merge. lww
    keeps only the last one: the others are lost, though acknowledged.

    \b
    Example:  dynazmq bucket set positions --conflict lww
    """

    def work() -> int:
        from dynazmq.cli.buckets import set_policy
        from dynazmq.cli.data import Access

        return set_policy(Access("bucket set", at(directory), name, timeout, as_json), n, r, w, conflict)

    return work


@command(bucket_app, name="list")
def list_(timeout: Timeout = "2s", directory: Dir = None, as_json: Json = False) -> Work:
    """Show the buckets that have a policy of their own.

    \b
    Example:  dynazmq bucket list
    """

    def work() -> int:
        from dynazmq.cli.buckets import show
        from dynazmq.cli.data import Access

        return show(Access("bucket list", at(directory), "default", timeout, as_json))

    return work

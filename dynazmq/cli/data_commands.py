"""Commands on data: put, get, delete, exists, edit, resolve, keys, count; mget, export, import, which are on many keys."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.escaping import typed
from dynazmq.cli.options import Bucket, Dir, Escaped, Json, Timeout, Work, app, at, command, option

Prefix = Annotated[str, typer.Argument(help="Only keys that begin so.", metavar="[PREFIX]", show_default=False)]
Patience = Annotated[str, typer.Option("--timeout", help="How long to try each batch.", metavar="TIME")]
PatienceEach = Annotated[str, typer.Option("--timeout", help="How long to try each key.", metavar="TIME")]
ReadQuorum = Annotated[str | None, option("-r", "--r", help="Replies to wait for when reading.", metavar="one|quorum|all|N")]
ReadBefore = Annotated[str | None, option("-r", "--r", help="Replicas that must be read before.", metavar="one|quorum|all|N")]
WriteQuorum = Annotated[str | None, option("-w", "--w", help="Durable copies to wait for.", metavar="one|quorum|all|N")]
Replicas = Annotated[int | None, option("-n", "--n", help="Copies to involve, at most the bucket's N.", metavar="N")]


@command(app)
def put(
    key: str,
    value: Annotated[str | None, typer.Argument(help="The value; - reads standard input.", show_default=False)] = None,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    w: WriteQuorum = None,
    r: ReadBefore = None,
    n: Replicas = None,
    context: Annotated[str | None, option(help="Replace what this token covers.", metavar="TOKEN")] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Do not read first: what is there may stay as a sibling.")] = False,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Store a value. What is there is read first and replaced, so that a person makes no siblings by accident.

    Where too few replicas can be read, what can be seen is replaced, and whose copies were not seen is said: what only they
    hold stays, as a sibling.

    \b
    Example:  dynazmq put greeting hello
              echo hello | dynazmq put greeting -
    """

    def work() -> int:
        from dynazmq.cli.data import Access, put

        return put(
            Access("put", at(directory), bucket, timeout, as_json, r, w, n, is_escaped),
            typed(key, is_escaped),
            value,
            context=context,
            blind=blind,
        )

    return work


@command(app)
def get(
    key: str,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    r: ReadQuorum = None,
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

        return get(Access("get", at(directory), bucket, timeout, as_json, r, n=n), typed(key, is_escaped))

    return work


@command(app)
def delete(
    key: str,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    w: WriteQuorum = None,
    n: Replicas = None,
    context: Annotated[str | None, option(help="Delete only what this token covers.", metavar="TOKEN")] = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Delete what a key holds now. Exit code 3 when it holds nothing.

    Where too few replicas can be read, what can be seen is deleted, and whose copies were not seen is said. Exit code 5 when
    no value was seen, and there may be one all the same.

    \b
    Example:  dynazmq delete greeting
    """

    def work() -> int:
        from dynazmq.cli.data import Access, delete

        return delete(
            Access("delete", at(directory), bucket, timeout, as_json, w=w, n=n), typed(key, is_escaped), context=context
        )

    return work


@command(app)
def exists(
    key: str,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Exit code 0 when the key has a value, 3 when it has none. Prints nothing.

    \b
    Example:  dynazmq exists greeting && echo yes
    """

    def work() -> int:
        from dynazmq.cli.data import Access, exists

        return exists(Access("exists", at(directory), bucket, timeout, as_json), typed(key, is_escaped))

    return work


@command(app)
def edit(
    key: str,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    r: ReadBefore = None,
    w: WriteQuorum = None,
    n: Replicas = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Change a value in an editor: VISUAL, else EDITOR, else vi or nano.

    It is stored when the editor ends well and the text has changed. What others write meanwhile stays, as a sibling. A key
    without a value begins empty. --timeout is for reading, and again for storing.
    A line end that the editor adds to a value that had none is left out. Text that cannot be stored is kept and its file named.
    Exit code 1 when the editor fails, 2 when the value is no text, 4 when there are several.

    \b
    Example:  dynazmq edit cart:42
              EDITOR="code -w" dynazmq edit cart:42
    """

    def work() -> int:
        from dynazmq.cli.data import Access
        from dynazmq.cli.edit import run

        return run(Access("edit", at(directory), bucket, timeout, as_json, r, w, n), typed(key, is_escaped))

    return work


@command(app)
def resolve(
    key: str,
    take: Annotated[int | None, option("--take", help="The one that `get` shows with this number.", metavar="N")] = None,
    merge: Annotated[str | None, option("--merge", help="Make one of all.", metavar="union|largest|latest")] = None,
    value: Annotated[str | None, option("--value", help="Another one; - reads standard input.", metavar="VALUE")] = None,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    r: ReadBefore = None,
    w: WriteQuorum = None,
    n: Replicas = None,
    timeout: Timeout = "2s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Make one value of a key's siblings.

    Just those are replaced that are read: what is written meanwhile stays, as a sibling. A key of one value is left as it is.
    union: of JSON objects every key, of lists every item. largest: by order. latest: written last, by the nodes' clocks.
    Exit code 3 when there is no value.

    \b
    Example:  dynazmq resolve cart:42 --take 2
              dynazmq resolve cart:42 --merge union
    """

    def work() -> int:
        from dynazmq.cli.data import Access
        from dynazmq.cli.resolve import run

        return run(
            Access("resolve", at(directory), bucket, timeout, as_json, r, w, n, is_escaped),
            typed(key, is_escaped),
            take=take,
            merge=merge,
            value=value,
        )

    return work


@command(app)
def keys(
    prefix: Prefix = "",
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    limit: Annotated[int | None, option(help="At most so many.", min=1)] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="Keys as they are, a NUL byte behind each.")] = False,
    timeout: Timeout = "10s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Print the keys of a bucket, one to a line.

    As they are found: in no order, and what is written meanwhile may be missing.
    What is no printable text is escaped, a backslash too: `mget -` reads it so, other commands with --escaped. With -0 keys
    are printed byte for byte, for `mget -0 -` and `xargs -0`; exit code 1 when one has a NUL byte itself, which is left out.

    \b
    Example:  dynazmq keys cart:
              dynazmq keys -0 | xargs -0 -n 1 dynazmq delete --
    """

    def work() -> int:
        from dynazmq.cli.data import Access, keys

        return keys(Access("keys", at(directory), bucket, timeout, as_json), typed(prefix, is_escaped), limit, null=null)

    return work


@command(app)
def count(
    prefix: Prefix = "",
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    timeout: Timeout = "60s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Count the keys of a bucket.

    It looks at all of them, as `keys` does: what is written meanwhile may be missing.

    \b
    Example:  dynazmq count cart:
    """

    def work() -> int:
        from dynazmq.cli.data import Access, count

        return count(Access("count", at(directory), bucket, timeout, as_json), typed(prefix, is_escaped))

    return work


@command(app)
def mget(
    keys: Annotated[list[str], typer.Argument(help="- reads keys from standard input, one to a line.", metavar="KEY…")],
    null: Annotated[bool, typer.Option("--null", "-0", help="Of standard input: as `keys -0` prints them.")] = False,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    r: ReadQuorum = None,
    n: Replicas = None,
    timeout: Patience = "5s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Print many keys and their values, with a tab between, a line each.

    Keys and values are escaped as `keys` does it, and lines of standard input are read so; `put -e` takes both back.
    --json has them as they are. What could not be read, and siblings, go to standard error.
    Exit code 3 when a key has no value, 4 when one has several, 5 or 6 when one could not be read: the worst of these.

    \b
    Example:  dynazmq mget cart:1 cart:2
              dynazmq keys cart: | dynazmq mget -
    """

    def work() -> int:
        from dynazmq.cli.bulk import mget
        from dynazmq.cli.data import Access

        return mget(Access("mget", at(directory), bucket, timeout, as_json, r, n=n, escaped=is_escaped), keys, null=null)

    return work


@command(app)
def export(
    file: Annotated[str, typer.Argument(help="- writes to standard output.", metavar="FILE")],
    prefix: Annotated[str, option("--prefix", help="Only keys that begin so.")] = "",
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    timeout: PatienceEach = "10s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Write a bucket into a file of JSON lines.

    All values of each key, and the context that covers them. No snapshot: what is written meanwhile may be in it or not.
    FILE is there as a whole or not at all; --force overwrites one that is there, and leaves its mode. A link is followed, a
    FIFO, socket or device is written into. With --json standard output has a summary, and FILE cannot be -.

    \b
    Example:  dynazmq export carts.jsonl --bucket carts
              dynazmq export - | gzip > all.jsonl.gz
    """

    def work() -> int:
        from dynazmq.cli.bulk import export
        from dynazmq.cli.data import Access

        return export(
            Access("export", at(directory), bucket, timeout, as_json), file, prefix=typed(prefix, is_escaped), force=force
        )

    return work


@command(app, name="import")
def import_(
    file: Annotated[str, typer.Argument(help="As `export` wrote it; - reads standard input.", metavar="FILE")],
    bucket: Annotated[str | None, option("--bucket", "-b", help="Another bucket than that of the file.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only keys that have no value.")] = False,
    contexts: Annotated[bool, typer.Option("--contexts", help="Replace only what the export had seen.")] = False,
    w: WriteQuorum = None,
    timeout: Patience = "10s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Store what a file of JSON lines has.

    A key gets the values of the file in place of those that it has; several of them become siblings again. Keys that are
    not in the file are left as they are, and so it can be done again after a failure. --contexts: what was written since
    the export stays, as a sibling; only into the cluster and bucket that the file is from, since a context is nobody else's.
    Exit code 2 when a line cannot be read: those before it are stored. 5 or 6 when some keys could not be stored.

    \b
    Example:  dynazmq import carts.jsonl
              zcat all.jsonl.gz | dynazmq import - --missing
    """

    def work() -> int:
        from dynazmq.cli.bulk import Import
        from dynazmq.cli.data import Access

        access = Access("import", at(directory), bucket or "", timeout, as_json, w=w)
        return Import(access, missing=missing, contexts=contexts).run(file)

    return work

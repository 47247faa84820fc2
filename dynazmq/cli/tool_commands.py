"""Commands that help: doctor, support-bundle, inspect, demo; hints, config and completion."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.escaping import typed
from dynazmq.cli.options import (
    All,
    Bucket,
    Dir,
    Escaped,
    Json,
    Nodes,
    Random,
    Timeout,
    Work,
    app,
    at,
    command,
    completion_app,
    config_app,
    hints_app,
    option,
)

Shell = Annotated[str | None, typer.Argument(help="That of SHELL, if not given.", metavar="bash|zsh|fish", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", help="At most so many.", min=1, metavar="N")]


@command(hints_app, name="list")
def hints_list(
    nodes: Nodes = None,
    all_: All = False,
    at_random: Random = False,
    keys: Annotated[bool, typer.Option("--keys", help="Of which keys, too.")] = False,
    limit: Limit = 20,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Show who keeps what for whom: for NODE…, or for all.

    A hint is a write that another node took for one that was away. It goes home by itself when that one is back.

    \b
    Example:  dynazmq hints list
              dynazmq hints list n3 --keys
    """

    def work() -> int:
        from dynazmq.cli.hints import show

        return show(at(directory), nodes or [], all_=all_, at_random=at_random, keys=keys, limit=limit, as_json=as_json)

    return work


@command(hints_app)
def drain(
    nodes: Nodes = None,
    all_: All = False,
    at_random: Random = False,
    timeout: Timeout = "60s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Wait until what is kept for NODE…, or for all, has gone home.

    Nodes deliver by themselves; this watches. Exit code 5 when what is left is for nodes that are away, 6 when it takes
    too long.

    \b
    Example:  dynazmq node start n3 && dynazmq hints drain n3
    """

    def work() -> int:
        from dynazmq.cli.hints import drain
        from dynazmq.cli.words import seconds

        return drain(at(directory), nodes or [], all_=all_, at_random=at_random, timeout_s=seconds(timeout), as_json=as_json)

    return work


@command(app)
def inspect(
    nodes: Nodes = None,
    all_: All = False,
    at_random: Random = False,
    key: Annotated[str | None, option("--key", "-k", help="All that is stored of a key.")] = None,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    table: Annotated[str | None, option("--table", help="Rows of one table, decoded.", metavar="data|hints|meta|journal")] = None,
    sql: Annotated[str | None, option("--sql", help="One SELECT; decoded(state) is JSON.", metavar="Q")] = None,
    limit: Limit = 20,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Look into the databases of nodes, read-only, whether they run or not.

    A node commits into its journal first and into the table `data` later. What the journal has and data does not show yet is
    shown as such: it is what the node serves. Nothing is locked, and nothing but SELECT is let through.
    Exit code 1 when a database cannot be read, 3 when no node has the key.

    \b
    Example:  dynazmq inspect n1
              dynazmq inspect 'n*' --key cart:42
              dynazmq inspect n1 --sql 'SELECT key, decoded(state) FROM data'
    """

    def work() -> int:
        from dynazmq.cli.inspect import run

        return run(
            at(directory), nodes or [], all_=all_, at_random=at_random, sql=sql,
            key=None if key is None else typed(key, is_escaped), bucket=bucket, table=table, limit=limit, as_json=as_json,
        )  # fmt: skip

    return work


@command(app)
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what cannot hurt: what others left, file modes.")] = False,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Say what is wrong, and what mends it.

    Versions, directories, limits, disk; the nodes, their clocks, what waits for them; faults that were left on; what other
    clusters left behind. Works without a cluster. Exit code 10 when there is a problem; warnings are none.

    \b
    Example:  dynazmq doctor
              dynazmq doctor --fix
    """

    def work() -> int:
        from dynazmq.cli.doctor import run

        return run(at(directory), fix=fix, as_json=as_json)

    return work


@command(app, name="support-bundle")
def support_bundle(
    file: Annotated[
        str | None, typer.Argument(help="FILE.tar.gz; named by the time.", metavar="[FILE]", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Gather what somebody else needs to see into one file.

    Settings, status, doctor, versions, the newest part of logs and events, sizes. No values, and never the secret. Works on
    a cluster that does not run, too. As for FILE, see `export`.

    \b
    Example:  dynazmq support-bundle
              dynazmq support-bundle /tmp/demo.tar.gz
    """

    def work() -> int:
        from dynazmq.cli.bundle import run

        return run(at(directory), file, force=force, as_json=as_json)

    return work


@command(app)
def demo(
    fast: Annotated[bool, typer.Option("--fast", help="Without time to read.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running in the end.")] = False,
) -> Work:
    """Take a guided tour of two minutes.

    Up, load, kill, watch, heal, conflict, resolve, down: in a cluster of its own, in a temporary directory. Ctrl-C at any point
    leaves nothing behind.

    \b
    Example:  dynazmq demo
    """

    def work() -> int:
        from dynazmq.cli.demo import run

        return run(fast=fast, keep=keep)

    return work


@command(config_app, name="show")
def config_show(
    nodes: Nodes = None, all_: All = False, at_random: Random = False, directory: Dir = None, as_json: Json = False
) -> Work:
    """Show the settings of a cluster, or of NODE…; never the secret.

    \b
    Example:  dynazmq config show
              dynazmq config show n1 --json
    """

    def work() -> int:
        from dynazmq.cli.settings import show

        return show(at(directory), nodes or [], all_=all_, at_random=at_random, as_json=as_json)

    return work


@command(config_app, name="path")
def config_path(
    nodes: Nodes = None, all_: All = False, at_random: Random = False, directory: Dir = None, as_json: Json = False
) -> Work:
    """Print where those settings are; with --json also logs, data and sockets.

    \b
    Example:  dynazmq config path
              dynazmq config path --json | jq .nodes.n1.log
    """

    def work() -> int:
        from dynazmq.cli.settings import path

        return path(at(directory), nodes or [], all_=all_, at_random=at_random, as_json=as_json)

    return work


@command(completion_app)
def install(shell: Shell = None) -> Work:
    """Let the shell complete commands, options, nodes and clusters.

    Writes a script, and into ~/.bashrc or ~/.zshrc one line that reads it; fish finds it by itself. Again changes nothing.

    \b
    Example:  dynazmq completion install
              dynazmq completion install zsh
    """

    def work() -> int:
        from dynazmq.cli.completion import install

        return install(shell)

    return work


@command(completion_app, name="show")
def completion_show(shell: Shell = None) -> Work:
    """Print the script, to be read by a start file of your own.

    \b
    Example:  dynazmq completion show bash
    """

    def work() -> int:
        from dynazmq.cli.completion import show

        return show(shell)

    return work

"""Commands that look: ring, logs, tui, bench, verify, simulate, version."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.options import Bucket, Dir, Json, Nodes, Work, app, at, command, option


@command(app)
def ring(
    key: Annotated[str | None, option(help="Show where this key lives.")] = None,
    bucket: Bucket = "default",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Show who owns what, and where a key lives.

    \b
    Example:  dynazmq ring --key cart:42
    """

    def work() -> int:
        from dynazmq.cli.ring import run

        return run(at(directory), key, bucket, as_json)

    return work


@command(app)
def logs(
    nodes: Nodes = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-l", help="How many of the last lines.", min=0)] = 40,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Print the last lines of all logs, merged by time.

    NODE can also be "supervisor".

    \b
    Example:  dynazmq logs -f n3
    """

    def work() -> int:
        from dynazmq.cli.logs import run

        return run(at(directory), nodes or [], follow=follow, lines=lines, as_json=as_json)

    return work


@command(app)
def tui(
    directory: Dir = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave.")] = False,
    ascii_: Annotated[bool, typer.Option("--ascii", help="No characters beyond ASCII.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Switch off the keys that act on the cluster.")] = False,
) -> Work:
    """Watch the cluster, kill nodes, see it recover.

    \b
    Example:  dynazmq tui
    """

    def work() -> int:
        from dynazmq.tui import print_once, run_tui

        if once:
            return print_once(at(directory), ascii_=ascii_)
        return run_tui(at(directory), ascii_=ascii_, read_only=read_only)

    return work


@command(app)
def bench(
    ops: Annotated[list[str] | None, option("--ops", "-t", help="put, get or put,get (put,get).")] = None,
    in_flight: Annotated[list[str] | None, option("--in-flight", "-c", help="Requests at a time (1,64).")] = None,
    value_bytes: Annotated[str, typer.Option("--value-bytes", "-d", help="Size of a value: 100, 1KiB.", metavar="SIZE")] = "100",
    duration: Annotated[str, typer.Option("--seconds", "-s", help="Length of each run.", metavar="TIME")] = "5s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Measure a running cluster.

    \b
    Example:  dynazmq bench --ops put,get --in-flight 64
    """

    def work() -> int:
        from dynazmq.cli.clusters import run_bench

        return run_bench(at(directory), ops or ["put,get"], in_flight or ["1,64"], value_bytes, duration, as_json)

    return work


@command(app)
def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Read every row, and not the trees' roots alone.")] = False,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Check that replicas hold the same; changes nothing.

    Without --deep: rings, hints, and the roots of the Merkle trees. With it every node's rows, trees, hints and
    checksums, and which key differs where. Under load, what differs is looked at twice: writes under way are no findings.
    Exit code 10 when something differs, 5 when some node could not be read and nothing differs otherwise.

    \b
    Example:  dynazmq verify --deep
              dynazmq verify --deep --json | jq .findings
    """

    def work() -> int:
        from dynazmq.cli.verify import run

        return run(at(directory), deep=deep, as_json=as_json)

    return work


@command(app)
def simulate(
    seeds: Annotated[int | None, option("--seeds", help="How many (200).", metavar="N")] = None,
    seed: Annotated[int | None, option("--seed", help="The first one (1); without --seeds this one alone.", metavar="S")] = None,
    log: Annotated[bool, typer.Option("--log", help="Print every event.")] = False,
    shrink: Annotated[bool, typer.Option("--shrink", help="Look for the least that still fails, of the first that did.")] = False,
    mutant: Annotated[str, option("--mutant", help="Build in a known bug; or list, or all.", metavar="NAME")] = "",
    as_json: Json = False,
) -> Work:
    """Play clusters in virtual time while things go wrong, and check the promises.

    Each seed is one cluster: its nodes, clients and troubles are drawn from it, and it plays the same each time.
    Needs no running cluster and touches none. Exit code 10 when a promise was broken.

    With --mutant a bug is built in on purpose, and seeds (40) are played until one shows it: exit code 0 when it was
    caught, 10 when it was not.

    \b
    Example:  dynazmq simulate --seeds 200
              dynazmq simulate --mutant all
    """

    def work() -> int:
        from dynazmq.cli.simulate import run

        return run(seeds, seed, log=log, as_json=as_json, mutant=mutant, shrink=shrink)

    return work


@command(app)
def version(as_json: Json = False) -> Work:
    """Show its version; with --json also those of its parts.

    \b
    Example:  dynazmq version
    """

    def work() -> int:
        from dynazmq.cli.version import run

        return run(as_json)

    return work

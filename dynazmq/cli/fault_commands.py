"""Commands on faults: partition, one-way, isolate, slow, drop, skew, disk-full, list, heal, schedule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from dynazmq.cli.options import Dir, Json, Timeout, Work, app, at, command, complete_nodes, fault_app, option


def _complete_sides(ctx: typer.Context, incomplete: str) -> list[str]:
    """The last name of "n1,n2/n3": a comma or a slash ends the one before."""
    found = re.fullmatch(r"(.*/)?([^/]*)", incomplete)
    assert found is not None
    before = found[1] or ""
    return [before + name for name in complete_nodes(ctx, found[2])]


def _complete_faults(ctx: typer.Context, incomplete: str) -> list[str]:
    from dynazmq.cluster.directory.faults import load

    return [fault.id for fault in load(at(ctx.params.get("directory"))) if fault.id.startswith(incomplete)]


Sides = Annotated[
    list[str] | None,
    typer.Argument(help="n1,n2/n3,n4,n5", metavar="SIDE/SIDE", show_default=False, autocompletion=_complete_sides),
]
Places = Annotated[
    list[str] | None,
    typer.Argument(help="n1  n1,n3  n[2-4]", metavar="NODE…", show_default=False, autocompletion=_complete_sides),
]
For = Annotated[str | None, option("--for", help="It ends by itself after this time.", metavar="TIME")]

_CLIENTS = "Clients are not cut off: they reach every node as before."


def _put_on(
    kind: str, words: list[str] | None, for_: str | None, directory: Path | None, as_json: bool, **options: str | None
) -> Work:
    def work() -> int:
        from dynazmq.cli.faults import put_on

        given = {name: value for name, value in options.items() if value is not None}
        return put_on(at(directory), kind, words or [], given, for_, as_json)

    return work


@command(
    fault_app,
    app,
    text=f"""Cut the cluster in two, or more: no frame passes between the sides.

    Both sides go on: quorums are sloppy. What is written on both becomes siblings. A node on no side reaches all.
    --one-way: only what the first side sends to the second is lost.
    {_CLIENTS}

    \b
    Example:  dynazmq partition n1,n2/n3,n4,n5
              dynazmq fault partition n1,n2 / n3,n4,n5 --for 10s
    """,
)
def partition(
    sides: Sides = None,
    one_way: Annotated[bool, typer.Option("--one-way", help="Only from the first side to the second.")] = False,
    for_: For = None,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    return _put_on("one-way" if one_way else "partition", sides, for_, directory, as_json)


@command(
    fault_app,
    name="one-way",
    text=f"""Lose what one node sends to another; the other way is open.

    {_CLIENTS}

    \b
    Example:  dynazmq fault one-way n1 n2
              dynazmq fault one-way n1,n2/n3
    """,
)
def one_way_(sides: Sides = None, for_: For = None, directory: Dir = None, as_json: Json = False) -> Work:
    return _put_on("one-way", sides, for_, directory, as_json)


@command(
    fault_app,
    text=f"""Cut nodes off from all others.

    {_CLIENTS} One that asks an isolated node is told that too few replicas can be reached, and asks another.

    \b
    Example:  dynazmq fault isolate n3
    """,
)
def isolate(nodes: Places = None, for_: For = None, directory: Dir = None, as_json: Json = False) -> Work:
    return _put_on("isolate", nodes, for_, directory, as_json)


@command(
    fault_app,
    text="""Delay each frame between nodes and their peers, both ways.

    An answer takes twice the delay. Frames stay in their order. Clients are not slowed down.

    \b
    Example:  dynazmq fault slow n3 --delay 200ms --jitter 50ms
              dynazmq fault slow n1 50ms
    """,
)
def slow(
    nodes: Places = None,
    delay: Annotated[str | None, option("--delay", help="Each way, 1ms to 1m.", metavar="TIME")] = None,
    jitter: Annotated[str | None, option("--jitter", help="More or less than that by as much.", metavar="TIME")] = None,
    for_: For = None,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    return _put_on("slow", nodes, for_, directory, as_json, delay=delay, jitter=jitter)


@command(
    fault_app,
    text="""Lose some of the frames between two sides, or between nodes and all others.

    \b
    Example:  dynazmq fault drop n1/n2 --rate 0.1
              dynazmq fault drop n3 --rate 5%
    """,
)
def drop(
    sides: Sides = None,
    rate: Annotated[str | None, option("--rate", help="Which part of them: 0.1 or 10%.", metavar="RATE")] = None,
    for_: For = None,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    return _put_on("drop", sides, for_, directory, as_json, rate=rate)


@command(
    fault_app,
    text="""Set the wall clocks of nodes wrong.

    It shows in what rests on them: which write is the last in a bucket with --conflict lww, and the times of siblings. What
    nodes measure time with, deadlines and suspicion, is another clock and goes on as before.

    \b
    Example:  dynazmq fault skew n2 --by 5m
              dynazmq fault skew n2 --by -5m
    """,
)
def skew(
    nodes: Places = None,
    by: Annotated[str | None, option("--by", help="How far ahead; -5m: behind.", metavar="TIME")] = None,
    for_: For = None,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    return _put_on("skew", nodes, for_, directory, as_json, by=by)


@command(
    fault_app,
    name="disk-full",
    text="""Let nodes store nothing more: no row, no hint. They read, and answer.

    \b
    Example:  dynazmq fault disk-full n4
    """,
)
def disk_full(nodes: Places = None, for_: For = None, directory: Dir = None, as_json: Json = False) -> Work:
    return _put_on("disk-full", nodes, for_, directory, as_json)


@command(fault_app, name="list")
def list_(directory: Dir = None, as_json: Json = False) -> Work:
    """Show what is on, and which nodes apply it.

    \b
    Example:  dynazmq fault list
    """

    def work() -> int:
        from dynazmq.cli.faults import show

        return show(at(directory), as_json)

    return work


@command(fault_app, app)
def heal(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="f1 f2", metavar="[ID…]", show_default=False, autocompletion=_complete_faults),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All, as without an ID.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until replicas are equal again.")] = True,
    timeout: Timeout = "60s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """End faults; without an ID all of them, and paused nodes go on.

    Then it waits until the nodes that run have converged: hints delivered, replicas equal. Killed nodes stay down.
    Exit code 6 when that takes too long.

    \b
    Example:  dynazmq heal
              dynazmq fault heal f2 --no-wait
    """

    def work() -> int:
        from dynazmq.cli.healing import run

        return run(at(directory), ids or [], all_=all_, wait=wait, timeout=timeout, as_json=as_json)

    return work


@command(fault_app)
def schedule(
    file: Annotated[str, typer.Argument(help="Its lines; - is standard input.", metavar="FILE")],
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Play faults from a file, each at its time.

    A line is a time after the start and a verb: all of `fault`, heal, and kill, stop, start, restart, pause, resume of nodes;
    "for 10s" ends a fault. # begins a comment. Ctrl-C heals what this has switched on.

    \b
    5s   partition n1,n2/n3,n4,n5 for 10s
    12s  kill n3
    20s  heal

    \b
    Example:  dynazmq fault schedule cut.txt
    """

    def work() -> int:
        from dynazmq.cli.schedule import run

        return run(at(directory), file, as_json)

    return work

"""Commands on the whole cluster: up, down, restart, status, wait, list, use, endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynazmq.cli.options import (
    Dir,
    Json,
    Timeout,
    Work,
    Yes,
    app,
    at,
    cluster_app,
    command,
    complete_clusters,
    option,
    path_given,
)

StartTimeout = Annotated[
    str, typer.Option("--timeout", help="How long it may take.", envvar="DYNAZMQ_START_TIMEOUT", metavar="TIME")
]


@command(cluster_app, app)
def up(
    nodes: Annotated[int | None, option("--nodes", "-n", help="Number of nodes; 5 for a new cluster.")] = None,
    directory: Dir = None,
    name: Annotated[
        str | None, option(help="Its name, and its place where --dir is not given.", autocompletion=complete_clusters)
    ] = None,
    replicas: Annotated[int | None, option("--replicas", "-N", help="Copies of each key (3; 1 or 2 with as many nodes).")] = None,
    read_quorum: Annotated[int | None, option("--read-quorum", "-R", help="Replies for a get (2 of 3).")] = None,
    write_quorum: Annotated[int | None, option("--write-quorum", "-W", help="Durable copies for a put (2 of 3).")] = None,
    partitions: Annotated[int | None, option("--partitions", "-q", help="Parts of the ring, for ever (120).")] = None,
    sync: Annotated[str | None, option(help="full survives loss of power, normal a crash (full).", metavar="full|normal")] = None,
    transport: Annotated[str | None, option(help="ipc or tcp on 127.0.0.1 (ipc).", metavar="ipc|tcp")] = None,
    anti_entropy: Annotated[str | None, option(help="on; off: no trees, nothing is compared (on).", metavar="on|off")] = None,
    identity: Annotated[
        str | None, option(help="Of a copy: one of its own, or to take the original's place.", metavar="new|same")
    ] = None,
    restart: Annotated[str | None, option(help="What of nodes that die (on-failure).", metavar="on-failure|never")] = None,
    restart_after: Annotated[str | None, option(help="Outage before such a restart; it doubles (10s).", metavar="TIME")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay attached; Ctrl-C ends the cluster.")] = False,
    tui: Annotated[bool, typer.Option("--tui", help="Open the terminal UI when it is ready.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is ready.")] = True,
    timeout: StartTimeout = "20s",
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Start a cluster, new or as it was, and return when it is ready.

    Ready: every node answers, all agree on the ring, each sees the others, and a write to all replicas came back.

    A copy of a cluster's directory is not started while the original is there, unless --identity says as what: new, and both can
    run side by side, or same, when the original is given up.

    \b
    Example:  dynazmq up -n 5
              dynazmq up -n 3 --dir ./demo --restart never
    """
    from dynazmq import paths
    from dynazmq.cli.up import Start, run
    from dynazmq.cli.words import seconds
    from dynazmq.cluster.directory.creation import Wishes

    def work() -> int:
        start = Start(
            directory=paths.cluster_dir(directory, name),
            wishes=Wishes(
                nodes=nodes,
                name=name,
                replicas=replicas,
                read_quorum=read_quorum,
                write_quorum=write_quorum,
                partitions=partitions,
                sync=sync,
                transport=transport,
                anti_entropy=anti_entropy,
            ),
            policy=restart,
            restart_after_s=None if restart_after is None else seconds(restart_after),
            timeout_s=seconds(timeout),
            as_json=as_json,
            wait=wait,
            identity=identity,
        )
        return run(start, foreground=foreground, tui=tui)

    return work


@command(cluster_app, app)
def down(
    directory: Dir = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove its directory too, with all that is ours in it.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> Work:
    """End every process of a cluster. Its data is kept, unless --purge.

    \b
    Example:  dynazmq down
              dynazmq down --purge --yes
    """

    def work() -> int:
        from dynazmq.cli.down import run

        return run(at(directory), purge=purge, yes=yes, as_json=as_json)

    return work


@command(cluster_app)
def restart(
    directory: Dir = None,
    rolling: Annotated[bool, typer.Option("--rolling", help="Node after node, while the cluster serves.")] = False,
    timeout: StartTimeout = "20s",
    as_json: Json = False,
) -> Work:
    """Stop a cluster and start it again, as it was.

    --rolling: one node after the other (SIGTERM, a new process), each when the one before is seen up by all, the rings agree
    and no hint pends for it; --timeout is for each. No operation fails meanwhile. It is refused when too few nodes would be
    left for the quorums, or when a node is down by itself. Nodes that were stopped, killed or paused by hand are left as they
    are, and so is the supervisor. Ctrl-C ends it between two nodes.
    Exit code 5 when too few are up, 6 when a node does not come back in time.

    \b
    Example:  dynazmq cluster restart --rolling
              dynazmq cluster restart
    """

    def work() -> int:
        from dynazmq.cli.restart import run
        from dynazmq.cli.words import seconds

        return run(at(directory), seconds(timeout), rolling=rolling, as_json=as_json)

    return work


@command(cluster_app, app)
def status(
    directory: Dir = None,
    check: Annotated[bool, typer.Option("--check", help="Exit code 8: degraded, 9: no quorum, 11: data lost.")] = False,
    watch: Annotated[str | None, option(help="Again and again, for example 2s.", metavar="TIME")] = None,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Show all nodes: process, own word, peers' word.

    Exit code 7 when the cluster is not running.

    \b
    Example:  dynazmq status
              dynazmq status --check || echo degraded
    """

    def work() -> int:
        from dynazmq.cli.status import run

        return run(at(directory), as_json=as_json, check=check, watch=watch)

    return work


@command(cluster_app, name="wait")
def wait_for(
    target: Annotated[str, typer.Option("--for", help="Or hints=N.", metavar="ready|converged|hints=0")] = "ready",
    directory: Dir = None,
    timeout: Timeout = "60s",
    as_json: Json = False,
) -> Work:
    """Wait until it is ready, or has converged.

    ready: every node is up and sees the others. converged: also no hint pends and all replicas are equal. hints=N: no more
    than N hints pend.
    Exit code 6 when that takes too long.

    \b
    Example:  dynazmq cluster wait --for converged --timeout 30s
    """

    def work() -> int:
        from dynazmq.cli.status import wait
        from dynazmq.cli.words import seconds

        return wait(at(directory), target, seconds(timeout), as_json)

    return work


@command(cluster_app, name="list")
def list_clusters(directory: Dir = None, as_json: Json = False) -> Work:
    """List the clusters that you have, wherever they run.

    * marks the one on which commands act that are not told which: see `cluster use`.

    \b
    Example:  dynazmq cluster list
    """

    def work() -> int:
        from dynazmq.cli.clusters import run_list

        return run_list(at(directory), as_json)

    return work


@command(cluster_app)
def use(
    name: Annotated[
        str | None,
        typer.Argument(help="One of `cluster list`.", metavar="[NAME]", show_default=False, autocompletion=complete_clusters),
    ] = None,
    directory: Annotated[
        Path | None, option("--dir", help="One by its directory, in place of NAME.", metavar="DIR", parser=path_given)
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="The default one again.")] = False,
    as_json: Json = False,
) -> Work:
    """Choose the cluster on which commands act that are not told which.

    Without NAME it tells which one that is. --dir of a command goes first, then DYNAZMQ_DIR, then what was chosen here, then
    the default one. dynazmq.connect() goes by the same. Removed with --purge, it is still the one that is meant: commands say
    that it is gone, and do not turn to another.
    Exit code 7 when there is no such cluster.

    \b
    Example:  dynazmq cluster use demo
              dynazmq cluster use --default
    """

    def work() -> int:
        from dynazmq.cli.clusters import run_use

        return run_use(name, directory, default=default, as_json=as_json)

    return work


@command(cluster_app)
def events(
    directory: Dir = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things happen.")] = False,
    node: Annotated[list[str] | None, option("--node", help="Of these: n3  n1,n3  'n*'.", metavar="NODE")] = None,
    kind: Annotated[list[str] | None, option("--kind", help="Of these kinds: down  killed,died.", metavar="KIND")] = None,
    since: Annotated[str | None, option("--since", help="Of the last 5m, 2h, 1d.", metavar="TIME")] = None,
    lines: Annotated[int, typer.Option("--lines", "-l", help="How many of the last, without --since.", min=0)] = 40,
    as_lines: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line.")] = False,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Show what happened: what was asked for, what became of it, and when all was well again.

    Reads DIR/events.jsonl, so a cluster that is not running tells its past as well. What concerns the whole cluster is shown
    with any --node.
    Kinds: command started adopted killed died stopped paused resumed wiped restarting failed suspected down up hints exchange
    transfer ring overload fault-on fault-off leaving removed stopping converged.

    \b
    Example:  dynazmq cluster events -f
              dynazmq cluster events --since 5m --node n3 --kind down,up,converged
              dynazmq cluster events --kind converged --jsonl | jq .duration_s
    """

    def work() -> int:
        from dynazmq.cli.events import run
        from dynazmq.cli.words import seconds

        return run(
            at(directory), follow=follow, lines=lines, since_s=None if since is None else seconds(since), nodes=node or [],
            kinds=kind or [], as_json=as_json, as_lines=as_lines,
        )  # fmt: skip

    return work


@command(cluster_app)
def endpoints(directory: Dir = None, as_json: Json = False) -> Work:
    """Print where the nodes listen, for clients.

    \b
    Example:  dynazmq cluster endpoints
    """

    def work() -> int:
        from dynazmq.cli.clusters import run_endpoints

        return run_endpoints(at(directory), as_json)

    return work

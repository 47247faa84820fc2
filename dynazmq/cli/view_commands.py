"""Commands that look: ring, logs, top, metrics, tui, bench, verify, simulate, version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynazmq.cli.escaping import typed
from dynazmq.cli.options import Bucket, Dir, Escaped, Json, Nodes, Work, app, at, command, metrics_app, option


@command(app)
def ring(
    key: Annotated[str | None, option(help="Show where this key lives.")] = None,
    bucket: Bucket = "default",
    is_escaped: Escaped = False,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Show who owns what, and where a key lives.

    \b
    Example:  dynazmq ring --key cart:42
    """

    def work() -> int:
        from dynazmq.cli.ring import run

        return run(at(directory), None if key is None else typed(key, is_escaped), bucket, as_json)

    return work


@command(app)
def logs(
    nodes: Nodes = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-l", help="How many of the last lines, without --since.", min=0)] = 40,
    level: Annotated[str | None, option("--level", help="This and worse: debug, info, warn, error.", metavar="LEVEL")] = None,
    since: Annotated[str | None, option("--since", help="Of the last 5m, 2h, 1d.", metavar="TIME")] = None,
    directory: Dir = None,
    as_lines: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line.")] = False,
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Print the last lines of all logs, merged by time.

    NODE can also be "supervisor". Reads files, so the logs of a cluster that is not running are there as well. Lines are
    `date time LEVEL part text`; DYNAZMQ_LOG_LEVEL=debug|info|warn|error, set for `cluster up`, says what is written at all.

    \b
    Example:  dynazmq logs -f n3
              dynazmq logs --level warn --since 5m
              dynazmq logs --jsonl -l 1000 | jq -r .text
    """

    def work() -> int:
        from dynazmq.cli.logs import run
        from dynazmq.cli.words import seconds

        since_s = None if since is None else seconds(since)
        return run(
            at(directory), nodes or [], follow=follow, lines=lines, level=level, since_s=since_s, as_json=as_json,
            as_lines=as_lines,
        )  # fmt: skip

    return work


@command(app)
def top(
    sort: Annotated[str, typer.Option("--sort", help="name, ops, p99 or hints.", metavar="BY")] = "name",
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave, as in a pipe.")] = False,
    every: Annotated[str, typer.Option("--every", help="How often it is drawn on a terminal.", metavar="TIME")] = "1s",
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Show what each node does now: rates, latencies, memory, commits, hints.

    Rates and percentiles are of the last five seconds, of the first second in the first frame: of requests that the node
    coordinated. Q is what is under way there. Ctrl-C ends it. Exit code 7 when the cluster is not running.

    \b
    Example:  dynazmq top --sort p99
              dynazmq top --json | jq .cluster
    """

    def work() -> int:
        from dynazmq.cli.top import run
        from dynazmq.cli.words import seconds

        return run(at(directory), sort=sort, once=once, every_s=seconds(every), as_json=as_json)

    return work


@metrics_app.callback(invoke_without_command=True)
def metrics(ctx: typer.Context, directory: Dir = None) -> Work | None:
    """Print what all nodes count and measure, in the text format of Prometheus.

    A node that does not answer has dynazmq_up 0 and no other figures. Exit code 7 when the cluster is not running. What each
    metric means: docs/observability.md; a dashboard: docs/grafana-dashboard.json.

    \b
    Example:  dynazmq metrics | grep ^dynazmq_hints
              dynazmq metrics serve --port 9464
    """
    if ctx.invoked_subcommand is not None:
        return None

    def work() -> int:
        from dynazmq.cli.metrics import run

        return run(at(directory))

    return work


@command(metrics_app)
def serve(
    port: Annotated[int, typer.Option("--port", help="On 127.0.0.1; 0: any that is free.", metavar="PORT")] = 9464,
    directory: Dir = None,
) -> Work:
    """Answer a Prometheus server that runs on this host, at http://127.0.0.1:PORT/metrics.

    Each scrape asks all nodes at that moment and waits half a second at most for those that do not answer. Nothing but
    loopback is listened on. SIGTERM and Ctrl-C end it, with exit code 0; exit code 1 when the port is taken.

    \b
    Example:  dynazmq metrics serve --port 9464
    """

    def work() -> int:
        from dynazmq.cli.metrics import serve as run

        return run(at(directory), port)

    return work


@command(app)
def tui(
    directory: Dir = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and leave.")] = False,
    ascii_: Annotated[bool, typer.Option("--ascii", help="No characters beyond ASCII.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Switch off the keys that act on the cluster.")] = False,
    confirm: Annotated[
        str, typer.Option("--confirm", envvar="DYNAZMQ_CONFIRM", help="Ask before: all, destructive, none.", metavar="WHICH")
    ] = "destructive",
    theme: Annotated[
        str, typer.Option("--theme", envvar="DYNAZMQ_THEME", help="dark, light, ansi, high-contrast …", metavar="NAME")
    ] = "dark",
    record: Annotated[Path | None, option("--record", help="Write what is seen into a file.", metavar="FILE")] = None,
    replay: Annotated[Path | None, option("--replay", help="Play such a file, or an event log.", metavar="FILE")] = None,
) -> Work:
    """Watch the cluster, kill nodes, see it recover.

    In a pipe, and with --once, it prints one frame. NO_COLOR leaves the colours out.

    \b
    Example:  dynazmq tui
              dynazmq tui --record outage.jsonl
              dynazmq tui --replay outage.jsonl
    """

    def work() -> int:
        from dynazmq.tui import print_once, run_tui
        from dynazmq.tui.settings import Settings

        settings = Settings(
            ascii=ascii_, read_only=read_only, confirm=confirm, theme=theme, record=record, replay=replay
        ).checked()
        return print_once(at(directory), settings) if once else run_tui(at(directory), settings)

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
    chaos: Annotated[str | None, option("--chaos", help="Break things for so long, and judge.", metavar="TIME")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Chaos on a cluster of its own, thrown away.")] = False,
    nodes: Annotated[int, typer.Option("-n", help="Its nodes.", metavar="N")] = 5,
    seed: Annotated[int | None, option("--seed", help="Of the faults; drawn if not given.", metavar="S")] = None,
    faults: Annotated[str | None, option("--faults", help="Only these; or none.", metavar="kill,pause,…")] = None,
    users: Annotated[bool, typer.Option("--users", help="Users misbehave, too.")] = False,
    report: Annotated[str | None, option("--report", help="Write all of it, too; JSON in FILE.json.", metavar="FILE")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    directory: Dir = None,
    as_json: Json = False,
) -> Work:
    """Check that replicas hold the same; changes nothing.

    Without --deep: rings, hints, and the roots of the Merkle trees. With it every node's rows, trees, hints and
    checksums, and which key differs where. Under load, what differs is looked at twice: writes under way are no findings.
    Exit code 10 when something differs, 5 when some node could not be read and nothing differs otherwise.

    With --chaos clients write and read, and all that they are told is recorded; beside them nodes are killed, paused, cut
    off …; then all is healed, and what is stored is held against what was acknowledged: nothing lost, nothing back that was
    deleted, all replicas equal. With --fresh also disks are lost and members come and go. On a cluster that runs it writes
    keys of its own, does nothing that could lose others', and undoes what it did. Ctrl-C heals, and judges what there is.
    With --users there are also users who misbehave: slow readers, many connections, garbage, large values, bursts of
    requests. A node that ends by itself breaks a promise, too.
    Exit code 10 when a promise is broken, 5 when it cannot be said, 130 after Ctrl-C.

    \b
    Example:  dynazmq verify --deep
              dynazmq verify --deep --json | jq .findings
              dynazmq verify --chaos 10m --users --fresh -n 5
    """

    def work() -> int:
        if chaos is not None:
            from dynazmq.cli.chaos import run as run_chaos

            fresh_nodes = nodes if fresh else None
            return run_chaos(
                at(directory), chaos, fresh_nodes=fresh_nodes, seed=seed, faults=faults, users=users, file=report, force=force,
                as_json=as_json,
            )  # fmt: skip
        if fresh or users or seed is not None or faults is not None or report is not None:
            from dynazmq.errors import InvalidRequest

            raise InvalidRequest("--fresh, --seed, --faults, --users and --report are about chaos: they go with --chaos TIME")
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

    Each seed is one cluster: its nodes, clients and troubles are drawn from it, and it plays the same each time. In a
    third of them members come and go.
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

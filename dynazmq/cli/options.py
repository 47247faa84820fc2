"""Options that many commands have, and the tree into which the commands are put.

A command returns its work as a function of no arguments, and `commands.run` calls it: so only parsing happens inside typer, and
the work's modules are imported when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Work = Callable[[], int]


def option(*names: str, **more: Any) -> Any:
    """An option whose default says nothing by itself: what happens without it is in the help."""
    return typer.Option(*names, show_default=False, **more)


def at(directory: Path | None) -> Path:
    from dynazmq import paths

    return paths.cluster_dir(directory)


def complete_nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Reads cluster.json only: completion must not wait for a node. Behind a comma the next one, and none twice."""
    from dynazmq import paths
    from dynazmq.errors import ClusterError

    before, comma, begun = incomplete.rpartition(",")
    try:
        names = paths.ClusterFile.load(at(ctx.params.get("directory"))).members
    except ClusterError:
        return []
    taken = before.split(",")
    return [before + comma + name for name in names if name.startswith(begun) and name not in taken]


def complete_clusters(incomplete: str) -> list[str]:
    """Names of the clusters in the state directory, running or not."""
    from dynazmq import paths

    home = paths.cluster_dir(name="default").parent
    found = sorted(path.parent.name for path in home.glob("*/cluster.json"))
    return [name for name in found if name.startswith(incomplete)]


def path_given(text: str) -> Path:
    """A path that came out empty, of a variable that is not set, is not the directory in which one happens to be."""
    if not text:
        raise typer.BadParameter("it is empty")
    return Path(text)


Dir = Annotated[
    Path | None,
    option("--dir", envvar="DYNAZMQ_DIR", help="The cluster's directory.", metavar="DIR", parser=path_given),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Bucket = Annotated[str, typer.Option("--bucket", "-b", help="The bucket.")]
Escaped = Annotated[bool, typer.Option("--escaped", "-e", help="Given as `keys` prints it: \\n, \\xff, \\\\ …")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to try.", metavar="TIME")]
Nodes = Annotated[
    list[str] | None,
    typer.Argument(help="n1  n1,n3  n[2-4]  'n*'", metavar="NODE…", show_default=False, autocompletion=complete_nodes),
]
All = Annotated[bool, typer.Option("--all", help="All nodes.")]
Random = Annotated[bool, typer.Option("--random", help="One node, drawn.")]


def _app(text: str | None, *, needs_more: bool = True) -> typer.Typer:
    """text: None where its callback has it. needs_more: it does nothing by itself."""
    # Help without rich: it costs 60 ms of import, and plain text goes through pipes as it is. Completion is our own
    # (completion.py): typer's builds all commands at each TAB, and loads rich for two of the shells.
    names = {"help_option_names": ["-h", "--help"]}
    said: dict[str, Any] = {"help": text} if text else {}
    return typer.Typer(no_args_is_help=needs_more, rich_markup_mode=None, context_settings=names, add_completion=False, **said)


app = _app("dynazmq: an always-writeable, replicated key-value store (Amazon Dynamo) in local processes that you may kill.")
cluster_app = _app("Start, watch and end a cluster.")
node_app = _app("Break and mend single nodes.")
aae_app = _app("Hold anti-entropy, the comparing of replicas, and see how far it is.")
metrics_app = _app(None, needs_more=False)
bucket_app = _app("Give buckets policies of their own.")
hints_app = _app("See what nodes keep for others that are away.")
config_app = _app("See what a cluster was told.")
completion_app = _app("Let the shell complete what you type.")
fault_app = _app("Break what is between nodes, their clocks and disks. Clients reach every node as before.")
trace_app = _app("Do one request and draw its timeline through the nodes.")
app.add_typer(cluster_app, name="cluster")
app.add_typer(node_app, name="node")
app.add_typer(fault_app, name="fault")
app.add_typer(bucket_app, name="bucket")
app.add_typer(aae_app, name="aae")
app.add_typer(hints_app, name="hints")
app.add_typer(config_app, name="config")
app.add_typer(completion_app, name="completion")
app.add_typer(metrics_app, name="metrics")
app.add_typer(trace_app, name="trace")


def command(
    *places: typer.Typer, name: str | None = None, text: str | None = None
) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """The same command in several places: `dynazmq up` is `dynazmq cluster up`."""

    def add(function: Callable[..., Work]) -> Callable[..., Work]:
        for place in places:
            place.command(name or function.__name__, help=text)(function)
        return function

    return add

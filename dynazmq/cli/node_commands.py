"""Commands on single nodes: kill, stop, start, restart, pause, resume, wipe, show."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.options import All, Dir, Json, Nodes, Random, Work, Yes, app, at, command, node_app

Rebuild = Annotated[bool, typer.Option("--rebuild", help="Begin with an empty disk, which the peers fill.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Watch what comes of it.")]

_VERBS = {
    "kill": ("Kill nodes with SIGKILL: a crash. They stay down until they are started.", "dynazmq kill n3"),
    "stop": ("Stop nodes in good order (SIGTERM; SIGKILL after 5 s).", "dynazmq node stop n2,n4"),
    "restart": ("Stop nodes and start them again.", "dynazmq node restart n1"),
    "pause": ("Freeze nodes (SIGSTOP). They live and say nothing.", "dynazmq pause n2"),
    "resume": ("Let paused nodes go on (SIGCONT).", "dynazmq resume n2"),
    "wipe": ("Stop nodes and delete what they stored: a lost disk.", "dynazmq node wipe n3 --yes"),
}


def _add(verb: str, *places: typer.Typer) -> None:
    """These commands differ in their verb only."""

    def run(
        nodes: Nodes = None,
        all_: All = False,
        at_random: Random = False,
        directory: Dir = None,
        wait: Wait = True,
        as_json: Json = False,
        yes: bool = False,
    ) -> Work:
        def work() -> int:
            from dynazmq.cli.nodes import act

            return act(at(directory), verb, nodes or [], all_=all_, at_random=at_random, yes=yes, wait=wait, as_json=as_json)

        return work

    def run_asking(
        nodes: Nodes = None,
        all_: All = False,
        at_random: Random = False,
        directory: Dir = None,
        wait: Wait = True,
        as_json: Json = False,
        yes: Yes = False,
    ) -> Work:
        return run(nodes, all_, at_random, directory, wait, as_json, yes)

    def run_unasked(
        nodes: Nodes = None,
        all_: All = False,
        at_random: Random = False,
        directory: Dir = None,
        wait: Wait = True,
        as_json: Json = False,
    ) -> Work:
        return run(nodes, all_, at_random, directory, wait, as_json)

    does, example = _VERBS[verb]
    command(*places, name=verb, text=f"{does}\n\n\b\nExample:  {example}")(run_asking if verb == "wipe" else run_unasked)


@command(node_app)
def start(
    nodes: Nodes = None,
    all_: All = False,
    at_random: Random = False,
    rebuild: Rebuild = False,
    directory: Dir = None,
    wait: Wait = True,
    as_json: Json = False,
) -> Work:
    """Start nodes; one that is paused goes on.

    A node that refuses its disk (damaged, cut off, another node's) says so. --rebuild sets that disk's files aside, in
    nodes/NAME/aside-…, and starts the node empty: its peers bring the data back. One node at a time, and it must be down.
    One copy is kept; it takes the place of an earlier one.

    \b
    Example:  dynazmq node start --all
              dynazmq node start n3 --rebuild
    """

    def work() -> int:
        from dynazmq.cli.nodes import act

        verb = "rebuild" if rebuild else "start"
        return act(at(directory), verb, nodes or [], all_=all_, at_random=at_random, yes=False, wait=wait, as_json=as_json)

    return work


for _verb in _VERBS:
    _add(_verb, *((node_app, app) if _verb in ("kill", "pause", "resume") else (node_app,)))


@command(node_app)
def show(nodes: Nodes = None, all_: All = False, at_random: Random = False, directory: Dir = None, as_json: Json = False) -> Work:
    """Show everything that is known of some nodes.

    \b
    Example:  dynazmq node show n3
    """

    def work() -> int:
        from dynazmq.cli.nodes import show

        return show(at(directory), nodes or [], all_=all_, at_random=at_random, as_json=as_json)

    return work

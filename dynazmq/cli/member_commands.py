"""Commands on who belongs to the cluster: add, remove, plan, commit, clear, acknowledge; node add, node leave for short."""

from __future__ import annotations

from typing import Annotated

import typer

from dynazmq.cli.options import (
    Dir,
    Json,
    Nodes,
    Random,
    Timeout,
    Work,
    Yes,
    at,
    cluster_app,
    command,
    complete_nodes,
    node_app,
    option,
)

New = Annotated[str | None, typer.Argument(help="Its name; the next free nK.", metavar="[NAME]", show_default=False)]
Weight = Annotated[float | None, option(help="Its share in relation to the others', who have 1.", metavar="W")]
Replace = Annotated[
    str | None, option("--replace", help="Take the place of OLD, which is gone.", metavar="OLD", autocompletion=complete_nodes)
]
WithoutQuorum = Annotated[bool, typer.Option("--without-quorum", help="Although no majority can agree: most are lost for good.")]
Now = Annotated[bool, typer.Option("--now", help="Also plan and commit, with all that is staged.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until it is done.")]


def _commit(directory: Dir, wait: bool, timeout: str, as_json: bool) -> int:
    from dynazmq.cli.membership import commit
    from dynazmq.cli.words import seconds

    return commit(at(directory), wait=wait, timeout_s=seconds(timeout), as_json=as_json)


@command(cluster_app)
def add(
    name: New = None,
    weight: Weight = None,
    replaces: Replace = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OLD although it is up.")] = False,
    without_quorum: WithoutQuorum = False,
    now: Now = False,
    directory: Dir = None,
    wait: Wait = True,
    timeout: Timeout = "10m",
    as_json: Json = False,
    yes: Yes = False,
) -> Work:  # fmt: skip
    """Stage a new member, or let one stay.

    Nothing happens before `cluster commit`; `cluster plan` shows what would. --replace OLD: the new one takes over the
    partitions of a node that is gone for good; OLD is removed by force, and what it held is copied from its peers. The NAME
    of a member whose removal was decided: it is taken back, as long as the ring is not read without it.

    \b
    Example:  dynazmq cluster add && dynazmq cluster plan
              dynazmq cluster add n6 --weight 2
              dynazmq cluster add --replace n3 --now
    """

    def work() -> int:
        from dynazmq.cli.membership import add

        code = add(
            at(directory), name, weight=weight, replaces=replaces, force=force, without_quorum=without_quorum, yes=yes,
            as_json=as_json, quiet=now,
        )  # fmt: skip
        return _commit(directory, wait, timeout, as_json) if now else code

    return work


@command(cluster_app)
def remove(
    nodes: Nodes = None,
    at_random: Random = False,
    force: Annotated[bool, typer.Option("--force", help="Give it up: it is gone for good.")] = False,
    without_quorum: WithoutQuorum = False,
    now: Now = False,
    directory: Dir = None,
    wait: Wait = True,
    timeout: Timeout = "10m",
    as_json: Json = False,
    yes: Yes = False,
) -> Work:  # fmt: skip
    """Stage that members leave.

    It hands over all that it holds, and then ends: nothing is lost, and it must be up for that. --force is for a node that
    does not come back: nobody waits for it, its copies are made anew from those of its peers, and what only it held is lost.
    More than half of all members must agree to that, so that two halves of a split cannot expel each other. Where so many are
    not left, --without-quorum goes on with those that are. `cluster add NAME` takes a removal back while it is under way.

    \b
    Example:  dynazmq cluster remove n2 && dynazmq cluster plan
              dynazmq cluster remove n3 --force --now
              dynazmq cluster remove n3,n4,n5 --force --without-quorum --now
    """

    def work() -> int:
        from dynazmq.cli.membership import remove

        code = remove(
            at(directory), nodes or [], at_random=at_random, force=force, without_quorum=without_quorum, yes=yes,
            as_json=as_json, quiet=now,
        )  # fmt: skip
        return _commit(directory, wait, timeout, as_json) if now else code

    return work


@command(cluster_app)
def plan(directory: Dir = None, as_json: Json = False) -> Work:
    """Show what the staged changes would come to.

    Who owns what then, what is copied for it (about), and what would hold it up. Changes nothing. --json has all of it.
    Exit code 2 when they cannot be carried out, for example since too few members would be left for the quorums.

    \b
    Example:  dynazmq cluster plan
    """

    def work() -> int:
        from dynazmq.cli.membership import plan

        return plan(at(directory), as_json)

    return work


@command(cluster_app)
def commit(directory: Dir = None, wait: Wait = True, timeout: Timeout = "10m", as_json: Json = False) -> Work:
    """Carry out what is staged, and watch until it is done.

    New nodes are started; then it is decided, and the nodes do the rest by themselves, while reads and writes go on. Ctrl-C
    ends the watching only; another commit watches on. Refused when the ring is not the one that the plan was shown for.
    Exit code 6 when it is not done in time; it goes on all the same.

    \b
    Example:  dynazmq cluster commit
              dynazmq cluster commit --no-wait && dynazmq status --watch 1s
    """
    return lambda: _commit(directory, wait, timeout, as_json)


@command(cluster_app)
def clear(directory: Dir = None, as_json: Json = False) -> Work:
    """Drop what is staged.

    What was decided is not taken back by it.

    \b
    Example:  dynazmq cluster clear
    """

    def work() -> int:
        from dynazmq.cli.membership import clear

        return clear(at(directory), as_json)

    return work


@command(cluster_app)
def acknowledge(directory: Dir = None, as_json: Json = False) -> Work:
    """Say that you know which partitions were lost.

    When all who held a partition were removed by force, no copy of its keys is left; `status` says so, and `status --check`
    ends with exit code 11, until this is said. Restore before what you can, for example with `import`; the files of removed
    nodes are kept in DIR/removed.

    \b
    Example:  dynazmq cluster acknowledge
    """

    def work() -> int:
        from dynazmq.cli.losses import acknowledge

        return acknowledge(at(directory), as_json)

    return work


@command(node_app, name="add")
def node_add(
    name: New = None,
    weight: Weight = None,
    replaces: Replace = None,
    plan: Annotated[bool, typer.Option("--plan", help="Stage it and show the plan only.")] = False,
    directory: Dir = None,
    wait: Wait = True,
    timeout: Timeout = "10m",
    as_json: Json = False,
) -> Work:  # fmt: skip
    """Add a member at once: `cluster add --now`.

    \b
    Example:  dynazmq node add
              dynazmq node add --replace n3
    """

    def work() -> int:
        from dynazmq.cli import membership

        membership.add(at(directory), name, weight=weight, replaces=replaces, force=False, as_json=as_json, quiet=True)
        return membership.plan(at(directory), as_json) if plan else _commit(directory, wait, timeout, as_json)

    return work


@command(node_app)
def leave(
    nodes: Nodes = None,
    at_random: Random = False,
    directory: Dir = None,
    wait: Wait = True,
    timeout: Timeout = "10m",
    as_json: Json = False,
) -> Work:
    """Let members leave at once: `cluster remove --now`.

    \b
    Example:  dynazmq node leave n2
    """

    def work() -> int:
        from dynazmq.cli import membership

        membership.remove(at(directory), nodes or [], at_random=at_random, force=False, yes=False, as_json=as_json, quiet=True)
        return _commit(directory, wait, timeout, as_json)

    return work

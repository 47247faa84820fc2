"""All commands, and how one is run."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

import typer

from dynazmq.cli import INTERRUPTED, USAGE
from dynazmq.cli.asked import remember
from dynazmq.cli.options import app

# isort: split
# These put the commands into the tree; their order is that in which `--help` lists them.
from dynazmq.cli import aae_commands as _aae
from dynazmq.cli import bucket_commands as _bucket
from dynazmq.cli import cluster_commands as _cluster
from dynazmq.cli import data_commands as _data
from dynazmq.cli import fault_commands as _fault
from dynazmq.cli import member_commands as _member
from dynazmq.cli import node_commands as _node
from dynazmq.cli import view_commands as _view

__all__ = ["_aae", "_bucket", "_cluster", "_data", "_fault", "_member", "_node", "_view", "run"]


def _version(wanted: bool) -> None:
    """Before a command is asked for: there need not be one."""
    if wanted:
        from dynazmq.cli.version import run

        run(as_json=False)
        raise typer.Exit


@app.callback()
def _root(
    color: Annotated[str, typer.Option(help="auto, always or never.", metavar="WHEN")] = "auto",
    _: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)] = False,
) -> None:
    from dynazmq.cli import terminal

    terminal.set_color(color)


def run(arguments: list[str]) -> int:
    """Parse, then do it; the exit code. What was typed wrongly is said on standard error."""
    remember(arguments)
    command = typer.main.get_command(_named(app, arguments))
    try:
        work: Any = command.main(arguments, prog_name="dynazmq", standalone_mode=False)
    except typer.Abort:
        return INTERRUPTED
    except Exception as error:
        if not isinstance(error, _USAGE_ERROR):
            raise
        _say_usage(error)
        return USAGE
    return int(work()) if callable(work) else int(work or 0)


def _named(tree: typer.Typer, words: list[str]) -> typer.Typer:
    """The tree with nothing in it but the command that is named first: to build them all takes as long as to import typer."""
    name = words[0] if words else ""
    commands = [each for each in tree.registered_commands if each.name == name]
    groups = [each for each in tree.registered_groups if each.name == name]
    if not commands and not groups:  # an option, or no command of ours: all are needed, for the help or the error
        return tree
    narrow = copy(tree)
    narrow.registered_commands, narrow.registered_groups = commands, []
    for group in groups:
        assert group.typer_instance is not None
        found = copy(group)
        found.typer_instance = _named(group.typer_instance, words[1:])
        narrow.registered_groups.append(found)
    return narrow


_USAGE_ERROR = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
"""typer brings its own copy of click and names only some of its exceptions."""


def _say_usage(error: Any) -> None:
    from dynazmq.cli.terminal import error as show
    from dynazmq.cli.terminal import note

    context = getattr(error, "ctx", None)
    text = error.format_message()
    if text.startswith("Usage:"):  # no command was given: the help
        note(text)
        return
    show(text)
    if context is not None:
        note(f"see    {context.command_path} --help")

"""All commands, and how one is run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dynazmq.cli import INTERRUPTED, USAGE
from dynazmq.cli.asked import remember
from dynazmq.cli.options import app
from dynazmq.cli.tree import narrowed

# isort: split
# These put the commands into the tree; their order is that in which `--help` lists them.
from dynazmq.cli import aae_commands as _aae
from dynazmq.cli import bucket_commands as _bucket
from dynazmq.cli import cluster_commands as _cluster
from dynazmq.cli import data_commands as _data
from dynazmq.cli import fault_commands as _fault
from dynazmq.cli import looking_commands as _looking
from dynazmq.cli import member_commands as _member
from dynazmq.cli import node_commands as _node
from dynazmq.cli import tool_commands as _tool
from dynazmq.cli import view_commands as _view

__all__ = ["_aae", "_bucket", "_cluster", "_data", "_fault", "_looking", "_member", "_node", "_tool", "_view", "run"]


def _version(wanted: bool) -> None:
    """Before a command is asked for: there need not be one."""
    if wanted:
        from dynazmq.cli.version import run

        run(as_json=False)
        raise typer.Exit


@app.callback()
def _root(
    color: Annotated[str, typer.Option(help="When to use colours.", metavar="auto|always|never")] = "auto",
    _: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)] = False,
) -> None:
    from dynazmq.cli import terminal

    terminal.set_color(color)


def run(arguments: list[str]) -> int:
    """Parse, then do it; the exit code. What was typed wrongly is said on standard error."""
    remember(arguments)
    command = typer.main.get_command(narrowed(app, arguments))
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

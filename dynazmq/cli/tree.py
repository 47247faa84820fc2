"""The tree of commands: its names and first lines without building it, and one command of it built.

To build them all takes as long as to import typer. What a command needs of typer is made when it is that command's turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import typer


def narrowed(tree: typer.Typer, words: Sequence[str]) -> typer.Typer:
    """The tree with nothing in it but the command that is named first."""
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
        found.typer_instance = narrowed(group.typer_instance, words[1:])
        narrow.registered_groups.append(found)
    return narrow


def build(path: Sequence[str]) -> Any:
    """The command, or the group, that these names lead to, as typer makes it."""
    found: Any = typer.main.get_command(narrowed(_root(), path))
    for name in path:
        found = found.commands[name]
    return found


def children(path: Sequence[str]) -> dict[str, str]:
    """Name → first line of its help, of what is below; nothing below a command."""
    group = _find(path)
    if group is None:
        return {}
    below = {str(each.name): _first_line(_said(each.typer_instance)) for each in _groups(group)}
    return below | {str(each.name): _first_line(each.help or _doc(each)) for each in group.registered_commands}


def exists(path: Sequence[str]) -> bool:
    return not path or path[-1] in children(path[:-1])


def leaves(path: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """All commands, those of groups first: ("cluster", "up"), … ("put",), …"""
    for name in children(path):
        below = (*path, name)
        if children(below):
            if _runs(below):
                yield below
            yield from leaves(below)
        else:
            yield below


def _runs(path: Sequence[str]) -> bool:
    """Whether a group does something by itself."""
    group = _find(path)
    return bool(group and group.registered_callback and group.registered_callback.invoke_without_command is True)


def _root() -> typer.Typer:
    import dynazmq.cli.commands  # noqa: F401  (it puts them there)
    from dynazmq.cli.options import app

    return app


def _find(path: Sequence[str]) -> typer.Typer | None:
    """The group at the end of a path; None where there is a command or nothing."""
    found: typer.Typer | None = _root()
    for name in path:
        assert found is not None
        below = [each.typer_instance for each in _groups(found) if each.name == name]
        found = below[0] if below else None
        if found is None:
            return None
    return found


def _groups(tree: typer.Typer) -> list[Any]:
    return [each for each in tree.registered_groups if each.typer_instance is not None]


def _said(group: typer.Typer) -> object:
    """Its help, which its callback has if it does something by itself."""
    return _doc(group.registered_callback) if group.registered_callback else group.info.help


def _doc(info: Any) -> str:
    return info.callback.__doc__ or "" if info.callback else ""


def _first_line(text: object) -> str:
    return str(text or "").strip().split("\n")[0] if isinstance(text, str) else ""

"""Command lines as help pages and documents show them: which words follow "dynazmq", and whether they could be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from dynazmq.cli.tree import build, leaves

PATHS = {path[: i + 1] for path in leaves() for i in range(len(path))}

_BETWEEN_COMMANDS = re.compile(r"&&|\|\||\|(?![^']*'(?:[^']*'[^']*')*[^']*$)")


def commands_of(line: str) -> Iterator[list[str]]:
    """The words behind "dynazmq" of each command in a line. Behind four spaces and a # there is a comment."""
    for part in _BETWEEN_COMMANDS.split(line.split("    #")[0]):
        words = shlex.split(part)
        if words[:1] in (["dynazmq"], ["bin/dynazmq"]):
            yield words[1:]


def check(words: list[str]) -> None:
    """Raises typer's UsageError where there is no such command, or it takes no such option or argument."""
    path = [word for i, word in enumerate(words) if tuple(words[: i + 1]) in PATHS]
    context = build(path).make_context(" ".join(path), list(words[len(path) :]))
    assert context.command is not None

"""Who asked for what: commands that act on a cluster tell its stream of events before they act."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dynazmq import paths, streams, users

_typed: list[str] = []
"""The words of the command that this process carries out."""

_told = False
"""A command that consists of others, `restart` or `add --now`, is told once."""

_NAMES_THE_CLUSTER = ("--dir",)


def remember(words: Sequence[str]) -> None:
    global _told
    _typed[:] = words
    _told = False


def asked(directory: Path, names: Sequence[str] = ()) -> None:
    """Tell what was typed. names: the nodes that it means; none for the whole cluster. Call it when all is checked."""
    global _told
    streams.carry_on()
    if _told or not paths.has_cluster(directory):  # a directory of somebody else's gets no file of ours
        return
    import shlex

    from dynazmq.cluster.directory import ownership
    from dynazmq.cluster.observe import events

    ownership.check_own(directory)

    _told = True
    text = f"dynazmq {shlex.join(_without_directory(_typed))}"
    node = names[0] if len(names) == 1 else "*"
    events.append(directory, node, "command", text, nodes=list(names), pid=os.getpid(), user=users.name_of(users.me()))


def _without_directory(words: Sequence[str]) -> list[str]:
    """The stream lies in it: to name it says nothing."""
    left: list[str] = []
    skip = False
    for word in words:
        if not skip and word not in _NAMES_THE_CLUSTER and not word.startswith("--dir="):
            left.append(word)
        skip = word in _NAMES_THE_CLUSTER and not skip
    return left

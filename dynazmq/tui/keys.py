"""The keys, once: footer, help, the shell's bindings and the command line that each one stands for come from this table.

Upper case acts on the cluster, lower case on the view. Starting and stopping are different keys: one that toggles does the wrong
thing when the picture is half a second old.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from dynazmq.paths import cluster_dir


class Key(NamedTuple):
    key: str  # as it is shown
    binding: str  # as Textual calls it
    action: str
    short: str  # for the footer; "" keeps it out
    long: str
    verb: str = ""  # the supervisor's verb, for those that act on the selected node
    rank: int = 0  # the higher, the sooner it leaves a narrow footer


KEYS = (
    Key("K", "K", "node('kill')", "kill", "kill the selected node at once (SIGKILL): a crash", "kill"),
    Key("T", "T", "node('stop')", "stop", "stop it in good order (SIGTERM)", "stop", rank=3),
    Key("S", "S", "node('start')", "start", "start it; one that is paused goes on", "start"),
    Key("P", "P", "node('pause')", "pause", "pause it (SIGSTOP): it lives and says nothing; again: resume it", "pause"),
    Key("W", "W", "node('wipe')", "wipe", "stop it and delete its disk; asks first", "wipe", rank=4),
    Key("B", "B", "load", "load", "start or stop a steady load that remembers and checks each acknowledged write"),
    Key("↑↓", "up,down,j,k", "select", "node", "choose a node (also j and k, or the mouse)", rank=2),
    Key("?", "question_mark", "help", "help", "this page"),
    Key("q", "q", "leave", "leave", "leave; the nodes keep running"),
    Key("Q", "Q", "leave_and_stop", "stop all", "leave and stop the whole cluster; asks first", rank=1),
)

ACTS = {"K", "T", "S", "P", "W", "B", "Q"}
"""Those that change something: off with --read-only."""


def footer_keys(read_only: bool, width: int) -> list[tuple[str, str]]:
    shown = [key for key in KEYS if key.short and not (read_only and key.key in ACTS)]
    while sum(len(key.key) + len(key.short) + 3 for key in shown) > width and len(shown) > 3:
        shown.remove(max(reversed(shown), key=lambda each: each.rank))
    return [(key.key, key.short) for key in shown]


def command(verb: str, node: str, directory: Path) -> str:
    """The command line that does the same."""
    return f"dynazmq node {verb} {node}{where(directory)}"


def where(directory: Path) -> str:
    """What names the directory: " --dir DIR"; nothing where the command line would find this cluster by itself."""
    return "" if directory == cluster_dir() else f" --dir {shlex.quote(str(directory))}"

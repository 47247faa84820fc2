"""The keys, once: footer, help, palette, the bindings and the command line that each one stands for come from this table.

Upper case acts on the cluster, lower case on the view. (G and L only look; g and l do as well.)
Starting and stopping are different keys: one that toggles does the wrong thing when the picture is half a second old.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dynazmq.paths import where


class Key(NamedTuple):
    key: str  # as it is shown
    binding: str  # as Textual calls it
    action: str
    short: str  # for the footer; "" keeps it out
    long: str
    verb: str = ""  # the supervisor's verb, for those that act on the selected node
    rank: int = 0  # the higher, the sooner it leaves a narrow footer
    same: str = ""  # the command line that does the same; NODE, KEY, SIDES stand for what is chosen


KEYS = (
    Key("K", "K", "node('kill')", "kill", "kill the selected node at once (SIGKILL): a crash", "kill", same="node kill NODE"),
    Key("T", "T", "node('stop')", "stop", "stop it in good order (SIGTERM)", "stop", 6, "node stop NODE"),
    Key("S", "S", "node('start')", "start", "start it; one that is paused goes on", "start", same="node start NODE"),
    Key("R", "R", "node('restart')", "restart", "stop it and start it again", "restart", 8, "node restart NODE"),
    Key("P", "P", "node('pause')", "pause", "pause it (SIGSTOP): it lives and says nothing; again: resume it", "pause", 1,
        "node pause NODE"),
    Key("X", "X", "partition", "part", "part the network: choose with space who is on the other side", "", 2,
        "fault partition SIDES"),
    Key("W", "W", "node('wipe')", "wipe", "stop it and delete its disk", "wipe", 9, "node wipe NODE"),
    Key("H", "H", "heal", "heal", "heal all faults, resume what is paused", "", 2, "heal"),
    Key("B", "B", "load", "load", "start or stop a steady load that remembers and checks each acknowledged write", "", 1),
    Key("G", "G,g", "key", "key", "explain a key: who holds what, what repair does next", "", 5, "explain KEY"),
    Key("L", "L,l", "look('logs')", "logs", "the logs of all nodes, merged", "", 7, "logs"),
    Key("Enter", "enter", "open", "more", "open the selected node, or the panel that was jumped to", "", 4, "node show NODE"),
    Key("h", "h", "look('hints')", "", "hints: who holds how many for whom", same="hints list"),
    Key("a", "a", "look('aae')", "", "anti-entropy: whose trees differ", same="aae status"),
    Key("e", "e", "look('events')", "", "all events", same="cluster events"),
    Key("↑↓", "up,down,j,k", "select", "", "choose a node, or scroll (also j and k, the wheel)"),
    Key("Tab", "tab,shift+tab", "panel", "", "the next panel; 1 to 6 jump to one"),
    Key("/", "slash", "filter", "filter", "show only nodes, events, log lines with this in them", "", 11),
    Key(":", "colon", "command", "cmd", "a command line: any dynazmq command, or the name of a screen", "", 10),
    Key("ctrl+p", "ctrl+p", "command_palette", "", "everything, by name"),
    Key("y", "y", "copy", "", "copy the command line of the last action (OSC 52)"),
    Key("space", "space", "freeze", "", "hold the picture still; again: go on"),
    Key("+ −", "plus,minus", "pace", "", "look more, or less, often"),
    Key("s", "s", "save", "", "save the screen as SVG and as text, here"),
    Key("Esc", "escape", "overview", "", "back to the overview"),
    Key("?", "question_mark", "help", "help", "this page"),
    Key("q", "q", "leave", "leave", "leave; the nodes keep running"),
    Key("Q", "Q", "leave_and_stop", "stop all", "leave and stop the whole cluster", "", 12, "cluster down"),
)  # fmt: skip

ACTS = frozenset("KTSRPXWHBQ")
"""Those that change something: off with --read-only."""

DESTRUCTIVE = frozenset("WQ")
"""Those that ask first, unless told otherwise: killing and pausing is what this is for."""

CONFIRM = ("all", "destructive", "none")


def footer_keys(read_only: bool, width: int) -> list[tuple[str, str]]:
    shown = [key for key in KEYS if key.short and not (read_only and key.key in ACTS)]
    while sum(len(key.key) + len(key.short) + 3 for key in shown) > width and len(shown) > 3:
        shown.remove(max(reversed(shown), key=lambda each: each.rank))
    return [(key.key, key.short) for key in shown]


def asks(key: str, confirm: str) -> bool:
    """Whether this key asks before it acts. confirm: one of CONFIRM."""
    return key in ACTS and (confirm == "all" or (confirm == "destructive" and key in DESTRUCTIVE))


def command(verb: str, node: str, directory: Path) -> str:
    """The command line that does the same."""
    return f"dynazmq node {verb} {node}{where(directory)}"

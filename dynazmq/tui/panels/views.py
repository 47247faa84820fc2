"""Screens besides the overview: one thing, over the whole screen, with as many lines as it takes.

A view is what the person chose to look at. `whole` draws all of its lines; the screen shows those that fit, from `scroll` on.
What it takes beyond the model (a node's own account, logs, a key's versions) was fetched by details.py and comes as a Detail.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.text import Text

from dynazmq.tui.keys import ACTS
from dynazmq.tui.keys import KEYS as ALL_KEYS
from dynazmq.tui.look import BAD, FAINT, TITLE, Block, Look, printable, wrapped
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels import cards, matrix, panels, strip, table, transfers
from dynazmq.tui.panels.debts import anti_entropy, hint_table
from dynazmq.tui.panels.node_view import Line, log_lines, node_view

if TYPE_CHECKING:
    from dynazmq.client.inspect.explained import Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    kind: str = "overview"
    subject: str = ""  # the node's name, the key
    bucket: str = "default"
    scroll: int = 0  # lines out of sight: above; of the logs and events, below


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What was fetched for a view. `error`: why there is less than there should be."""

    kind: str = ""
    subject: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    explained: Explanation | None = None
    logs: tuple[Line, ...] = ()  # the oldest first
    error: str = ""

    def is_of(self, view: View) -> bool:
        return (self.kind, self.subject) == (view.kind, view.subject)


OVERVIEW = View()

FETCHED = ("node", "key", "logs")
FROM_THE_END = ("logs", "events")
"""What matters most stands at the bottom: scrolling begins there."""

OFFERED: dict[str, tuple[tuple[str, str], ...]] = {
    "node": (("K T S P W", "act on it"), ("L", "all logs"), ("G", "key")),
    "key": (("G", "another key"),),
    "hints": (("a", "anti-entropy"),),
    "aae": (("h", "hints"),),
    "logs": (("/", "filter"),),
    "events": (("/", "filter"),),
}
"""What the footer offers beside what holds for all: ↑↓ and Esc."""


REPLAY_KEYS = (("space", "play, hold"), ("←→", "5 s"), ("+ −", "speed"), ("Enter", "more"), ("?", "help"), ("q", "leave"))


def whole(view: View, model: Model, look: Look, detail: Detail, width: int, rows: int) -> Block:
    """Every line of the view; `rows` are in sight."""
    fetched = detail if detail.is_of(view) else Detail(kind=view.kind, subject=view.subject)
    waiting = view.kind in FETCHED and fetched is not detail
    if view.kind == "node":
        block = node_view(model, fetched.document, fetched.settings, fetched.logs, view.subject, width)
    elif view.kind == "key":
        block = Block(f"key {printable(view.subject)}" + (f" of bucket {view.bucket}" if view.bucket != "default" else ""))
        block.lines = explanation(fetched.explained, model, width) if fetched.explained is not None else []
    elif view.kind == "logs":
        block = Block("logs of all nodes and the supervisor" + (f" /{look.filter}" if look.filter else ""))
        found = log_lines(fetched.logs, look.filter) or [Text("no line has that in it" if look.filter else "", FAINT)]
        block.lines = [part for each in found for part in wrapped(each, width)]
    elif view.kind == "output":
        block = Block(view.subject)
        block.lines = [Text(printable(line.text)) for line in fetched.logs] or [Text("it said nothing", FAINT)]
    elif view.kind == "help":
        block = help_page(read_only=look.read_only)
    elif view.kind == "hints":
        block = hint_table(model, width)
    elif view.kind == "aae":
        block = anti_entropy(model, width)
    else:
        block = _panel(view.kind, model, look, width, rows)
    if waiting:
        block.lines = [Text("asking …", FAINT)]
    if fetched.error:
        block.lines.insert(0, Text(printable(fetched.error), BAD))
    return block


def explanation(found: Explanation, model: Model, width: int) -> list[Text]:
    """As `dynazmq explain` says it, with what the supervisor knows of those that do not answer."""
    from dynazmq.cli.explained import lines

    processes = {node.name: node.process for node in model.snapshot.nodes}
    copies = tuple(copy if copy.answers else replace(copy, process=processes.get(copy.node, "")) for copy in found.copies)
    return [part for each in lines(replace(found, copies=copies), width) for part in wrapped(each, width)]


def help_page(*, read_only: bool) -> Block:
    block = Block("keys · upper case acts on the cluster, lower case on the view")
    for key in ALL_KEYS:
        if not (read_only and key.key in ACTS):
            block.add((f"{key.key:<7}", TITLE), key.long)
    block.add()
    block.add("● up  ◐ suspect  ✗ down, killed  ⏸ paused  ◌ joining, starting  ◁ leaving  ■ stopped  ⇹ kept apart")
    block.add("SEEN: how many of its peers see the node up.   hints: writes that others keep for a node until it is back.")
    block.add("Shift+drag selects text in any terminal.")
    return block


def _panel(kind: str, model: Model, look: Look, width: int, rows: int) -> Block:
    """A panel of the overview, as high as it wants to be."""
    if kind == "events":
        return strip.events(model, look, width, 10_000)
    draw = {"service": panels.service, "recovery": cards.recovery, "ring": strip.ring, "transfers": transfers.transfers,
            "matrix": matrix.matrix, "nodes": table.nodes}[kind]  # fmt: skip
    return draw(model, look, width, max(rows, 1_000) if kind == "ring" else rows)


def visible(view: View, block: Block, rows: int) -> tuple[Block, int]:
    """The lines in sight, and `scroll` as it can be at most."""
    most = max(0, len(block.lines) - rows)
    scroll = min(view.scroll, most)
    first = most - scroll if view.kind in FROM_THE_END else scroll
    shown = Block(block.title, lines=block.lines[first : first + rows])
    above, below = first, max(0, len(block.lines) - first - rows)
    if above or below:
        shown.title += f" · {first + 1}–{first + len(shown.lines)} of {len(block.lines)}"
    return shown, scroll

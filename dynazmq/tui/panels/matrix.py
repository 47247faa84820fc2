"""Who sees whom."""

from __future__ import annotations

from dynazmq.tui.look import FAINT, STATES, TITLE, UNKNOWN, WARN, Block, Look, symbols
from dynazmq.tui.model.faults import cut
from dynazmq.tui.model.model import Model


def matrix_width(nodes: int, names: int) -> int:
    """The inner width that the matrix needs; `names` is the longest one's length."""
    return names + 1 + nodes * (4 if nodes <= 6 else 2)


def matrix(model: Model, look: Look, width: int, rows: int) -> Block:
    """A row is a node, and what it says of each other one; "–" where it says nothing, "⇹" where a fault keeps the two apart."""
    nodes = model.snapshot.nodes
    block = Block("who sees whom")
    apart = cut(model.snapshot)
    names = max((len(node.name) for node in nodes), default=0)
    step = 4 if len(nodes) <= 6 else 2
    marks = symbols([node.name for node in nodes])
    head = "".join(f"{node.name[-3:] if step == 4 else marks[node.name]:<{step}}" for node in nodes)
    block.add(" " * (names + 1), (head, FAINT))
    for row in nodes[: max(0, rows - 1)]:
        text = block.add((f"{row.name:<{names}} ", TITLE if row.name == look.selected else ""))
        for column in nodes:
            said = column.seen_by.get(row.name)
            glyph, style = ("·", FAINT) if column is row else ("–", FAINT) if said is None else STATES.get(said, UNKNOWN)
            if said not in (None, "up") and apart & {(row.name, column.name), (column.name, row.name)}:
                glyph, style = "⇹", WARN
            text.append(f"{glyph:<{step}}", style)
    return block

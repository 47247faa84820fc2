"""What replicas owe each other: hints that wait, and Merkle trees that are not known to be equal."""

from __future__ import annotations

from rich.text import Text

from dynazmq.cluster.observe.snapshot import NodeView
from dynazmq.tui.look import FAINT, GOOD, TITLE, WARN, Block, bar, short, span, spark
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels.panels import glyph_of


def hint_table(model: Model, width: int) -> Block:
    """For each node that is waited for: who holds how many of its writes, how old, and how fast they grow or drain."""
    block = Block("hints · writes that others keep for a node until it is back")
    if not model.pending:
        block.add(("none waits: every replica is complete", FAINT))
    for pending in model.pending:
        head = block.add(
            "for ", (pending.target, TITLE), glyph_of(model.snapshot, pending.target), f"  {pending.hints:,} hints  "
        )
        head.append(_pace(pending.per_s), GOOD if pending.per_s is not None and pending.per_s < 0 else WARN)
        if pending.eta_s is not None:
            head.append(f"  home in {span(pending.eta_s + 0.5)}")
        block.add(("  " + spark(pending.trend, max(0, min(60, width - 2))), "cyan"))
        block.add((f"  {'HELD BY':<12} {'HINTS':>9} {'OLDEST':>7} {'PACE':>9}", FAINT))
        for holder in pending.holders:
            age, pace = span(holder.oldest_s), _pace(pending.per_holder.get(holder.name))
            row = block.add(f"  {holder.name[:12]:<12} {holder.hints:>9,} {age:>7} {pace:>9}  ")
            share = holder.hints / pending.hints if pending.hints else 0.0
            row.append(bar(share, max(0, min(20, width - 50))), "cyan")
            if holder.silent:
                row.append("  silent: it may hold more", WARN)
        block.add()
    counted = [node for node in model.snapshot.nodes if node.answers]
    names = ("hints_stored", "hints_delivered", "hints_dropped", "handoffs_refused")
    totals = {name: sum(node.counters.get(name, 0) for node in counted) for name in names}
    kept, home = totals["hints_stored"], totals["hints_delivered"]
    block.add((f"since the nodes that answer were started: {kept:,} kept, {home:,} brought home", FAINT))
    for name, text in (("hints_dropped", "given up, damaged"), ("handoffs_refused", "refused by their target")):
        if totals[name]:
            block.add((f"{totals[name]:,} {text}", WARN))
    return block


def _pace(per_s: float | None) -> str:
    if per_s is None or round(per_s) == 0:
        return "–"
    return f"{'−' if per_s < 0 else '+'}{short(abs(per_s))}/s"


def anti_entropy(model: Model, width: int) -> Block:
    """Each node's comparing, then the trees of each two nodes: one cell for each tree, lit where it is not known to be equal."""
    block = Block("anti-entropy · Merkle trees that replicas compare")
    block.add((f"{'NODE':<12} {'STATE':<8} {'TREES EQUAL':>12} {'MENDING':>8} {'EXCHANGES':>10} {'KEYS SHIPPED':>13}", FAINT))
    for node in model.snapshot.nodes:
        block.lines.append(_comparing(node))
    shared_by = pairs(model.snapshot.nodes)
    if shared_by:
        block.add()
        block.add("trees of each two that share partitions   ", ("▪ equal", GOOD), "   ", ("◆ not known to be equal", WARN))
    names = max((len(name) for pair in shared_by for name in pair), default=0)
    room = max(8, width - 2 * names - 16)
    for (one, other), (shared, left) in shared_by.items():
        lit = min(room, -(-left * room // shared)) if shared > room else left
        cells = min(room, shared)
        row = block.add(f"{one:>{names}} – {other:<{names}}  ", ("◆" * lit, "bold yellow"), ("▪" * (cells - lit), GOOD))
        row.append(f"  {shared - left}/{shared}", WARN if left else "")
    return block


def _comparing(node: NodeView) -> Text:
    if not node.answers:
        return Text(f"{node.name[:12]:<12} {node.state}", FAINT)
    state = node.anti_entropy if node.anti_entropy != "on" or node.surveyed else "surveys"
    row = Text(f"{node.name[:12]:<12} ").append(f"{state:<8}", "" if state == "on" else WARN)
    row.append(f" {f'{node.trees_shared - node.trees_left:,}/{node.trees_shared:,}':>12}", WARN if node.trees_left else "")
    row.append(f" {node.ranges_differing:>8,}", WARN if node.ranges_differing else "")
    return row.append(f" {node.counters.get('exchanges', 0):>10,} {node.counters.get('keys_exchanged', 0):>13,}")


def pairs(nodes: list[NodeView]) -> dict[tuple[str, str], tuple[int, int]]:
    """(one, other) → trees that they share, and how many of those are not known to be equal."""
    order = {node.name: index for index, node in enumerate(nodes)}
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for node in nodes:
        for peer, (shared, left) in node.trees_with.items():
            if shared and peer in order:
                pair = (node.name, peer) if order[node.name] < order[peer] else (peer, node.name)
                before = found.get(pair, (0, 0))
                found[pair] = before[0] + shared, before[1] + left
    return dict(sorted(found.items(), key=lambda each: (order[each[0][0]], order[each[0][1]])))

"""The panels about an outage: hints that wait, the stages of a recovery, who sees whom."""

from __future__ import annotations

from rich.text import Text

from dynazmq.cluster.judgement import SERVES, changing, ring_moves
from dynazmq.cluster.snapshot import Snapshot
from dynazmq.tui.history import Holder, Model, Pending
from dynazmq.tui.look import (
    BAD,
    FAINT,
    GOOD,
    STATES,
    TITLE,
    UNKNOWN,
    WARN,
    Block,
    Look,
    bar,
    fit,
    line,
    short,
    size,
    span,
    spark,
    symbols,
)
from dynazmq.tui.panels import glyph_of
from dynazmq.tui.recovery import Recovery, cause, some

# --- hints -----------------------------------------------------------------------------------------------------------------


def hints(model: Model, look: Look, width: int, rows: int) -> Block:
    """For each target how many wait, who holds them, and whether they grow or drain."""
    block = Block("pending hints")
    if not model.pending:
        block.add(("none: every replica is complete", FAINT))
        return block
    per_target = 2 if 2 * len(model.pending) <= rows else 1
    shown = model.pending[: max(1, rows // per_target)]
    for pending in shown:
        pace = _pace(pending)
        left = Text.assemble("for ", (pending.target, TITLE), glyph_of(model.snapshot, pending.target), f" {pending.hints:>6,} ")
        room = min(12, width - left.cell_len - 13) if per_target == 2 else min(7, width - left.cell_len - pace.cell_len - 1)
        left.append(spark(pending.trend, max(0, room)), "cyan")
        if per_target == 1:
            block.lines.append(line(width, left, pace))
            continue
        oldest = f"oldest {span(pending.oldest_s)}" if pending.oldest_s is not None else ""
        block.lines.append(line(width, left, Text(oldest)))
        block.lines.append(line(width, _holders(pending, width - pace.cell_len - 1), pace))
    if len(shown) < len(model.pending):
        more = sum(pending.hints for pending in model.pending[len(shown) :])
        block.title += f" · and {more:,} for {len(model.pending) - len(shown)} more"
    return block


def _holders(pending: Pending, width: int) -> Text:
    """Those with most hints, as many as fit, and how many more there are."""
    text = Text("at")
    for index, holder in enumerate(pending.holders):
        entry = Text(f" {holder.name} ").append(_figure(holder), WARN if holder.silent else "")
        left = len(pending.holders) - index
        more = f" +{left}"
        if text.cell_len + entry.cell_len + (len(more) if left > 1 else 0) > width:
            return text.append(more)
        text.append_text(entry)
    return text


def _figure(holder: Holder) -> str:
    return f"{holder.hints:,}{'?' if holder.silent else ''}"  # a silent node may hold more by now


def _pace(pending: Pending) -> Text:
    if pending.per_s is None:
        return Text()
    if pending.eta_s is not None:
        eta = f"  ETA {span(pending.eta_s + 0.5)}" if pending.eta_s < 3600 else ""
        return Text(f"−{short(-pending.per_s)}/s{eta}", GOOD)
    return Text(f"+{short(pending.per_s)}/s", WARN if pending.per_s > 0 else FAINT)


def flows(model: Model, look: Look, width: int, rows: int) -> Block:
    """Who holds how many hints for whom."""
    block = Block("hint flows")
    all_flows = [(holder, pending) for pending in model.pending for holder in pending.holders]
    if not all_flows:
        block.add(("none: every replica is complete", FAINT))
        return block
    totals = model.pending[: max(1, min(len(model.pending), rows // 3))]
    room = max(1, rows - len(totals))
    shown = all_flows if len(all_flows) <= room else all_flows[: room - 1]
    for index, (holder, pending) in enumerate(shown):
        left = Text.assemble(
            (holder.name, TITLE),
            (f" ──{_figure(holder)}──▶ ", WARN if holder.silent else "cyan"),
            (pending.target, TITLE),
            glyph_of(model.snapshot, pending.target),
        )
        first = index == 0 or shown[index - 1][1] is not pending
        oldest = f"oldest {span(pending.oldest_s)}" if first and pending.oldest_s is not None else ""
        block.lines.append(line(width, left, Text(oldest)))
    if len(shown) < len(all_flows):
        block.add((f"… and {len(all_flows) - len(shown)} more flows", FAINT))
    for pending in totals:
        pace = _pace(pending)
        left = Text(f"total {pending.hints:,} " if len(model.pending) == 1 else f"for {pending.target} {pending.hints:,} ")
        left.append(spark(pending.trend, max(0, min(14, width - left.cell_len - pace.cell_len - 1))), "cyan")
        block.lines.append(line(width, left, pace))
    return block


# --- recovery --------------------------------------------------------------------------------------------------------------


def recovery(model: Model, look: Look, width: int, rows: int) -> Block:
    """The stages of one node's outage with their times from its beginning: the selected node's, else the latest."""
    if not model.recoveries and changing(model.snapshot):
        return _members_change(model.snapshot, width)
    if not model.recoveries:
        return _no_outage(model, look)
    now = next((each for each in model.recoveries if each.node == look.selected), model.recoveries[0])
    others = [each.node for each in model.recoveries if each is not now]
    block = Block(f"recovery of {now.node}" + (f" (also {' '.join(others)})" if others else ""))
    if now.converged is not None:
        _finished(block, model, now, width)
    else:
        _stages(block, model, look, now, width)
        spare = len(block.lines) - rows
        if spare > 0:  # who was first to notice is told least missed, then how it began
            del block.lines[1 : 1 + min(spare, 2)]
    return block


_PHASES = {
    "rest": "decided: the ring follows soon",
    "filling": "keys are copied to new owners",
    "flipped": "the new owners are read",
}


def _members_change(snap: Snapshot, width: int) -> Block:
    """How far a change of the members is (§4.9)."""
    block = Block("members change")
    waiting = [node.name for node in snap.nodes if node.state == "joining"]
    block.add((f"◌ {_PHASES[snap.phase] if ring_moves(snap) else f'{some(tuple(waiting))} waits to be let in'}", "cyan"))
    moved = [node.transfer for node in snap.nodes if node.answers and node.transfer.partitions]
    if of := sum(each.partitions for each in moved):
        filled = of - sum(each.left for each in moved)
        count = f" {filled}/{of} filled"
        block.add((bar(filled / of, max(4, min(20, width - len(count)))), "cyan"), count)
        block.add(f"{short(sum(each.keys for each in moved))} keys, {size(sum(each.bytes for each in moved))}")
    if snap.waiting_for:
        named = Text("waits for")
        for name in snap.waiting_for[:4]:
            glyph, style = glyph_of(snap, name)
            named.append(f" {name}", TITLE).append(glyph, style)
        block.lines.append(named)
    if leaving := [node.name for node in snap.nodes if node.state == "leaving"]:
        block.add("leaving ", (some(tuple(leaving)), TITLE))
    return block


def _no_outage(model: Model, look: Look) -> Block:
    block = Block("recovery")
    block.add(("● every node is up" if all(node.state in SERVES for node in model.snapshot.nodes) else "", GOOD))
    if not look.read_only:
        block.add("K kills the selected node (SIGKILL)")
        block.add("see who notices, how hints gather,")
        block.add("then start it again with S")
    if model.ended:
        block.add()
        head, _, tail = model.ended.partition(" after ")
        block.add(("last: ", FAINT), head)
        block.add((f"  after {tail}", FAINT))
    return block


def _stages(block: Block, model: Model, look: Look, now: Recovery, width: int) -> None:
    view = next((node for node in model.snapshot.nodes if node.name == now.node), None)
    back = now.started is not None or (now.what == "silent" and view is not None and view.state in SERVES)
    _stage(block, width, now.what if now.what != "silent" else "no answer, its process runs", now.began, now)
    lone = len(model.snapshot.nodes) == 1  # nobody else could say anything of it
    if not lone and (now.suspected is not None or not back):
        by = f"suspected by {some(now.suspected_by)}" if now.suspected_by else "suspected by its peers"
        _stage(block, width, by, now.suspected, now, current=bool(now.peers))
    if not lone and (now.down is not None or not back):
        _stage(block, width, f"down, {now.agree if not back else now.peers}/{now.peers} agree", now.down, now,
               current=now.suspected is not None)  # fmt: skip
    if now.what != "silent":
        start = "resumed" if now.what == "paused" else "started"
        _stage(block, width, start if now.started is not None else _how_to_start(now, view, look), now.started, now,
               current=now.down is not None or not now.peers)  # fmt: skip
    agree = "" if lone else f", {now.agree if back else 0}/{now.peers} agree"
    _stage(block, width, f"up{agree}", now.up, now, current=back)
    if now.delivered is None and now.up is not None and now.left:
        pending = next((each for each in model.pending if each.target == now.node), None)
        eta = f"ETA {span(pending.eta_s + 0.5)}" if pending and pending.eta_s is not None else ""
        done = 1 - now.left / max(1, now.peak)
        block.lines.append(line(width, Text(f"▶ hints {now.peak:,} → {now.left:,}", "bold yellow"), Text(eta)))
        block.add(("  " + bar(done, max(0, min(30, width - 8))), "cyan"), f" {int(done * 100):>3}%")
    else:
        _stage(block, width, "hints delivered" if now.peak or now.delivered is None else "no hints waited", now.delivered, now)
    _stage(block, width, "converged", None, now, current=now.delivered is not None)


def _how_to_start(now: Recovery, view: object, look: Look) -> str:
    from dynazmq.cluster.snapshot import NodeView

    key = "P" if now.what == "paused" else "S"
    text = "" if look.read_only else f"{'resume' if key == 'P' else 'start'} it: press {key}"
    if isinstance(view, NodeView) and view.restart_in_s is not None:
        return f"starts by itself in {span(view.restart_in_s + 0.5)}" + (f" ({key}: now)" if text else "")
    if isinstance(view, NodeView) and view.gave_up:
        return f"gave up: it dies at once; {text}" if text else "gave up: it dies at once"
    return text or "not started yet"


def _stage(block: Block, width: int, text: str, at: float | None, now: Recovery, *, current: bool = False) -> None:
    if at is not None:
        left = Text.assemble(("✓ ", GOOD), text)
        block.lines.append(line(width, left, Text(f"{max(0.0, at - now.began):.1f} s")))
    elif current:
        block.lines.append(fit(Text(f"▶ {text}", "bold yellow"), width))
    else:
        block.lines.append(fit(Text(f"· {text}", FAINT), width))


def _finished(block: Block, model: Model, now: Recovery, width: int) -> None:
    assert now.converged is not None
    block.add(("✓ CONVERGED", "bold green"))
    block.add(f"  {now.converged - now.began:.1f} s after {cause(now)}")
    if now.started is not None:
        block.add(f"  {now.converged - now.started:.1f} s after the {'resume' if now.what == 'paused' else 'start'}")
    block.add(f"  {now.hints_delivered:,} hints delivered")
    check = model.load.check if model.load else None
    if check is None or check.after != now.converged:
        if model.load is None or not model.load.running:
            block.add(("  no load ran: writes not checked", FAINT))
        return
    of = "" if check.done else f" of {check.total:,}"
    checked = f"writes checked {check.checked:,}{of}"
    block.add(f"  acknowledged {checked}" if len(checked) + 15 <= width else f"  acked {checked}")
    unread = f" · not readable {check.unread:,}" if check.unread else ""
    block.add((f"  lost {check.lost:,}{unread}", BAD if check.lost else WARN if check.unread else GOOD))


# --- who sees whom ---------------------------------------------------------------------------------------------------------


def matrix_width(nodes: int, names: int) -> int:
    """The inner width that the matrix needs; `names` is the longest one's length."""
    return names + 1 + nodes * (4 if nodes <= 6 else 2)


def matrix(model: Model, look: Look, width: int, rows: int) -> Block:
    """A row is a node, and what it says of each other one; "–" where it says nothing."""
    nodes = model.snapshot.nodes
    block = Block("who sees whom")
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
            text.append(f"{glyph:<{step}}", style)
    return block

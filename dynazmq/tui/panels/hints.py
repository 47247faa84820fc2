"""Hints that wait for a node that is away: how many, who holds them, and whether they grow or drain; what reads repair."""

from __future__ import annotations

from rich.text import Text

from dynazmq.tui.look import FAINT, GOOD, TITLE, WARN, Block, Look, line, short, span, spark
from dynazmq.tui.model.model import Holder, Model, Pending
from dynazmq.tui.panels.panels import glyph_of


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
    """Who holds how many hints for whom. Below: how many stale replicas reads have mended, the other way to become complete."""
    block = Block("hint flows")
    reads = model.reads_per_s
    _flows(block, model, width, rows - bool(reads and any(reads) and rows > 3))
    if reads is not None and len(block.lines) < rows:  # that there are none is not worth a flow
        words = [(f"{what} {_rate(per_s)}", "" if per_s else FAINT) for what, per_s in zip(_READS, reads, strict=True)]
        block.add(*words)
    return block


_READS = ("read repairs", "   siblings")


def _rate(per_s: float) -> str:
    """One in five seconds is 0.2."""
    return f"{per_s:.1f}/s" if 0 < per_s < 9.95 else f"{short(per_s)}/s"


def _flows(block: Block, model: Model, width: int, rows: int) -> None:
    all_flows = [(holder, pending) for pending in model.pending for holder in pending.holders]
    if not all_flows:
        block.add(("none: every replica is complete", FAINT))
        return
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

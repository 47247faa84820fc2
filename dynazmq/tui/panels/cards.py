"""The card about an outage: its stages with their times, what to press next, and how it ended."""

from __future__ import annotations

from rich.text import Text

from dynazmq.cluster.observe.node_health import SERVES, changing
from dynazmq.cluster.observe.snapshot import NodeView
from dynazmq.tui.look import BAD, FAINT, GOOD, WARN, Block, Look, bar, clock, fit, line, span
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.recovery import STARTS, Recovery, cause, some
from dynazmq.tui.panels.transfers import transfers

_WITH_CLOCK = 44
"""So wide, the card has room for the time of day."""


def recovery(model: Model, look: Look, width: int, rows: int) -> Block:
    """The stages of one node's outage with their times from its beginning: the selected node's, else the latest."""
    if not model.recoveries and changing(model.snapshot):
        return transfers(model, look, width, rows)
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
    view = model.view(now.node)
    back = now.started is not None or (now.what == "silent" and view is not None and view.state in SERVES)
    _stage(block, width, _what(now, view), now.began, now)
    if width >= _WITH_CLOCK:
        block.lines[0] = _with_clock(block.lines[0], now.began, width)
    lone = len(model.snapshot.nodes) == 1  # nobody else could say anything of it
    if not lone and (now.suspected is not None or not back):
        by = f"suspected by {some(now.suspected_by)}" if now.suspected_by else "suspected by its peers"
        _stage(block, width, by, now.suspected, now, current=bool(now.peers))
    if not lone and (now.down is not None or not back):
        _stage(block, width, f"down, {now.agree if not back else now.peers}/{now.peers} agree", now.down, now,
               current=now.suspected is not None)  # fmt: skip
    if now.what != "silent":
        start = now.verb
        _stage(block, width, start if now.started is not None else _how_to_start(now, view, look), now.started, now,
               current=now.down is not None or not now.peers)  # fmt: skip
    elif now.fault:
        heal = "healed" if now.started is not None else f"heal {now.fault}{'' if look.read_only else ': press H'}"
        _stage(block, width, heal, now.started, now, current=now.down is not None)
    agree = "" if lone else f", {now.agree if back else 0}/{now.peers} agree"
    _stage(block, width, f"up{agree}", now.up, now, current=back)
    if now.delivered is None and now.up is not None and now.left:
        pending = next((each for each in model.pending if each.target == now.node), None)
        eta = f"ETA {span(pending.eta_s + 0.5)}" if pending and pending.eta_s is not None else ""
        done = 1 - now.left / max(1, now.peak)
        block.lines.append(line(width, Text(f"▶ hints {now.peak:,} → {now.left:,}", "bold yellow"), Text(eta)))
        block.add(("  " + bar(done, max(0, min(30, width - 8))), "cyan"), f" {int(done * 100):>3}%")
    else:
        _stage(block, width, "hints drained" if now.peak or now.delivered is None else "no hints waited", now.delivered, now)
    compared = f" ({now.trees_left:,} to be compared)" if now.trees_left and now.up is not None else ""
    _stage(block, width, f"trees equal{compared}", None, now, current=now.delivered is not None)


def _what(now: Recovery, view: NodeView | None) -> str:
    """What happened to it, as the first stage."""
    if now.what != "silent":
        return now.what
    if now.fault:
        return f"cut off by {now.fault}"
    return "not seen by its peers" if view is not None and view.answers else "no answer, its process runs"


def _how_to_start(now: Recovery, view: NodeView | None, look: Look) -> str:
    key = "P" if now.what == "paused" else "S"
    text = "" if look.read_only else f"{'resume' if key == 'P' else 'start'} it: press {key}"
    if view is not None and view.restart_in_s is not None:
        return f"starts by itself in {span(view.restart_in_s + 0.5)}" + (f" ({key}: now)" if text else "")
    if view is not None and view.gave_up:
        return f"gave up: it dies at once; {text}" if text else "gave up: it dies at once"
    return text or "not started yet"


def _stage(block: Block, width: int, text: str, at: float | None, now: Recovery, *, current: bool = False) -> None:
    if at is not None:
        left = Text.assemble(("✓ ", GOOD), text)
        block.lines.append(line(width, left, Text(_seconds(at - now.began))))
    elif current:
        block.lines.append(fit(Text(f"▶ {text}", "bold yellow"), width))
    else:
        block.lines.append(fit(Text(f"· {text}", FAINT), width))


def _with_clock(stage: Text, at: float, width: int) -> Text:
    """The first stage tells the time of day, too."""
    said = stage.copy()
    said.truncate(width - 23)
    return line(width, said, Text.assemble((clock(at), FAINT), f"{_seconds(0):>10}"))


def _seconds(passed: float) -> str:
    return f"{max(0.0, passed):.2f} s"


def _finished(block: Block, model: Model, now: Recovery, width: int) -> None:
    assert now.converged is not None
    after = f"{now.converged - now.began:.1f} s after {cause(now)}"
    start = STARTS[now.verb]
    since_start = f"{now.converged - now.started:.1f} s after the {start}" if now.started is not None else ""
    delivered, exchanged, repaired = now.gained
    hints, trees, reads = f"{delivered:,} hints delivered", f"{exchanged:,} keys by trees", f"{repaired:,} by read repair"
    if width >= 70:
        block.add(("✓ CONVERGED ", "bold green"), f"{after}{', ' if since_start else ''}{since_start}")
        block.add(f"  {hints} · {trees} · {reads}")
    else:
        block.add(("✓ CONVERGED ", "bold green"), after)
        if since_start:
            block.add(f"  {since_start}")
        block.add(f"  {hints}")
        block.add(f"  {trees}, {reads}" if len(trees) + len(reads) + 4 <= width else f"  {exchanged:,} by trees, {reads}")
    check = model.load.check if model.load else None
    if check is None or check.after != now.converged:
        ran = model.load is not None and model.load.running
        block.add((f"  {'its load reads again what it wrote' if ran else 'no load ran: writes not checked'}", FAINT))
        return
    of = "" if check.done else f" of {check.total:,}"
    checked = f"writes checked {check.checked:,}{of}"
    block.add(f"  acknowledged {checked}" if len(checked) + 15 <= width else f"  acked {checked}")
    unread = f" · not readable {check.unread:,}" if check.unread else ""
    block.add((f"  lost {check.lost:,}{unread}", BAD if check.lost else WARN if check.unread else GOOD))

"""The single lines at the edges of the screen: the header, the faults that are on, the keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from dynazmq.cluster.observe.node_health import SERVES, changing, not_comparing
from dynazmq.tui.keys import footer_keys
from dynazmq.tui.look import BAD, FAINT, GOOD, TITLE, WARN, Look, Progress, clock, fit, line, long_span, printable
from dynazmq.tui.model.coverage import unable
from dynazmq.tui.model.faults import lines
from dynazmq.tui.model.model import Model


def header(model: Model, look: Look, width: int) -> Text:
    snap = model.snapshot
    digests = Counter(node.ring_digest for node in snap.nodes if node.answers)
    answering = sum(digests.values())
    same = max(digests.values(), default=0)
    wide = width >= 100
    left = Text.assemble(
        " dynazmq ",
        (printable(snap.name), TITLE),
        f"   {len(snap.nodes)} node{'s'[: len(snap.nodes) != 1]}  N={snap.n} R={snap.r} W={snap.w}   ",
        f"ring v{snap.ring_version}{' agreed by' if wide and same == answering else ''} ",
        (f"{same}/{answering}", "" if same == answering else BAD),
        "" if same == answering else (" DIFFER", BAD),
        f"   {'fsync' if snap.sync == 'full' else f'sync={snap.sync}'}",
        f"   {snap.transport}" if wide else "",
        _up(model) if width >= 120 else "",
        "" if snap.supervisor_pid is not None else ("   no supervisor", WARN),
    )
    right = _verdict(model)
    if look.frozen:
        right = Text("FROZEN ", "reverse").append(" ").append_text(right)
    return line(width, left, right)


def _up(model: Model) -> str:
    """For how long there has been a node of this cluster."""
    longest = max((node.uptime_s or 0.0 for node in model.snapshot.nodes), default=0.0)
    return f"   up {long_span(longest)}" if longest else ""


def _verdict(model: Model) -> Text:
    snap = model.snapshot
    up = model.coverage.up
    able = up - len(full := unable(snap, model.coverage))
    if snap.owners and up and (up < snap.r or able < snap.w):
        short_of = "WRITES" if able < snap.w else "READS"
        return Text(f"✗ NO {short_of} {long_span(snap.degraded_s) if snap.degraded_s else ''} ", BAD)
    if snap.lost:
        return Text(f"✗ DATA LOST: {sum(len(lost.partitions) for lost in snap.lost)} partitions ", BAD)
    held = next((word for word, names in not_comparing(snap).items() if names), "")
    if snap.degraded_s is None and held:
        return Text(f"● up, aae {held} ", WARN)
    if snap.degraded_s is None and changing(snap):
        return Text(f"◌ members change: {snap.phase} ", "cyan")
    if snap.degraded_s is None:
        return Text("● healthy " if snap.converged else "● up ", GOOD)
    since = long_span(snap.degraded_s)
    if full:
        return Text(f"◐ {' '.join(full)} CANNOT STORE {since} ", "bold yellow")
    if all(node.state in SERVES for node in snap.nodes):
        return Text(f"◌ catching up {since} ", "cyan")
    if not any(node.answers for node in snap.nodes):
        return Text(f"✗ NOBODY ANSWERS {since} ", BAD)
    return Text(f"◐ DEGRADED {since} ", "bold yellow")


def faults(model: Model, look: Look, width: int) -> Text:
    """What was broken on purpose and is not healed: nobody shall wonder for an hour why two nodes do not see each other."""
    told = lines(model.snapshot)
    heal = "" if look.read_only else "   H heals"
    left = Text(f" ⚡ {len(told)} fault{'s'[: len(told) != 1]}: {' · '.join(map(printable, told))}", "bold yellow")
    return line(width, left, Text(f"{heal} ", TITLE))


def time_bar(replay: Progress, width: int) -> Text:
    """A replay: where it is between its ends."""
    state = "▶" if replay.playing else "⏸"
    left = Text(f" {state} {replay.speed:g}×  {clock(replay.began)[:8]} ")
    right = Text(f" {clock(replay.ends)[:8]} ")
    room = width - left.cell_len - right.cell_len
    along = (replay.at - replay.began) / (replay.ends - replay.began) if replay.ends > replay.began else 1.0
    now = f" {clock(replay.at)} "
    place = min(max(0, round(along * room) - len(now) // 2), room - len(now))
    left.append("━" * place, "cyan").append(now, "bold reverse").append("─" * (room - place - len(now)), FAINT)
    return left.append_text(right)


def footer(keys: Sequence[tuple[str, str]] | None, look: Look, width: int) -> Text:
    """The keys, unless there is something to say. `keys`: those of the view; None: those of the overview."""
    if look.notice:
        return fit(Text(f" {printable(look.notice)}", "reverse bold" if look.alarm else "reverse"), width)
    text = Text()
    for key, what in footer_keys(look.read_only, width) if keys is None else keys:
        text.append(f" {key}", TITLE).append(f" {what} ")
    return fit(text, width)

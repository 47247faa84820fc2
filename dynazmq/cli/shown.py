"""`status` as text: process fact, the node's own word and its peers' view side by side. Pure: a snapshot in, lines out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynazmq.cli.faults import status_line
from dynazmq.cli.losses import loss_lines, no_holder
from dynazmq.cli.terminal import BOLD, CYAN, DIM, GREEN, MAGENTA, RED, YELLOW, paint
from dynazmq.cli.words import brief, many, short, size, span
from dynazmq.cluster.directory.orphans import silent_supervisor
from dynazmq.cluster.observe.node_health import (
    SERVES,
    Facts,
    changing,
    hints_by_target,
    not_comparing,
    quorum_met,
    rebuilding,
    ring_moves,
    strays,
    unable_to_store,
)
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.errors import UnusableDisk
from dynazmq.faults import touches
from dynazmq.wire.codec import PROTOCOL_VERSION

_REFUSED_DISK = f"exited ({UnusableDisk.exit_code})"

_GLYPHS = {
    "up": ("●", GREEN),
    "suspect": ("◐", YELLOW),
    "down": ("✗", RED),
    "paused": ("⏸", MAGENTA),
    "starting": ("◌", CYAN),
    "joining": ("◌", CYAN),
    "leaving": ("◁", CYAN),
    "stopped": ("■", DIM),
}
_HEADS = ("NODE", "PROCESS", "ITSELF", "PEERS SAY", "FOR", "OWNS", "KEYS", "HINTS FOR", "OP/S", "P99")
_RIGHT = {4, 5, 6, 8, 9}


def report(snapshot: Snapshot, facts: Facts, at: str) -> list[str]:
    """All of `status`. at: what names the directory in a command."""
    if not facts.stopping and not any(node.pid for node in snapshot.nodes):
        return [_header(snapshot, facts), *_faults(snapshot), *advice(snapshot, facts, at)]
    lines = [_header(snapshot, facts), "", *table(snapshot), "", _tally(snapshot), *_faults(snapshot)]
    for target, count in sorted(hints_by_target(snapshot).items(), key=lambda item: -item[1]):
        oldest = max((node.hints_oldest_s.get(target, 0.0) for node in snapshot.nodes), default=0.0)
        waits = "waits" if count == 1 else "wait"
        lines.append(f"{many(count, 'hint')} {waits} for {target}, the oldest for {span(oldest)}")
    lines += _change(snapshot)
    lines += [paint(line, RED, BOLD) for line in loss_lines(snapshot.lost)]
    lines += _compared(snapshot)
    if discarded := sum(node.lww_discarded for node in snapshot.nodes):
        lines.append(f"{many(discarded, 'concurrent write')} discarded in buckets where the last write wins")
    lines += [paint(f"{node.name} cannot store: {node.cannot_store}", RED) for node in unable_to_store(snapshot)]
    lines.append(_served(snapshot))
    lines += _versions(snapshot)
    return lines + advice(snapshot, facts, at)


def _faults(snapshot: Snapshot) -> list[str]:
    """Each that is on, and nodes that could apply it and do not say so."""
    lines = []
    for fault in snapshot.faults:
        late = [
            node.name for node in snapshot.nodes if node.answers and touches(fault, node.name) and fault.id not in node.faults
        ]
        lines.append(status_line(fault, snapshot.taken_at) + (f", not yet at {brief(late)}" if late else ""))
    return lines


def _change(snapshot: Snapshot) -> list[str]:
    """How far a change of the members, or of a bucket's replicas, is, and who holds it up."""
    lines = [
        f"bucket {name} has N={n} R={r} W={w}, and is to have N={to_n} R={to_r} W={to_w}"
        for name, n, r, w, to_n, to_r, to_w in snapshot.buckets
    ]
    if ring_moves(snapshot):
        gaining = [node for node in snapshot.nodes if node.answers and node.transfer.partitions]
        left = sum(node.transfer.left for node in gaining)
        of = sum(node.transfer.partitions for node in gaining)
        bytes_, keys = (sum(getattr(node.transfer, what) for node in gaining) for what in ("bytes", "keys"))
        filled = f"{of - left:,} of {many(of, 'partition')} filled, {short(keys)} keys, {size(bytes_)}"
        names = [node.name for node in gaining]
        get = f"{brief(names)} {'gets' if len(names) == 1 else 'get'} copies" if names else "nobody gets copies"
        what = "replicas change" if snapshot.buckets and set(snapshot.target) == set(snapshot.owners) else "members change"
        lines.append(
            {
                "rest": f"{what}: the ring follows soon",
                "filling": f"{what}: {get}: {filled}",
                "flipped": f"{what}: the new owners are read, the old ones hand over what is left",
            }[snapshot.phase]
        )
        if snapshot.without_source:
            found = sum(node.transfer.salvaged for node in snapshot.nodes if node.answers)
            lines.append(f"  {no_holder(len(snapshot.without_source))}: the others are searched, {found:,} copies of keys found")
        if snapshot.waiting_for:
            states = {node.name: node.state for node in snapshot.nodes}
            lines.append(f"  it waits for {waited({name: states.get(name, 'unknown') for name in snapshot.waiting_for})}")
    if snapshot.given_up:
        one = len(snapshot.given_up) == 1
        lines.append(f"{brief(snapshot.given_up)} {'is' if one else 'are'} given up: nobody waits for {'it' if one else 'them'}")
    lines += _expelling(snapshot)
    if given := strays(snapshot):
        holders = brief([node.name for node in snapshot.nodes if node.answers and node.transfer.strays])
        lines.append(f"{many(given, 'partition')} to be handed over by {holders}")
    return lines


def _expelling(snapshot: Snapshot) -> list[str]:
    """Who is to be removed by force, and how many must agree to it yet."""
    expelling = snapshot.expelling
    if expelling is None:
        return []
    who = f"{brief(expelling.members)} {'is' if len(expelling.members) == 1 else 'are'} to be expelled"
    if not expelling.possible:
        return [f"{who}, which would leave no majority: nothing comes of it until some of them are asked to stay"]
    agree = f"{len(expelling.agree)} of the {many(expelling.needed, 'member')} agree that must"
    states = {node.name: node.state for node in snapshot.nodes}
    away = {name: states.get(name, "unknown") for name in snapshot.waiting_for}
    return [f"{who}: {agree}" + (f", it waits for {waited(away)}" if away else "")]


def waited(waiting_for: dict[str, str]) -> str:
    """Names, with the state of those that are not up."""
    return brief([name if state in SERVES else f"{name} ({state})" for name, state in waiting_for.items()])


def _compared(snapshot: Snapshot) -> list[str]:
    """Whether replicas are known to be equal, and how far those are that are not."""
    held = not_comparing(snapshot)
    lines = [f"anti-entropy is {word} on {brief(names)}: replicas are not compared" for word, names in held.items() if names]
    for node in rebuilding(snapshot) if not lines else []:
        equal = node.trees_shared - node.trees_left
        keys = "1 key" if node.keys == 1 else f"{short(node.keys)} keys"
        lines.append(f"{node.name} compares with its peers: {equal:,} of {node.trees_shared:,} trees equal, {keys} here")
    return lines


def _versions(snapshot: Snapshot) -> list[str]:
    """Nodes that are not understood: those of another version of the protocol than this program."""
    lines = []
    for version in sorted({node.protocol for node in snapshot.nodes if node.protocol is not None}):
        names = [node.name for node in snapshot.nodes if node.protocol == version]
        speak = "speaks" if len(names) == 1 else "speak"
        lines.append(paint(f"{brief(names)} {speak} protocol {version}, this program {PROTOCOL_VERSION}", RED))
    return lines


def _header(snapshot: Snapshot, facts: Facts) -> str:
    answering = sum(node.answers for node in snapshot.nodes)
    ring = "RINGS DIFFER"
    if snapshot.ring_agreed:
        ring = f"ring v{snapshot.ring_version} agreed by {answering}/{answering}"
    elif not answering:
        ring = "no node answers"
    health = paint(*_health(snapshot, facts))
    quorum = f"N={snapshot.n} R={snapshot.r} W={snapshot.w}"
    return f"{paint(snapshot.name, BOLD)}  {many(len(snapshot.nodes), 'node')}  {quorum}  {ring}     {health}"


def _health(snapshot: Snapshot, facts: Facts) -> tuple[str, ...]:
    """The word, and its colours."""
    states = {node.state for node in snapshot.nodes}
    if facts.stopping:
        return "STOPPING", YELLOW, BOLD
    if snapshot.lost:
        return "DATA LOST", RED, BOLD
    if not any(node.pid for node in snapshot.nodes):
        return "NOT RUNNING", RED, BOLD
    if states <= {*SERVES, "starting"} and "starting" in states:
        return "STARTING", CYAN, BOLD
    if snapshot.degraded_s is None:
        return ("CHANGING", CYAN, BOLD) if changing(snapshot) else ("HEALTHY", GREEN, BOLD)
    return f"DEGRADED {span(snapshot.degraded_s)}", RED, BOLD


def table(snapshot: Snapshot) -> list[str]:
    rows = [_row(node, snapshot.owners) for node in snapshot.nodes]
    widths = [max(len(head), *(len(row[i]) for row in rows)) for i, head in enumerate(_HEADS)]
    lines = [paint(_line(_HEADS, widths), DIM)]
    for row, node in zip(rows, snapshot.nodes, strict=True):
        glyph, color = _GLYPHS.get(node.state, ("?", YELLOW))
        line = _line(row, widths)
        lines.append(line.replace(row[1], paint(row[1], color), 1) if row[1].startswith(glyph) else line)
    return lines


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = enumerate(zip(cells, widths, strict=True))
    return "  ".join(cell.rjust(width) if i in _RIGHT else cell.ljust(width) for i, (cell, width) in pairs).rstrip()


def _row(node: NodeView, owners: Sequence[str]) -> list[str]:
    glyph, _ = _GLYPHS.get(node.state, ("?", YELLOW))
    process = str(node.pid) if node.process == "running" else node.process
    holds = " ".join(f"{target}:{count:,}" for target, count in sorted(node.hints_for.items(), key=lambda item: -item[1])[:3])
    return [
        node.name,
        f"{glyph} {process}",
        _itself(node),
        _peers_say(node),
        span(node.since_s),
        f"{100 * owners.count(node.name) / len(owners):.1f}%" if owners else "–",
        short(node.keys),
        holds + (" …" if len(node.hints_for) > 3 else "") if holds else "–",
        short(node.ops_per_s),
        "–" if node.p99_ms is None else f"{node.p99_ms:.1f}",
    ]


def _itself(node: NodeView) -> str:
    if node.answers:
        return "no writes" if node.cannot_store else "up"
    return "silent" if node.pid is not None and node.process != "paused" and node.state != "starting" else "–"


def _peers_say(node: NodeView) -> str:
    """The word that most of them use, in capitals when it is bad and nobody asked for it."""
    if not node.seen_by:
        return "–"
    words = list(node.seen_by.values())
    word = max(("up", "suspect", "down"), key=lambda each: (words.count(each), each != "up"))
    count = f"{words.count(word)}/{len(words)}"
    return f"{word if word == 'up' or node.state == 'stopped' else word.upper()} {count}"


def _tally(snapshot: Snapshot) -> str:
    states = [node.state for node in snapshot.nodes]
    shown = [state for state in _GLYPHS if state in states or state in ("up", "suspect", "down")]
    return " / ".join(f"{state.capitalize()} {states.count(state)}" for state in shown)


def _served(snapshot: Snapshot) -> str:
    live = sum(node.answers for node in snapshot.nodes)
    if quorum_met(snapshot):
        return f"every key meets R={snapshot.r} W={snapshot.w}"
    unable = len(unable_to_store(snapshot))
    if live >= snapshot.r and unable:
        able = live - unable
        return paint(f"no key meets W={snapshot.w}: {many(able, 'node')} can store; every key meets R={snapshot.r}", RED)
    return paint(f"no key meets R={snapshot.r} and W={snapshot.w}: {many(live, 'node')} left", RED)


def advice(snapshot: Snapshot, facts: Facts, at: str) -> list[str]:
    """Every bad state ends with the command to type next."""
    lines = []
    refused = {name for name, fact in facts.nodes.items() if fact.gave_up and fact.process == _REFUSED_DISK}
    for node in snapshot.nodes:
        fact = facts.nodes.get(node.name)
        if node.restart_in_s is not None:
            lines.append(f"{node.name} died and is started again in {span(node.restart_in_s)}")
        elif node.gave_up:
            reason = f": {fact.reason}" if fact and fact.reason else ""
            why = "cannot use its disk" if node.name in refused else "died again and again"
            lines.append(f"{node.name} {why}, nobody starts it any more{reason}")
    if facts.stopping:
        return lines
    if not any(node.pid for node in snapshot.nodes):
        return [*lines, f"next  dynazmq up{at}"]
    expelling = snapshot.expelling.members if snapshot.expelling is not None else []
    given_up = {*snapshot.given_up, *expelling}
    gone = [node.name for node in snapshot.nodes if node.state in ("down", "stopped") and node.restart_in_s is None]
    down = [name for name in gone if name not in given_up]
    away = [name for name in down if name not in refused]  # its reason ends with what to do
    paused = [node.name for node in snapshot.nodes if node.state == "paused"]
    silent = [node.name for node in snapshot.nodes if node.state == "suspect" and not node.answers and node.protocol is None]
    if snapshot.supervisor_pid is None:
        text, command = silent_supervisor(Path(snapshot.directory), at)
        lines += [text, f"next  {command}"]
    elif away:
        lines.append(f"next  dynazmq node start {','.join(away)}{at}")
    for node in snapshot.nodes:
        if node.old_disk:
            lines.append(f"{node.name} serves nobody: {node.old_disk}. It is rebuilt when enough of its peers are back")
            rebuild = f"dynazmq node stop {node.name}{at} && dynazmq node start {node.name} --rebuild{at}"
            lines.append(f"or    {rebuild}    if they will not come back")
    if paused:
        lines.append(f"next  dynazmq node resume {','.join(paused)}{at}")
    for name in [name for name in away if name in snapshot.waiting_for]:
        lines.append(f"or    dynazmq cluster remove {name} --force --now{at}    if it is gone for good")
    for name in expelling:
        lines.append(f"or    dynazmq cluster add {name} --now{at}    if it shall stay after all")
    if joining := [node.name for node in snapshot.nodes if node.state == "joining" and not ring_moves(snapshot)]:
        lines.append(
            f"{brief(joining)} {'waits' if len(joining) == 1 else 'wait'} to be let in    next  dynazmq cluster commit{at}"
        )
    if snapshot.lost:
        lines.append(f"next  dynazmq cluster acknowledge{at}    when you know of it, or have restored a backup")
    if held := not_comparing(snapshot)["paused"]:
        lines.append(f"next  dynazmq aae resume{'' if len(held) == len(snapshot.nodes) else ' ' + ','.join(held)}{at}")
    if snapshot.faults:
        lines.append(f"next  dynazmq heal{at}")
    if any(node.protocol is not None for node in snapshot.nodes):
        lines.append(f"next  dynazmq cluster restart{at}    all nodes at once: two versions cannot serve together")
    if unable := [node.name for node in unable_to_store(snapshot) if not snapshot.faults]:
        lines.append(f"{brief(unable)} {'tries' if len(unable) == 1 else 'try'} again every few s    look  dynazmq doctor{at}")
    if silent:
        lines.append(f"{brief(silent)} runs and does not answer    look  dynazmq logs {silent[0]}{at}")
    return lines

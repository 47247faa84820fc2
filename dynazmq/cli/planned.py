"""What a change of the members would come to, as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynazmq.cli.terminal import BOLD, DIM, RED, YELLOW, paint
from dynazmq.cli.words import brief, many, short, size
from dynazmq.cluster.directory.staging import Change, Staged
from dynazmq.cluster.operations.plan import Plan

_FLOWS_MAX = 12


def wish(change: Change) -> str:
    """One staged change, as it could be typed."""
    text = f"{change.action} {change.name}"
    text += f" --weight {change.weight:g}" if change.weight else ""
    text += f" --replace {change.replaces}" if change.replaces else ""
    text += " --force" if change.force else ""
    text += " --without-quorum" if change.without_quorum else ""
    return text + (", which stays a member after all" if change.stays else "")


def lines(plan: Plan, staged: Staged) -> list[str]:
    """All of a plan but the command to type next."""
    rows = [("staged", wish(change)) for change in staged.changes] or [("staged", "nothing")]
    if plan.refusal:
        return [*_rows(rows), paint(f"refused  {plan.refusal}", RED, BOLD)]
    if not plan.moves:
        return _rows([*rows, ("ring", f"v{plan.ring.version} stays as it is")])
    before, after = plan.members
    owners = len(plan.before)
    rows += [
        ("nodes", f"{len(before)} → {len(after)}    N={plan.n}, ring v{plan.ring.version}{_phase(plan)}"),
        ("owners", f"{many(len(plan.moves), 'partition')} of {owners} change hands: {brief(_flows(plan), _FLOWS_MAX)}"),
        ("copies", _copies(plan)),
        ("shares", f"{_shares(plan.before)} → {_shares(plan.after)} partitions each"),
        ("repeats", f"{plan.repeats[0]} → {plan.repeats[1]} preference lists name a node twice in {plan.n}"),
    ]
    return [*_rows(rows), *_warnings(plan, len(after))]


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    names = [name if i == 0 or rows[i - 1][0] != name else "" for i, (name, _) in enumerate(rows)]
    return [f"  {paint(name.ljust(width), DIM)}  {text}" for name, (_, text) in zip(names, rows, strict=True)]


def _phase(plan: Plan) -> str:
    return "" if plan.ring.at_rest else ", which is changing already"


def _flows(plan: Plan) -> list[str]:
    """Most first."""
    flows = sorted(plan.flows.items(), key=lambda item: (-item[1], item[0]))
    return [f"{old}→{new} {count}" for (old, new), count in flows]


def _copies(plan: Plan) -> str:
    if not plan.copies:
        return "none: no node gets a key that it does not hold"
    gains = brief([f"{name} {len(partitions)}" for name, partitions in plan.gains.items()], _FLOWS_MAX)
    bytes_ = "" if plan.bytes is None else f", {size(plan.bytes)}"
    return f"{gains} of {len(plan.before)} partitions; about {short(plan.keys)} keys{bytes_}"


def _shares(owners: Sequence[str]) -> str:
    counts = [owners.count(name) for name in set(owners)]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}-{max(counts)}"


def _warnings(plan: Plan, members: int) -> list[str]:
    found = []
    if members < plan.n:
        found.append(f"of each key there will be {members} {'copy' if members == 1 else 'copies'} and not {plan.n}")
    if plan.gone:
        found.append(f"{' '.join(plan.gone)} is given up: what no other node holds is lost; the rest is copied from its peers")
    if plan.lost:
        count = many(len(plan.lost), "partition")
        found.append(f"{count} that nobody else holds: what is in them is lost, but for hints that others keep")
    if plan.without_quorum:
        alone = " ".join(plan.without_quorum)
        found.append(f"{alone}: expelled without the consent of a majority. If any lives and goes on there will be two clusters")
    for name in plan.holds_up:
        found.append(f"{name} does not answer: the change waits for it, or until it is given up (remove {name} --force)")
    return [paint(f"  !  {text}", YELLOW) for text in found]


def document(plan: Plan, staged: Staged) -> dict[str, Any]:
    before, after = plan.members
    return {
        "staged": [staged_document(change) for change in staged.changes],
        "refused": plan.refusal or None,
        "ring": {
            "version": plan.ring.version,
            "digest": plan.ring.digest().hex(),
            "at_rest": plan.ring.at_rest,
            "partitions": plan.ring.partitions,
            "n": plan.n,
        },
        "members": {"before": before, "after": after},
        "moves": [{"partition": partition, "from": old, "to": new} for partition, old, new in plan.moves],
        "copies": {name: list(partitions) for name, partitions in plan.gains.items()},
        "keys": plan.keys,
        "bytes": plan.bytes,
        "owned": {name: [plan.before.count(name), plan.after.count(name)] for name in dict.fromkeys([*before, *after])},
        "repeats": {"before": plan.repeats[0], "after": plan.repeats[1]},
        "given_up": list(plan.gone),
        "lost": list(plan.lost),
        "holds_up": list(plan.holds_up),
    }


def staged_document(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "name": change.name,
        "weight": change.weight or None,
        "replaces": change.replaces or None,
        "force": change.force,
        "without_quorum": change.without_quorum,
        "stays": change.stays,
    }

"""Do the nodes' storages agree? Pure: what the nodes tell of one partition in, what is wrong with it out.

    missing     a primary has no copy of a key that another node holds
    differs     the primaries' copies of a key are not the same
    damaged     a row whose checksum fails; damaged-hint likewise
    stray       a copy on a node that is no holder of its key, and does not know that it is to hand it over (§4.9)
    tree        a Merkle tree that is not the one of its node's rows (§4.7): exchanges would miss what differs
    roots       primaries whose trees differ: all that is seen without reading the rows
    hint-lost   a hint for a node that is no member; hint-astray: for one that is no holder of the key (§4.6)
    hint-stuck  hints that wait although their target has been up for long
    rings       nodes that do not have the same ring (§4.8)

A cluster that is written to differs all the time: copies are under way. So a finding carries what it rests on, hashes above all,
and who looks twice, some time apart, reports what was found both times: findings are equal when they rest on the same. A key for
which a hint waits is on its way by definition: its copies are not compared. While members come or go the new owners hold copies
as well; only those who are read are held to have all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynazmq.cluster.observe.node_health import Answer
from dynazmq.dynamo.values.merkle import NODES, Tree, leaf_of
from dynazmq.dynamo.values.ring import Ring, place

HINT_STUCK_S = 60.0
"""Delivery tries twice a second: what waits for so long, its target being up, is not being delivered."""

_TREE_NODES_SHOWN = 32

Row = tuple[int, str, bytes]
"""(place, bucket, key)."""

Held = tuple[int, int]
"""Hash of a state, its bytes; DAMAGED for a row that is there and cannot be read."""

DAMAGED: Held = (0, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be. `nodes`: where. `evidence`: what it was seen by, so that another one is not taken for it."""

    kind: str
    nodes: tuple[str, ...]
    text: str
    partition: int = -1
    bucket: str = ""
    key: bytes = b""
    evidence: tuple[Any, ...] = ()


@dataclass(slots=True)
class Counts:
    """What was looked at."""

    keys: int = 0
    copies: int = 0
    bytes: int = 0
    hints: int = 0
    trees: int = 0
    trees_unknown: int = 0  # not surveyed yet, or off: not compared
    under_way: int = 0  # keys for which hints wait: not compared
    handed_over: int = 0  # copies that their nodes are no holders of any more, and know it

    def add(self, other: Counts) -> None:
        for name in Counts.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Told:
    """What one node tells of one partition."""

    rows: dict[Row, Held] = field(default_factory=dict)
    hints: dict[tuple[str, Row], Held] = field(default_factory=dict)  # (target, row)
    trees: dict[int, list[int]] = field(default_factory=dict)  # n → the hashes of all nodes of its tree; -1: not known
    grown: dict[int, Tree] = field(default_factory=dict)  # n → the tree that the rows make

    def add_row(self, ring: Ring, partition: int, n: int, told: object) -> None:
        """One of RowsTell's. Raises ValueError for what is none, or one of another partition."""
        row, held = _checked(ring, partition, told)
        self.rows[row] = held
        self.grown.setdefault(n, Tree()).change(leaf_of(row[0], ring.partitions), held[0])

    def add_hint(self, ring: Ring, partition: int, target: str, told: object) -> None:
        """One of HintsTell's. Raises ValueError as well."""
        row, held = _checked(ring, partition, told)
        self.hints[target, row] = held


def _checked(ring: Ring, partition: int, told: object) -> tuple[Row, Held]:
    match told:
        case [str(bucket), bytes(key), int(hashed), int(size)] if 0 <= hashed < 1 << 64 and size >= 0:
            at = place(bucket, key)
            if ring.partition_of(at) == partition:
                return (at, bucket, key), (hashed, size)
    raise ValueError(f"no row of partition {partition}: {told!r:.80}")


# --- one partition --------------------------------------------------------------------------------------------------------


def compare(
    partition: int,
    ring: Ring,
    n_of: Callable[[str], int],
    told: Mapping[str, Told],
    members: Collection[str],
    giving: Collection[str] = (),
) -> tuple[list[Finding], Counts]:
    """n_of: a bucket's N. told: by node; nodes that could not be read are left out and nothing is held against them.

    giving: nodes that hand over what they are no holders of any more.
    """
    counts = Counts()
    findings = [*_rows(partition, ring, n_of, told, giving, counts)]
    findings += _hints(partition, ring, n_of, told, members, counts)
    findings += _trees(partition, told, counts)
    return findings, counts


def _rows(
    partition: int,
    ring: Ring,
    n_of: Callable[[str], int],
    told: Mapping[str, Told],
    giving: Collection[str],
    counts: Counts,
) -> Iterator[Finding]:
    waiting = {row for each in told.values() for _, row in each.hints}
    for row in sorted({row for each in told.values() for row in each.rows}):
        _, bucket, key = row
        primaries, holders = ring.primaries(partition, n_of(bucket)), ring.holders(partition, n_of(bucket))
        held = {name: each.rows[row] for name, each in told.items() if row in each.rows}
        counts.keys += 1
        counts.copies += len(held)
        counts.bytes += sum(size for _, size in held.values())
        where: dict[str, Any] = {"partition": partition, "bucket": bucket, "key": key}
        for name in held:
            if name not in holders and name in giving:
                counts.handed_over += 1
            elif name not in holders:
                yield Finding("stray", (name,), f"{name} holds it, its primaries are {' '.join(primaries)}", **where)
            elif held[name] == DAMAGED:
                yield Finding("damaged", (name,), f"the row of {name} fails its checksum", **where)
        if row in waiting:
            counts.under_way += 1
            continue
        evidence = tuple((name, hashed) for name, (hashed, _) in held.items())
        if missing := tuple(name for name in primaries if name in told and name not in held):
            text = f"{' '.join(missing)} {_has(missing)} no copy, {' '.join(held)} {_has(tuple(held))} one"
            yield Finding("missing", missing, text, **where, evidence=evidence)
        whole = {name: held[name][0] for name in primaries if held.get(name, DAMAGED) != DAMAGED}
        if len(set(whole.values())) > 1:
            yield Finding("differs", tuple(whole), _groups(whole), **where, evidence=evidence)


def _hints(
    partition: int,
    ring: Ring,
    n_of: Callable[[str], int],
    told: Mapping[str, Told],
    members: Collection[str],
    counts: Counts,
) -> Iterator[Finding]:
    for name, each in told.items():
        counts.hints += len(each.hints)
        for (target, row), held in each.hints.items():
            _, bucket, key = row
            where: dict[str, Any] = {"partition": partition, "bucket": bucket, "key": key, "evidence": held}
            if target not in members:
                yield Finding("hint-lost", (name,), f"{name} keeps a hint for {target}, which is no member", **where)
            elif target not in ring.holders(partition, n_of(bucket)):
                yield Finding("hint-astray", (name,), f"{name} keeps a hint for {target}, which is no primary of it", **where)
            if held == DAMAGED:
                yield Finding("damaged-hint", (name,), f"the hint of {name} for {target} fails its checksum", **where)


def _trees(partition: int, told: Mapping[str, Told], counts: Counts) -> Iterator[Finding]:
    for name, each in told.items():
        for n, hashes in each.trees.items():
            if len(hashes) != NODES or -1 in hashes:
                counts.trees_unknown += 1
                continue
            counts.trees += 1
            if DAMAGED in each.rows.values():
                continue  # the tree may rest on what the row was: it is found already
            true = each.grown.get(n, Tree()).hashes
            wrong = [(node, hashes[node], true[node]) for node in range(NODES) if hashes[node] != true[node]]
            if wrong:
                text = f"the tree of {name} for N={n} is not that of its rows: {len(wrong):,} of {NODES:,} nodes differ"
                yield Finding("tree", (name,), text, partition, evidence=(n, *wrong[:_TREE_NODES_SHOWN]))


def compare_roots(partition: int, told: Mapping[str, Mapping[int, int]]) -> tuple[list[Finding], Counts]:
    """told: node → n → the root of its tree, -1 if that is not known."""
    counts, findings = Counts(), []
    for n in sorted({n for roots in told.values() for n in roots}):
        roots = {name: each[n] for name, each in told.items() if n in each}
        known = {name: root for name, root in roots.items() if root >= 0}
        counts.trees += len(known)
        counts.trees_unknown += len(roots) - len(known)
        if len(set(known.values())) > 1:
            text = f"the replicas of partition {partition} differ (N={n}): {_groups(known)}"
            findings.append(Finding("roots", tuple(known), text, partition, evidence=(n, *known.items())))
    return findings, counts


# --- the whole cluster ----------------------------------------------------------------------------------------------------


def compare_statuses(answers: Mapping[str, Answer]) -> list[Finding]:
    """What the nodes say of themselves: their rings, and hints that are not delivered."""
    findings = []
    # Who waits to be told of the ring has version 0, and nobody tells who has left.
    told = {name: answer for name, answer in answers.items() if answer.ring_version and answer.standing != "left"}
    digests = {name: answer.ring_digest for name, answer in told.items()}
    if len(set(digests.values())) > 1:
        versions = ", ".join(f"{name} v{answer.ring_version}" for name, answer in told.items())
        text = f"the nodes have different rings: {versions}"
        findings.append(Finding("rings", tuple(digests), text, evidence=tuple(digests.items())))
    for name, answer in answers.items():
        for target, oldest_s in answer.section("hints_oldest_s").items():
            said = answer.says_of(target)
            if float(oldest_s) > HINT_STUCK_S and said is not None and said[0] == "up" and said[1] > HINT_STUCK_S:
                text = f"{name} keeps hints for {target} for more than {HINT_STUCK_S:.0f} s, although {target} is up"
                findings.append(Finding("hint-stuck", (name, str(target)), text))
    return findings


def _has(names: tuple[str, ...]) -> str:
    return "has" if len(names) == 1 else "have"


def _groups(hashes: Mapping[str, int]) -> str:
    """Who holds the same: "n1 n2: 5fe2d90b, n3: 00c1b2a3"; the most first."""
    groups: dict[int, list[str]] = {}
    for name, hashed in hashes.items():
        groups.setdefault(hashed, []).append(name)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return ", ".join(f"{' '.join(names)}: {hashed >> 32:08x}" for hashed, names in ordered)

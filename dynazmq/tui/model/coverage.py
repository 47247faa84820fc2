"""What the outage of some nodes means for the partitions: which of them live on fallbacks, and whether quorums can be met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dynazmq.cluster.observe.node_health import SERVES, unable_to_store
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """As seen from the largest side, where the nodes have come apart: whoever asks a node of another side sees it otherwise."""

    partitions: int
    sides: tuple[tuple[str, ...], ...]  # nodes that serve and see each other, the most first; more than one: they are split
    degraded: int  # partitions of whose primaries some are away
    short: int  # partitions of whose primaries fewer than max(R, W) are there
    fallbacks: tuple[str, ...]  # partition → who stands in for its owner; "" where the owner is up, "-" where nobody is left

    @property
    def up(self) -> int:
        """Nodes that serve together."""
        return len(self.sides[0]) if self.sides else 0


def cover(snapshot: Snapshot) -> Coverage:
    sides = _sides(snapshot)
    up = set(sides[0]) if sides else set()
    quorum = max(snapshot.r, snapshot.w)
    lists = _walks(snapshot.owners)
    there = [sum(name in up for name in walk[: snapshot.n]) for walk in lists]
    return Coverage(
        partitions=len(lists),
        sides=sides,
        degraded=sum(count < min(snapshot.n, len(walk)) for count, walk in zip(there, lists, strict=True)),
        short=sum(count < quorum for count in there),
        fallbacks=tuple(_stand_in(walk, snapshot.n, up) for walk in lists),
    )


def unable(snapshot: Snapshot, coverage: Coverage) -> list[str]:
    """Of the nodes that serve together, those whose commits fail."""
    together = coverage.sides[0] if coverage.sides else ()
    return [node.name for node in unable_to_store(snapshot) if node.name in together]


def _sides(snapshot: Snapshot) -> tuple[tuple[str, ...], ...]:
    """Nodes that serve, parted where neither of two can reach the other nor anybody between them."""
    serving = {node.name: node for node in snapshot.nodes if node.state in SERVES or (node.state == "suspect" and node.answers)}
    left, sides = list(serving), []
    while left:
        side, left = [left[0]], left[1:]
        for one in side:  # grows while it is walked
            near = [other for other in left if all(_hears(serving[a], b) for a, b in ((one, other), (other, one)))]
            left = [other for other in left if other not in near]
            side += near
        sides.append(tuple(name for name in serving if name in side))
    return tuple(sorted(sides, key=lambda side: -len(side)))


def _hears(view: NodeView, peer: str) -> bool:
    """That peer does not say anything bad of the node."""
    return view.seen_by.get(peer, "up") == "up"


@lru_cache(maxsize=4)  # the ring seldom changes, the picture twice a second
def _walks(owners: tuple[str, ...]) -> list[list[str]]:
    """partition → its preference list: each distinct node in the order in which the ring meets them from there."""
    walks: list[list[str]] = []
    after: list[str] = list(dict.fromkeys(owners))
    for owner in reversed(owners):  # the list of a partition is its owner and then the next one's list without it
        after = [owner, *(name for name in after if name != owner)]
        walks.append(after)
    return walks[::-1]


def _stand_in(walk: Sequence[str], n: int, up: set[str]) -> str:
    if walk[0] in up:
        return ""
    return next((name for name in walk[n:] if name in up), "-")

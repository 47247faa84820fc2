"""What the outage of some nodes means for the partitions: which of them live on fallbacks, and whether quorums can be met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from dynazmq.cluster.judgement import SERVES
from dynazmq.cluster.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    partitions: int
    up: int  # nodes that serve
    degraded: int  # partitions of whose primaries some are away
    short: int  # partitions of whose primaries fewer than max(R, W) are there
    fallbacks: tuple[str, ...]  # partition → who stands in for its owner; "" where the owner is up, "-" where nobody is left


def cover(snapshot: Snapshot) -> Coverage:
    up = {node.name for node in snapshot.nodes if node.state in SERVES}
    quorum = max(snapshot.r, snapshot.w)
    lists = _walks(snapshot.owners)
    there = [sum(name in up for name in walk[: snapshot.n]) for walk in lists]
    return Coverage(
        partitions=len(lists),
        up=len(up),
        degraded=sum(count < min(snapshot.n, len(walk)) for count, walk in zip(there, lists, strict=True)),
        short=sum(count < quorum for count in there),
        fallbacks=tuple(_stand_in(walk, snapshot.n, up) for walk in lists),
    )


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

"""The shapes in which a network falls apart: which links are cut, as (from, to) pairs.

isolate   one node alone
halves    two sides
bridge    two sides that share one node (N4)
one way   one node is not heard by another, which it hears (N2)
ring      each node reaches its neighbours on a circle only: everybody has a majority, and no two the same one (N4)
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Link = tuple[str, str]
"""(from, to): one direction."""


def both_ways(one: list[str], other: list[str]) -> list[Link]:
    """All links between two sides."""
    return [link for a in one for b in other for link in ((a, b), (b, a))]


def isolate(names: list[str], random: Random) -> list[Link]:
    lonely = random.choice(names)
    return both_ways([lonely], [name for name in names if name != lonely])


def halves(names: list[str], random: Random) -> list[Link]:
    mixed = random.sample(names, len(names))
    middle = random.randrange(1, len(names))
    return both_ways(mixed[:middle], mixed[middle:])


def bridge(names: list[str], random: Random) -> list[Link]:
    _, *others = random.sample(names, len(names))
    middle = len(others) // 2
    return both_ways(others[:middle], others[middle:])


def one_way(names: list[str], random: Random) -> list[Link]:
    source, target = random.sample(names, 2)
    return [(source, target)]


def ring(names: list[str], random: Random) -> list[Link]:
    """None are cut where a majority is everybody (three nodes)."""
    circle = random.sample(names, len(names))
    size = len(circle)
    reach = -(-(size // 2) // 2)  # so many neighbours on each side, and itself, are a majority
    return [(a, b) for i, a in enumerate(circle) for j, b in enumerate(circle) if min((i - j) % size, (j - i) % size) > reach]


SHAPES: dict[str, Callable[[list[str], Random], list[Link]]] = {
    "isolate": isolate, "split": halves, "bridge": bridge, "one way": one_way, "ring": ring,
}  # fmt: skip

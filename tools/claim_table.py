"""What moves when one node joins or leaves, for clusters of 1 to 64 nodes: the tables of docs/claim.md.

    python -m tools.claim_table                  prints them
    python -m tools.claim_table docs/claim.md    puts them into the page, between its marks

Each row is about S nodes of equal weight with n = 3, of rings as `claim` founds them. A join is of the node S+1, by name; for the
leave each node of S+1 leaves in turn.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

from dynazmq.dynamo.values.claim import claim, moves, violations
from dynazmq.dynamo.values.ring import Ring
from tools.claim_histories import fewest_moves

N = 3
SIZES = {120: range(1, 65), 512: (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)}
HEAD = (
    "| S | join: moved | at least | repeats | max − min | leave: moved | at most | at least | repeats | max − min |\n"
    "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)
HEAD_FEW = (
    "| nodes | leaver | moved | no distinct ring with fewer than | the leaver's own | copied | at least |\n"
    "|--:|--:|--:|--:|--:|--:|--:|"
)
_STEPS = 40
"""Of the prices; the bound hardly rises after half of them."""


def members(count: int) -> dict[str, float]:
    return {f"n{i:02}": 1.0 for i in range(1, count + 1)}


def spread(owners: tuple[str, ...], count: int) -> int:
    counts = Counter(owners)
    return max(counts.values()) - (min(counts.values()) if len(counts) == count else 0)


def row(partitions: int, size: int) -> str:
    """The line of S = size: what the join of one more and the leave of any one of so many did. Moves of leaves are means."""
    small, large = claim(members(size), partitions, N), claim(members(size + 1), partitions, N)
    joined = claim(members(size + 1), partitions, N, small)
    left = []
    for gone in members(size + 1):
        stay = {name: 1.0 for name in members(size + 1) if name != gone}
        left.append((claim(stay, partitions, N, large), fewest_moves(large, stay)))
    moved = [len(moves(large, after)) for after, _ in left]
    cells = (
        size,
        len(moves(small, joined)),
        fewest_moves(small, members(size + 1)),
        violations(joined, min(N, size + 1)),
        spread(joined, size + 1),
        f"{sum(moved) / len(moved):.1f}",
        max(moved),
        f"{sum(fewest for _, fewest in left) / len(left):.1f}",
        max(violations(after, min(N, size)) for after, _ in left),
        max(spread(after, size) for after, _ in left),
    )
    return f"| {' | '.join(map(str, cells))} |"


# --- what distinctness costs when few are left ----------------------------------------------------------------------------


def distinct_bound(before: list[int], count: int) -> float:
    """No ring of these members that is balanced and distinct in three can be had with fewer moves.

    With three they take turns: all orders are tried. With more, balance is priced (Lagrange): whatever the prices of
    owning one partition more, the cheapest distinct ring, by dynamic programming over the last two owners, costs no more than the
    cheapest that is balanced as well. The prices are raised where it owns too much, for some steps.
    """
    share = len(before) / count
    if count == N:
        return min(sum(before[at] != order[at % N] for at in range(len(before))) for order in permutations(range(N)))
    prices, pace, best = [0.0] * count, 0.1, 0.0
    for _ in range(_STEPS):
        cost, owned = _cheapest(before, prices)
        best = max(best, cost - share * sum(prices))
        prices = [price + pace * (have - share) / share for price, have in zip(prices, owned, strict=True)]
        pace *= 0.93
    return best


def _cheapest(before: list[int], prices: list[float]) -> tuple[float, list[int]]:
    """Moves and prices of the cheapest ring that is distinct in three, and how many partitions each owns in it."""
    count = len(prices)
    cost = [[(old != owner) + prices[owner] for owner in range(count)] for old in before]
    pairs = list(permutations(range(count), 2))
    best, best_ring = float("inf"), list(before)
    for first, second in pairs:
        costs = {pair: float("inf") for pair in pairs}
        costs[first, second] = cost[0][first] + cost[1][second]
        came: list[dict[tuple[int, int], int]] = []
        for at in range(2, len(before)):
            following: dict[tuple[int, int], float] = {}
            origin: dict[tuple[int, int], int] = {}
            for two, one in pairs:
                value, older = min((costs[other, two], other) for other in range(count) if other not in (two, one))
                following[two, one], origin[two, one] = value + cost[at][one], older
            came.append(origin)
            costs = following
        for two, one in pairs:
            if costs[two, one] < best and first not in (two, one) and second != one:
                best, best_ring = costs[two, one], _traced(came, two, one)
    return best, [best_ring.count(owner) for owner in range(count)]


def _traced(came: list[dict[tuple[int, int], int]], two: int, one: int) -> list[int]:
    ring = [one, two]
    for origin in reversed(came):
        ring.append(origin[ring[-1], ring[-2]])
    return ring[::-1]


def copies(before: tuple[str, ...], after: tuple[str, ...]) -> int:
    """How many times a node becomes one of the first n of a partition's preference list: what must be copied, in partitions."""
    old, new = Ring(1, before), Ring(2, after)
    return sum(len(set(new.primaries(at, N)) - set(old.primaries(at, N))) for at in range(len(before)))


def few(partitions: int = 120) -> Iterator[str]:
    """Lines for the leaves that end with 3, 4 or 5 nodes."""
    for size in (3, 4, 5):
        large = claim(members(size + 1), partitions, N)
        for gone in members(size + 1):
            stay = [name for name in members(size + 1) if name != gone]
            after = claim(dict.fromkeys(stay, 1.0), partitions, N, large)
            before = [stay.index(owner) if owner in stay else -1 for owner in large]
            bound = math.ceil(distinct_bound(before, size) - 1e-6)
            cells = len(moves(large, after)), bound, large.count(gone), copies(large, after), N * large.count(gone)
            yield f"| {size + 1} → {size} | {gone} | {' | '.join(map(str, cells))} |"


def page() -> dict[str, str]:
    """Each table by its mark."""
    tables = {f"Q={q}": "\n".join([HEAD, *[row(q, size) for size in sizes]]) for q, sizes in SIZES.items()}
    return {**tables, "few": "\n".join([HEAD_FEW, *few()])}


def main(path: str = "") -> None:
    tables = page()
    if not path:
        print("\n\n".join(tables.values()))
        return
    text = Path(path).read_text(encoding="utf-8")
    for mark, table in tables.items():
        before, start, rest = text.partition(f"<!-- {mark} -->\n")
        text = before + start + table + "\n" + rest[rest.index("<!-- end -->") :]
    Path(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

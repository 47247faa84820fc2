"""The same histories twice, in a bucket that keeps siblings and in one where the last write wins: what did each lose?

Each seed's clients make the same requests in both runs, under the same faults, and no member comes or goes. Lost is what the
checker calls so (I1): a write that was acknowledged, or that some read has shown, and is now neither there nor covered by what
is. Siblings lose nothing, whatever goes wrong. Last write wins loses much although nothing goes wrong: it is enough that two
clients meet on a key.

    for side in play(range(1, 21)):
        print(side)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dynazmq.config import CONFLICTS
from dynazmq.simulator.run.simulation import run_seed


@dataclass(slots=True)
class Side:
    """What came of all seeds with one conflict policy."""

    conflict: str
    seeds: int = 0
    acked: int = 0  # puts and deletes
    lost: int = 0
    discarded: int = 0  # as the nodes count it (lww.py), those in lives that were killed left out
    diverged: int = 0  # keys whose replicas were not equal in the end

    @property
    def lost_percent(self) -> float:
        return 100 * self.lost / max(self.acked, 1)

    def __str__(self) -> str:
        return f"{self.conflict:<8}  {self.acked:,} writes acknowledged, {self.lost:,} lost: {self.lost_percent:.1f} %"


def play(seeds: Iterable[int]) -> tuple[Side, ...]:
    """Play these seeds with each conflict policy."""
    sides = tuple(Side(conflict) for conflict in CONFLICTS)
    for seed in seeds:
        for side in sides:
            figures = run_seed(seed, conflict=side.conflict, acts=(), victims=()).figures
            side.seeds += 1
            side.acked += figures["acked"]
            side.lost += figures["lost"]
            side.discarded += figures["lww_discarded"]
            side.diverged += figures["diverged"]
    return sides

"""When each kind of abuse is on: drawn from a seed. Pure.

Every kind has a row of spells of its own, one after the other, so it is never on twice at a time; the rows go on beside each
other. Each is on for half of the time or so, and in a run of a minute or more for many times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

READERS, CONNECTIONS, GARBAGE, BURSTS, LARGE = "slow-readers", "connections", "garbage", "bursts", "large-values"
KINDS = (READERS, CONNECTIONS, GARBAGE, BURSTS, LARGE)

BUCKET = "dynazmq.chaos.users"
"""What is written here nobody judges. The last write wins: the keys are few, however much is written."""

LARGE_BUCKET = "dynazmq.chaos.large"

_SPELLS = 20  # of a kind in a run, if it is neither very short nor very long
_GAP_S = (0.2, 4.0)
_LASTING_S = (0.6, 5.0)
_AT_LEAST_S = {BURSTS: 5.0}  # a burst is over when all of it is answered, and what was given up by age never is


@dataclass(frozen=True, slots=True)
class Spell:
    """gap_s: after the one before of its kind. seed: of what else there is to draw."""

    kind: str
    gap_s: float
    lasting_s: float
    seed: str


def spells(seed: int, kind: str, seconds: float) -> Iterator[Spell]:
    """Without end. seconds: how long the run is to be, which says how dense they are."""
    random = Random(f"users {seed} {kind}")
    part_s = seconds / _SPELLS / 2
    gap_s, lasting_s = (min(max(part_s, least), most) for least, most in (_GAP_S, _LASTING_S))
    number = 0
    while True:
        number += 1
        lasts_s = max(lasting_s * random.uniform(0.5, 1.5), _AT_LEAST_S.get(kind, 0.0))
        yield Spell(kind, gap_s * random.uniform(0.3, 1.7), lasts_s, f"users {seed} {kind} {number}")

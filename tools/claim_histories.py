"""Clusters that grow and shrink at random: what `claim` promises is judged after each change (docs/claim.md).

    python -m tools.claim_histories 20000      lives to draw; exit code 1 if a promise is broken

A life is drawn from its seed: Q, n and the founders, then up to six changes in which one to three members join or one or two
leave. In every eighth life members have weights, and some changes are of a weight. The test suite judges the first 2,000.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from dynazmq.dynamo.values.claim import claim, moves, violations

CHANGES = 6
WEIGHTS = (0.5, 1.0, 1.0, 2.0, 3.0)
PARTITIONS = (8, 12, 16, 24, 32, 48, 60, 64, 96, 100, 120, 120, 120, 128)

OVER_MAX = 8
"""Partitions that a leave may move beyond the bound when four or more members than n remain."""


def fewest_moves(before: Sequence[str | None], members: Mapping[str, float]) -> int:
    """No claim with equal shares can move fewer: what has no owner, and what members own above the shares that suit them best."""
    low, richer = divmod(len(before), len(members))
    owned = Counter(owner for owner in before if owner in members)
    most = sorted((owned[name] for name in members), reverse=True)
    kept = sum(min(count, low + (rank < richer)) for rank, count in enumerate(most))
    return len(before) - kept


def distinct_is_possible(members: int, partitions: int, n: int) -> bool:
    """Whether this many can own n neighbouring partitions each, wherever one looks: exactly then if none need own too many."""
    run = min(n, members, partitions)
    return members * (partitions // run) >= partitions


@dataclass(frozen=True, slots=True)
class Change:
    """One change of members, and what claim made of it."""

    n: int
    members: Mapping[str, float]
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def run(self) -> int:
        return min(self.n, len(self.members), len(self.before))

    @property
    def equal_weights(self) -> bool:
        return len(set(self.members.values())) == 1

    @property
    def spare(self) -> int:
        """Members beyond n: with none owners must take turns, so that little is open."""
        return len(self.members) - self.n

    @property
    def kind(self) -> str:
        """join, leave or weight: what the change is. A member that leaves has owned something."""
        gone, come = set(self.before) - set(self.members), set(self.members) - set(self.before)
        return "leave" if gone else "join" if come else "weight"

    @property
    def moved(self) -> int:
        return len(moves(self.before, self.after))

    @property
    def fewest(self) -> int:
        """At least so many must move for these shares."""
        if self.equal_weights:
            return fewest_moves(self.before, self.members)
        held, shares = Counter(self.before), Counter(self.after)
        return sum(max(0, count - shares[name]) for name, count in held.items())

    def broken(self) -> list[str]:
        """The promises that this change breaks."""
        found = []
        if distinct_is_possible(len(self.members), len(self.before), self.n) == bool(violations(self.after, self.run)):
            found.append("distinct exactly where that is possible")
        if not self._balanced():
            found.append("balanced, by weight")
        over = self.moved - self.fewest
        if self.equal_weights and self.kind == "join" and not violations(self.before, self.run) and over:
            found.append("a join to a distinct ring moves what it must")
        if self.equal_weights and self.spare >= 4 and over > OVER_MAX:
            found.append("a leave moves little beyond what the leaver had")
        return found

    def depends_on_order(self) -> bool:
        """Whether naming the members in another order makes another ring, which it must not."""
        return claim(dict(reversed(list(self.members.items()))), len(self.before), self.n, self.before) != self.after

    def _balanced(self) -> bool:
        """Within one of the fair share; with weights, if the largest share is not above what distinctness allows."""
        owned = Counter(self.after)
        if not set(owned) <= set(self.members):
            return False
        total, partitions = sum(self.members.values()), len(self.before)
        if self.equal_weights:
            counts = [owned[name] for name in self.members]
            return max(counts) - min(counts) <= 1
        most = max(partitions // self.run, -(-partitions // len(self.members)))
        if max(self.members.values()) * partitions >= most * total:
            return max(owned.values()) <= most
        return all(abs(owned[name] - weight * partitions / total) < 1 for name, weight in self.members.items())


def life(seed: int) -> Iterator[Change]:
    """The changes of one cluster."""
    random = Random(f"claim {seed}")
    weighted = seed % 8 == 7
    partitions, n = random.choice(PARTITIONS), random.choice((1, 2, 3, 3, 3, 4, 5))

    def weight() -> float:
        return random.choice(WEIGHTS) if weighted else 1.0

    members = {f"n{i:02}": weight() for i in range(random.randint(1, 12))}
    owners = claim(members, partitions, n)
    for step in range(CHANGES):
        members = dict(members)
        chance = random.random()
        if weighted and chance < 0.2:
            members[random.choice(list(members))] = weight()
        elif chance < 0.6 or len(members) == 1:
            members.update({f"j{step}.{i}": weight() for i in range(random.choice((1, 1, 1, 2, 3)))})
        else:
            for gone in random.sample(list(members), min(len(members) - 1, random.choice((1, 1, 1, 2)))):
                del members[gone]
        change = Change(n, members, owners, claim(members, partitions, n, owners))
        yield change
        owners = change.after


def main(lives: int) -> int:
    moved, fewest, changes = Counter[str](), Counter[str](), Counter[str]()
    digest, broken = blake2b(digest_size=16), 0
    for seed in range(lives):
        for change in life(seed):
            digest.update(" ".join(change.after).encode())
            found = change.broken()
            for promise in found:
                print(f"life {seed}: broken: {promise}: {change}")
            broken += len(found)
            spare = "n or fewer" if change.spare <= 0 else f"n + {change.spare}" if change.spare < 6 else "n + 6 or more"
            kind = f"{change.kind}, {spare} members{'' if change.equal_weights else ', weights'}"
            moved[kind] += change.moved
            fewest[kind] += change.fewest
            changes[kind] += 1
    for kind in sorted(moved):
        over = moved[kind] / max(1, fewest[kind])
        print(f"{kind:<36} {changes[kind]:>7} changes  {moved[kind]:>9} moved  {fewest[kind]:>9} at least  {over:.3f}")
    print(f"{lives} lives, {changes.total()} changes, {broken} broken promises, digest {digest.hexdigest()}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))

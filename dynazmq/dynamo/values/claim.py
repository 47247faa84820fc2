"""Who owns which partition, as members come and go (§4.9, §6.2 strategy 3).

§6.2 asks that every node own Q/S partitions and says little about how. `claim` is the how: a pure function from the members
and the previous owners to the next ones. What it wants, in this order where the wishes conflict:

1. *Distinct.* Each run of n consecutive partitions has n owners, wrap included: so a preference list begins with the owners of
   n neighbouring partitions, and each node stands for equally many keys. Possible if and only if every member owns at most
   Q div n partitions, which S members can do if S * (Q div n) >= Q: `_cycle` is the proof.
2. *Balanced.* Shares are equal to within one; with weights, proportional to them by largest remainder. No share is above
   Q div n, since that would break 1: with n members the weights mean nothing, each node holds every key anyway.
3. *Few moves.* No fewer partitions can move than those that lost their owner and those that members own above their share.

How:

- A ring is founded by its first n members in turn, and the others join one after the other, as they would in life. Taking turns
  all the way (a b c d e a b c d e …) would be simpler, but then each node always has the same neighbours: if one dies, two others
  carry all its load, and if it leaves, no gap can be filled without moving more. Grown rings mix neighbours.
- A change keeps what can be kept (`_Draft`). Gaps go to members below their share by bipartite matching: two partitions of one
  leaver are never within n of each other, so how one is filled does not restrict the other. Joiners take from members above
  their share, evenly round the ring. This alone nearly always ends distinct, balanced and at the least possible number of moves,
  at the first deal or at one of some others, in which other members of equal standing get one partition more.
- Where it does not (n or few more members remain), `_Draft.repair` swaps owners of pairs of partitions until no repeat is left,
  a tabu search that changes nobody's share. It has a budget. `_cycle`, renamed so as to
  agree with the previous owners as far as possible, is always there to fall back on, so wish 1 is granted whatever the search
  finds. With exactly n members it is not the last resort but the answer: owners must take turns, only their order is open.

The idea of mending a ring in place by zero-sum swaps is riak_core's (claim v4). Where we depart: shares and distinctness that can
be had are never missed, since the construction decides and not the search; no ring is solved anew if it can be mended.

All nodes must compute the same, whatever their Python: nothing depends on the order of a set, on time, or on floats beyond
comparing them, and of `random.Random` only `random()` is used, the one method whose sequence is promised to stay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from random import Random

_ATTEMPTS = 12
"""Searches for few moves, each from another seed, before the best is taken. Most claims need none."""

_STEPS_PER_PARTITION = 12
"""Budget of the searches together, in swaps. What ends well takes one or two per partition, the rest is for further attempts."""

_PARTNERS_MAX = 256
"""Partitions looked at as partners of one swap, so that a step costs the same on any ring: about 60 µs."""

_REPEAT_COSTS = 2
"""Moves that the search gives for one repeat less."""

_REST_MIN, _REST_SPREAD = 1, 6
"""Steps that a partition rests after a swap: 1 to 6."""


def claim(members: Mapping[str, float], partitions: int, n: int, previous: Sequence[str | None] | None = None) -> tuple[str, ...]:
    """Owners of the partitions 0 to Q-1.

    members: name → weight, above 0. n: owners that shall be distinct in a row; more than there are members or partitions means
    all of them. previous: owner by partition; None and names that are not members mean that the partition needs a new owner.
    Fewer partitions than members leave some members without any. Raises ValueError for arguments that make no sense.
    """
    if not members or partitions < 1 or n < 1:
        raise ValueError("a claim needs a member, a partition and n of at least 1")
    if not all(weight > 0 and math.isfinite(weight) for weight in members.values()):
        raise ValueError("weights are finite and above 0")
    if previous is not None and len(previous) != partitions:
        raise ValueError(f"previous has {len(previous)} owners for {partitions} partitions")
    return _decide(members, partitions, n, previous or [None] * partitions)


def moves(before: Sequence[str | None], after: Sequence[str]) -> tuple[tuple[int, str | None, str], ...]:
    """(partition, old owner, new owner) of each partition that changes hands, ascending."""
    pairs = zip(before, after, strict=True)
    return tuple((partition, old, new) for partition, (old, new) in enumerate(pairs) if old != new)


def violations(owners: Sequence[object], n: int) -> int:
    """How many partitions there are from which on n in a row have fewer than n owners."""
    circle = list(owners) * (1 + n // len(owners)) + list(owners[:n])
    return sum(len(set(circle[first : first + n])) < n for first in range(len(owners)))


# --- the decision ---------------------------------------------------------------------------------------------------------


def _decide(members: Mapping[str, float], partitions: int, n: int, previous: Sequence[str | None]) -> tuple[str, ...]:
    """From here on members are numbers: those that own something by name, then the joiners by name. `vacant` is the next."""
    present = set(previous)
    names = sorted(members, key=lambda name: (name not in present, name))
    vacant = len(names)
    number: dict[str | None, int] = {name: index for index, name in enumerate(names)}
    before = [number.get(owner, vacant) for owner in previous]
    weights = [Fraction(members[name]) for name in names]
    run = min(n, len(names), partitions)
    shares = _shares(weights, run, before)

    least = sum(max(0, before.count(index) - share) for index, share in enumerate([*shares, 0]))
    best: list[int] = []
    best_rank = (partitions + 1, 0)
    for after in _candidates(weights, run, before, shares):
        rank = violations(after, run), sum(old != new for old, new in zip(before, after, strict=True))
        if rank < best_rank:
            best, best_rank = after, rank
        if best_rank == (0, least):
            break
    return tuple([names[index] for index in best])


def _candidates(weights: list[Fraction], run: int, before: list[int], shares: list[int]) -> Iterator[list[int]]:
    """Rings in which each member has its share, the most promising first."""
    members, partitions = len(shares), len(before)
    present = len(set(before) - {members})
    founders = next((count for count in range(run, members) if count * (partitions // run) >= partitions), members)
    if not present:
        first = _cycle(_shares(weights[:founders], run, before))
        yield _grown(_Draft(before, first, members, run), range(founders + 1, members + 1), weights, shares)
    elif members > run:
        steps = _STEPS_PER_PARTITION * partitions
        for attempt in range(_ATTEMPTS):
            random = Random(attempt)
            draft = _Draft(before, before, members, run)
            if attempt:  # what is open: who of those that own equally much gets one more, and where joiners begin to take
                draft.deal(_shares(weights, run, before, [random.random() for _ in weights]), int(random.random() * partitions))
            else:
                draft.deal(shares)
            steps -= draft.repair(random, steps)
            yield draft.owners
        if members - present > 1:
            sizes = range(min(members, max(founders, present + 1)), members + 1)
            yield _grown(_Draft(before, before, members, run), sizes, weights, shares)
    elif before.count(members) == 0 and all(before.count(index) == share for index, share in enumerate(shares)):
        yield before
    yield _renamed(_cycle(shares), shares, before)


def _grown(draft: _Draft, sizes: range, weights: list[Fraction], shares: list[int]) -> list[int]:
    """The draft after its members have joined one after the other, until they are as many as the last of sizes."""
    for size in sizes:
        draft.deal(_shares(weights[:size], draft.run, draft.owners) if size < len(shares) else shares)
        draft.repair(Random(size), _STEPS_PER_PARTITION * len(draft.owners))
    return draft.owners


def _shares(weights: list[Fraction], run: int, before: list[int], lots: Sequence[float] = ()) -> list[int]:
    """How many partitions each member shall own: in proportion, by largest remainder, none above what distinctness allows.

    lots: by member, decide between those whose remainders are equal and who own equally much; without them the first do better.
    """
    partitions = len(before)
    most = max(partitions // run, -(-partitions // len(weights)))
    shares = [0] * len(weights)
    left, unbound = partitions, list(range(len(weights)))
    while True:
        total = sum(weights[index] for index in unbound)
        bound = [index for index in unbound if weights[index] * left >= most * total]
        if not bound:
            break
        for index in bound:
            shares[index] = most
        left -= most * len(bound)
        unbound = [index for index in unbound if not shares[index]]
    exact = {index: weights[index] * left / total for index in unbound}
    for index in unbound:
        shares[index] = math.floor(exact[index])
    # Equal remainders: whoever owns more now, so that it need not give it away.
    unbound.sort(key=lambda index: (shares[index] - exact[index], -before.count(index), lots[index] if lots else index))
    for index in unbound[: left - sum(shares[index] for index in unbound)]:
        shares[index] += 1
    return shares


def _cycle(shares: list[int]) -> list[int]:
    """A ring with these shares in which any n in a row are distinct, if no share is above Q div n (n is not needed for it).

    Cut the circle into as many rows as the largest share, each of Q div rows >= n partitions or one more, and deal them out
    column by column, to the members in descending order of their shares. Then a member's partitions lie in different rows, one
    below the other, at least a row's length apart. Only one that goes on at the top of the next column could come closer, in
    the row above its first: but that needs a share of all rows, and those come first and fill whole columns.
    """
    rows = max(shares)
    length, longer = divmod(sum(shares), rows)
    dealt = iter([index for index in sorted(range(len(shares)), key=lambda index: -shares[index]) for _ in range(shares[index])])
    ring: list[list[int]] = [[] for _ in range(rows)]
    for column in range(length + 1):
        for row in ring if column < length else ring[:longer]:
            row.append(next(dealt))
    return [owner for row in ring for owner in row]


def _renamed(owners: list[int], shares: list[int], before: list[int]) -> list[int]:
    """The same ring with names exchanged between members of equal shares, as long as that makes more partitions stay."""
    stay = Counter(zip(owners, before, strict=True))
    name = list(range(len(shares)))
    improving = True
    while improving:
        improving = False
        for one, other in combinations(range(len(shares)), 2):
            gain = stay[one, name[other]] + stay[other, name[one]] - stay[one, name[one]] - stay[other, name[other]]
            if gain > 0 and shares[one] == shares[other]:
                name[one], name[other] = name[other], name[one]
                improving = True
    return [name[owner] for owner in owners]


# --- mending in place -----------------------------------------------------------------------------------------------------


class _Draft:
    """A ring on its way from the previous owners to the next.

    owners: by partition; the number after the last member stands for nobody. held: partitions by member. near[p][m]: how many
    partitions less than `run` away from p does m own? 0 means that m fits there. It makes the effect of any change O(1) to see.
    """

    def __init__(self, before: list[int], owners: list[int], members: int, run: int) -> None:
        size = len(owners)
        self.before, self.owners, self.run, self.vacant = before, list(owners), run, members
        self.held = [0] * (members + 1)
        self.near = [[0] * (members + 1) for _ in owners]
        steps = [step for step in range(1 - run, run) if step]
        self.reach = [list(dict.fromkeys((at + step) % size for step in steps)) for at in range(size)]
        for at, owner in enumerate(owners):
            self.held[owner] += 1
            for neighbour in self.reach[at]:
                self.near[neighbour][owner] += 1

    def give(self, at: int, member: int) -> None:
        owner = self.owners[at]
        self.held[owner] -= 1
        self.held[member] += 1
        self.owners[at] = member
        for neighbour in self.reach[at]:
            row = self.near[neighbour]
            row[owner] -= 1
            row[member] += 1

    def deal(self, shares: list[int], start: int = 0) -> None:
        """Give each member exactly its share, with no repeats as far as this can be had at the least number of moves.

        start: the partition at which joiners begin to take.
        """
        shares = [*shares, *[0] * (self.vacant + 1 - len(shares))]
        gaps = [at for at, owner in enumerate(self.owners) if owner == self.vacant]
        hopeless = [False] * self.vacant
        for gap in gaps:
            tried = list(hopeless)
            if not self._fill(gap, gaps, shares, tried):
                hopeless = tried
        short = [member for member in range(self.vacant) if self.held[member] < shares[member]]
        for member in sorted(short, key=lambda member: self.held[member] - shares[member]):
            self._seat(member, shares, start)
        for member in short:
            while self.held[member] < shares[member]:
                over = [at for at, owner in enumerate(self.owners) if self.held[owner] > shares[owner]]
                self.give(min(over, key=lambda at: (self.near[at][member], -self.owners[at], at)), member)

    def _fill(self, gap: int, gaps: list[int], shares: list[int], tried: list[bool]) -> bool:
        """Give a gap to a member below its share, if need be by moving others from gap to gap (an augmenting path)."""
        fits = [member for member in range(self.vacant) if not self.near[gap][member] and not tried[member]]
        fits.sort(key=lambda member: self.held[member] - shares[member])
        for member in fits:
            if self.held[member] < shares[member]:
                self.give(gap, member)
                return True
            if tried[member]:
                continue
            tried[member] = True
            for other in gaps:
                if self.owners[other] == member and self._fill(other, gaps, shares, tried):
                    self.give(gap, member)
                    return True
        return False

    def _seat(self, member: int, shares: list[int], start: int) -> None:
        """Let a member below its share take from those above theirs, where it fits, evenly round the ring."""
        size = len(self.owners)
        wanted = shares[member] - self.held[member]
        for turn in range(wanted):
            ideal = start + turn * size // wanted
            best, best_key = -1, size
            for distance in range(size // 2 + 1):
                for at in ((ideal + distance) % size, (ideal - distance) % size):
                    owner = self.owners[at]
                    over = self.held[owner] - shares[owner]
                    if over > 0 and not self.near[at][member] and 2 * distance - over < best_key:
                        best, best_key = at, 2 * distance - over
                if best >= 0 and distance >= self.run:
                    break
            if best < 0:
                return
            self.give(best, member)

    def repair(self, random: Random, steps: int) -> int:
        """Swap owners until there are no repeats or the steps are used up; keep the best seen. Returns the steps taken.

        Each step swaps a partition whose owner is repeated with the partner that leaves the fewest repeats, and of those the one
        that costs the fewest moves, give or take a little chance; the pair then rests for some steps, which leads the search out
        of dead ends (tabu search).
        """
        repeats = sum(self.near[at][owner] for at, owner in enumerate(self.owners)) // 2
        moved = sum(old != new for old, new in zip(self.before, self.owners, strict=True))
        best, best_owners = (repeats, moved), list(self.owners)
        rests_until = [0] * len(self.owners)
        taken = 0
        while best[0] and taken < steps:
            for at in [at for at, owner in enumerate(self.owners) if self.near[at][owner]]:
                if not self.near[at][self.owners[at]] or taken == steps:
                    continue
                taken += 1
                other, more_repeats, more_moved = self._partner(at, random, taken, rests_until)
                if other < 0:
                    continue
                self._swap(at, other)
                repeats, moved = repeats + more_repeats, moved + more_moved
                for swapped in (at, other):
                    rests_until[swapped] = taken + _REST_MIN + int(random.random() * _REST_SPREAD)
                if (repeats, moved) < best:
                    best, best_owners = (repeats, moved), list(self.owners)
        for at, owner in enumerate(best_owners):
            if owner != self.owners[at]:
                self.give(at, owner)
        return taken

    def _partner(self, at: int, random: Random, step: int, rests_until: list[int]) -> tuple[int, int, int]:
        """The partition to swap owners with, and by how much repeats and moves grow then. -1 if all rest."""
        owners, near, before, run, size = self.owners, self.near, self.before, self.run, len(self.owners)
        owner, row, old, chance = owners[at], near[at], before[at], random.random
        start = int(chance() * size)
        best, best_score, best_repeats, best_moved = -1, math.inf, 0, 0
        for other in range(start, start + min(size, _PARTNERS_MAX)):
            other %= size
            theirs = owners[other]
            if theirs == owner or rests_until[other] > step:
                continue
            repeats = row[theirs] + near[other][owner] - row[owner] - near[other][theirs]
            if (at - other) % size < run or (other - at) % size < run:
                repeats -= 2  # the two were counted as each other's new neighbours, but they change places
            theirs_old = before[other]
            moved = (theirs != old) + (owner != theirs_old) - (owner != old) - (theirs != theirs_old)
            score = _REPEAT_COSTS * repeats + moved + chance() / 2
            if score < best_score:
                best, best_score, best_repeats, best_moved = other, score, repeats, moved
        return best, best_repeats, best_moved

    def _swap(self, one: int, other: int) -> None:
        mine, theirs = self.owners[one], self.owners[other]
        self.give(one, theirs)
        self.give(other, mine)

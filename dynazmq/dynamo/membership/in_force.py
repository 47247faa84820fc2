"""What holds for buckets now: by the ring, and by the policies that are wanted (records.Policy, change.py).

What a policy says is a wish. How many replicas a bucket's keys have, and so who holds them, is the ring's to say: it follows as
it follows what is wanted of members. R and W by which reads and writes do not miss each other go with N. Where N is as wanted,
they are whichever asks for more, the ring's or the wish, until the ring has what is wanted.

So a node that has heard of a larger W waits for more than what is in force. It must not say that the larger W is: others have not
heard of it, and acknowledge by the ring's. And who judges what was acknowledged some time ago goes by the least that may have
counted then (`least`). That outlives the process: what a retry is a retry of may have been acknowledged in its coordinator's last
life, and be known there no more (idempotent_retry.py).
"""

from __future__ import annotations

from typing import Any

from dynazmq.config import BUDGET_MS_MAX
from dynazmq.dynamo.membership.change import levels_of
from dynazmq.dynamo.membership.records import Policies, Policy, wanted_quorums
from dynazmq.dynamo.runtime import Runtime
from dynazmq.dynamo.values.ring import Quorums, Ring

_ASKED_OF_MS = 2 * BUDGET_MS_MAX
"""No retry comes later after its first try, by clocks that may have been set meanwhile."""


Rows = list[tuple[str, int, int, int]]
"""(bucket, least N and W, until when in ms since 1970) each."""


class InForce:
    """Of one ring and these policies, and what was before them: a value.

    levels: each level (Ring.level) that some bucket has, ascending. wanted: what the policies say, as a ring would have it.
    """

    def __init__(self, ring: Ring, policies: Policies, default: Policy) -> None:
        """default: the policy of all other buckets."""
        self._ring, self._wanted, self._default = ring, policies, default
        self.wanted = wanted_quorums(policies)
        self._quorums = quorums = Quorums(default.n, default.r, default.w)
        self._policies: dict[str, Policy] = {}
        for bucket in sorted({*policies, *(each[0] for each in ring.quorums)}):
            wanted, held = policies.get(bucket, default), self.held(bucket)
            if wanted.n == held.n:
                held = Quorums(held.n, max(held.r, wanted.r), max(held.w, wanted.w))
            self._policies[bucket] = wanted._replace(n=held.n, r=held.r, w=held.w)
        self._levels = ring.levels(quorums)
        self.levels = levels_of(ring, quorums)
        self._before: dict[str, tuple[int, int, float]] = {}  # bucket → the least N and W of all that were less, until when

    def followed_by(self, ring: Ring, policies: Policies, now: float) -> InForce:
        """What holds from now on."""
        after = InForce(ring, policies, self._default)
        after._before = {**self._before}
        for bucket in sorted({*self._policies, *after._policies}):
            (n, w), (next_n, next_w) = self._least(bucket), after._least(bucket)
            if n < next_n or w < next_w:
                was_n, was_w, _ = self._before.get(bucket, (n, w, now))
                after._before[bucket] = min(n, was_n), min(w, was_w), now
        return after

    def to_keep(self, runtime: Runtime) -> Rows:
        """What was before, for the node's next life. Not what nobody asks of any more."""
        rows: Rows = []
        for bucket, (n, w, until) in self._before.items():
            ago_ms = int((runtime.now - until) * 1000)
            if ago_ms <= _ASKED_OF_MS:
                rows.append((bucket, n, w, runtime.wall_ms - ago_ms))
        return rows

    def after(self, kept: Rows, runtime: Runtime) -> InForce:
        """The same in the next life, with what the last one has kept. It lasted until now: when it ended, only clocks could say
        that may have been set since."""
        for bucket, n, w, until_ms in kept:
            if runtime.wall_ms - until_ms <= _ASKED_OF_MS:
                self._before[bucket] = n, w, runtime.now
        return self

    def policy(self, bucket: str) -> Policy:
        """By which this node reads and writes: nowhere less than what is in force."""
        return self._policies.get(bucket, self._default)

    def held(self, bucket: str) -> Quorums:
        """What is in force: by which, or by more, every node reads and writes."""
        return self._ring.quorums_of(bucket, self._quorums)

    def least(self, bucket: str, since: float) -> tuple[int, int]:
        """N and W: the least by which any node may have acknowledged a write since this time.

        A node whose disk was lost does not know what was before; but it was none of those who are sure of having been there.
        """
        n, w = self._least(bucket)
        was_n, was_w, until = self._before.get(bucket, (n, w, since))
        return (min(n, was_n), min(w, was_w)) if since <= until else (n, w)

    def _least(self, bucket: str) -> tuple[int, int]:
        """By which any node may go now: nodes are a step apart, and not all have heard of what is wanted."""
        wanted = self._wanted.get(bucket, self._default)
        held, other = self._ring.both_quorums_of(bucket, self._quorums)
        return min(held.n, other.n), min(held.w, other.w, wanted.w if wanted.n == held.n else held.w)

    def level(self, bucket: str) -> int:
        """Which keys are placed as this bucket's."""
        return self._levels.get(bucket, self._default.n)

    def held_counts(self) -> list[int]:
        """Each N by which keys are held, or were before a change that is flipped, ascending."""
        ring = self._ring
        old = ring.read_n if ring.filling or ring.at_rest else ring.other_n
        return sorted({old(level) for level in self.levels})

    def to_come(self) -> list[list[Any]]:
        """[bucket, n, r, w that are in force, n, r, w that are wanted] of those with a policy that is not in force yet."""
        changing = [(bucket, self.held(bucket), wanted) for bucket, wanted in sorted(self._wanted.items())]
        return [[bucket, *held, *wanted[:3]] for bucket, held, wanted in changing if held != wanted[:3]]

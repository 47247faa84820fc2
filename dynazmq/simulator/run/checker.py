"""Whether the promises were kept (docs/decisions/0038; the numbers are docs/failure-model.md's).

What is checked of a run whose faults are over and whose cluster has settled; watch.py has checked the rest on the way:

    I1  durability    each acknowledged write is on all its primaries, or something there covers it: a write whose writer was
                      shown it, directly or by what it was shown. So is each that any read has shown, acknowledged or not (C9).
                      A tombstone may be gone, once it has done its work: when nothing that it covers is there
    I2  convergence   all primaries of a key hold the same bytes. With anti-entropy, without a read. In runs without it this is
                      asked for after every key was read at R = all; before that, hints alone must have made them equal unless a
                      node crashed or a disk failed (a coordinator that dies has nobody else to bring the rest of its copies)
    I4  no revival    what an effective write covers is gone
    I6  no invention  nothing that a read showed was reported as not attempted, then or later
    I7  freshness     with R + W > N and no fault at all, a read shows what was acknowledged before it, or what covers that
    I10 trees         each Merkle tree says what is on its node's disk
    I9  hints drain   and nothing stays under way at any node
    I13 bounded       deleted keys are forgotten, where that is on
    I14 liveness      after the faults every read and write succeeds; in some runs first in a core of nodes, the rest being away
    I15 honesty       what failed is on no disk

One thing is counted, not forbidden: a write that somebody has read while its put was still being tried, by an answer that did not
suspect it of a retry, and overwrites by what was read then at a coordinator that has not met both tries, may show once more under
the dot of a retry (`echoes`; suspected_retries.py).
"""

from __future__ import annotations

from collections import Counter

from dynazmq.dynamo.replica.collectable import without_retried
from dynazmq.dynamo.values.versions import decode, encode
from dynazmq.errors import DynazmqError, Unavailable
from dynazmq.simulator.cluster import judge
from dynazmq.simulator.cluster.cluster import SETTLE_S, Cluster, Unsettled
from dynazmq.simulator.cluster.history import FAILED, OK, History, Op
from dynazmq.simulator.cluster.watch import COLLECTED
from dynazmq.simulator.run.admins import Admins

_ROUNDS = 5


class Checker:
    """Judges one run. `broken` says which promises were broken and how; `figures` counts."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._history: History = cluster.history
        self.broken: list[str] = []
        self.figures: Counter[str] = Counter()
        self.settled_s = 0.0  # from the end of the faults until all was at rest, and equal where that needs no read

    def serves(self, core: list[str]) -> None:
        """These nodes alone are healed, and the others stay away: every key can be written there, and read (I14).

        One of which they have fewer than R primaries, and hold no value, is unknown to them, and they say so.
        """
        cluster = self._cluster
        client = cluster.client("core", beside=core[0])
        try:
            cluster.settle(core)
            for key in self._keys():
                context = None
                try:
                    context = client.get(key).context
                except Unavailable:
                    if sum(name in core for name in cluster.walk(key)[: cluster.n()]) >= cluster.r:
                        raise
                    self.figures["unknown_to_a_core"] += 1
                client.put(key, f"of the core: {key}", context)
            self.figures["served_by_a_core"] += 1
        except (DynazmqError, Unsettled) as error:
            self.broken.append(f"I14: {', '.join(core)} do not serve while the others are away: {error}")

    def _keys(self) -> list[str]:
        return sorted({op.key.decode() for op in self._history.ops})

    def judge(
        self, *, calm: bool, hints_suffice: bool, anti_entropy: bool = False, all_reads_fresh: bool = False,
        admins: Admins | None = None,
    ) -> None:  # fmt: skip
        """After the faults. calm: there were none. hints_suffice: no process died and no disk failed. admins: have changed who
        the members are."""
        keys, healed = self._keys(), self._cluster.world.now
        try:
            if admins is not None:
                admins.see_through()
            self._cluster.settle()
        except Unsettled as unsettled:
            self.figures["unsettled"] += 1
            self.broken += [*self._history.broken, f"I9/I14: {unsettled}"]
            return
        if admins is not None and all_reads_fresh and not self._history.lost_any:
            self._visible(keys)
        if anti_entropy:
            self._exchange(keys)
        self.settled_s = self._cluster.world.now - healed
        self._stale_before_reads(keys, hints_suffice or anti_entropy)
        self._converge(keys)
        if anti_entropy:
            self._trees()
        self._at_rest()
        if self._cluster.grace_s:
            self._forgotten(keys)
        self._reads(calm, all_reads_fresh)
        for key in keys:
            self._key(key)
        self._outcomes()
        self.figures.update(self._cluster.watch.figures)
        self.broken = self._history.broken + self.broken

    def _visible(self, keys: list[str]) -> None:
        """The change is over and no hint pends: whichever R of the new owners are asked, they show what W have acknowledged."""
        for key in keys:
            for node in self._cluster.nodes:
                try:
                    self._cluster.client("reader").get(key, at=node.name)
                except DynazmqError as error:
                    self.broken.append(f"I14: reading {key} at {node}: {error}")
        for op in [op for op in self._history.ops if op.client == "reader" and op.outcome == OK]:
            self._fresh(op, [write for write in self._history.writes.values() if write.key == op.key], "I11")

    # --- convergence ------------------------------------------------------------------------------------------------------

    def _exchange(self, keys: list[str]) -> None:
        """Nobody reads, and all become equal (promise 5)."""
        cluster = self._cluster
        self.figures["healed_by_exchange"] += sum(not cluster.equal(key) for key in keys)
        try:
            cluster.wait(lambda: all(cluster.equal(key) for key in keys), "anti-entropy has made all replicas equal")
        except Unsettled as unsettled:
            self.figures["unsettled"] += 1
            differing = [key for key in keys if not cluster.equal(key)]
            self.broken.append(f"I2: {unsettled}; {differing} differ")

    def _trees(self) -> None:
        """Each tree says what is on the disk: never equal roots over unequal data, nor the reverse."""
        for node in self._cluster.nodes:
            for partition in node.untrue_trees():
                self.broken.append(f"I10: {node}'s tree of partition {partition} differs from its rows")

    def _stale_before_reads(self, keys: list[str], hints_suffice: bool) -> None:
        stale = [key for key in keys if not self._cluster.equal(key)]
        self.figures["healed_by_reads"] += len(stale)
        # A write with two dots may live on at one replica under the one while the others have overwritten it under the other.
        # Their contexts are equal, nobody owes anybody a hint, and the next meeting ends it (versions.py, law 3).
        twice = {op.key.decode() for op in self._history.writes.values() if self._history.rewritten(op.write_id)}
        if not hints_suffice:
            return
        self.figures["two_dots_apart"] += len(twice.intersection(stale))
        # That a write may have been retried is told to those who have it without asking for an answer (put.py, `_expect_retry`).
        apart = [key for key in stale if self._equal_but_for_retries(key)]
        self.figures["retries_known_apart"] += len(apart)
        if stale := [key for key in stale if key not in twice and key not in apart]:
            self.broken.append(f"I2: hints alone did not make the primaries of {stale} equal")

    def _equal_but_for_retries(self, key: str) -> bool:
        return len({encode(without_retried(decode(raw))) for raw in self._cluster.rows(key).values()}) == 1

    def _converge(self, keys: list[str]) -> None:
        """Read every key at R = all until nothing differs: what anti-entropy does without being asked."""
        client = self._cluster.client("checker")
        for _ in range(_ROUNDS):
            for key in keys:
                try:
                    client.get(key, r=len(self._cluster.primaries(key)))
                except DynazmqError as error:
                    self.broken.append(f"I14: reading {key} at rest: {error}")
            self._cluster.run(0.1)
            if all(self._cluster.equal(key) for key in keys):
                break
        for key in keys:
            if not self._cluster.equal(key):
                self.figures["diverged"] += 1
                self.broken.append(f"I2: the primaries of {key} differ: {self._cluster.rows(key)}")

    def _at_rest(self) -> None:
        """Every key can be written at W = all, and then nothing is under way nor remembered anywhere."""
        cluster = self._cluster
        try:
            cluster.client("checker").put("a new key", "value", w=len(cluster.primaries("a new key")))
            cluster.wait(lambda: not cluster.unsettled(), "all is done and forgotten", SETTLE_S)
        except (DynazmqError, Unsettled) as error:
            self.broken.append(f"I14: at rest: {error}")
        for node in cluster.nodes:
            counted = node.process.counted
            if refused := counted["messages_refused"] + counted["unsendable"]:
                self.broken.append(f"{node} refused {refused} messages of its own kind")
            if failed := counted["handlers_failed"]:
                self.broken.append(f"bug: {node} gave {failed} messages up in the middle")

    def _forgotten(self, keys: list[str]) -> None:
        """With everybody there and nothing new, deleted keys are forgotten: two rounds a grace apart, and one that failed."""
        cluster = self._cluster
        try:
            for key in keys[::2]:
                cluster.client("checker").delete(key)
        except DynazmqError as error:
            self.broken.append(f"I14: deleting at rest: {error}")
        deleted = [key for key in keys if not cluster.primaries(key)[0].holds(key)]

        def done() -> bool:
            return not any(state for key in deleted for state in cluster.rows(key).values())

        try:
            cluster.wait(done, "deleted keys are forgotten", 4 * cluster.grace_s + SETTLE_S)
        except Unsettled as unsettled:
            left = [key for key in deleted if any(cluster.rows(key).values())]
            self.broken.append(f"I13: {unsettled}; left of {left}")

    # --- what reads showed ------------------------------------------------------------------------------------------------

    def _reads(self, calm: bool, all_reads_fresh: bool) -> None:
        by_key: dict[bytes, list[Op]] = {}
        for op in self._history.ops:
            by_key.setdefault(op.key, []).append(op)
            if op.kind == "get" and op.outcome == OK:
                for value in op.values:
                    write = self._history.by_value.get((op.key, value))
                    if write is not None and write.outcome == FAILED:
                        self.broken.append(f"I6: {value!r} was reported as failed: {op}")
        if calm and all_reads_fresh:
            for ops in by_key.values():
                for op in ops:
                    if op.kind == "get" and op.outcome == OK:
                        self._fresh(op, ops)

    def _fresh(self, read: Op, ops: list[Op], promise: str = "I7") -> None:
        known = self._history.shown.get((read.client, read.token), 0)
        for write in self._history.found_by(read):
            known |= write.bit | write.covers
        if self._collected:  # a tombstone has done its work, and no context tells of it any more
            for op in ops:
                known |= op.covers | op.bit if op.kind == "delete" and op.outcome == OK else 0
        for write in ops:
            if write.kind != "get" and write.outcome == OK and write.ended < read.began and not known & write.bit:
                self.broken.append(f"{promise}: {read} does not show {write}")

    # --- what is stored ---------------------------------------------------------------------------------------------------

    def _key(self, key: str) -> None:
        state = decode(next(iter(self._cluster.rows(key).values())))
        for breach in judge.of_key(self._history, key.encode(), state, collected=self._collected):
            if breach.kind == judge.RESURRECTED:
                self._cluster.watch.revived(breach)
                continue
            self.figures["lost"] += breach.kind == judge.LOST
            self.figures["false_siblings"] += breach.kind == judge.FALSE_SIBLING
            self.broken.append(str(breach))

    @property
    def _collected(self) -> bool:
        return any(counted[COLLECTED] for counted in self._cluster.watch.counted)

    # --- what clients were told -------------------------------------------------------------------------------------------

    def _outcomes(self) -> None:
        for op in self._history.ops:
            self.figures[f"{op.kind}_{op.outcome}"] += 1
            if op.kind == "get":
                continue
            self.figures["acked"] += op.outcome == OK
            if op.outcome == FAILED and self._history.dots_of.get(op.write_id):
                self.broken.append(f"I15: reported as failed, and stored: {op}")
        self.figures["rewritten"] += sum(len(dots) > 1 for dots in self._history.dots_of.values())
        for counted in self._cluster.watch.counted:
            self.figures.update(counted)

"""Promises that are checked while a run goes on, at every commit, answer and turn (numbers: docs/failure-model.md).

    I3  nothing lost      a write leaves a copy only if that copy has seen another write whose writer was shown it
    I5  antichain         no read shows a value beside one that covers it
    I6  no invention      reads show what was put, and nothing that was reported as not attempted
    I8  monotone gossip   in one life of an observer no record goes back: a member's (incarnation, heartbeat), the ring's version,
                          what is wanted of a member
    I11 conservation      whoever makes the ring's next step: all whom it concerns know the one before. Where nothing goes wrong:
                          when new owners are read, they have all that was acknowledged. Whoever drops a row or a hint: the key's
                          primaries have it, or whoever a hint was for, or all others, W of them at least
    I12 dots              no dot names two writes
    I13 bounded           siblings and clock entries of a key, frames that wait, requests under way: `Limits`
    I15 honesty           an acknowledged write is on as many disks as the acknowledgement says, and as many as it needed. No node
                          takes its disk for an old copy that is none: nobody was told of more than there is. Who leaves an
                          outcome unknown says of its try that there may be another
    I16 honest absence    what all owners hold is not said to be absent (presence.py)

What can be judged only in the end is checker.py's. A write that has two dots (versions.py, "A retried write") is let off I3:
which of the two a copy has seen covered cannot be told by what nobody knew then. It is not let off I5: once overwritten it is
gone, under whatever dot; but for one that was seen while its put was being tried, under the one dot, and was overwritten where
nobody could tell that it had another (an echo: suspected_retries.py, "What is left").
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dynazmq.config import SIBLINGS_MAX
from dynazmq.dynamo.membership.change import concerned
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import Put
from dynazmq.dynamo.values.ring import Quorums, Ring, place
from dynazmq.dynamo.values.versions import Sibling, Siblings, node_of
from dynazmq.dynamo.values.versions import decode as decode_state
from dynazmq.simulator.cluster import judge
from dynazmq.simulator.cluster.history import OK, History, Op
from dynazmq.simulator.cluster.judge import Breach
from dynazmq.simulator.cluster.presence import Presence
from dynazmq.simulator.cluster.process import Process
from dynazmq.simulator.world.network import FRAMES_QUEUED_MAX
from dynazmq.storage.base import RowKey

_LOOK_EVERY = 8
"""Turns of a process: gossip and queues change more seldom than data."""

COLLECTED = "tombstones_collected"
"""What a node counts when it lets a tombstone go (§4.4; docs/decisions/0015): nothing covers it then."""

decode = lru_cache(4096)(decode_state)
"""A state is committed by each of its replicas, and is soon the one before the next."""


@dataclass(slots=True, kw_only=True)
class Limits:
    """What must stay bounded (I13). Each request under way is counted where it is coordinated, forwarded and recalled."""

    siblings: int = SIBLINGS_MAX
    clock_entries: int = 0  # beyond those that lost rows and delivered hints account for; set for the cluster
    frames: int = FRAMES_QUEUED_MAX
    in_flight: int = 1 << 30


class Watch:
    """Looks on (`process.Witness`), and says in the history's `broken` what should not have been. `figures` counts."""

    def __init__(self, history: History, limits: Limits) -> None:
        self.history = history
        self.limits = limits
        self._own_handed_over = 0  # rows with a write of the very node that has dropped them
        self.keeps_siblings = True  # False: the last write wins, and the others are lost
        self.processes: dict[str, Process] = {}
        self.figures: Counter[str] = Counter()
        self.departed: dict[str, Process] = {}  # of nodes that ended for good: what they counted still counts
        self.presence = Presence(self)
        self.told = ""  # the node to which an admin has last told what he wants
        self.nobody_away = False  # and nothing is lost: each write is in its coordinator's own row, and new owners lack none
        self._turns = 0
        self._gossip: dict[str, tuple[int, dict[str, tuple[Any, ...]]]] = {}  # observer → (its life, subject → rank)
        self._rings: dict[str, Ring] = {}  # the newest that each node has stored
        self._in_force: dict[str, Ring] = {}  # by which each node goes
        self._was_in_force: list[tuple[float, Ring]] = []  # by which one went until then
        self._quorums = Quorums(1, 1, 1)  # the cluster's, as soon as a node goes by a ring
        self._made: set[bytes] = set()  # digests of rings that somebody has
        self._resumed: set[tuple[str, int]] = set()  # lives of processes that went on with a transfer

    def _broken(self, text: str) -> None:
        self.history.broken.append(text)

    def state_of(self, process: Process, at: RowKey) -> Siblings:
        """What is committed of this row."""
        return decode(process.disk.state("", at, next_=False))

    def depart(self, name: str) -> None:
        """This node's process has ended for good."""
        self.departed[name] = process = self.processes.pop(name)
        if (ring := self._in_force.pop(name, None)) is not None:
            self._was_in_force.append((process.world.now, ring))

    def come_back(self, name: str) -> None:
        """It has not, after all."""
        self.processes[name] = self.departed.pop(name)

    @property
    def counted(self) -> list[Counter[str]]:
        """What each node has counted, in all lives."""
        return [process.counted for process in (*self.processes.values(), *self.departed.values())]

    # --- commits ----------------------------------------------------------------------------------------------------------

    def committing(self, process: Process) -> None:
        disk = process.disk
        if process.node.membership.ring is not self._in_force.get(process.name):
            self._turned_to(process)
        if disk.fail_commits:
            return
        known = self._rings.get(process.name)
        if process.node.membership.ring is not known and (known is None or "membership" in disk.notes):
            self._stepped(process)
        if not disk.dirty:
            return
        for dropped in disk.dropped():
            self._handed_over(process, *dropped)
        changes = [(key, decode(before), decode(after)) for key, before, after in disk.changes() if before != after]
        for key, before, after in changes:
            self._note_dots(process, key, before, after)
        for key, before, after in changes:
            if after.context:  # else a hint has gone home, or a damaged row was given up
                if self.keeps_siblings:
                    self._nothing_lost(process, key, before, after)
                self._bounded(key, after)

    def _note_dots(self, process: Process, key: bytes, before: Siblings, after: Siblings) -> None:
        history = self.history
        for sibling in after.live:
            dot = key, sibling.actor, sibling.counter
            if before.context.retried and dot not in history.dots and node_of(sibling.actor) == process.name:
                history.coordinated.setdefault(sibling.write_id, before.context)
            known = history.dots.setdefault(dot, sibling.write_id)
            if known != sibling.write_id:
                self._broken(f"I12: dot {sibling.dot} of {key!r} names two writes")
            history.dots_of.setdefault(sibling.write_id, set()).add(sibling.dot)

    def _nothing_lost(self, process: Process, key: bytes, before: Siblings, after: Siblings) -> None:
        kept = {sibling.write_id for sibling in after.live}
        if len(before.live) > 1 and len(kept) == 1:
            self.figures["siblings_merged"] += 1
        for sibling in before.live:
            if sibling.write_id in kept or self.history.rewritten(sibling.write_id):
                continue
            covering = [write.write_id for write in self.history.covered_by.get(sibling.write_id, ())]
            if not after.context.retried.isdisjoint(covering):
                continue  # it knows that write, whatever the dot of the try that it has met
            dots = [dot for write_id in covering for dot in self.history.dots_of.get(write_id, ())]
            if sibling.value is None and any(each[COLLECTED] for each in self.counted):
                continue
            if not any(after.context.covers(*dot) for dot in dots):
                write = self.history.writes.get(sibling.write_id, sibling)
                self._broken(f"I3: {process.name} drops what nothing that it has seen of {key!r} covers: {write}")

    def _bounded(self, key: bytes, state: Siblings) -> None:
        context = state.context
        entries = len(context.vector) + len(context.cloud)
        self._largest("siblings_max", len(state.live))
        self._largest("clock_entries_max", entries)
        if len(state.live) > self.limits.siblings:
            self._broken(f"I13: {len(state.live)} siblings of {key!r}, the limit is {self.limits.siblings}")
        if entries > self.limits.clock_entries:
            # An epoch for each life, each lost row and each that was handed over with a write of the node's own, a session for
            # each hint that a stand-in wrote itself (identity.py).
            lives = sum(process.life - 1 for process in (*self.processes.values(), *self.departed.values()))
            renewed = 2 * (lives + self.history.disks_lost + self.history.rotted.total())
            limit = self.limits.clock_entries + renewed + self._own_handed_over
            limit += sum(each["hints_delivered"] for each in self.counted)
            if entries > limit:
                self._broken(f"I13: {entries} clock entries of {key!r}, the limit is {limit}")

    def _largest(self, what: str, size: int) -> None:
        if size > self.figures[what]:
            self.figures[what] = size

    # --- members come and go ----------------------------------------------------------------------------------------------

    def _turned_to(self, process: Process) -> None:
        """This node goes by another ring, whether it can store it or not; but for one that does not rely on any yet."""
        membership = process.node.membership
        if membership.settled:
            if (before := self._in_force.get(process.name)) is not None:
                self._was_in_force.append((process.world.now, before))
            self._in_force[process.name], self._quorums = membership.ring, membership.default_quorums

    def _stepped(self, process: Process) -> None:
        """This node is about to store another ring. If nobody had it before, it is this node that makes the step."""
        membership, before = process.node.membership, self._rings.get(process.name)
        ring, digest = membership.ring, membership.ring.digest()
        if not membership.settled or (before is not None and ring.rank < before.rank):
            return  # it has lost its disk, and will be told
        self._rings[process.name] = ring
        if digest in self._made:
            return
        self._made.add(digest)
        if before is None or ring.version <= 1:
            return
        self.figures["changes"] += before.at_rest
        self.figures["changes_turned"] += before.filling and ring.owners == before.owners
        told = self.processes.get(self.told)
        self.figures["carried_on"] += told is None or told.state != "up"
        for name in concerned(before, membership.intents):
            known = self._rings.get(name)
            if name in self.processes and (known is None or known.rank < before.rank):
                version = known.version if known is not None else 0
                self._broken(f"I11: {process.name} makes ring {ring.version}, and {name} knows of ring {version} only")
        if self.nobody_away and not ring.at_rest and not ring.filling:
            self._filled(ring, membership)

    def _filled(self, ring: Ring, membership: Membership) -> None:
        """The new owners have all that was acknowledged: W and R of them, or of the old ones, may now be anybody."""
        before = Ring(ring.version, ring.also, ring.owners, True, ring.also_quorums, ring.quorums)
        for op in self.history.writes.values():
            if op.outcome != OK:
                continue
            at = (place(op.bucket, op.key), op.bucket, op.key)
            dots = self.history.dots_of.get(op.write_id, set())
            level = before.level(op.bucket, membership.default_quorums)
            for name in before.must_have_all(ring.partition_of(at[0]), level):
                if name in self.processes and not self.processes[name].disk.holds(at, op.write_id, dots):
                    self._broken(f"I11: {name} is to be read, and lacks {op}")

    def _handed_over(self, process: Process, target: str, at: RowKey, state: bytes) -> None:
        """This node is about to drop a row or a hint: others have what is in it. A tombstone may be dropped for good."""
        live = decode(state).live
        self._own_handed_over += not target and any(node_of(sibling.actor) == process.name for sibling in live)
        if all(sibling.value is None for sibling in live) or self.history.rotted[at[2]] or self._has(target, at, live, process):
            return
        ring, policy = process.node.membership.ring, process.node.membership.policy(at[1])
        primaries = ring.primaries(ring.partition_of(at[0]), policy.n)
        others = [name for name in primaries if name != target]
        if target in primaries and len(others) >= policy.w and all(self._has(name, at, live, process) for name in others):
            self.history.evicted[at[2]] += 1  # anti-entropy will bring it (eviction.py)
            return
        for name in primaries:
            if not self._has(name, at, live, process) and not (target and self._is_kept(name, at, live, process)):
                what = f"the hint for {target}" if target else "a row"
                values = [sibling.value for sibling in live]
                self._broken(f"I11: {process.name} drops {what}, of which {name} has not all: {at[2]!r} {values}")

    def _has(self, name: str, at: RowKey, live: tuple[Sibling, ...], acting: Process) -> bool:
        """Whether a node has these in its own row, or what overwrote them. One whose disk was lost may have had them."""
        process = self.processes.get(name)
        if process is None or name in self.history.robbed:
            return process is not None
        return _covers(process.disk.state("", at, next_=process is acting), live)

    def _is_kept(self, name: str, at: RowKey, live: tuple[Sibling, ...], acting: Process) -> bool:
        """Whether somebody keeps them for it."""
        processes = self.processes.values()
        return any(_covers(process.disk.state(name, at, next_=process is acting), live) for process in processes)

    # --- answers ----------------------------------------------------------------------------------------------------------

    def answered(self, op: Op) -> None:
        """A client's request has ended."""
        self.presence.get_ended(op)
        if op.outcome != OK:
            self.figures["unavailable"] += op.error.startswith("Unavailable")
            return
        if op.kind == "get":
            self._found(op)
        else:
            self.figures["sloppy_acks"] += bool(op.stand_ins)
            self._copies(op)

    def _found(self, op: Op) -> None:
        self.figures["siblings_shown"] += len(op.values) > 1
        for breach in judge.of_answer(self.history, op):
            if breach.kind == judge.RESURRECTED:
                self.revived(breach)
            else:
                self.figures["false_siblings"] += breach.kind == judge.FALSE_SIBLING
                self._broken(str(breach))

    def revived(self, breach: Breach) -> None:
        """A write shows beside one that covers it."""
        assert breach.write is not None
        assert breach.by is not None
        if self.history.rewritten(breach.write.write_id) and self.history.seen_too_early(breach.by, breach.write):
            self.figures["echoes"] += 1
            return
        self.figures["resurrected"] += 1
        self._broken(str(breach))

    def left_unknown(self, coordinator: str, put: Put) -> None:
        """A client hears of its first try that some may have it, and will try elsewhere: who reads it must know of that (I15)."""
        process = self.processes.get(coordinator)
        if process is None or not process.alive:
            return
        at = (place(put.bucket, put.key), put.bucket, put.key)
        node, held = process.node, process.disk.state("", at, next_=False)
        retried = decode(node.replica.marks.on(at, held)).context.retried
        for sibling in decode(held).live:
            if sibling.write_id == put.write_id and sibling.actor == node.identity.actor and put.write_id not in retried:
                self._broken(f"I15: {coordinator} has left the outcome of {sibling} unknown, and it may have no other dot")

    def _copies(self, op: Op) -> None:
        """As many disks hold the write, or have seen it, as its acknowledgement says (I15). Hints may have moved meanwhile."""
        at = (place(op.bucket, op.key), op.bucket, op.key)
        dots = self.history.dots_of.get(op.write_id, set())
        copies = sum(process.disk.holds(at, op.write_id, dots) for process in self.processes.values())
        needed = self._needed(op)
        if copies + self.history.lost(op.key) + self.history.evicted[op.key] < len(op.acked) or len(set(op.acked)) < needed:
            self._broken(f"I15: {list(op.acked)} are said to hold {op}, {copies} disks do, {needed} were asked for")

    def _needed(self, op: Op) -> int:
        """How many copies this write's coordinator had to wait for: by the least that was in force while it was under way.

        Rings say what is in force (in_force.py), and nodes are a step apart. What is merely wanted, or known to the client, says
        nothing: the coordinator need not have heard of it, and if it is less it does not count yet.
        """
        rings = [*self._in_force.values(), *(ring for until, ring in self._was_in_force if until >= op.began)]
        n, w, pw = op.level
        needed = []
        for quorums in (ring.quorums_of(op.bucket, self._quorums) for ring in rings):
            copies = n or quorums.n
            needed.append(copies if w == -1 else w or min(quorums.w, copies))
        return max(min(needed), pw)

    # --- turns ------------------------------------------------------------------------------------------------------------

    def turned(self, process: Process) -> None:
        self._turns += 1
        vouches = process.node.vouches
        if vouches.old and not process.disk.put_back:
            self._broken(f"I15: {process.name} takes its disk for an old copy, which it is not: {vouches.trouble}")
        if self._turns % _LOOK_EVERY:
            return
        self._gossip_goes_on(process)
        self._transfer_goes_on(process)
        self._largest("frames_waiting_max", process.waiting)
        self._largest("in_flight_max", process.node.in_flight)
        if process.waiting > self.limits.frames:
            self._broken(f"I13: {process.waiting} frames wait at {process.name}, the limit is {self.limits.frames}")
        if process.node.in_flight > self.limits.in_flight:
            self._broken(f"I13: {process.node.in_flight} requests at {process.name}, the limit is {self.limits.in_flight}")

    def _transfer_goes_on(self, process: Process) -> None:
        transfer, life = process.node.transfer, (process.name, process.life)
        if transfer.keys > process.node.runtime.counters["keys_transferred"] and life not in self._resumed:
            self._resumed.add(life)
            self.figures["transfers_resumed"] += 1

    def _gossip_goes_on(self, process: Process) -> None:
        membership = process.node.membership
        ranks: dict[str, tuple[Any, ...]] = {m.name: (m.incarnation, m.heartbeat) for m in membership.members.values()}
        ranks["ring"] = membership.ring.rank
        ranks |= {f"what is wanted of {name}": intent.rank for name, intent in membership.intents.items()}
        life, before = self._gossip.get(process.name, (0, {}))
        self._gossip[process.name] = process.life, ranks
        if life == process.life and ranks != before:
            for subject, known in before.items():
                if ranks.get(subject, known) < known:
                    self._broken(f"I8: {process.name} knew {subject} as of {known}, and now as of {ranks[subject]}")


def _covers(state: bytes, live: tuple[Sibling, ...]) -> bool:
    return bool(state) and all(decode(state).context.covers(*sibling.dot) for sibling in live)

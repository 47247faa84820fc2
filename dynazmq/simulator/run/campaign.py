"""Many seeds, one verdict: what `dynazmq simulate` prints."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from dynazmq.simulator.run.simulation import Report, run_seed

SOMETIMES = {
    "sloppy_acks": "a put was acknowledged with the help of a fallback (§4.6)",
    "hints_delivered": "a hint came home",
    "hints_dropped": "a hint was given up, for it was damaged",
    "stand_ins": "somebody stood in for a replica that did not answer",
    "forwards": "a put went by way of a node that is no replica",
    "hedges": "a slow replica was hedged",
    "siblings_shown": "a read showed siblings",
    "siblings_merged": "a write replaced several siblings",
    "tombstones_collected": "a deleted key was forgotten",
    "read_repairs": "a read repaired a stale replica",
    "keys_exchanged": "Merkle trees found a difference (§4.7)",
    "retries_recognised": "a retried put was found done",
    "rewritten": "a retried put was written twice",
    "echoes_dropped": "a write that had been overwritten under another dot was told from a new one",
    "expired": "a request came too late to be done",
    "messages_of_other_lives": "a message of or for an earlier life was dropped",
    "frames_refused": "a garbled frame was dropped",
    "suspicions": "a peer was suspected",
    "refutations": "a rumour was refuted (§4.8)",
    "epochs_renewed": "a node took a new name for its dots",
    "rows_damaged": "a damaged row was found",
    "commits_failed": "a turn could not be stored",
    "store_failures": "a disk could not be read",
    "refused_by_peers": "a replica refused",
    "put_unknown": "a client was told that an outcome is unknown",
    "unavailable": "a client was told that too few nodes can be reached",
    "overloaded": "a node refused what was too much for it",
    "served_by_a_core": "a part of the cluster served while the rest stayed away",
    "changes": "members came or went, and the ring followed (§4.9)",
    "changes_turned": "a change became another one, or was taken back, while it filled",
    "carried_on": "a change was carried on while the node that was told of it was away",
    "transfers_resumed": "a node went on with what an earlier life of its process had begun to fetch",
    "gets_begun_anew": "a get that was under way when the ring changed asked the new owners",
    "puts_caught_up": "a put that was under way when the ring changed went to the new owners, too",
    "strays_dropped": "what a node held and was no holder of any more was handed over",
    "hints_redirected": "a hint for who is no primary any more went to those who are",
    "left": "a member left, with nothing left on it",
    "expelled": "a node that had been removed by force learned of it",
    "disks_set_aside": "a node found that its disk is an old copy, and started on an empty one",
}
"""What must have happened in a campaign that shows anything: counter → what it means when it is above 0."""

@dataclass(slots=True)
class Campaign:
    """What came of all seeds together."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    """What clients (acked, get_ok …), checkers (lost, diverged …) and nodes (their counters) counted. Of *_max the largest."""
    injected: Counter[str] = field(default_factory=Counter)
    events: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0
    settled_s: list[float] = field(default_factory=list)
    """Of each seed that came to rest: how long that took after its faults, in virtual time."""
    log_hash: str = ""
    """Of everything that happened in all of them: the same seeds give the same one, on any machine."""

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.failed += [] if report.ok else [report.plan.seed]
        for name, count in report.figures.items():
            self.figures[name] = max(self.figures[name], count) if name.endswith("_max") else self.figures[name] + count
        self.injected.update(report.injected)
        self.events += report.events
        self.virtual_s += report.seconds
        self.settled_s += [report.settled_s] if report.settled_s else []

    @property
    def reached(self) -> dict[str, int]:
        """How often each of `SOMETIMES` was."""
        return {name: self.figures[name] for name in SOMETIMES}

    @property
    def not_reached(self) -> list[str]:
        return [name for name, count in self.reached.items() if not count]

    def settle(self, share: float) -> float:
        """So much of the seeds had settled after so many virtual seconds; 0 when none has."""
        ordered = sorted(self.settled_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    @property
    def line(self) -> str:
        """The figures on one line, for machines."""
        wall_s, count = max(self.wall_s, 1e-9), self.figures
        settle = "/".join(f"{self.settle(share):.1f}" for share in (0.5, 0.99, 1.0))
        return (
            f"seeds={self.seeds} failed={len(self.failed)} events={self.events} virtual_h={self.virtual_s / 3600:.3f} "
            f"wall_s={wall_s:.1f} virtual/real={self.virtual_s / wall_s:.0f} acked={count['acked']} lost={count['lost']} "
            f"resurrected={count['resurrected']} diverged={count['diverged']} unsettled={count['unsettled']} "
            f"settle_p50/p99/max={settle} changes={count['changes']} "
            f"sometimes={len(SOMETIMES) - len(self.not_reached)}/{len(SOMETIMES)} "
            f"log_hash={self.log_hash}"
        )


def play(seeds: Sequence[int], told: Callable[[Report], None], log: bool = False) -> Campaign:
    """Play these seeds; `told` hears of each as it ends."""
    campaign = Campaign()
    hashes = blake2b(digest_size=16)
    began = time.perf_counter()
    for seed in seeds:
        report = run_seed(seed, log=log)
        campaign.add(report)
        hashes.update(report.event_hash.encode())
        told(report)
    campaign.wall_s = time.perf_counter() - began
    campaign.log_hash = hashes.hexdigest()
    return campaign

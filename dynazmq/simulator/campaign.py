"""Many seeds, one verdict: what `dynazmq simulate` prints."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from dynazmq.simulator.simulation import Report, run_seed


@dataclass(slots=True)
class Campaign:
    """What came of all seeds together."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    """What was counted: of clients (acked, get_ok …), checkers (lost, diverged …) and nodes (their counters)."""
    injected: Counter[str] = field(default_factory=Counter)
    events: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0
    log_hash: str = ""
    """Of everything that happened in all of them: the same seeds give the same one, on any machine."""


def play(seeds: Sequence[int], told: Callable[[Report], None], log: bool = False) -> Campaign:
    """Play these seeds; `told` hears of each as it ends."""
    campaign = Campaign()
    hashes = blake2b(digest_size=16)
    began = time.perf_counter()
    for seed in seeds:
        report = run_seed(seed, log=log)
        campaign.seeds += 1
        campaign.failed += [] if report.ok else [seed]
        campaign.figures.update(report.figures)
        campaign.injected.update(report.injected)
        campaign.events += report.events
        campaign.virtual_s += report.seconds
        hashes.update(report.event_hash.encode())
        told(report)
    campaign.wall_s = time.perf_counter() - began
    campaign.log_hash = hashes.hexdigest()
    return campaign

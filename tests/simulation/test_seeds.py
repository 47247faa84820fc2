"""Many random runs: whatever goes wrong, the promises hold, and a seed always does the same.

Bugs that seeds have found, each with a scenario or a test of its own since:
    a put whose frame came twice became two siblings (N9)
    a hedged get at a node that is no primary stayed under way for ever, up to Overloaded
    a store that failed under a timer ended the process
    W = 3 counted a primary and its own stand-in's hint as two copies
    a stand-in that was asked and never answered left nobody with a hint
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from dynazmq.simulator.campaign import play
from dynazmq.simulator.faults import LOSSY, PASSING
from dynazmq.simulator.simulation import run_seed

SEEDS = range(1, 91)
_AT_ONCE = 6

_injected: Counter[str] = Counter()
_figures: Counter[str] = Counter()
_exchanged: Counter[str] = Counter()


@pytest.mark.parametrize("seeds", [SEEDS[i : i + _AT_ONCE] for i in range(0, len(SEEDS), _AT_ONCE)], ids=str)
def test_the_promises_hold(seeds: range) -> None:
    for seed in seeds:
        report = run_seed(seed)
        _injected.update(report.injected)
        _figures.update(report.figures)
        assert report.ok, f"\n{report}"


@pytest.mark.parametrize("seeds", [range(i, i + _AT_ONCE) for i in range(201, 237, _AT_ONCE)], ids=str)
def test_the_promises_hold_with_anti_entropy_and_nobody_has_to_read(seeds: range) -> None:
    for seed in seeds:
        report = run_seed(seed, anti_entropy_ms=150)
        _exchanged.update(report.figures)
        assert report.ok, f"\n{report}"


def test_the_seeds_have_seen_what_can_happen() -> None:
    """Otherwise nothing has been shown. Of the runs above, if they were not left out."""
    for seed in range(1, 13) if not _figures else ():
        report = run_seed(seed)
        _injected.update(report.injected)
        _figures.update(report.figures)
    if len(_injected) > 8:  # all of them ran
        assert set(_injected) == {*PASSING, *LOSSY}
    for what in (
        "acked", "put_unknown", "put_failed", "get_unknown", "stand_ins", "hints_delivered", "read_repairs", "hedges", "forwards",
        "recalls", "retries_recognised", "refused_by_peers", "commits_failed", "suspicions", "frames_refused", "healed_by_reads",
        "store_failures", "expired",
    ):  # fmt: skip
        assert _figures[what] > 0, what


@pytest.mark.parametrize("seed", [4079, 4792])
def test_what_two_dots_of_one_write_leave_behind_is_mended_without_a_read(seed: int) -> None:
    """Found by 5,000 seeds: one replica keeps the write under the one dot, the others overwrote it under the other.

    No hint pends, all contexts are equal. The checker took it for a lost hint.
    """
    without = run_seed(seed, anti_entropy_ms=0)
    assert without.ok, f"\n{without}"
    assert without.figures["healed_by_reads"] == 1
    with_it = run_seed(seed, anti_entropy_ms=150)
    assert with_it.ok, f"\n{with_it}"


def test_exchanges_have_found_something_to_mend() -> None:
    if _exchanged:
        assert _exchanged["exchanges"] > 1_000
        assert _exchanged["keys_exchanged"] > 0


def test_the_same_seed_does_the_same() -> None:
    for seed in (3, 4, 5):
        first, second = run_seed(seed), run_seed(seed)
        assert first.event_hash == second.event_hash
        assert first.figures == second.figures
    assert run_seed(4).event_hash != run_seed(5).event_hash


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_the_same_seed_does_the_same_in_another_process_that_hashes_strings_otherwise(hash_seed: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "dynazmq", "simulate", "--seed", "4", "--seeds", "3", "--json"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True, timeout=50,
    ).stdout  # fmt: skip
    assert json.loads(told)["log_hash"] == play(range(4, 7), lambda _: None).log_hash

"""`python -m dynazmq.simulator SEED [LAST]`: play one seed, or all from one to another, and say what came of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from hashlib import blake2b

from dynazmq.simulator.simulation import run_seed


def main(arguments: list[str]) -> int:
    verbose = "--log" in arguments
    numbers = [int(argument) for argument in arguments if not argument.startswith("-")]
    if not numbers:
        print(__doc__, file=sys.stderr)
        return 2
    seeds = range(numbers[0], numbers[-1] + 1)
    total: Counter[str] = Counter()
    hashes = blake2b(digest_size=16)
    failed, events, seconds, began = [], 0, 0.0, time.perf_counter()
    for seed in seeds:
        report = run_seed(seed, log=verbose)
        if verbose:
            print("\n".join(report.log or ()))
        if not report.ok or len(seeds) == 1:
            print(report)
        failed += [] if report.ok else [seed]
        total.update(report.figures)
        hashes.update(report.event_hash.encode())
        events += report.events
        seconds += report.seconds
    took = time.perf_counter() - began
    for name, figure in sorted(total.items()):
        print(f"{name:>28} {figure:,}")
    figures = f"events={events:,} virtual_s={seconds:.0f} wall_s={took:.1f}"
    print(f"seeds={len(seeds)} failed={failed} {figures} log_hash={hashes.hexdigest()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

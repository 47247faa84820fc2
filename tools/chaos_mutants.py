"""Does `dynazmq verify --chaos` find known bugs in real node processes? A table, for docs/faults.md.

    python -m tools.chaos_mutants [SECONDS] [MUTANT …]

Each mutant gets a cluster of its own. Run by hand: it takes a minute for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dynazmq.cluster.processes import environment
from dynazmq.simulator.mutants import MUTANTS
from tools.planted import path_with

FAULTS: dict[str, str] = {
    "last_write_wins_in_puts": "kill",
    "last_write_wins_in_merges": "kill,partition",
    "drop_one_of_three_siblings": "kill,partition",
    "ignore_contexts": "kill",
    "return_a_context_of_more_than_was_shown": "kill,partition",
    "acknowledge_one_copy_too_early": "kill,pause",
    "write_every_retry_anew": "pause,isolate",
    "leave_writes_out_of_the_trees": "kill",
    "answer_a_mend_and_merge_nothing": "kill,wipe",
    "take_what_differs_for_equal": "kill,wipe",
    "acknowledge_hints_and_keep_none": "partition,kill",
    "give_dots_again_after_a_lost_disk": "wipe",
}
"""Mutant → the faults that give it its chance."""

_SECONDS = 20


def hunt(mutant: str, seconds: int) -> dict[str, Any]:
    """What chaos says of a cluster whose every node has this bug; "" as mutant: of the product."""
    with tempfile.TemporaryDirectory(prefix="dynazmq-mutant-") as temporary:
        here = environment()
        path = here["PYTHONPATH"]
        if mutant:
            path = f"{path_with(mutant, Path(temporary))}{os.pathsep}{path}"
        command = [sys.executable, "-P", "-m", "dynazmq", "verify", "--chaos", f"{seconds}s", "--fresh", "--seed", "1", "--json"]
        command += ["--faults", FAULTS[mutant]] if mutant else []
        ran = subprocess.run(
            command, env={**here, "PYTHONPATH": path, "TMPDIR": temporary}, capture_output=True, text=True, check=False
        )
        if not ran.stdout:
            raise SystemExit(ran.stderr)
        found: dict[str, Any] = json.loads(ran.stdout)
        for kept in Path(temporary).glob("dynazmq-chaos-*/chaos"):
            subprocess.run(
                [sys.executable, "-P", "-m", "dynazmq", "down", "--purge", "--yes", "--dir", str(kept)], env=here,
                capture_output=True, check=True,
            )  # fmt: skip
        return found


def row(mutant: str, found: dict[str, Any]) -> str:
    broken = ", ".join(f"{kind} {count:,}" for kind, count in found["broken"].items() if count)
    faults = sum(found["faults"].values())
    said = MUTANTS[mutant].says.rstrip(".") if mutant else "the product"
    return f"| {said} | {found['acked']:,} | {faults} | {found['verdict']} | {broken or '; '.join(found['open']) or '–'} |"


def main(arguments: list[str]) -> None:
    seconds = int(arguments[0]) if arguments else _SECONDS
    print("| what was built in | acknowledged | faults | verdict | found |\n|---|---:|---:|---|---|")
    for mutant in arguments[1:] or ["", *FAULTS]:
        print(row(mutant, hunt(mutant, seconds)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

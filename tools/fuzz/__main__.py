"""The campaign: python -m tools.fuzz --frames 1000000 --seed 1

Exit code 0: no node and no client ended, and nothing was stored or said that nobody would take. 1: something was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tools.fuzz.client import FuzzedClient
from tools.fuzz.node import FuzzedNode

_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description="frames that nobody should send")
    parser.add_argument("--frames", type=int, default=100_000, help="to the node; a client gets a tenth as many")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        node = FuzzedNode(Path(directory), given.seed)
        node.play(given.frames)
        node.close()
    client = FuzzedClient(given.seed)
    client.play(given.frames // 10)
    found = node.found
    print(f"node: {found.frames:,} frames, {found.refused:,} refused whole")
    print(f"      {found.messages:,} messages, {found.declined:,} declined")
    print(f"      {found.commits:,} commits, {found.restarts:,} restarts from the same disk")
    print(f"      {found.expelled:,} times expelled by what peers decided; {found.stored:,} states looked at in the end")
    print(f"      {len(found.ended):,} ended, {len(found.unsendable):,} stored or said that nobody would take")
    print(f"client: {client.found.frames:,} frames, {client.found.answered:,} answered, {len(client.found.ended):,} ended")
    for what in (found.ended, found.unsendable, client.found.ended):
        for text, times in Counter(what).most_common(_SHOWN):
            print(f"{times:>6} × {text}")
    return 1 if found.ended or found.unsendable or client.found.ended else 0


if __name__ == "__main__":
    sys.exit(main())

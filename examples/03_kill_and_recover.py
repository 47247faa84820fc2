"""Kill a node under load, go on writing, bring it back, and look for every acknowledged write.

Run it:  .venv/bin/python examples/03_kill_and_recover.py
"""

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that is not installed

from five_nodes import ROOT, five_nodes
from five_nodes import dynazmq as run

import dynazmq


def status(directory: str) -> dict:
    command = [sys.executable, "-m", "dynazmq", "cluster", "status", "--json", "--dir", directory]
    return json.loads(subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout)


def write(bucket: dynazmq.Bucket, keys: range) -> float:
    """Write these keys one by one; the longest time that one took, in seconds. Raises if any fails."""
    longest = 0.0
    for number in keys:
        began = time.perf_counter()
        bucket.put(f"key-{number}", str(number))
        longest = max(longest, time.perf_counter() - began)
    return longest


with five_nodes() as directory, dynazmq.connect(dir=directory) as client:
    bucket = client.bucket("demo")
    write(bucket, range(500))
    print("\n500 keys written. Now n3 is killed, with SIGKILL: it has no chance to say goodbye.")
    run("node", "kill", "n3", directory=directory)

    longest = write(bucket, range(500, 1500))
    print(f"\n1,000 more written while it is down, none refused; the slowest took {longest * 1000:.0f} ms.")
    waiting = {node["name"]: node["hints_for"].get("n3", 0) for node in status(directory)["nodes"]}
    held = ", ".join(f"{name} holds {count}" for name, count in waiting.items() if count)
    print(f"What n3 should have is kept for it as hints: {held}.")

    print("\nIt comes back, and they are handed over:")
    run("node", "start", "n3", directory=directory)
    run("cluster", "wait", "--for", "hints=0", directory=directory)

    found = bucket.get_many([f"key-{number}" for number in range(1500)], r="all")
    found.raise_for_errors()
    lost = [key for key, result in found.ok.items() if not result.found]
    print(f"\nRead again with R=all, the three owners of each key: {len(found)} keys, {len(lost)} lost.\n")
    assert not lost

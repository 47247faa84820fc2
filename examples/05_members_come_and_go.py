"""Add two nodes, remove one and replace a killed one, while clients read and write: what they notice, and that nothing is lost.

Run it:  .venv/bin/python examples/05_members_come_and_go.py
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that is not installed

from five_nodes import ROOT, five_nodes
from five_nodes import dynazmq as run

import dynazmq

CLIENTS, KEYS, VALUE = 4, 3_000, "x" * 200


class Load:
    """Clients that read a key, or write it with the context of what they have seen of it, one after the other, without a rest."""

    def __init__(self, client: dynazmq.Client) -> None:
        self.bucket = client.bucket("demo")
        self.acknowledged: dict[str, str] = {}
        self.took: list[float] = []
        self.failed = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(CLIENTS)]

    def _work(self, number: int) -> None:
        random, contexts, writes = Random(number), {}, 0  # contexts: of keys that it has seen before
        while not self._stop.is_set():
            key = f"key-{random.randrange(KEYS // CLIENTS) * CLIENTS + number}"
            began = time.perf_counter()
            try:
                if key not in contexts or random.random() < 0.5:
                    contexts[key] = self.bucket.get(key).context
                else:
                    value = f"{writes} of client {number} {VALUE}"
                    contexts[key] = self.bucket.put(key, value, context=contexts[key]).context
                    self.acknowledged[key] = value
                    writes += 1
            except dynazmq.errors.DynazmqError:
                self.failed += 1
            self.took.append(time.perf_counter() - began)
            time.sleep(0.008)  # so that the nodes are busy and the processor is not the limit

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def commit(directory: str) -> dict:
    """Carry out what is staged, and return when it is done."""
    print("$ dynazmq cluster commit", flush=True)
    command = [sys.executable, "-m", "dynazmq", "cluster", "commit", "--json", "--dir", directory]
    return json.loads(subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout)


rows = []


def phase(name: str, load: Load, change: Callable[[], dict | None]) -> None:
    """Do something, and note what the clients saw of it."""
    first, failed, began = len(load.took), load.failed, time.perf_counter()
    done = change()
    seconds = time.perf_counter() - began
    took = sorted(load.took[first:])
    p99_ms = took[int(len(took) * 0.99)] * 1000
    rows.append((name, seconds, len(took) / seconds, p99_ms, load.failed - failed, (done or {}).get("keys", 0)))


with five_nodes() as directory, dynazmq.connect(dir=directory, timeout=5.0) as client:
    filled = client.bucket("demo").put_many({f"key-{number}": VALUE for number in range(KEYS)})
    filled.raise_for_errors()
    with Load(client) as load:
        phase("five nodes, nothing happens", load, lambda: time.sleep(3))

        print("\nTwo more. First what it would come to, then it is done:")
        run("cluster", "add", directory=directory)
        run("cluster", "add", directory=directory)
        run("cluster", "plan", directory=directory)
        phase("n6 and n7 join", load, lambda: commit(directory))

        print("\nn2 leaves: it hands over what it holds, and ends by itself.")
        run("cluster", "remove", "n2", directory=directory)
        phase("n2 leaves", load, lambda: commit(directory))

        print("\nn3 dies for good. A new node takes its place, and is filled by the others.")
        run("node", "kill", "n3", directory=directory)
        run("cluster", "add", "--replace", "n3", directory=directory)
        phase("n8 takes the place of n3", load, lambda: commit(directory))

        phase("six nodes, nothing happens", load, lambda: time.sleep(3))
    run("cluster", "status", directory=directory)

    print(f"\n{'':<28} {'seconds':>8} {'ops/s':>7} {'p99 ms':>7} {'failed':>7} {'keys moved':>11}")
    for name, seconds, ops_per_s, p99_ms, failed, keys in rows:
        print(f"{name:<28} {seconds:>8.1f} {ops_per_s:>7.0f} {p99_ms:>7.1f} {failed:>7} {keys:>11,}")

    found = client.bucket("demo").get_many([f"key-{number}" for number in range(KEYS)], r="all")
    found.raise_for_errors()
    lost = [key for key, value in load.acknowledged.items() if found.ok[key].values != [value.encode()]]
    lost += [key for key, result in found.ok.items() if not result.found]
    written = len(load.acknowledged)
    print(f"\nAll {len(found)} keys read again with R=all, {written} of them written meanwhile: {len(lost)} lost.\n")
    assert not lost

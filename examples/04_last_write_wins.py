"""The same carts in a bucket that keeps siblings and in one where the last write wins: how many additions are lost in each?

Run it:  .venv/bin/python examples/04_last_write_wins.py
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that is not installed

from five_nodes import ROOT, five_nodes

import dynazmq

CLIENTS, CARTS, ADDITIONS = 4, 3, 60


def shop(carts: dynazmq.Bucket, who: str) -> list[tuple[str, str]]:
    """Read a cart, add something, write it back with the context of the read. What was acknowledged: (cart, item)."""
    acknowledged = []
    for number in range(ADDITIONS):
        cart, item = f"cart-{number % CARTS}", f"{who}'s {number}"
        found = carts.get(cart)
        carts.put(cart, [*(found.value or []), item], context=found.context)
        acknowledged.append((cart, item))
    return acknowledged


def play(directory: str, name: str, **options) -> int:
    """All clients at once, each with a connection of its own. How many additions are in no cart in the end."""
    clients = [dynazmq.connect(dir=directory) for _ in range(CLIENTS)]
    buckets = [client.bucket(name, codec="json", **options) for client in clients]
    with ThreadPoolExecutor(CLIENTS) as pool:
        shopping = [pool.submit(shop, carts, f"client {i + 1}") for i, carts in enumerate(buckets)]
    acknowledged = [each for done in shopping for each in done.result()]
    final = {f"cart-{i}": buckets[0].get(f"cart-{i}", r="all").value for i in range(CARTS)}
    lost = sum(item not in final[cart] for cart, item in acknowledged)
    print(f"   {name:<16} {len(acknowledged)} writes acknowledged, {lost} lost: {lost / len(acknowledged):.0%}")
    for client in clients:
        client.close()
    return lost


def wait_until_all_know(client: dynazmq.Client, bucket: str) -> None:
    """A policy is set at one node and spreads by gossip."""
    for endpoint in client.view.links.values():
        while True:
            with dynazmq.connect(endpoints=[endpoint]) as one:
                if bucket in one.view.policies:
                    break
            time.sleep(0.2)


with five_nodes() as directory, dynazmq.connect(dir=directory) as client:
    client.bucket("last-write-wins").configure(conflict="lww")
    wait_until_all_know(client, "last-write-wins")

    print(f"\n{CLIENTS} clients add {ADDITIONS} items each to the same {CARTS} carts: read, add, write back. Nothing fails.")
    kept = play(directory, "siblings", resolver=dynazmq.resolvers.union)
    lost = play(directory, "last-write-wins")

    print("\nWhen two clients read the same cart and both write, siblings keep both carts, and the resolver makes one of them.")
    print("The last write wins over the other, with all that was in it, although both were acknowledged. The nodes count that:")
    command = [sys.executable, "-m", "dynazmq", "cluster", "status", "--json", "--dir", directory]
    status = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout)
    counts = {node["name"]: node["lww_discarded"] for node in status["nodes"] if node["lww_discarded"]}
    print("  ", ", ".join(f"{name} let go of {count}" for name, count in counts.items()), "\n")
    assert kept == 0 < lost

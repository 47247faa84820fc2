"""The shopping cart of the Dynamo paper (§4.4): two writers who do not know of each other, and what becomes of it.

Run it:  .venv/bin/python examples/02_shopping_cart.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that is not installed

from five_nodes import five_nodes

import dynazmq

with five_nodes() as directory, dynazmq.connect(dir=directory) as client:
    carts = client.bucket("carts", codec="json")
    carts.put("alice", {"milk": 1})

    print("\nAlice's phone and her laptop both read the cart ...")
    phone, laptop = carts.get("alice"), carts.get("alice")

    print("... and both change it. Neither write is refused, neither is lost:")
    carts.put("alice", {**phone.value, "eggs": 6}, context=phone.context)
    carts.put("alice", {**laptop.value, "bread": 2}, context=laptop.context)
    both = carts.get("alice")
    for sibling in both.siblings:
        print(f"   {sibling.value}   written through {sibling.node}")

    print("Asked for one value, the client says so instead of choosing:")
    try:
        print(both.value)
    except dynazmq.ConflictError as conflict:
        print("  ", conflict)

    print("Only the application knows what a merged cart is. It writes it back with the context that covers both:")
    merged = {item: count for sibling in both.values for item, count in sibling.items()}
    carts.put("alice", merged, context=both.context)
    print("  ", carts.get("alice").value)

    print("A resolver does that for every read:")
    carts = client.bucket("carts", codec="json", resolver=dynazmq.resolvers.union)
    carts.put("bob", {"tea": 1})
    carts.put("bob", {"cake": 3})
    print("  ", carts.get("bob").value, "\n")

"""First steps: put, get, delete, many at a time. Run it:  .venv/bin/python examples/01_first_steps.py"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that is not installed

from five_nodes import five_nodes

import dynazmq

with five_nodes() as directory, dynazmq.connect(dir=directory) as client:
    greetings = client.bucket("greetings", codec="text")

    print("\nA key that nobody wrote is not an error:")
    found = greetings.get("morning")
    print("  ", found.found, found.value)

    print("A put returns when W=2 of the key's N=3 nodes have it on disk:")
    done = greetings.put("morning", "hello")
    print("   durable at", " and ".join(done.acked))

    print("A get asks R=2 of them, so that it meets at least one that took the write:")
    found = greetings.get("morning")
    print("  ", found.value, "from", " and ".join(found.responders))

    print("The context says which version you have seen. Give it back, and your put replaces that one:")
    greetings.put("morning", "good morning", context=found.context)
    print("  ", greetings.get("morning").values)

    print("Without one, the store cannot know whether you have seen it, so it keeps both (example 2 is about that):")
    greetings.put("morning", "hi")
    print("  ", greetings.get("morning").values)

    print("Many keys go in one frame to each node, and each has its own outcome:")
    batch = greetings.put_many({f"guest-{number}": "welcome" for number in range(1000)})
    print("  ", len(batch.ok), "written,", len(batch.failed), "failed")

    greetings.delete("morning")
    print("After a delete:", greetings.get("morning").found, "and", len(list(greetings.keys())), "keys are left\n")

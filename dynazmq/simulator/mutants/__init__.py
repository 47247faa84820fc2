"""Known bugs, to be built into the core on purpose: whoever checks promises must be able to find them broken.

    mutant.py    what a mutant is; `hunt` plays seeds until one is caught
    durable.py   of acknowledgements, hints and dots
    causal.py    of versions, contexts and retries
    mending.py   of repair, trees, gossip, and of what must be forgotten
    members.py   of members who come and go
    holders.py   of who may speak for a key

A new one is a function in one of them that patches what it breaks, under `@mutant`. `dynazmq simulate --mutant list` names all.
"""

from __future__ import annotations

from dynazmq.simulator.mutants import durable as _durable  # isort: skip
from dynazmq.simulator.mutants import causal as _causal  # isort: skip
from dynazmq.simulator.mutants import mending as _mending  # isort: skip
from dynazmq.simulator.mutants import members as _members  # isort: skip
from dynazmq.simulator.mutants import holders as _holders  # isort: skip
from dynazmq.simulator.mutants.mutant import MUTANTS, SEEDS, Hunt, Mutant, hunt, mutant

__all__ = ["MUTANTS", "SEEDS", "Hunt", "Mutant", "_causal", "_durable", "_holders", "_members", "_mending", "hunt", "mutant"]

"""Node processes with a known bug built in (dynazmq/simulator/mutants): to see that who judges real processes finds it.

The product has no way to start such a node. Python itself imports a module `sitecustomize` at its start, if there is one on its
path: here one that builds the bug in, in node processes alone.
"""

from __future__ import annotations

from pathlib import Path

_SITE = """
import sys
if "dynazmq.server" in sys.orig_argv:
    from dynazmq.simulator.mutants import MUTANTS
    bug = MUTANTS[{mutant!r}].built_in()
    bug.__enter__()
"""


def path_with(mutant: str, directory: Path) -> Path:
    """What to put on PYTHONPATH for whoever starts a cluster."""
    site = directory / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(_SITE.format(mutant=mutant))
    return site

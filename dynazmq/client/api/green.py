"""Programs on gevent: a call of this client waits in ZeroMQ, which knows nothing of greenlets, and all of them wait with it.

What goes well is a pool of real threads, and real locks: with threads patched, a lock that is held across them may not be given
back (seen: 9 of 300 requests stuck for ever). So who seems to be about to do the other thing is told once.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

ADVICE = (
    "this program runs on gevent, and each call of a dynazmq client holds up all its greenlets. Patch without threads, "
    "monkey.patch_all(thread=False), and call in real ones: gevent.get_hub().threadpool.apply(client.get, (key,))"
)


def warn_on_gevent(stacklevel: int) -> None:
    """For who connects. gevent is not imported: it is looked at where the program has done so."""
    gevent: Any = sys.modules.get("gevent")
    monkey: Any = sys.modules.get("gevent.monkey")
    if gevent is None:
        return
    if (monkey is not None and monkey.is_module_patched("threading")) or isinstance(gevent.getcurrent(), gevent.Greenlet):
        warnings.warn(ADVICE, RuntimeWarning, stacklevel=stacklevel + 1)

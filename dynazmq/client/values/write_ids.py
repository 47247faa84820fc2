"""Ids of writes: 16 random bytes for each put, so that a retried one is known again (§4.5, promise 6).

Drawn many at a time: asking the kernel for each was a tenth of a client's time. A forked child must not give its parent's ids
again, so it starts with none. `pop` and `extend` of a list are atomic: threads never share an id.
"""

from __future__ import annotations

import os

WRITE_ID_BYTES = 16
_DRAWN_TOGETHER = 256

_drawn: list[bytes] = []


def new_write_id() -> bytes:
    try:
        return _drawn.pop()
    except IndexError:
        pass
    random = os.urandom(WRITE_ID_BYTES * _DRAWN_TOGETHER)
    first, *others = [random[at : at + WRITE_ID_BYTES] for at in range(0, len(random), WRITE_ID_BYTES)]
    _drawn.extend(others)
    return first


os.register_at_fork(after_in_child=_drawn.clear)

"""dynazmq for asyncio: the same calls as `dynazmq.connect`, to be awaited.

    async with dynazmq.aio.connect() as client:
        carts = client.bucket("carts")
        await carts.put("alice", b"milk")
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from dynazmq.client.api.asynchronous import AsyncBucket, AsyncClient

__all__ = ["connect", "AsyncClient", "AsyncBucket"]


def connect(
    dir: str | os.PathLike[str] | None = None,
    endpoints: Sequence[str] | None = None,
    timeout: float = 2.0,
) -> AsyncClient:
    """Use it with `async with`; arguments and errors as of `dynazmq.connect`."""
    return AsyncClient(dir, endpoints, timeout)

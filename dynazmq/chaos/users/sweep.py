"""What the abuse has written is taken away again, where others use the cluster: some megabytes that nobody would ever read."""

from __future__ import annotations

from pathlib import Path

from dynazmq.chaos.users.plan import BUCKET, LARGE_BUCKET
from dynazmq.client.api.sync import Client

_TIMEOUT_S = 10.0
_PAGE = 50  # keys


def sweep(directory: Path) -> int:
    """How many keys could not be deleted. Raises DynazmqError when they cannot even be listed."""
    left = 0
    with Client(directory, timeout=_TIMEOUT_S) as client:
        for name in (BUCKET, LARGE_BUCKET):
            bucket = client.bucket(name)
            keys = list(bucket.keys())
            for first in range(0, len(keys), _PAGE):
                left += len(bucket.delete_many(keys[first : first + _PAGE]).failed)
    return left

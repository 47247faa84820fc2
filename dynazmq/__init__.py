"""dynazmq: an always-writeable, replicated key-value store. Amazon Dynamo (SOSP 2007), whole, in Python.

    import dynazmq
    with dynazmq.connect() as client:            # the local cluster; start one with: dynazmq cluster up -n 5
        carts = client.bucket("carts")
        found = carts.get("alice")               # .found .values .value .context
        carts.put("alice", b"milk", context=found.context)

`dynazmq.aio` is the same for asyncio, `dynazmq.errors` has every exception, `dynazmq.resolvers` answers to siblings.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynazmq import aio, errors, resolvers
    from dynazmq.client.api.sync import Bucket, Client, connect
    from dynazmq.client.inspect.explained import Explanation
    from dynazmq.client.inspect.traced import Trace
    from dynazmq.client.values.context import Context
    from dynazmq.client.values.results import Batch, PutResult, Result, Sibling
    from dynazmq.errors import (
        ClientClosed,
        ClusterError,
        ClusterUnreachable,
        ConflictError,
        DynazmqError,
        InvalidRequest,
        KeyNotFound,
        NoSuchCluster,
        Overloaded,
        ProtocolError,
        QuorumTimeout,
        ReadTimeout,
        StorageError,
        Unavailable,
        ValueTooLarge,
        WriteTimeout,
    )

__version__ = "0.1.0"

__all__ = [
    "connect", "Client", "Bucket", "Context", "Result", "Sibling", "PutResult", "Batch", "Explanation", "Trace", "aio", "errors",
    "resolvers", "DynazmqError", "InvalidRequest", "ValueTooLarge", "KeyNotFound", "ConflictError", "Unavailable",
    "QuorumTimeout", "ReadTimeout", "WriteTimeout", "Overloaded", "ClusterUnreachable", "ProtocolError", "ClientClosed",
    "StorageError", "ClusterError", "NoSuchCluster",
]  # fmt: skip

# A node, the supervisor and the command line all import this package first, and none of them needs the client: its names are
# looked up when they are used.
_WHERE = {
    **dict.fromkeys(("connect", "Client", "Bucket"), "client.api.sync"),
    **dict.fromkeys(("Result", "Sibling", "PutResult", "Batch"), "client.values.results"),
    "Context": "client.values.context",
    "Explanation": "client.inspect.explained",
    "Trace": "client.inspect.traced",
}
_MODULES = ("aio", "errors", "resolvers")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

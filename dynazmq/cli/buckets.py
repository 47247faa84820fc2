"""bucket set and bucket list: the policies that buckets have of their own."""

from __future__ import annotations

from dynazmq.cli import OK
from dynazmq.cli.data import Access
from dynazmq.cli.terminal import GREEN, emit, paint, say


def set_policy(access: Access, n: int | None, r: int | None, w: int | None, conflict: str) -> int:
    with access.open() as bucket:
        bucket.configure(n=n, r=r, w=w, conflict=conflict)
    if access.as_json:
        emit("bucket", {"name": access.bucket, "conflict": conflict})
    else:
        said = {"siblings": "keeps siblings", "lww": "keeps the last of concurrent writes"}[conflict]
        say(f"{paint('ok', GREEN)}   {access.bucket} {said}; all nodes know it in some seconds")
        if (n, r, w) != (None, None, None):
            say("     another N, R or W is in force when all know it, and all replicas have what they need: dynazmq bucket list")
    return OK


def show(access: Access) -> int:
    """As one node knows them."""
    with access.connected() as client:
        view = client.view
    if access.as_json:
        rows = [
            {"name": name, **policy._asdict(), "wanted": view.wanted[name]._asdict() if name in view.wanted else None}
            for name, policy in sorted(view.policies.items())
        ]
        emit("buckets", {"buckets": rows, "default": view.default._asdict()})
        return OK
    table = [*sorted(view.policies.items()), ("(all others)", view.default)]
    width = max(len(name) for name, _ in table)
    for name, policy in table:
        line = f"{name:<{width}}  N={policy.n} R={policy.r} W={policy.w}  {policy.conflict}"
        if (wanted := view.wanted.get(name)) is not None:
            line += f"   becomes N={wanted.n} R={wanted.r} W={wanted.w} when all nodes know it, and its replicas have everything"
        say(line)
    return OK

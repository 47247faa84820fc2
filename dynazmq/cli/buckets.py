"""bucket set and bucket list: the policies that buckets have of their own."""

from __future__ import annotations

import sys

from dynazmq.cli import OK
from dynazmq.cli.data import Access, left
from dynazmq.cli.terminal import GREEN, YELLOW, emit, note, paint, say
from dynazmq.cli.words import many
from dynazmq.client.values.view import Policy
from dynazmq.config import LWW, SIBLINGS


def set_policy(access: Access, n: int | None, r: int | None, w: int | None, conflict: str) -> int:
    deadline = access.deadline()
    with access.connected() as client:
        before, default = client.view.policy(access.bucket), client.view.default
        bucket = client.bucket(access.bucket).with_options(timeout=left(deadline), operation=access.command)
        bucket.configure(n=n, r=r, w=w, conflict=conflict)
    new_n = default.n if n is None else n
    after = Policy(new_n, min(default.r, new_n) if r is None else r, min(default.w, new_n) if w is None else w, conflict)
    changes = seen_by_reads(before, after)
    if access.as_json:
        emit("bucket", {"name": access.bucket, "conflict": conflict, "warnings": changes})
    else:
        said = {"siblings": "keeps siblings", "lww": "keeps the last of concurrent writes"}[conflict]
        say(f"{paint('ok', GREEN)}   {access.bucket} {said}; all nodes know it in some seconds")
        if (n, r, w) != (None, None, None):
            say("     another N, R or W is in force when all know it, and all replicas have what they need: dynazmq bucket list")
        for change in changes:
            note(f"{paint('warning:', YELLOW, out=sys.stderr)} {change}")
    return OK


def seen_by_reads(before: Policy, after: Policy) -> list[str]:
    """What reads of a bucket will see otherwise than before, for who has changed its policy."""
    found = []
    if (before.conflict, after.conflict) == (SIBLINGS, LWW):
        found.append("reads see one value where there are siblings, and of concurrent writes all but the last are lost")
    elif (before.conflict, after.conflict) == (LWW, SIBLINGS):
        found.append("reads may see several values of a key: concurrent writes are kept side by side from now on")
    if after.r + after.w <= after.n and before.r + before.w > before.n:
        given = f"R={after.r} and W={after.w} of N={after.n}"
        found.append(f"a read may miss what was written just before: {given} need not have a replica in common")
    if after.r > before.r:
        found.append(f"a read needs {after.r} replicas in place of {before.r}: with fewer it fails, where it was answered before")
    if after.n != before.n:
        replicas = many(abs(after.n - before.n), "replica")
        what = f"{replicas} more of each key, not asked before" if after.n > before.n else f"{replicas} less of each key"
        found.append(f"reads go by N={before.n} R={before.r} until all is in place: {what}")
    return found


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

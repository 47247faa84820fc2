"""`resolve`: one value in place of a key's siblings (§4.4: "collapsed by the client")."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from dynazmq.cli import ABSENT, OK
from dynazmq.cli.data import (
    Access,
    check_absent,
    checked_value,
    in_order,
    key_of,
    left,
    note_unseen,
    read_document,
    read_first,
    texts,
    values_left,
)
from dynazmq.cli.escaping import printable
from dynazmq.cli.terminal import GREEN, emit, note, paint, say
from dynazmq.cli.words import many
from dynazmq.errors import InvalidRequest

if TYPE_CHECKING:
    from dynazmq.client.values.results import Result, Sibling

_SHOWN_MAX = 200


def run(access: Access, key: str, *, take: int | None, merge: str | None, value: str | None) -> int:
    if sum(each is not None for each in (take, merge, value)) != 1:
        raise InvalidRequest("how? say one of --take N, --merge union|largest|latest, --value VALUE")
    if merge not in (None, "union", "largest", "latest"):
        raise InvalidRequest(f"--merge is union, largest or latest, not {merge!r}")
    given = None if value is None else checked_value(access, value)
    name = printable(os.fsencode(key))
    deadline = access.deadline()
    with access.open() as bucket:
        found = read_first(access, bucket, key)
        siblings = in_order(found)
        if not siblings:
            check_absent(access, key, found)
            return _unchanged(access, found, f"no value for {name}")
        note_unseen(key, found)
        if len(siblings) == 1:
            return _unchanged(access, found, f"{name} has one value: nothing to resolve")
        chosen = given if given is not None else _chosen(siblings, take, merge)
        done = bucket.put(key_of(key), chosen, context=found.context, timeout=left(deadline))
        still = values_left(bucket, key)
    if access.as_json:
        shown, encoding = texts([chosen])
        document = {"found": True, "resolved": len(siblings), "value": shown[0], "encoding": encoding, "values_left": still}
        emit("resolve", {**document, "context": str(done.context), "acked": list(done.acked), **read_document(found)})
    else:
        text = printable(chosen[:_SHOWN_MAX]) + (f" … {len(chosen):,} bytes" if len(chosen) > _SHOWN_MAX else "")
        counted = f"   {many(still, 'value')} left" if still is not None else ""
        say(f"{paint('ok', GREEN)}   {text}{counted}   held by {' '.join(done.acked)}")
        if still is not None and still > 1:
            note(f"{many(still - 1, 'value')} came in meanwhile: resolve again")
    return OK


def _unchanged(access: Access, found: Result, text: str) -> int:
    if access.as_json:
        emit("resolve", {"found": found.found, "resolved": 0, "values_left": len(found.values), **read_document(found)})
    else:
        note(text)
    return OK if found.found else ABSENT


def _chosen(siblings: list[Sibling], take: int | None, merge: str | None) -> bytes:
    """Raises InvalidRequest."""
    if take is not None:
        if not 1 <= take <= len(siblings):
            raise InvalidRequest(f"--take is 1 to {len(siblings)}, as `get` numbers them, not {take}")
        value: bytes = siblings[take - 1].value
        return value
    if merge == "latest":
        latest: bytes = siblings[-1].value
        return latest
    return merged([sibling.value for sibling in siblings], str(merge))


def merged(values: list[bytes], how: str) -> bytes:
    """union or largest of JSON values; largest also of any bytes. Raises InvalidRequest when they are not of a kind."""
    from dynazmq import resolvers

    parsed: list[Any] = []
    for number, raw in enumerate(values, 1):
        try:
            parsed.append(json.loads(raw))
        except (ValueError, RecursionError):
            if how == "largest":
                return max(values)
            raise InvalidRequest(f"--merge union needs JSON, and value {number} is none; choose with --take or --value") from None
    try:
        found = resolvers.union(parsed) if how == "union" else resolvers.largest(parsed)
    except TypeError as error:
        raise InvalidRequest(f"--merge {how} cannot: {error}; choose with --take or --value") from None
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()

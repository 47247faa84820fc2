"""Python values as bytes and back. Never pickle: what a store returns must not be able to run code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from dynazmq.errors import InvalidRequest


class Codec(NamedTuple):
    """encode raises InvalidRequest for a value that it cannot carry, and decode gives back an equal one: of ours all but raw, to
    which a str is its bytes in UTF-8. decode raises ValueError for bytes that it did not write.
    """

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _raw(value: Any) -> bytes:
    if value.__class__ is bytes:
        raw: bytes = value
        return raw
    if isinstance(value, str):
        return _utf8(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise InvalidRequest(f"a value is bytes or str, not {type(value).__name__}; other types need codec='json' or 'msgpack'")


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidRequest(f"codec='text' takes str, not {type(value).__name__}")
    return _utf8(value)


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the value is no UTF-8 at character {error.start}: {error.reason}") from None


def _json(value: Any) -> bytes:
    """One text for equal values: keys sorted. Neither NaN nor infinity, which other readers of JSON do not know."""
    try:
        packed = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
        changed = _change(value, json.loads(packed))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"codec='json' cannot carry this value: {error}") from None
    if changed:
        raise InvalidRequest(f"codec='json' cannot carry this value: {changed}")
    return packed


def _msgpack(value: Any) -> bytes:
    import msgpack

    try:
        packed: bytes = msgpack.packb(value)
        changed = _change(value, _unmsgpack(packed))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequest(f"codec='msgpack' cannot carry this value: {error}") from None
    if changed:
        raise InvalidRequest(f"codec='msgpack' cannot carry this value: {changed}")
    return packed


def _unmsgpack(raw: bytes) -> Any:
    import msgpack

    return msgpack.unpackb(raw, strict_map_key=False)


def _change(value: Any, back: Any) -> str | None:
    """What would come back as something else, for a person; None: nothing. NaN comes back as NaN, though it equals nothing."""
    return None if back == value else _first_change(value, back, "")


def _first_change(value: Any, back: Any, at: str) -> str | None:
    if isinstance(value, dict) and isinstance(back, dict):
        for key in value:
            if key not in back:
                return f"the key {key!r}{at and f' at {at}'}, of type {type(key).__name__}, would come back as something else"
        pairs = [(value[key], back[key], f"{at}[{key!r}]") for key in value]
    elif isinstance(value, list) and isinstance(back, list) and len(value) == len(back):
        pairs = [(inner, back[index], f"{at}[{index}]") for index, inner in enumerate(value)]
    elif value == back or (value != value and back != back):
        return None
    else:
        return f"{type(value).__name__}{at and f' at {at}'} would come back as {type(back).__name__}"
    return next((found for pair in pairs if (found := _first_change(*pair)) is not None), None)


CODECS = {
    codec.name: codec
    for codec in (
        Codec("raw", _raw, bytes),
        Codec("text", _text, bytes.decode),
        Codec("json", _json, json.loads),
        Codec("msgpack", _msgpack, _unmsgpack),
    )
}


def codec_of(given: str | Codec) -> Codec:
    """By its name, or one's own. Raises InvalidRequest."""
    if isinstance(given, Codec):
        return given
    if not isinstance(given, str) or given not in CODECS:
        raise InvalidRequest(f"no codec {given!r}; there are {' '.join(CODECS)}")
    return CODECS[given]

"""Messages ↔ rows: for each message a decoder and an encoder, made from its declaration (dynamo/messages).

A row is a msgpack array [code, field, field, …]. Its decoder is one function, compiled when this module is imported, as
`dataclasses` makes a constructor:

    def decode(row):
        if row.__class__ is list and len(row) == 5:
            code, request_id, bucket, key, … = row
            if code.__class__ is int and request_id.__class__ is int and request_id >= 0 and bucket.__class__ is str and …:
                return Handoff(request_id, bucket, key, …)
        return explain(row)

so that a row in order costs its comparisons and nothing else, and whoever adds a field cannot forget to check it. What is wrong
with any other row is found out afterwards, at leisure, by the kinds themselves.

Two things may be wrong. A row of the wrong *shape* (unknown code, missing field, wrong type) was written by no version of this
protocol: `BadFrame`, and nothing else in its frame is believed. A value *out of bounds* is one message's fault:
`OutOfBounds`, which names it, so that whoever sent it can be told (gate.py).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from dynazmq.config import FRAME_BYTES_MAX
from dynazmq.dynamo.messages import DECLARATIONS, Message
from dynazmq.dynamo.messages.fields import (
    OUT_OF_BOUNDS,
    Bytes,
    Kind,
    Many,
    Real,
    Row,
    Text,
    Where,
    Whole,
    Word,
    YesNo,
    is_endpoint,
)
from dynazmq.dynamo.messages.registry import Declaration

_TRAVELS_MAX = (1 << 64) - 1
"""No greater integer can be packed."""


class BadFrame(Exception):
    """Bytes that are no frame of ours. `reason` names the rule that they broke."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class OtherCluster(BadFrame):
    """A client asks this of another cluster, and so of a node that is not there any more."""

    def __init__(self, cluster_id: int, messages: list[Message]) -> None:
        super().__init__("another cluster", f"{cluster_id:016x}")
        self.messages = messages


class OutOfBounds(BadFrame):
    """A message of the right form with a value that is not admitted. request_id: 0 if it has none that can be answered."""

    def __init__(self, kind: type[Message], request_id: int, text: str) -> None:
        super().__init__(OUT_OF_BOUNDS, text)
        self.kind = kind
        self.request_id = request_id
        self.text = text


# --- from source ----------------------------------------------------------------------------------------------------------

_NAMES_MAX = 256
"""That are remembered by one field: 16 KB of them."""

_Names = dict[str, Any]
"""What the source of a function may name."""

_numbers = count()


def _test(kind: Kind, name: str, known: _Names) -> str:
    """An expression that says whether the value of this name is admitted."""
    match kind:
        case Whole(low, high):
            return f"{name}.__class__ is int and " + (f"{low} <= {name}" + (f" <= {high}" if high < _TRAVELS_MAX else ""))
        case Real(high):
            return f"{name}.__class__ is float and 0 < {name} <= {high}"
        case YesNo():
            return f"{name}.__class__ is bool"
        case Bytes(low, high, nil):
            test = f"{name}.__class__ is bytes" + _length(name, low, high)
            return f"({name} is None or {test})" if nil else test
        case Text(low, high, is_name):
            if is_name:
                seen, admits = _names(kind)
                return f"{name}.__class__ is str and ({name} in {_give(known, seen)} or {_give(known, admits)}({name}))"
            fits = f" and ({name}.isascii() or len({name}.encode()) <= {high})"
            return f"{name}.__class__ is str" + _length(name, low, high) + fits
        case Word(words):
            return f"{name}.__class__ is str and {name} in {_give(known, frozenset(words))}"
        case Where():
            return f"{name}.__class__ is str and {_give(known, is_endpoint)}({name})"
        case Many(of, high):
            return f"{name}.__class__ is list and len({name}) <= {high} and (not {name} or {_give(known, _each(of))}({name}))"
        case Row():
            test = f"{name}.__class__ is list and {_give(known, _each(kind))}(({name},))"
            return f"({name} == [] or {test})" if kind.empty else test


def _names(kind: Text) -> tuple[set[str], Callable[[str], bool]]:
    """Names that were admitted before, and what admits others: of buckets and nodes there are few, and each message has some."""
    seen: set[str] = set()

    def admits(name: str) -> bool:
        if kind.fault(name) is not None:
            return False
        if len(seen) >= _NAMES_MAX:
            seen.clear()
        seen.add(name)
        return True

    return seen, admits


def _length(name: str, low: int, high: int) -> str:
    if low == high:
        return f" and len({name}) == {low}"
    most = f" <= {high}" if high < FRAME_BYTES_MAX else ""
    return f" and {low} <= len({name}){most}" if low else f" and len({name}){most}" if most else ""


def _give(known: _Names, thing: object) -> str:
    name = f"known_{next(_numbers)}"
    known[name] = thing
    return name


def _each(kind: Kind) -> Callable[[Any], bool]:
    """Whether all of several values are admitted. What is behind the columns of rows is cut off on the way."""
    known: _Names = {}
    lines = ["def each(values):", "    for x in values:"]
    if isinstance(kind, Row):
        width = len(kind.columns)
        names = [f"x_{name}" for name, _ in kind.columns]
        tests = " and ".join(_test(column, name, known) for name, (_, column) in zip(names, kind.columns, strict=True))
        lines += [
            "        if x.__class__ is not list:",
            "            return False",
            f"        if len(x) > {width}:",
            f"            del x[{width}:]",
            f"        if len(x) == {width}:",
            f"            {', '.join(names)}, = x",
            f"            if not ({tests}):",
            "                return False",
            f"        elif {_give(known, kind)}.fault(x) is not None:",
            "            return False",
        ]
    else:
        lines += [f"        if not ({_test(kind, 'x', known)}):", "            return False"]
    made: Callable[[Any], bool] = _made([*lines, "    return True"], known, "each")
    return made


def _decoder(declared: Declaration) -> Callable[[list[Any]], Message]:
    known: _Names = {"make": declared.cls, "explain": lambda row: _explain(declared, row)}
    names = [f"x_{name}" for name, _ in declared.fields]
    tests = " and ".join(_test(kind, name, known) for name, (_, kind) in zip(names, declared.fields, strict=True))
    lines = [
        "def decode(row):",
        f"    if row.__class__ is list and len(row) == {len(names) + 1}:",
        f"        code, {', '.join(names)} = row",
        f"        if code.__class__ is int and {tests}:",
        f"            return make({', '.join(names)})",
        "    return explain(row)",
    ]
    made: Callable[[list[Any]], Message] = _made(lines, known, "decode")
    return made


def _encoder(declared: Declaration) -> Callable[[Any], tuple[Any, ...]]:
    values = ", ".join(f"message.{name}" for name, _ in declared.fields)
    lines = ["def encode(message):", f"    return ({declared.code}, {values})"]
    made: Callable[[Any], tuple[Any, ...]] = _made(lines, {}, "encode")
    return made


def _made(lines: list[str], known: _Names, name: str) -> Any:
    exec("\n".join(lines), known)
    return known[name]


def _explain(declared: Declaration, row: list[Any]) -> Message:
    """The message all the same, if there is only more of it than this release knows. Raises BadFrame."""
    width = len(declared.fields) + 1
    if row.__class__ is not list or row[0].__class__ is not int:
        raise BadFrame("not a message")
    if len(row) > width:
        return _DECODERS[declared.code](row[:width])
    if len(row) < width:
        raise BadFrame("missing fields", f"{declared.name} has {len(row) - 1} of {width - 1}")
    faults = [(name, fault) for (name, kind), x in zip(declared.fields, row[1:], strict=True) if (fault := kind.fault(x))]
    for name, fault in faults:
        if fault.reason != OUT_OF_BOUNDS:
            raise BadFrame(fault.reason, f"{declared.name}.{name}: {fault.text}")
    assert faults, f"the decoder of {declared.name} refuses what its kinds admit"
    name, fault = faults[0]
    answerable = declared.fields[0][0] == "request_id" and name != "request_id"
    raise OutOfBounds(declared.cls, row[1] if answerable else 0, f"{declared.name}.{name}: {fault.text}")


_DECODERS = dict(enumerate(map(_decoder, DECLARATIONS)))
_ENCODERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {each.cls: _encoder(each) for each in DECLARATIONS}
_NESTED = {
    each.cls: tuple(
        (name, isinstance(kind, Row) or isinstance(kind.of, Row | Many))
        for name, kind in each.fields
        if isinstance(kind, Many | Row)
    )
    for each in DECLARATIONS
}
"""Message → (field that is an array, whether there may be arrays within it)."""


# --- both ways ------------------------------------------------------------------------------------------------------------


def to_row(message: Message) -> tuple[Any, ...]:
    """The array that stands for a message on the wire."""
    return _ENCODERS[message.__class__](message)


def from_row(row: Any) -> Message:
    """The message that an array stands for. Raises BadFrame, OutOfBounds."""
    if row.__class__ is not list or not row or row[0].__class__ is not int:
        raise BadFrame("not a message")
    if row[0] not in _DECODERS:
        raise BadFrame("unknown message", f"code {row[0]}")
    return _DECODERS[row[0]](row)


def from_rows(rows: list[Any]) -> list[Message]:
    """The same of many. What is wrong with any of them is looked for when something is."""
    try:
        return [_DECODERS[row[0]](row) for row in rows]
    except (LookupError, TypeError):  # no row, or of no message
        return list(map(from_row, rows))


def arrays_in(message: Message) -> int:
    """Arrays that a message is on the wire, itself and nested ones counted."""
    return 1 + sum(1 + (_nested(getattr(message, name)) if deeper else 0) for name, deeper in _NESTED[message.__class__])


def _nested(items: list[Any] | tuple[Any, ...]) -> int:
    count = 0
    for item in items:
        if item.__class__ is list or item.__class__ is tuple:
            count += 1 + _nested(item)
    return count

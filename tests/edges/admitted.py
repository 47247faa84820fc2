"""Strategies for what a declaration admits: any value of a kind, any message."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dynazmq.dynamo.messages import DECLARATIONS, Message
from dynazmq.dynamo.messages.fields import Bytes, Kind, Many, Real, Row, Text, Where, Whole, Word, YesNo

_LENGTH_MAX = 40  # of what could be far longer: that is another test's business
_ELEMENTS_MAX = 5


def values(kind: Kind) -> st.SearchStrategy[Any]:
    match kind:
        case Whole(low, high):
            return st.integers(low, high)
        case Real(high):
            return st.floats(0, high, exclude_min=True)
        case YesNo():
            return st.booleans()
        case Bytes(low, high, nil):
            some = st.binary(min_size=low, max_size=min(high, max(low, _LENGTH_MAX)))
            return some | st.none() if nil else some
        case Text(low, high, name):
            characters = st.characters(codec="utf-8", categories=["L", "N", "P"]) if name else st.characters(codec="utf-8")
            return st.text(characters, min_size=low, max_size=min(high, _LENGTH_MAX) // 4)
        case Word(words):
            return st.sampled_from(words)
        case Where():
            return st.sampled_from(["ipc:///run/n1", "tcp://127.0.0.1:7000", "tcp://[::1]:1", "ipc://@x"])
        case Many(of, high):
            return st.lists(values(of), max_size=min(high, _ELEMENTS_MAX))
        case Row(_, columns, _, empty):
            some_row = st.tuples(*[values(column) for _, column in columns]).map(list)
            return some_row | st.just([]) if empty else some_row


messages: st.SearchStrategy[Message] = st.one_of(
    [st.builds(each.cls, *[values(kind) for _, kind in each.fields]) for each in DECLARATIONS]
)


def least(kind: Kind) -> Any:
    """The simplest value of a kind."""
    match kind:
        case Whole(low, _):
            return max(low, 1)
        case Real():
            return 1.0
        case YesNo():
            return True
        case Bytes(low, _, _):
            return b"b" * low
        case Text(low, _, _):
            return "s" * low
        case Word(words):
            return words[0]
        case Where():
            return "ipc://s"
        case Many():
            return []
        case Row(_, columns, _, empty):
            return [] if empty else [least(column) for _, column in columns]


SAMPLES: dict[type[Message], Any] = {each.cls: each.cls(*[least(kind) for _, kind in each.fields]) for each in DECLARATIONS}

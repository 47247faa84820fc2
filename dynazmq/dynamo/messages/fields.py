"""What a field of a message may hold: its type and its bounds, and names for the kinds of fields that there are.

A *kind* says what values it admits, in words (`str(kind)`, which the protocol page and refusals print) and by `fault(value)`. It
is written into a field's type: `Annotated[int, Whole(0, 9)]` is an int to a type checker, and to wire/rows.py, which makes the
decoder, an int from 0 to 9. Kinds are values without behaviour beyond that: nothing here is called for a frame that is in order.

**Where the bounds come from.** What is stored or passed on is bounded by what the rest of the program can bear for ever: a number
that will be raised by one must be so far from the end of its range that nobody can bring it there. Versions, incarnations and
counters of dots end far below 2^63, and no peer can raise one to that end, because each step up is bounded as well
(membership.py). A field that is only compared or returned may have all that travels. Sizes are those of config.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from dynazmq.config import (
    BUCKET_BYTES_MAX,
    CONFLICTS,
    CONTEXT_BYTES_MAX,
    FRAME_BYTES_MAX,
    KEY_BYTES_MAX,
    MEMBERS_MAX,
    MERGED_BYTES_MAX,
    PARTITIONS_MAX,
)

WRONG_TYPE, TOO_FEW, OUT_OF_BOUNDS = "wrong type", "missing fields", "out of bounds"


class Fault(NamedTuple):
    """What is wrong with a value. reason: one of the three above; text: what is admitted, and what was given."""

    reason: str
    text: str


# --- kinds ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer from low to high, both inclusive. A bool is none."""

    low: int
    high: int

    def fault(self, value: Any) -> Fault | None:
        if type(value) is not int:
            return _wrong_type(self, value)
        return None if self.low <= value <= self.high else Fault(OUT_OF_BOUNDS, f"{self}, not {value:,}")

    def __str__(self) -> str:
        return f"{_number(self.low)} to {_number(self.high)}"


@dataclass(frozen=True, slots=True)
class Real:
    """A float above 0 and up to high."""

    high: float

    def fault(self, value: Any) -> Fault | None:
        if type(value) is not float:
            return _wrong_type(self, value)
        return None if math.isfinite(value) and 0 < value <= self.high else Fault(OUT_OF_BOUNDS, f"{self}, not {value:g}")

    def __str__(self) -> str:
        return f"a float above 0 and up to {self.high:g}"


@dataclass(frozen=True, slots=True)
class YesNo:
    """True or False."""

    def fault(self, value: Any) -> Fault | None:
        return None if type(value) is bool else _wrong_type(self, value)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True, slots=True)
class Bytes:
    """So many bytes; nil as well where that means something."""

    low: int
    high: int
    nil: bool = False

    def fault(self, value: Any) -> Fault | None:
        if value is None and self.nil:
            return None
        if type(value) is not bytes:
            return _wrong_type(self, value)
        return None if self.low <= len(value) <= self.high else Fault(OUT_OF_BOUNDS, f"{self}, not {len(value):,}")

    def __str__(self) -> str:
        return _size(self.low, self.high) + " bytes" + (" or nil" if self.nil else "")


@dataclass(frozen=True, slots=True)
class Text:
    """A str of so many bytes of UTF-8; without control characters where it is a name that people see."""

    low: int
    high: int
    name: bool = True

    def fault(self, value: Any) -> Fault | None:
        if type(value) is not str:
            return _wrong_type(self, value)
        if not self.low <= (size := len(value.encode(errors="surrogatepass"))) <= self.high:
            return Fault(OUT_OF_BOUNDS, f"{self}, not {size:,}")
        return Fault(OUT_OF_BOUNDS, "no control characters") if self.name and not value.isprintable() else None

    def __str__(self) -> str:
        return _size(self.low, self.high) + " bytes of UTF-8"


@dataclass(frozen=True, slots=True)
class Word:
    """One of a few words."""

    words: tuple[str, ...]

    def fault(self, value: Any) -> Fault | None:
        if type(value) is not str:
            return _wrong_type(self, value)
        return None if value in self.words else Fault(OUT_OF_BOUNDS, f"one of {self}, not {value[:20]!r}")

    def __str__(self) -> str:
        return ", ".join(word or '""' for word in self.words)


@dataclass(frozen=True, slots=True)
class Where:
    """An endpoint to which a socket can be connected."""

    def fault(self, value: Any) -> Fault | None:
        if type(value) is not str:
            return _wrong_type(self, value)
        return None if is_endpoint(value) else Fault(OUT_OF_BOUNDS, f"{self}, not {value[:80]!r}")

    def __str__(self) -> str:
        return "ipc://PATH or tcp://HOST:PORT"


@dataclass(frozen=True, slots=True)
class Many:
    """An array of at most so many of one kind."""

    of: Kind
    high: int

    def fault(self, value: Any) -> Fault | None:
        if type(value) is not list:
            return _wrong_type(self, value)
        if len(value) > self.high:
            return Fault(OUT_OF_BOUNDS, f"at most {self.high:,} elements, not {len(value):,}")
        faults = ((i, fault) for i, element in enumerate(value) if (fault := self.of.fault(element)) is not None)
        return next((Fault(fault.reason, f"element {i}: {fault.text}") for i, fault in faults), None)

    def __str__(self) -> str:
        return f"at most {self.high:,}"


@dataclass(frozen=True, slots=True)
class Row:
    """An array with a place for each field of a tuple type; the last ones may be missing where that has defaults for them.

    Surplus ones are a later release's: the decoder cuts them off. empty: [] stands for none at all.
    """

    name: str
    columns: tuple[tuple[str, Kind], ...]
    required: int
    empty: bool = False

    def fault(self, value: Any) -> Fault | None:
        if type(value) is not list:
            return _wrong_type(self, value)
        if not value and self.empty:
            return None
        if len(value) < self.required:
            return Fault(TOO_FEW, f"{len(value)} of {self.required} fields of a row")
        for (name, kind), given in zip(self.columns, value, strict=False):
            if (fault := kind.fault(given)) is not None:
                return Fault(fault.reason, f"{name}: {fault.text}")
        return None

    def __str__(self) -> str:
        return "[" + ", ".join(name for name, _ in self.columns) + "]"


Kind = Whole | Real | YesNo | Bytes | Text | Word | Where | Many | Row


def kind_of(hint: Any) -> Kind:
    """The kind in a field's type. Raises TypeError when it has none: every field has bounds."""
    if hint is bool:
        return YesNo()
    if get_origin(hint) is Annotated:
        for each in get_args(hint)[1:]:
            if isinstance(each, Kind):
                return each
    raise TypeError(f"{hint!r} does not say what it admits")


def columns_of(cls: type) -> tuple[tuple[str, Kind], ...]:
    """(name, kind) of each field of a message or of a tuple type, in their order."""
    return tuple((name, kind_of(hint)) for name, hint in get_type_hints(cls, include_extras=True).items())


def row(cls: type[tuple[Any, ...]], *, empty: bool = False) -> Row:
    """The kind of an array that stands for a NamedTuple."""
    columns = columns_of(cls)
    defaults: dict[str, Any] = getattr(cls, "_field_defaults", {})
    return Row(cls.__name__, columns, len(columns) - len(defaults), empty)


def many(hint: Any, high: int) -> Many:
    """The kind of an array of at most so many of an annotated type, or of a NamedTuple's rows."""
    return Many(row(hint) if isinstance(hint, type) and issubclass(hint, tuple) else kind_of(hint), high)


def parts(kind: Kind) -> Iterator[Kind]:
    """A kind and all kinds within it."""
    yield kind
    if isinstance(kind, Many):
        yield from parts(kind.of)
    elif isinstance(kind, Row):
        for _, column in kind.columns:
            yield from parts(column)


def is_endpoint(value: object) -> bool:
    """ipc://PATH or tcp://HOST:PORT, printable. ZeroMQ itself would take some that can never be connected to."""
    if not isinstance(value, str) or len(value) > _ENDPOINT_MAX or not value.isprintable():
        return False
    if value.startswith("tcp://"):
        host, _, port = value[len("tcp://") :].rpartition(":")
        return bool(host) and port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 1 << 16
    return value.startswith("ipc://") and len(value) > len("ipc://")


def _wrong_type(kind: object, value: object) -> Fault:
    return Fault(WRONG_TYPE, f"{type(value).__name__} where {kind} is expected")


def _size(low: int, high: int) -> str:
    if low == high:
        return f"{low:,}"
    return f"{low:,} to {high:,}" if low else f"at most {high:,}"


def _number(value: int) -> str:
    for power in range(31, 65):
        for off in (0, 1):
            if abs(value) == (1 << power) - off:
                return ("−" if value < 0 else "") + f"2^{power}" + ("−1" if off else "")
    return f"{value:,}".replace("-", "−")


# --- numbers --------------------------------------------------------------------------------------------------------------

_U64 = (1 << 64) - 1
_ENDPOINT_MAX = 256

VERSION_MAX = 1 << 62
"""Of a ring, policy or decision that is believed. Half of what an int64 holds is left for raising it by one."""

INCARNATION_MAX = (1 << 62) - 1
"""Of a life that is believed: milliseconds since 1970 mostly, so 146 million years."""

COUNTER_MAX = 1 << 48
"""Below it are all counters of dots."""

AGE_MS_MAX = 1 << 48
"""Who adds to an age stays at it (`aged`): 8,900 years are as good as any longer time."""

NAME_BYTES_MAX = 64
"""Of a node's name that is accepted from elsewhere."""

HOPS_MAX = 3
"""So often a put is passed on: once, and again by who is none of the key's primaries by the ring that it goes by."""

ACTOR_BYTES_MAX = 128
"""Of a name under which dots are issued: a node's and its epoch's."""

WRITE_ID_BYTES = 16
DIGEST_BYTES = 8
WEIGHT_MAX = 100.0
TEXT_BYTES_MAX = 1 << 16


def aged(age_ms: int, by_ms: int) -> int:
    """An age from a message, so much later. It stays one that can be sent."""
    return min(max(age_ms + by_ms, 0), AGE_MS_MAX)


# --- kinds of fields ------------------------------------------------------------------------------------------------------

RequestId = Annotated[int, Whole(0, _U64)]
RequestIds = Annotated[list[int], many(RequestId, 4096)]
Sequence = Annotated[int, Whole(0, (1 << 63) - 1)]
Count = Annotated[int, Whole(0, (1 << 63) - 1)]
Limit = Annotated[int, Whole(0, (1 << 31) - 1)]
"""Of how much is asked for. Who asks for more than there is at a time gets that."""

Replicas = Annotated[int, Whole(0, MEMBERS_MAX)]
"""0 stands for the policy's, or for none."""
Quorum = Annotated[int, Whole(-1, MEMBERS_MAX)]
"""-1 stands for all."""

Budget = Annotated[int, Whole(-(1 << 31), (1 << 31) - 1)]
"""0 or less is over; one of more than a minute is taken for a minute."""
Age = Annotated[int, Whole(0, AGE_MS_MAX)]
KnownAge = Annotated[int, Whole(-1, AGE_MS_MAX)]
"""-1: not known."""
WallMs = Annotated[int, Whole(0, COUNTER_MAX)]
Micros = Annotated[int, Whole(0, (1 << 63) - 1)]

NodeName = Annotated[str, Text(1, NAME_BYTES_MAX)]
MaybeNode = Annotated[str, Text(0, NAME_BYTES_MAX)]
"""\"\" stands for nobody."""
Names = Annotated[list[str], many(NodeName, 2 * MEMBERS_MAX)]
Actor = Annotated[str, Text(0, ACTOR_BYTES_MAX, name=False)]
Actors = Annotated[list[str], many(Actor, 16)]
ClusterName = Annotated[str, Text(0, 256)]
Endpoint = Annotated[str, Where()]
Prose = Annotated[str, Text(0, TEXT_BYTES_MAX, name=False)]
"""For people."""
Note = Annotated[str, Text(0, TEXT_BYTES_MAX, name=False)]

BucketName = Annotated[str, Text(1, BUCKET_BYTES_MAX)]
Key = Annotated[bytes, Bytes(1, KEY_BYTES_MAX)]
Value = Annotated[bytes, Bytes(0, FRAME_BYTES_MAX)]
MaybeValue = Annotated[bytes | None, Bytes(0, FRAME_BYTES_MAX, nil=True)]
Values = Annotated[list[bytes], many(Value, 4096)]
ContextToken = Annotated[bytes, Bytes(0, CONTEXT_BYTES_MAX)]
WriteId = Annotated[bytes, Bytes(WRITE_ID_BYTES, WRITE_ID_BYTES)]
State = Annotated[bytes, Bytes(0, MERGED_BYTES_MAX)]
Document = Annotated[bytes, Bytes(0, FRAME_BYTES_MAX)]
Conflict = Annotated[str, Word(CONFLICTS)]

Place = Annotated[int, Whole(0, _U64)]
AfterPlace = Annotated[int, Whole(-1, _U64)]
"""-1: from the beginning."""
AfterBucket = Annotated[str, Text(0, BUCKET_BYTES_MAX)]
AfterKey = Annotated[bytes, Bytes(0, KEY_BYTES_MAX + 1)]
"""One byte longer than any key is behind all keys."""
Partition = Annotated[int, Whole(0, PARTITIONS_MAX - 1)]
Partitions = Annotated[list[int], many(Partition, PARTITIONS_MAX)]
Hash = Annotated[int, Whole(0, _U64)]
KnownHash = Annotated[int, Whole(-1, _U64)]
"""-1: not known."""
Size = Annotated[int, Whole(0, FRAME_BYTES_MAX)]
Digest = Annotated[bytes, Bytes(0, DIGEST_BYTES)]
U64 = Annotated[int, Whole(0, _U64)]

Version = Annotated[int, Whole(0, VERSION_MAX)]
RecordVersion = Annotated[int, Whole(1, VERSION_MAX)]
Incarnation = Annotated[int, Whole(0, INCARNATION_MAX)]
Heartbeat = Annotated[int, Whole(0, INCARNATION_MAX)]
Counter = Annotated[int, Whole(0, COUNTER_MAX)]
Weight = Annotated[float, Real(WEIGHT_MAX)]

"""Values and messages, made from the declarations."""

from __future__ import annotations

from random import Random
from typing import Any

from dynazmq.dynamo.messages import DECLARATIONS, Message
from dynazmq.dynamo.messages.fields import Bytes, Kind, Many, Real, Row, Text, Where, Whole, Word, YesNo
from dynazmq.dynamo.messages.registry import Declaration
from dynazmq.dynamo.values.versions import EMPTY, Context, encode, put, sync

NAMES = ("a", "b", "c", "d", "e")
BUCKETS = ("default", "carts", "ünï", "last")
KEYS = tuple(b"key %d" % i for i in range(24))

_DECLARED: dict[type, Declaration] = {each.cls: each for each in DECLARATIONS}
_ELEMENTS_MAX = 6
_OTHER_TYPES: tuple[Any, ...] = (None, True, 7, -1, 1.5, "text", b"bytes", [], [1], [[[]]], [["a", 1]])


class Draw:
    """From one source of chance."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def value(self, name: str, kind: Kind) -> Any:
        """One that is admitted: mostly one that means something."""
        chance = self.random
        match kind:
            case Whole(low, high):
                usual = [low, high, 0, 1, 2, 3, chance.randrange(1 << 10), chance.randrange(1 << 20), chance.randint(low, high)]
                return min(max(chance.choice(usual), low), high)
            case Real(high):
                return chance.choice((1.0, 0.5, high, 5e-324))
            case YesNo():
                return chance.random() < 0.5
            case Bytes(low, high, nil):
                return self._bytes(name, low, high, nil)
            case Text(low, high, _):
                pool = BUCKETS if "bucket" in name else (*NAMES, "f", *([""] if not low else []))
                return (
                    chance.choice(pool) if chance.random() < 0.97 else chance.choice(("x" * high, "ü" * (high // 2), "y" * low))
                )
            case Word(words):
                return chance.choice(words)
            case Where():
                return chance.choice(("ipc://a", "ipc://b", "tcp://127.0.0.1:7000", "ipc://" + "p" * 200, "tcp://nowhere:1"))
            case Many(of, high):
                count = chance.choice((0, 1, 2, _ELEMENTS_MAX)) if chance.random() < 0.99 else min(high, 600)
                return [self.value(name, of) for _ in range(min(count, high))]
            case Row(_, columns, required, empty):
                if empty and chance.random() < 0.3:
                    return []
                width = len(columns) if chance.random() < 0.9 else chance.randint(required, len(columns))
                return [self.value(*column) for column in columns[:width]]

    def _bytes(self, name: str, low: int, high: int, nil: bool) -> bytes | None:
        chance = self.random
        if nil and chance.random() < 0.2:
            return None
        if name in ("state", "remains"):
            return self.state()
        if "key" in name:
            return chance.choice(KEYS) if chance.random() < 0.97 else chance.randbytes(chance.choice((low, high)))
        if name == "write_id":
            return b"%016d" % chance.randrange(40)
        return chance.randbytes(chance.choice((low, min(high, 8), min(high, 8), min(high, max(low, 300)))))

    # --- states -----------------------------------------------------------------------------------------------------------

    def state(self) -> bytes:
        """Of a key: some writes, one beside or over the other. Sometimes a bit of it is another."""
        chance = self.random
        if chance.random() < 0.05:
            return b""
        state = EMPTY
        for _ in range(chance.choice((1, 1, 2, 3, 9))):
            other, _, _ = put(
                state if chance.random() < 0.5 else EMPTY, state.context if chance.random() < 0.5 else Context(), self._actor(),
                chance.choice((b"v", None, b"", chance.randbytes(chance.choice((3, 300))))), b"%016d" % chance.randrange(40),
                chance.choice((0, 1, 1_700_000_000_000, (1 << 48) - 1)), chance.choice((0, 0, 0, 5, (1 << 48) - 3)),
            )  # fmt: skip
            if chance.random() < 0.2:
                other = other.with_retried(*[sibling.write_id for sibling in other.live])
            state = sync(state, other) if chance.random() < 0.5 else other
        if chance.random() < 0.2:
            state = state.with_retried(b"%016d" % chance.randrange(40))
        raw = bytearray(encode(state))
        if chance.random() < 0.25:
            for _ in range(chance.choice((1, 1, 1, 3))):
                raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        return bytes(raw)

    def _actor(self) -> str:
        epoch = self.random.choice(("00000000ff", "00000000ff.1", *self.epochs))
        return f"{self.random.choice(NAMES)}~{epoch}" if self.random.random() < 0.98 else "~lww"

    epochs: tuple[str, ...] = ()
    """Of the node's own lives, so that its own dots are told it as well."""

    # --- messages ---------------------------------------------------------------------------------------------------------

    def message(self, kind: type[Message], **fixed: Any) -> list[Any]:
        """A row that is admitted."""
        declared = _DECLARED[kind]
        return [declared.code, *[fixed[name] if name in fixed else self.value(name, each) for name, each in declared.fields]]

    def spoiled(self, row: list[Any]) -> list[Any]:
        """The same with one thing that is not as it should be: a value out of bounds, of another type, a field less or more."""
        chance = self.random
        if len(row) == 1 or chance.random() < 0.1:
            return [*row, 1] if chance.random() < 0.5 else row[: chance.randrange(1, len(row) + 1)]
        fields = DECLARATIONS[row[0]].fields
        at = chance.randrange(len(fields))
        return [*row[: at + 1], self._spoil(row[at + 1], fields[at][1]), *row[at + 2 :]]

    def _spoil(self, value: Any, kind: Kind) -> Any:
        chance = self.random
        if isinstance(value, list) and value and chance.random() < 0.7:
            at = chance.randrange(len(value))
            inner = (
                kind.of
                if isinstance(kind, Many)
                else kind.columns[min(at, len(kind.columns) - 1)][1]
                if isinstance(kind, Row)
                else kind
            )
            if chance.random() < 0.2:
                return value[:at] if chance.random() < 0.5 else [*value, *value]
            return [*value[:at], self._spoil(value[at], inner), *value[at + 1 :]]
        match kind:
            case Whole(low, high) if chance.random() < 0.7:
                return chance.choice(
                    [each for each in (low - 1, high + 1, (1 << 64) - 1, -(1 << 63), 1 << 63) if -(1 << 63) <= each < 1 << 64]
                )
            case Bytes(low, high, _) if chance.random() < 0.7:
                return bytes(chance.choice((max(low - 1, 0), min(high + 1, 1 << 17))))
            case Text(low, high, _) if chance.random() < 0.7:
                return chance.choice(("x" * (high + 1), "ü" * high, "a\x00b", "a\nb", ""))
            case Real() if chance.random() < 0.7:
                return chance.choice((0.0, -1.0, float("nan"), float("inf"), 1e308))
            case Where() if chance.random() < 0.7:
                return chance.choice(("bogus", "", "ipc://", "tcp://a", "ipc://\x00", "tcp://*:*", "inproc://a"))
        return chance.choice(_OTHER_TYPES)

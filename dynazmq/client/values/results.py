"""What the calls of a client return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dynazmq.client.values.context import Context
from dynazmq.errors import ConflictError, DynazmqError, KeyNotFound

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Sibling:
    """One of the concurrent values, and where it comes from. The dot (node, counter) names its write."""

    value: Any
    node: str
    counter: int
    written_at: float
    """Seconds since 1970 on the coordinator's clock: for people, nothing is decided by it."""


@dataclass(slots=True, eq=False)
class Result:
    """What a get found. Equal to another that read the same versions of the key."""

    key: str | bytes
    values: list[Any]
    """All concurrent values: none, one, or several. One when a resolver is set."""
    context: Context
    responders: tuple[str, ...]
    """The nodes whose copies it rests on."""
    origins: list[Any]
    """As they came: [value, node, counter, milliseconds since 1970] of each concurrent value; see `siblings`."""
    required: int = 0
    """Of a best-effort read: as many replies make it a full one."""
    unseen: tuple[str, ...] = ()
    """Of a best-effort read that had fewer: the key's primaries that have not answered. What they hold is not known, and without
    a value neither is whether there is one."""

    @property
    def found(self) -> bool:
        return bool(self.values)

    @property
    def siblings(self) -> tuple[Sibling, ...]:
        """The concurrent values with their origin, as they were before a resolver."""
        return tuple(Sibling(value, node, counter, at_ms / 1000) for value, node, counter, at_ms in self.origins)

    @property
    def value(self) -> Any:
        """The one value; None when absent. Raises ConflictError when there are several and no resolver is set."""
        values = self.values
        if len(values) > 1:
            text = f"key {self.key!r} has {len(values)} concurrent values: put one with this result's context, or set a resolver"
            raise ConflictError(text, self)
        return values[0] if values else None

    def unwrap(self) -> Any:
        """The one value. Raises KeyNotFound when absent, ConflictError when there are several."""
        if not self.values:
            raise KeyNotFound(f"no value for key {self.key!r}")
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and (self.key, self.context) == (other.key, other.context)

    def __hash__(self) -> int:
        return hash((self.key, self.context))


@dataclass(slots=True)
class PutResult:
    """A put or delete that W nodes hold durably."""

    context: Context
    """What the caller has seen now: the context that was given, and this write."""
    acked: tuple[str, ...]
    """Nodes that hold it for certain; others may follow."""
    stand_ins: tuple[tuple[str, str], ...]
    """(fallback that holds it with a hint, primary that it is meant for) among those."""


def collected(outcomes: Iterable[tuple[K, V | DynazmqError]]) -> Batch[K, V]:
    """All of them. An error that ends their coming is raised, with a note on those before it."""
    batch: Batch[K, V] = Batch()
    try:
        for key, outcome in outcomes:
            batch[key] = outcome
    except Exception as error:
        error.add_note(batch.told())
        raise
    return batch


class Batch(dict[K, "V | DynazmqError"]):
    """Outcome by key of a get_many, put_many or delete_many. Partial success is normal."""

    @property
    def ok(self) -> Mapping[K, V]:
        return {key: value for key, value in self.items() if not isinstance(value, DynazmqError)}

    @property
    def failed(self) -> Mapping[K, DynazmqError]:
        return {key: value for key, value in self.items() if isinstance(value, DynazmqError)}

    def told(self) -> str:
        """What can be said of these when something has kept the others from being begun."""
        return f"{len(self.ok):,} of the {len(self):,} keys before it were done, no other was begun"

    def raise_for_errors(self) -> None:
        """Raise the first error, if there is any."""
        for value in self.values():
            if isinstance(value, DynazmqError):
                raise value

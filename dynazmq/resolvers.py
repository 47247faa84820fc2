"""Ready-made answers to siblings: `db.bucket("carts", codec="json", resolver=resolvers.union)`.

A resolver is any callable that makes one value of a list of two or more. It must give the same for any order of the list, or two
readers will write two different values. The merged value is written back with the context that covers what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def union(values: list[Any]) -> Any:
    """Of lists: every item once. Of dicts: every key; where both have it, the larger value. The shopping cart of §4.4.

    What was removed from one sibling and not from the other comes back, as it did in the paper.
    """
    if all(isinstance(value, dict) for value in values):
        merged: dict[Any, Any] = {}
        for value in values:
            for key, item in value.items():
                merged[key] = max(merged[key], item) if key in merged else item
        return merged
    if all(isinstance(value, list) for value in values):
        items = {repr(item): item for value in values for item in value}
        return [items[name] for name in sorted(items)]
    raise TypeError(f"union merges dicts or lists, not {' and '.join(sorted({type(value).__name__ for value in values}))}")


def largest(values: list[Any]) -> Any:
    """The largest by Python's order."""
    return max(values)


def by_field(name: str) -> Callable[[list[Any]], Any]:
    """The dict whose field `name` is largest, such as a time of change."""

    def resolve(values: list[Any]) -> Any:
        return max(values, key=lambda value: (value[name], repr(value)))

    return resolve

"""Ready-made answers to siblings: `db.bucket("carts", codec="json", resolver=resolvers.union)`.

A resolver is any callable that makes one value of a list of two or more. It must give the same for any order of the list, or two
readers will write two different values. The merged value is written back with the context that covers what it was made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def union(values: list[Any]) -> Any:
    """Of lists: every item once. Of dicts: every key; where several have it, the largest value. The shopping cart of §4.4.

    What was removed from one sibling and not from the other comes back, as it did in the paper.
    """
    if all(isinstance(value, dict) for value in values):
        keys = {repr(key): key for value in values for key in value}
        return {keys[name]: largest([v[keys[name]] for v in values if keys[name] in v]) for name in sorted(keys)}
    if all(isinstance(value, list) for value in values):
        items = {repr(item): item for value in values for item in value}
        return [items[name] for name in sorted(items)]
    raise TypeError(f"union merges dicts or lists, not {' and '.join(sorted({type(value).__name__ for value in values}))}")


def largest(values: list[Any]) -> Any:
    """The largest by Python's order."""
    return max(sorted(values, key=repr))  # sorted: of equal ones that differ, such as 1 and True, always the same


def by_field(name: str) -> Callable[[list[Any]], Any]:
    """The dict whose field `name` is largest, such as a time of change."""

    def resolve(values: list[Any]) -> Any:
        return max(values, key=lambda value: (value[name], repr(value)))

    return resolve

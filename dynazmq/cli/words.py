"""From what people type to values, and back: durations, sizes, counts, lists of nodes. Pure, but for what day is today."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from dynazmq.errors import InvalidRequest

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS_B = {"": 1, "b": 1, "k": 1000, "kb": 1000, "kib": 1 << 10, "m": 10**6, "mb": 10**6, "mib": 1 << 20}
_RANGE = re.compile(r"\[(\d+)-(\d+)\]")
_NODES_MAX = 10_000


def seconds(text: str) -> float:
    """ "250ms", "2s", "5m"; a number alone is seconds. Raises InvalidRequest."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    unit = _UNITS_S.get(found[2] or "s") if found else None
    if found is None or unit is None:
        raise InvalidRequest(f"not a duration: {text!r}; write for example 250ms, 2s or 5m")
    return float(found[1]) * unit


def size_bytes(text: str) -> int:
    """ "100", "64KiB", "1MB". Raises InvalidRequest."""
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    unit = _UNITS_B.get(found[2]) if found else None
    if found is None or unit is None:
        raise InvalidRequest(f"not a size: {text!r}; write for example 100, 64KiB or 1MB")
    return int(found[1]) * unit


def select(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The nodes that "n1,n3", "n[2-4]", "n*" mean, in the cluster's order. Raises InvalidRequest for one that means none."""
    chosen: set[str] = set()
    for pattern in [part.strip() for each in patterns for part in each.split(",") if part.strip()]:
        found = {name for exact in _ranges(pattern) for name in names if fnmatchcase(name, exact)}
        if not found:
            raise InvalidRequest(f"no node {pattern!r}; there are {brief(names, 40)}")
        chosen |= found
    return [name for name in names if name in chosen]


def choose(patterns: Sequence[str], names: Sequence[str], *, all_: bool, at_random: bool, unsaid_all: bool = False) -> list[str]:
    """The nodes that NODE…, --all and --random mean: just one of them must be said. unsaid_all: none is all of them, too.

    Raises InvalidRequest, with the names that there are.
    """
    said = all_ + at_random + bool(patterns)
    if said > 1 or not (said or unsaid_all):
        raise InvalidRequest(f"which nodes? name them (n1,n3 or n[2-4]), or say --all or --random; there are {brief(names, 40)}")
    if not names:
        raise InvalidRequest("there are no nodes")
    if at_random:
        import random

        return [random.choice(names)]
    if not patterns:
        return list(names)
    if not (chosen := select(patterns, names)):
        raise InvalidRequest(f"no node in {' '.join(patterns)!r}; there are {brief(names, 40)}")
    return chosen


def _ranges(pattern: str) -> list[str]:
    """ "n[8-12]" → n8 … n12: to a glob it would be one character."""
    found = _RANGE.search(pattern)
    if found is None:
        return [pattern]
    first, last = int(found[1]), int(found[2])
    if last - first >= _NODES_MAX:
        raise InvalidRequest(f"{pattern!r} is too wide")
    return [each for i in range(first, last + 1) for each in _ranges(f"{pattern[: found.start()]}{i}{pattern[found.end() :]}")]


def quorum(text: str | None) -> int | str | None:
    """ "2", "one", "quorum", "all". Raises InvalidRequest."""
    if text is None or text in ("one", "quorum", "all"):
        return text
    if text.isdecimal():
        return int(text)
    raise InvalidRequest(f"not a quorum: {text!r}; write a number, one, quorum or all")


def span(value: float | None) -> str:
    """Seconds for people: 0.4s, 18s, 12m, 3h, 2d; never two units."""
    if value is None:
        return "–"
    if value < 9.95:
        return f"{value:.1f}s"
    for unit, width in (("s", 100), ("m", 100 * 60), ("h", 48 * 3600)):
        if value < width:
            return f"{value / _UNITS_S[unit]:.0f}{unit}"
    return f"{value / 86400:.0f}d"


def moment(at: float) -> str:
    """Seconds since 1970 for people: the time of day with milliseconds, and the date before it where it is not today's."""
    then = time.localtime(at)
    clock = f"{time.strftime('%H:%M:%S', then)}.{int(at * 1000) % 1000:03d}"
    return clock if then[:3] == time.localtime()[:3] else f"{time.strftime('%Y-%m-%d', then)} {clock}"


def short(value: float | None) -> str:
    """A count in at most five characters: 999, 1.2k, 30.1k, 412k, 1.2M."""
    if value is None:
        return "–"
    for unit, width in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)):
        scaled = value / width
        if scaled < 99.95 and unit:
            return f"{scaled:.1f}{unit}"
        if scaled < 999.5:
            return f"{scaled:.0f}{unit}"
    return f"{value:.0e}"


def size(value: float | None) -> str:
    if value is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def brief(values: Sequence[str], most: int = 8) -> str:
    """Names in a row, the many cut short."""
    return " ".join(values) if len(values) <= most else f"{' '.join(values[: most - 1])} +{len(values) - most + 1}"


def many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

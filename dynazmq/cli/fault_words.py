"""What people type of a fault, on the command line or in a schedule, to the fault. Pure.

partition n1,n2/n3,n4,n5      also  n1,n2 / n3,n4,n5      also  'n[1-2]/n[3-5]'
one-way n1 n2                 isolate n3                  slow n3 200ms        slow n3 --delay 200ms --jitter 50ms
drop n1/n2 0.1                drop n3 --rate 0.1          skew n2 --by -5m     disk-full n4
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynazmq.cli.words import seconds, select
from dynazmq.errors import InvalidRequest
from dynazmq.faults import DISK_FULL, DROP, ISOLATE, KINDS, ONE_WAY, PARTITION, SKEW, SLOW, Fault, check

_FIGURE = {SLOW: "delay", DROP: "rate", SKEW: "by"}
"""What may be written behind the nodes, without its name."""

_OPTIONS: dict[str, tuple[str, ...]] = {SLOW: ("delay", "jitter"), DROP: ("rate",), SKEW: ("by",)}
_EXAMPLES = {
    PARTITION: "partition n1,n2/n3,n4,n5",
    ONE_WAY: "one-way n1 n2",
    ISOLATE: "isolate n3",
    SLOW: "slow n3 --delay 200ms",
    DROP: "drop n1/n2 --rate 0.1",
    SKEW: "skew n2 --by 5m",
    DISK_FULL: "disk-full n4",
}


def fault_of(kind: str, words: Sequence[str], options: Mapping[str, str], names: Sequence[str]) -> Fault:
    """names: the cluster's nodes. Raises InvalidRequest."""
    if kind not in KINDS:
        raise InvalidRequest(f"no fault {kind!r}; there are {' '.join(KINDS)}")
    given = dict(options)
    for name in given:
        if name not in _OPTIONS.get(kind, ()):
            raise InvalidRequest(f"{kind} has no --{name}; write for example {_EXAMPLES[kind]}")
    words = list(words)
    figure = _FIGURE.get(kind)
    if figure and figure not in given and len(words) > 1 and words[-1][:1] in "+-.0123456789":
        given[figure] = words.pop()
    if not words:
        raise InvalidRequest(f"{kind} of which nodes? write for example {_EXAMPLES[kind]}")
    if figure and figure not in given:
        raise InvalidRequest(f"{kind} needs --{figure}; write for example {_EXAMPLES[kind]}")
    nodes, sides = _placed(kind, words, names)
    fault = Fault(
        kind=kind,
        nodes=nodes,
        sides=sides,
        delay_ms=_ms(given.get("delay", "0")),
        jitter_ms=_ms(given.get("jitter", "0")),
        rate=_rate(given["rate"]) if "rate" in given else 0.0,
        by_ms=_ms(given.get("by", "0")),
    )
    check(fault, names)
    return fault


def _placed(kind: str, words: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """(nodes, sides), of which one is empty."""
    parts = [part.split() for part in " ".join(words).split("/")]
    if kind == ONE_WAY and len(parts) == 1 and len(parts[0]) == 2:
        parts = [[parts[0][0]], [parts[0][1]]]
    if kind in (PARTITION, ONE_WAY) or (kind == DROP and len(parts) > 1):
        return (), tuple(tuple(select(part, names)) for part in parts)
    if len(parts) > 1:
        raise InvalidRequest(f"{kind} takes nodes and no sides; write for example {_EXAMPLES[kind]}")
    return tuple(select(parts[0], names)), ()


def _ms(text: str) -> int:
    """A duration, which may be behind: "-5m"."""
    ms = round(seconds(text[1:] if text[:1] in ("+", "-") else text) * 1000)
    return -ms if text.startswith("-") else ms


def _rate(text: str) -> float:
    """ "0.1" or "10%"."""
    percent = text.endswith("%")
    try:
        return float(text.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        raise InvalidRequest(f"not a rate: {text!r}; write for example 0.1 or 10%") from None


# --- a schedule -----------------------------------------------------------------------------------------------------------

NODE_VERBS = ("kill", "stop", "start", "restart", "pause", "resume")
_LINES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of a schedule: at `at_s` seconds after the start `verb` is done to `words`. fault: what it switches on."""

    at_s: float
    verb: str
    words: tuple[str, ...]
    text: str
    fault: Fault | None = None
    for_s: float | None = None
    nodes: tuple[str, ...] = ()


def steps_of(text: str, names: Sequence[str]) -> list[Step]:
    """All lines, in the order of their times. Raises InvalidRequest, with the number of the line."""
    steps = []
    lines = text.splitlines()
    if len(lines) > _LINES_MAX:
        raise InvalidRequest(f"a schedule of {len(lines):,} lines is over the limit of {_LINES_MAX:,}")
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
            if words:
                steps.append(_step(words, names))
        except ValueError as error:  # InvalidRequest is one; shlex has its own
            raise InvalidRequest(f"line {number}: {error}") from None
    if not steps:
        raise InvalidRequest("nothing is in it; write for example: 5s partition n1,n2/n3,n4,n5 for 10s")
    return sorted(steps, key=lambda step: step.at_s)


def _step(words: list[str], names: Sequence[str]) -> Step:
    text = " ".join(words[1:])
    if len(words) < 2:
        raise InvalidRequest(f"a time and what is to be done then, not {words[0]!r}")
    at_s, verb, rest = seconds(words[0]), words[1], words[2:]
    if verb == "heal":
        return Step(at_s=at_s, verb=verb, words=tuple(rest), text=text)
    if verb in NODE_VERBS:
        nodes = tuple(names) if rest == ["--all"] else tuple(select(rest, names))
        if not nodes:
            raise InvalidRequest(f"{verb} which nodes? write for example {verb} n3")
        return Step(at_s=at_s, verb=verb, words=tuple(rest), text=text, nodes=nodes)
    if verb not in KINDS:
        raise InvalidRequest(f"no verb {verb!r}; there are {' '.join((*KINDS, 'heal', *NODE_VERBS))}")
    for_s = None
    if len(rest) > 1 and rest[-2] in ("for", "--for"):
        for_s = seconds(rest[-1])
        rest = rest[:-2]
        if not for_s:
            raise InvalidRequest("a fault lasts for more than 0s")
    plain, options = _split(rest)
    return Step(at_s=at_s, verb=verb, words=tuple(plain), text=text, fault=fault_of(verb, plain, options, names), for_s=for_s)


def _split(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Plain words, and options with their values: "--delay 200ms", "--delay=200ms"."""
    plain: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if not word.startswith("--"):
            plain.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        options[name] = value if equals else next(left, "")
        if not options[name]:
            raise InvalidRequest(f"--{name} needs a value")
    return plain, options

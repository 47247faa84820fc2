"""What `explain` finds of one key: values, and how they are written as JSON (`dynazmq explain --json`, schema dynazmq.explain/1).

explain.py makes them from what the nodes tell; the command line, the terminal UI and programs only read them.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

PREVIEW_BYTES = 400
"""So much of a value is shown, in text and JSON. The values here are whole."""


@dataclass(frozen=True, slots=True)
class Version:
    """One live version: its dot (actor, counter) and its value. None is a tombstone: it was deleted."""

    actor: str
    counter: int
    value: bytes | None
    written_at: float
    """Seconds since 1970 on its coordinator's clock."""

    @property
    def node(self) -> str:
        """Whose write it is, for people: an actor is a node in one life of its disk."""
        return self.actor.partition("~")[0]


@dataclass(frozen=True, slots=True)
class State:
    """What is stored of a key in one place: its live versions, and the clock that says which writes they have seen."""

    live: tuple[Version, ...]
    clock: dict[str, int]
    """actor → all of its writes up to this one."""
    dots: tuple[tuple[str, int], ...]
    """Single writes beyond the clock."""
    size: int
    """Bytes as stored, values included."""
    digest: str
    """Equal for equal states."""

    @property
    def values(self) -> list[bytes]:
        return [version.value for version in self.live if version.value is not None]


@dataclass(frozen=True, slots=True)
class Hint:
    """What a node keeps of the key for another one. kept_s: for how long, None if that is not known; no state: damaged."""

    target: str
    state: State | None
    kept_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One node, in the key's preference list or beside it, and what it holds."""

    node: str
    rank: int
    """Place in the preference list, from 1; 0: in none."""
    role: str
    """primary | fallback | new owner | old owner (while members come or go) | none"""
    state: str
    """up | silent (its peers can reach it) | suspect | down | unknown"""
    seen_by: dict[str, str]
    """peer → up | suspect | down, by the word of those that answered"""
    answers: bool
    error: str = ""
    """Why it did not tell what it holds."""
    cannot_store: str = ""
    """Why its commits fail, by its own word; "" while it can store."""
    stands_in_for: str = ""
    held: State | None = None
    """Its own copy; None when there is none, or nobody knows (`known`)."""
    damaged: bool = False
    hints: tuple[Hint, ...] = ()
    stray: bool = False
    """It has a copy of its own and is not one of those who should."""
    process: str = ""
    """The process as its supervisor knows it, where somebody asked: running, paused, killed (9), …"""

    @property
    def known(self) -> bool:
        """Whether it said what it holds."""
        return self.answers and not self.error


@dataclass(frozen=True, slots=True)
class Answer:
    """What a get would return now from one of its possible coordinators."""

    via: str
    asks: tuple[str, ...]
    """The replicas on which it would rest."""
    passes_over: tuple[str, ...]
    """Those that it would ask first, and that do not answer."""
    state: State
    """The merge of what they hold."""

    @property
    def found(self) -> bool:
        return bool(self.state.values)


@dataclass(frozen=True, slots=True)
class Quorum:
    """needed replies of the nodes that can be reached now; for a put, of those among them that can store."""

    needed: int
    reachable: int

    @property
    def met(self) -> bool:
        return self.reachable >= self.needed


@dataclass(frozen=True, slots=True)
class Step:
    """What will make the copies equal. kind: hint delivery | read repair | anti-entropy | transfer | handover | forgetting |
    resolve | nothing. by: who does it; to: with whom; when: in words."""

    kind: str
    by: str
    to: tuple[str, ...]
    when: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a key lives, who holds what of it now, what a get would return, and what happens next."""

    bucket: str
    key: bytes
    place: int
    partition: int
    owners: tuple[str, ...]
    """Of all partitions."""
    ring_version: int
    phase: str
    """rest | filling (new owners get copies) | flipped (old owners hand over what is left)"""
    n: int
    r: int
    w: int
    conflict: str
    copies: tuple[Copy, ...]
    """In the order of the preference list; then those that are in none."""
    reads: Quorum
    writes: Quorum
    answers: tuple[Answer, ...] = ()
    """By coordinator; () when no get can be served."""
    repair: tuple[Step, ...] = field(default_factory=tuple)

    @property
    def agreed(self) -> bool:
        """Whether a get returns the same whoever serves it."""
        return len({answer.state.digest for answer in self.answers}) <= 1

    @property
    def states(self) -> tuple[State, ...]:
        """The distinct states that are held anywhere, copies before hints."""
        held = [copy.held for copy in self.copies if copy.held is not None]
        held += [hint.state for copy in self.copies for hint in copy.hints if hint.state is not None]
        return tuple({state.digest: state for state in reversed(held)}.values())[::-1]

    def document(self) -> dict[str, Any]:
        """As JSON has it, but for the schema's name."""
        key, encoding = text_of(self.key)
        return {
            "bucket": self.bucket,
            "key": key,
            "encoding": encoding,
            "place": f"{self.place:016x}",
            "partition": self.partition,
            "ring": {"version": self.ring_version, "partitions": len(self.owners), "phase": self.phase},
            "policy": {"n": self.n, "r": self.r, "w": self.w, "conflict": self.conflict},
            "copies": [_copy(copy) for copy in self.copies],
            "get": {
                **_quorum(self.reads),
                "agreed": self.agreed,
                "answers": [
                    {
                        "via": answer.via,
                        "asks": list(answer.asks),
                        "passes_over": list(answer.passes_over),
                        "found": answer.found,
                        **_state(answer.state),
                    }
                    for answer in self.answers
                ],
            },
            "put": _quorum(self.writes),
            "repair": [
                {"kind": step.kind, "by": step.by, "to": list(step.to), "when": step.when, "why": step.why}
                for step in self.repair
            ],
        }


def text_of(raw: bytes) -> tuple[str, str]:
    """As JSON can hold it, and the encoding: utf-8 or base64."""
    try:
        return raw.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode(), "base64"


def _quorum(quorum: Quorum) -> dict[str, Any]:
    return {"met": quorum.met, "needed": quorum.needed, "reachable": quorum.reachable}


def _copy(copy: Copy) -> dict[str, Any]:
    return {
        "node": copy.node,
        "rank": copy.rank,
        "role": copy.role,
        "state": copy.state,
        "process": copy.process,
        "seen_by": copy.seen_by,
        "known": copy.known,
        "error": copy.error,
        "cannot_store": copy.cannot_store or None,
        "stands_in_for": copy.stands_in_for,
        "held": None if copy.held is None else _state(copy.held),
        "damaged": copy.damaged,
        "stray": copy.stray,
        "hints": [
            {"target": hint.target, "kept_s": hint.kept_s, "held": None if hint.state is None else _state(hint.state)}
            for hint in copy.hints
        ],
    }


def _state(state: State) -> dict[str, Any]:
    return {
        "versions": [_version(version) for version in state.live],
        "clock": state.clock,
        "dots": [list(dot) for dot in state.dots],
        "bytes": state.size,
        "digest": state.digest,
    }


def _version(version: Version) -> dict[str, Any]:
    value = version.value
    shown, encoding = (None, "utf-8") if value is None else text_of(cut(value))
    return {
        "node": version.node,
        "actor": version.actor,
        "counter": version.counter,
        "written_at": version.written_at,
        "deleted": value is None,
        "preview": shown,
        "encoding": encoding,
        "value_bytes": 0 if value is None else len(value),
    }


def cut(value: bytes) -> bytes:
    """A value's beginning, not in the middle of a character."""
    if len(value) <= PREVIEW_BYTES:
        return value
    head = value[:PREVIEW_BYTES]
    for back in range(4):
        try:
            head[: PREVIEW_BYTES - back].decode()
        except UnicodeDecodeError:
            continue
        return head[: PREVIEW_BYTES - back]
    return head

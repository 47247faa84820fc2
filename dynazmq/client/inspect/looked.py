"""What one node told of a key, read into values. What makes no sense is an error of that node, never of who reads it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dynazmq.dynamo.messages import LookTell, StatusReply, Topology
from dynazmq.dynamo.values.lww import latest
from dynazmq.dynamo.values.versions import EMPTY, Siblings, decode, encode, sync


@dataclass(slots=True)
class Told:
    """What one node said, or why not."""

    look: LookTell | None = None
    topology: Topology | None = None
    status: StatusReply | None = None
    error: str = ""


@dataclass(slots=True)
class Node:
    """What is known of one node, read out of what was told."""

    name: str
    answers: bool
    error: str
    sees: dict[str, str]  # peer → up | suspect | down
    status: dict[str, Any]
    own: Siblings | None  # None: not known, or damaged
    raw: bytes
    damaged: bool
    hints: list[tuple[str, bytes, int]]  # target, state (b"" for a damaged one), age in ms or -1
    all: Siblings = EMPTY  # own copy and hints, as a read shows them

    @property
    def cannot_store(self) -> str:
        """Why its commits fail, by its own word; "" while it can store."""
        return str(self.status.get("cannot_store") or "")

    def reaches(self, name: str) -> bool:
        return name == self.name or self.sees.get(name) == "up"


def node_of(name: str, told: Told) -> Node:
    error = told.error
    own, raw, damaged, hints = None, b"", False, []
    if told.look is not None:
        raw, damaged = told.look.state, told.look.damaged
        try:
            own = None if damaged else decode(raw)
            hints = [(str(target), bytes(state), int(age)) for target, state, age in told.look.hints]
            every = [own or EMPTY, *(decode(state) for _, state, _ in hints)]
        except (ValueError, TypeError) as problem:
            error, own, raw, hints, every = f"it tells what makes no sense: {problem}", None, b"", [], []
    else:
        every = []
    answers = told.look is not None or told.topology is not None
    node = Node(name, answers, error, _sees(told.topology), _status(told.status), own, raw, damaged, hints)
    for state in every:
        node.all = sync(node.all, state)
    return node


def _sees(topology: Topology | None) -> dict[str, str]:
    try:
        return {str(name): str(state) for name, _, _, state in topology.members} if topology is not None else {}
    except (ValueError, TypeError):
        return {}


def _status(reply: StatusReply | None) -> dict[str, Any]:
    try:
        status = json.loads(reply.status) if reply is not None else {}
    except (ValueError, RecursionError):
        return {}
    return status if isinstance(status, dict) else {}


def merged(states: Iterable[Siblings], *, lww: bool = False) -> Siblings:
    """What becomes of states that meet in one read."""
    every = list(states)
    one = EMPTY
    for state in every:
        one = sync(one, state)
    return latest(one, *every)[0] if lww and len(one.live) != 1 else one


def raw_of(state: Siblings) -> bytes:
    """As it is stored: nothing, if nothing was ever written."""
    return encode(state) if state.context else b""

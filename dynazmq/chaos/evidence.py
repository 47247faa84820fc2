"""What is stored in the end: the state of each key at its primaries, asked as `explain` does, and what `verify --deep` finds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dynazmq.client.api.sync import Client
from dynazmq.client.core.requests import Request
from dynazmq.client.values.view import View
from dynazmq.cluster.observe import events
from dynazmq.cluster.observe.comparison import Finding
from dynazmq.cluster.observe.snapshot import Event
from dynazmq.cluster.observe.verify import verify
from dynazmq.dynamo.messages import LookAsk
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import decode
from dynazmq.errors import DynazmqError

_LOOK_S = 10.0
_PAGE = 4  # keys: their states may be large, and a node lets 8 MiB wait for one client (wire/lending.py)
_TOLD_CHARS, _TOLD_BYTES = 2_000, 16

_LATE_S, _LOOK_AGAIN_S = 20.0, 1.0
"""Replicas become equal by themselves (promise 5). What of a put was still under way when the cluster seemed to be at rest may
make a key differ once more; it is the same everywhere a round of anti-entropy later."""


@dataclass(slots=True)
class Held:
    """Of one key: its primaries' states, by name; how many hints wait for it."""

    states: dict[str, bytes] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)  # who has not answered: nothing can be said of the key then
    hints: int = 0

    @property
    def equal(self) -> bool:
        return len(set(self.states.values())) <= 1 and not self.damaged


@dataclass(slots=True)
class Evidence:
    """unread: node → why it could not be asked. died: how nodes ended by themselves.

    late: of keys that differed at the first look and not for long, how.
    """

    held: dict[tuple[str, bytes], Held] = field(default_factory=dict)  # (bucket, key) → what is held of it
    findings: list[Finding] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    died: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)


class _Looker(Client):
    def look(self, keys: Iterable[tuple[str, bytes]], evidence: Evidence) -> None:
        """Asks the primaries of each key."""
        view = self._driver.view
        asked = [(each, name, request) for each in keys for name, request in _questions(view, *each)]
        self._driver.run([request for _, _, request in asked])
        for each, name, request in asked:
            held = evidence.held.setdefault(each, Held())
            if request.error is not None:
                evidence.unread[name] = str(request.error)
                held.unread.append(name)
                continue
            if request.reply.damaged:
                held.damaged.append(name)
            same = [state for state in held.states.values() if state == request.reply.state]
            held.states[name] = same[0] if same else request.reply.state  # large ones are kept once
            held.hints += len(request.reply.hints)

    def look_again(self, evidence: Evidence) -> None:
        """At those that differ, until they do no more or have had their time."""
        until = time.monotonic() + _LATE_S
        differ = {each: held for each, held in evidence.held.items() if not held.equal}
        first = dict(differ)
        while differ and time.monotonic() < until:
            time.sleep(_LOOK_AGAIN_S)
            for each in differ:
                del evidence.held[each]
            self.look(differ, evidence)
            differ = {each: evidence.held[each] for each in differ if each in evidence.held and not evidence.held[each].equal}
        evidence.late = [_told(*each, held) for each, held in first.items() if each not in differ]


def _told(bucket: str, key: bytes, held: Held) -> str:
    states = "; ".join(f"{name} {_state(raw)}" for name, raw in held.states.items())
    return f"{bucket}/{key.decode(errors='replace')}: {states[:_TOLD_CHARS]}"


def _state(raw: bytes) -> str:
    known = decode(raw)
    live = ", ".join(f"{each.actor}:{each.counter} {(each.value or b'')[:_TOLD_BYTES]!r}" for each in known.live)
    return f"[{live}] {known.context}"


def _questions(view: View, bucket: str, key: bytes) -> list[tuple[str, Request]]:
    at = place(bucket, key)
    found = []
    for name in view.ring.primaries(view.ring.partition_of(at), view.policy(bucket).n):
        request = Request(LookAsk(0, bucket, key), key, at, _LOOK_S, "explain")
        request.only = view.links[name]
        found.append((name, request))
    return found


def gather(directory: Path, keys: Iterable[tuple[str, bytes]], since_wall: float) -> Evidence:
    """Raises DynazmqError when nobody can be asked, or members come and go meanwhile."""
    evidence, wanted = Evidence(), list(keys)
    looker = _Looker(directory, timeout=_LOOK_S)
    try:
        for first in range(0, len(wanted), _PAGE):
            looker.look(wanted[first : first + _PAGE], evidence)
        looker.look_again(evidence)
    finally:
        looker.close()
    _verify(directory, evidence)
    evidence.died = [f"{each.node} {each.text}" for each in events.read(directory).events if _ended(each, since_wall)]
    return evidence


def _verify(directory: Path, evidence: Evidence) -> None:
    """All that is stored, that of users who are not recorded as well; again while something differs, for as long as above."""
    until, first = time.monotonic() + _LATE_S, list[Finding]()
    while True:
        report = verify(directory, deep=True, step=lambda _done, _total: None)
        first = first or report.findings
        if not report.findings or time.monotonic() >= until:
            break
        time.sleep(_LOOK_AGAIN_S)
    evidence.findings = report.findings
    evidence.unread.update(report.unread)
    evidence.late += [finding.text for finding in first if finding not in report.findings]


def _ended(event: Event, since_wall: float) -> bool:
    return event.kind == "died" and event.at >= since_wall


def final_reads(directory: Path, keys: Mapping[str, list[bytes]]) -> dict[tuple[str, bytes], list[bytes] | DynazmqError]:
    """What the public client finds of each key. keys: by bucket."""
    found: dict[tuple[str, bytes], list[bytes] | DynazmqError] = {}
    with Client(directory, timeout=_LOOK_S) as client:
        for name, those in keys.items():
            bucket = client.bucket(name)
            for first in range(0, len(those), _PAGE):
                for key, outcome in bucket.get_many(those[first : first + _PAGE]).items():
                    assert isinstance(key, bytes)
                    found[name, key] = outcome if isinstance(outcome, DynazmqError) else outcome.values
    return found

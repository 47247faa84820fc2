"""What is stored in the end: the state of each key at its primaries, asked as `explain` does, and what `verify --deep` finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dynazmq.client.requests import Request
from dynazmq.client.sync import Client
from dynazmq.client.view import View
from dynazmq.cluster import events
from dynazmq.cluster.comparison import Finding
from dynazmq.cluster.snapshot import Event
from dynazmq.cluster.verify import verify
from dynazmq.dynamo.messages import LookAsk
from dynazmq.dynamo.ring import place
from dynazmq.errors import DynazmqError

_LOOK_S = 10.0
_PAGE = 200  # keys


@dataclass(slots=True)
class Held:
    """Of one key: its primaries' states, by name; how many hints wait for it."""

    states: dict[str, bytes] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    hints: int = 0

    @property
    def equal(self) -> bool:
        return len(set(self.states.values())) <= 1 and not self.damaged


@dataclass(slots=True)
class Evidence:
    """unread: node → why it could not be asked. died: how nodes ended by themselves."""

    held: dict[tuple[str, bytes], Held] = field(default_factory=dict)  # (bucket, key) → what is held of it
    findings: list[Finding] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    died: list[str] = field(default_factory=list)


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
                continue
            if request.reply.damaged:
                held.damaged.append(name)
            held.states[name] = request.reply.state
            held.hints += len(request.reply.hints)


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
    finally:
        looker.close()
    report = verify(directory, deep=True, step=lambda _done, _total: None)
    evidence.findings = report.findings
    evidence.unread.update(report.unread)
    evidence.died = [f"{each.node} {each.text}" for each in events.read(directory).events if _ended(each, since_wall)]
    return evidence


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

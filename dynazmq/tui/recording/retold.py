"""An event log (DIR/events.jsonl) as snapshots: who was up when, as far as events tell. What nobody told is absent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dynazmq.cluster.observe.snapshot import Event, NodeView, Snapshot
from dynazmq.sequence import in_order

STEP_S = 1.0
QUIET_S = 30.0
"""Between events there is a moment each second, so that ages grow; where nothing happens for longer, none."""
EVENTS_KEPT = 200

_PROCESSES = {
    "started": ("up", "running"),
    "adopted": ("up", "running"),
    "resumed": ("up", "running"),
    "up": ("up", "running"),
    "killed": ("down", "killed (9)"),
    "failed": ("down", "failed"),
    "stopped": ("stopped", "stopped"),
    "paused": ("paused", "paused"),
    "wiped": ("stopped", "wiped"),
}
"""kind → the node's state, and the fact about its process."""


def is_event(document: Mapping[str, Any]) -> bool:
    words = all(isinstance(document.get(name), str) for name in ("node", "kind", "text"))
    return words and isinstance(document.get("at"), (int, float))


def retell(path: Path, documents: Iterable[Mapping[str, Any]]) -> Iterator[Snapshot]:
    """A snapshot for each event, and one for each second soon after it."""
    told = in_order([document for document in documents if is_event(document)], lambda each: float(each["at"]))
    names = sorted({str(each["node"]) for _, each in told if each["node"] != "*"}, key=lambda name: (len(name), name))
    world = _World(path, {name: _Node(name) for name in names})
    for index, (at, document) in enumerate(told):
        world.hear(at, document)
        yield world.seen(at)
        until = min(at + QUIET_S, told[index + 1][0] if index + 1 < len(told) else at)
        while (at := at + STEP_S) < until:
            yield world.seen(at)


@dataclass(slots=True)
class _Node:
    name: str
    state: str = "up"
    process: str = "running"
    since: float | None = None
    against: tuple[str, ...] = ()  # peers that do not see it, …
    word: str = "up"  # … and what they say
    word_since: float = 0.0
    hints: Mapping[str, int] = field(default_factory=dict)  # holder → how many wait there for it
    hints_since: float = 0.0
    member: bool = True


@dataclass(slots=True)
class _World:
    path: Path
    nodes: dict[str, _Node]
    events: list[Event] = field(default_factory=list)
    converged: bool = False
    trouble: float | None = None

    def hear(self, at: float, document: Mapping[str, Any]) -> None:
        kind, text = str(document["kind"]), str(document["text"])
        self.events = [*self.events, Event(at, str(document["node"]), text, kind)][-EVENTS_KEPT:]
        if kind == "converged":
            self.converged, self.trouble = True, None
        node = self.nodes.get(str(document["node"]))
        if node is None:
            return
        if kind == "died":
            self._becomes(node, at, "down", _ended(text))
        elif kind in _PROCESSES:
            self._becomes(node, at, *_PROCESSES[kind])
        if kind in ("suspected", "down", "up"):
            said = document.get("by")
            by = tuple(str(peer) for peer in said) if isinstance(said, list) else tuple(self.nodes)
            node.word, node.word_since = {"suspected": "suspect"}.get(kind, kind), at
            node.against = () if kind == "up" else by
        if kind == "hints":
            holders = document.get("holders")
            node.hints = {str(name): int(count) for name, count in holders.items()} if isinstance(holders, dict) else {}
            node.hints_since = at
        if kind in ("removed", "leaving"):
            node.member = kind != "removed"
        if kind in ("killed", "died", "stopped", "paused", "suspected", "down"):
            self.converged = False
            self.trouble = at if self.trouble is None else self.trouble

    @staticmethod
    def _becomes(node: _Node, at: float, state: str, process: str) -> None:
        if (node.state, node.process) != (state, process):
            node.state, node.process, node.since = state, process, at

    def seen(self, at: float) -> Snapshot:
        members = [node for node in self.nodes.values() if node.member]
        return Snapshot(
            name=self.path.name,
            directory=str(self.path.parent),
            taken_at=at,
            supervisor_pid=0,
            ring_version=0,
            owners=(),
            n=0,
            r=0,
            w=0,
            sync="full",
            transport="ipc",
            nodes=[self._view(node, members, at) for node in members],
            ring_agreed=True,
            converged=self.converged,
            degraded_s=None if self.trouble is None else at - self.trouble,
            events=self.events,
        )

    def _view(self, node: _Node, members: list[_Node], at: float) -> NodeView:
        peers = [peer for peer in members if peer is not node and peer.process == "running"]
        held = {target.name: target.hints[node.name] for target in members if node.name in target.hints}
        return replace(
            NodeView(name=node.name, endpoint="", state="suspect" if node.state == "up" and node.against else node.state),
            process=node.process,
            since_s=at - (node.since if node.since is not None else at),
            answers=node.process == "running",
            seen_by={peer.name: node.word if peer.name in node.against else "up" for peer in peers},
            seen_for_s={peer.name: at - node.word_since for peer in peers} if node.word_since else {},
            hints_for=held,
            hints_pending=sum(held.values()),
            hints_oldest_s={target.name: at - target.hints_since for target in members if target.name in held},
        )


def _ended(text: str) -> str:
    """The fact about a process, from what was told of its end."""
    found = re.search(r"(signal|code) (\d+)", text)
    return f"{'killed' if found[1] == 'signal' else 'exited'} ({found[2]})" if found else "gone"

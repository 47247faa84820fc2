"""What the faults that are on mean to one node, now.

Whoever sends a frame loses or delays it: so a partition is two halves, one at each side, and no node needs to know what the other
does. What several faults do to one link adds up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dynazmq.faults.fault import DISK_FULL, DROP, ISOLATE, ONE_WAY, PARTITION, SKEW, SLOW, Fault, touches


class Link(NamedTuple):
    """One direction: from this node to one peer."""

    cut: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    """The chance of a frame to be lost."""


class Effects:
    """ids: of the faults that this node has to do with. ends_at: when the first of them is over, on the wall clock; inf: none.

    disk_full: why nothing can be stored, "" when it can. network: whether some link is not as it should be.
    """

    __slots__ = ("_faults", "_links", "_name", "disk_full", "ends_at", "ids", "network", "skew_ms")

    def __init__(self, name: str, faults: Sequence[Fault] = (), wall_s: float = 0.0) -> None:
        self._name = name
        self._faults = [fault for fault in faults if not fault.over(wall_s) and touches(fault, name)]
        self._links: dict[str, Link] = {}
        self.ids = [fault.id for fault in self._faults]
        self.ends_at = min((fault.until for fault in self._faults if fault.until is not None), default=math.inf)
        self.skew_ms = sum(fault.by_ms for fault in self._faults if fault.kind == SKEW)
        self.disk_full = next((f"disk full (fault {fault.id})" for fault in self._faults if fault.kind == DISK_FULL), "")
        self.network = any(fault.kind not in (SKEW, DISK_FULL) for fault in self._faults)

    def link(self, peer: str) -> Link:
        known = self._links.get(peer)
        if known is None:
            known = self._links[peer] = self._look(peer)
        return known

    def _look(self, peer: str) -> Link:
        cut, delay_ms, jitter_ms, kept = False, 0, 0, 1.0
        for fault in self._faults:
            ends = self._name in fault.nodes or peer in fault.nodes
            if fault.kind == SLOW and ends:
                delay_ms += fault.delay_ms
                jitter_ms += fault.jitter_ms
            elif fault.kind == DROP and (ends or _apart(fault, self._name, peer)):
                kept *= 1.0 - fault.rate
            elif fault.kind == PARTITION:
                cut = cut or _apart(fault, self._name, peer)
            elif fault.kind == ONE_WAY:
                cut = cut or peer in fault.sides[1]  # that this node is on the first side is why it has to do with it
            elif fault.kind == ISOLATE:
                cut = cut or ends
        return Link(cut, delay_ms / 1000, jitter_ms / 1000, 1.0 - kept)


def _apart(fault: Fault, one: str, other: str) -> bool:
    """On two of its sides."""
    at = [side for side in fault.sides if one in side or other in side]
    return len(at) == 2

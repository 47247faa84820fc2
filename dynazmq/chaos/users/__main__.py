"""The process of the abuse: python -m dynazmq.chaos.users DIR SEED SECONDS

Standard output has a line of JSON for whatever there is to tell: {"on": KIND}, {"off": KIND}, {"tally": {name: figure}} now and
then and at the end. It ends after SECONDS, when its standard input ends, which it does with whoever started this, and when
nobody reads what it tells. What it holds open is bounded by each kind, and all of it by a limit on descriptors.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import zmq

from dynazmq import inherited
from dynazmq.chaos.users import plan
from dynazmq.chaos.users.bursts import bursts
from dynazmq.chaos.users.connections import connections
from dynazmq.chaos.users.garbage import garbage
from dynazmq.chaos.users.plan import Spell, spells
from dynazmq.chaos.users.readers import slow_readers
from dynazmq.chaos.users.stage import Kind, Scene, play, row
from dynazmq.paths import ClusterFile

KINDS: dict[str, Kind] = {
    plan.READERS: slow_readers,
    plan.CONNECTIONS: connections,
    plan.GARBAGE: garbage,
    plan.BURSTS: bursts,
}

DESCRIPTORS_MAX = 1_024
_NICE = 10
_TELL_S = 0.5


class HostClock:
    """The host's time."""

    def now(self) -> float:
        return time.monotonic()

    def cpu(self) -> float:
        return time.process_time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _Teller:
    """What is told, and of what."""

    def __init__(self, out: Callable[[str], Any], clock: HostClock) -> None:
        self.tally: Counter[str] = Counter()
        self._out = out
        self._clock = clock
        self._next = 0.0

    def spell(self, kind: str, begins: bool) -> None:
        self._tell({"on" if begins else "off": kind})

    def now_and_then(self) -> None:
        if self._clock.now() >= self._next:
            self._next = self._clock.now() + _TELL_S
            self.all()

    def all(self) -> None:
        self._tell({"tally": self.tally})

    def _tell(self, document: dict[str, Any]) -> None:
        self._out(json.dumps(document))


def abuse(directory: Path, seed: int, seconds: float, over: Callable[[], bool], out: Callable[[str], Any]) -> None:
    """All of it, until it is over. out: is given each line."""
    clock = HostClock()
    teller = _Teller(out, clock)
    until = clock.now() + seconds
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)

    def scene(spell: Spell) -> Scene:
        cluster = ClusterFile.load(directory)  # members come and go
        return Scene(cluster.cluster_id, cluster.members, context, Random(spell.seed), teller.tally)

    try:
        rows = [row(kind, spells(seed, name, seconds), scene, clock, teller.spell) for name, kind in KINDS.items()]
        play(rows, lambda: over() or clock.now() >= until, clock, teller.now_and_then)
    finally:
        context.destroy(linger=0)
        teller.all()


def main(directory: str, seed: str, seconds: str) -> None:
    os.nice(_NICE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    ended = threading.Event()

    def wait_for_the_end() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    with suppress(BrokenPipeError):
        abuse(Path(directory), int(seed), float(seconds), ended.is_set, lambda line: print(line, flush=True))


if __name__ == "__main__":
    inherited.prepare()
    main(*sys.argv[1:])

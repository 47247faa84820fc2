"""Virtual time and chance: all that happens in a simulated cluster happens in one thread, in an order that the seed decides.

A `World` is a heap of things to do, ordered by (time, sequence). Nothing in it waits: `run` takes the next thing, sets the clock
to its time and does it. Every source of chance is a `Random` of its own, made from the seed and a name, so that a node more or a
client less does not shift the fortunes of all others. What happens is hashed as it happens: two runs that end in the same hash
did the same things at the same times.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from random import Random
from typing import Any

_WALL_MS = 1_700_000_000_000
"""What the clocks on the simulated walls say at the beginning."""


class World:
    """One simulation's clock, its agenda and its record. `now` is in seconds and begins at 0."""

    def __init__(self, seed: int, log: bool = False) -> None:
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.log: list[str] | None = [] if log else None
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self._hash = blake2b(digest_size=16)

    def random(self, name: str) -> Random:
        """A source of chance for this purpose. The same seed and name give the same numbers, on any machine."""
        return Random(f"{self.seed}/{name}")

    @property
    def wall_ms(self) -> int:
        return _WALL_MS + int(self.now * 1000)

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call action(*arguments) at this time. What is due at one time is done in the order in which it was asked for."""
        self._sequence += 1
        heappush(self._agenda, (max(when, self.now), self._sequence, action, arguments))

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until `done`, for so long at most. Whether it came to that."""
        end = self.now + seconds
        agenda = self._agenda
        while not done():
            if not agenda or agenda[0][0] > end:
                self.now = end
                return done()
            self.now, _, action, arguments = heappop(agenda)
            self.events += 1
            action(*arguments)
        return True

    # --- the record -------------------------------------------------------------------------------------------------------

    def record(self, what: str, *details: Any) -> None:
        """Something happened. Details are strings, numbers and bytes: their `repr` is the same everywhere."""
        line = f"{self.now:.6f} {what} {' '.join(map(str, details))}"
        self._hash.update(line.encode())
        if self.log is not None:
            self.log.append(line)

    @property
    def event_hash(self) -> str:
        """Of all that has happened so far."""
        return self._hash.hexdigest()

"""When a node that died by itself is started again: late enough to watch the outage, never in a busy loop (P4)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Restarts:
    """One node's deaths in a row. All times in seconds."""

    first_s: float = 10.0
    """The first wait; each one more doubles it."""

    cap_s: float = 60.0
    """Where the doubling ends, unless it begins above."""

    deaths_max: int = 6
    """So many quick deaths in a row mean that another start will not help: the node is reported failed."""

    calm_s: float = 60.0
    """Who lived this long did not die of its start: the count begins anew."""

    deaths: int = 0

    def died(self, lived_s: float) -> float | None:
        """How long to wait before the next start; None: give up until somebody asks."""
        if lived_s >= self.calm_s:
            self.deaths = 0
        self.deaths += 1
        if self.deaths >= self.deaths_max:
            return None
        return min(self.first_s * 2.0 ** (self.deaths - 1), max(self.cap_s, self.first_s))

    def forgive(self) -> None:
        """Somebody asked for a start: that is a judgement that it will work now."""
        self.deaths = 0

"""Whom a client asks about a partition, best first, and whom it avoids for a while."""

from __future__ import annotations

from collections.abc import Iterable

from dynazmq.client.values.view import Link, View


class Routes:
    """One client's. `view` is what it knows of the cluster, None before any node has answered."""

    def __init__(self, seeds: Iterable[Link]) -> None:
        self.seeds = list(seeds)
        self.view: View | None = None
        self.avoided: dict[Link, float] = {}  # until when
        self._soonest = 0.0  # when the first of them may be asked again
        self._known: dict[int, tuple[list[Link], int]] = {}

    def learn(self, view: View) -> None:
        """As things are now."""
        if self.view is None:
            self.avoided.clear()  # their connections were just being made
        self.view = view
        self._known.clear()

    def of(self, partition: int) -> tuple[list[Link], int]:
        """Whom to ask about a partition, best first, and how many of the first are primaries of good standing."""
        route = self._known.get(partition)
        if route is None:
            view = self.view
            assert view is not None
            names = [name for name in view.ring.walk(partition) if name in view.links]
            links = [view.links[name] for name in names] or self.seeds
            good = [link for link in links if self.stands(link)]
            rest = [link for link in links if link not in good]
            primaries = set(links[: view.default.n])
            route = self._known[partition] = [*good, *rest], sum(link in primaries for link in good)
        return route

    def stands(self, link: Link) -> bool:
        """Whether a node is believed to answer."""
        return link not in self.avoided and self.view is not None and link not in self.view.away

    def avoid(self, link: Link, until: float) -> bool:
        """Ask others first until then. Whether it is avoided from now on, and was not before."""
        new = link not in self.avoided
        if until > self.avoided.get(link, 0.0):
            if new:
                self._known.clear()
            self.avoided[link] = until
            self._soonest = min(self.avoided.values())
        return new

    def expire(self, now: float) -> None:
        """Nobody is avoided for ever."""
        if self.avoided and now >= self._soonest:
            self.avoided = {link: until for link, until in self.avoided.items() if until > now}
            self._soonest = min(self.avoided.values(), default=0.0)
            self._known.clear()

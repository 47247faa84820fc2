"""How a client comes to know the cluster: from the first node that answers, then every few seconds and when it is surprised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from dynazmq.client.core.outcomes import late, misunderstood, outlived, unreachable
from dynazmq.client.core.requests import Request
from dynazmq.client.core.routes import Routes
from dynazmq.client.values.view import Link, View
from dynazmq.dynamo.messages import Topology
from dynazmq.errors import DynazmqError, ProtocolError

_REFRESH_S = 5.0
_REFRESH_SOONEST_S = 0.2

_HELLO_S = 0.002
"""A connection is there in a millisecond or two. Asking before it is costs some microseconds, waiting would be felt."""

_ASK_AGAIN_S = 0.3

_NO_ANSWER = "no answer"
_NO_CONNECTION = "no connection"


class Learning:
    """One client's. What it learns is the view of its routes."""

    def __init__(self, routes: Routes, cluster_id: int | None, random: Random, ask: Callable[[Link], int], now: float) -> None:
        """cluster_id: the one that is meant, if that is known. ask: sends a node a TopologyRequest, and gives its id."""
        self.tried: dict[Link, str] = {}
        """What came of asking each seed, until one has answered."""
        self.next_hello = self.next_refresh = self._refreshed = now
        self._routes = routes
        self._cluster_id = cluster_id
        self._random = random
        self._send = ask
        self._asked: dict[int, tuple[Link, float]] = {}  # requests under way, and since when
        self._foreign: dict[Link, str] = {}  # nodes that nothing can be asked of, and what there is to say of it
        self._elsewhere: set[Link] = set()  # of those, nodes of another cluster
        self._full: dict[Link, str] = {}  # nodes that have no room for a connection, and what they say

    # --- asking -----------------------------------------------------------------------------------------------------------

    def greet(self, now: float) -> None:
        """Nothing is known yet: ask every seed as soon as its connection is there."""
        if now < self.next_hello:
            return
        self.next_hello = now + _HELLO_S
        waiting = {link for link, since in self._asked.values() if now - since < _ASK_AGAIN_S}
        for link in self._routes.seeds:
            if link not in waiting:
                self._ask(link, now)

    def refresh(self, now: float) -> None:
        """Ask one node how things stand now; single flight."""
        self._refreshed, self.next_refresh = now, now + _REFRESH_S
        self._asked.clear()
        view = self._routes.view
        assert view is not None
        links = [link for link in view.links.values() if self._routes.stands(link)]
        self._ask(self._random.choice(links or [*view.links.values(), *self._routes.seeds]), now)

    def refresh_soon(self, now: float) -> None:
        """Something is not as the view says."""
        self.next_refresh = min(self.next_refresh, max(now, self._refreshed + _REFRESH_SOONEST_S))

    def _ask(self, link: Link, now: float) -> None:
        self._asked[self._send(link)] = link, now
        if self.tried.get(link, _NO_CONNECTION) == _NO_CONNECTION:
            self.tried[link] = _NO_ANSWER

    # --- what comes of it -------------------------------------------------------------------------------------------------

    def on_topology(self, link: Link, message: Topology, now: float) -> None:
        self._asked.pop(message.request_id, None)
        if self._cluster_id is not None and message.cluster_id != self._cluster_id:
            self.tried[link] = f"belongs to another cluster, {message.cluster!r}"
            return
        try:
            view = View.of(message)
        except (ValueError, TypeError) as error:
            self.tried[link] = f"an answer that makes no sense: {error}"
            return
        known = self._routes.view
        if known is None:
            self._refreshed, self.next_refresh = now, now + _REFRESH_S
        elif view.ring.version < known.ring.version:
            return
        self._cluster_id = view.cluster_id
        self._asked.clear()
        self._routes.learn(view)

    def undeliverable(self, link: Link, request_id: int) -> None:
        """The question could not be sent."""
        self._asked.pop(request_id, None)
        if self.tried.get(link, _NO_ANSWER) == _NO_ANSWER:
            self.tried[link] = _NO_CONNECTION

    def late(self, request: Request) -> DynazmqError:
        """Its deadline has passed."""
        view = self._routes.view
        assert view is not None
        if request.sent or not (request.tried or request.backoffs):
            return late(request, view)
        return unreachable({view.name_of(link): self.silence_of(link) for link in self._links_for(request)})

    def _links_for(self, request: Request) -> list[Link]:
        """Whom it can go to."""
        return [request.only] if request.only is not None else self._routes.of(request.partition)[0]

    # --- nodes that cannot be spoken to -----------------------------------------------------------------------------------

    def heard(self, link: Link) -> None:
        """It can, by now."""
        self._full.pop(link, None)
        self._foreign.pop(link, None)
        self._elsewhere.discard(link)

    def is_full(self, link: Link, said: str) -> None:
        """It has no room for this client's connection."""
        self._full[link] = self.tried[link] = said

    def is_foreign(self, link: Link, said: str) -> None:
        """It speaks another version of the protocol, say."""
        self.tried[link] = self._foreign[link] = said

    def is_elsewhere(self, link: Link) -> None:
        """It is of another cluster, which was made where this one was."""
        self.is_foreign(link, "is of another cluster by now")
        self._elsewhere.add(link)

    def silence_of(self, link: Link) -> str:
        """Why nothing could be sent to it, or was of no use."""
        return self._full.get(link) or self._foreign.get(link) or _NO_CONNECTION

    def estranged(self, request: Request) -> DynazmqError | None:
        """What it comes to, if none of the nodes that it could go to can ever do it."""
        if not self._foreign:
            return None
        links = self._links_for(request)
        if (said := self._foreign_all(links)) is None:
            return None
        if not self._elsewhere.intersection(links):
            return misunderstood(request, said)
        view = self._routes.view
        tried = {view.name_of(link) if view is not None else link: self._foreign[link] for link in links}
        return outlived(request, f"the cluster is not there any more ({said})", tried)

    def _foreign_all(self, links: Sequence[Link]) -> str | None:
        """What there is to say of these if all of them speak another version, or are of another cluster."""
        if not self._foreign or not all(link in self._foreign for link in links):
            return None
        view = self._routes.view
        name_of = view.name_of if view is not None else str
        return ", ".join(f"{name_of(link)} {self._foreign[link]}" for link in links)

    def hopeless(self) -> ProtocolError | None:
        """Why nobody need be waited for any longer, if no seed can ever say what the cluster looks like."""
        said = self._foreign_all(self._routes.seeds) if self._routes.view is None else None
        return ProtocolError(f"no node can be understood ({said})") if said is not None else None

"""What a client knows of the cluster: the ring, where the nodes are, the policies. A value, replaced whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dynazmq.dynamo.messages import Topology
from dynazmq.dynamo.ring import Ring

Link = str
"""A node's endpoint: how a client tells nodes apart, since it speaks to them before it knows their names."""


class Policy(NamedTuple):
    n: int
    r: int
    w: int


@dataclass(frozen=True, slots=True)
class View:
    """One node's answer to TopologyRequest."""

    cluster: str
    cluster_id: int
    ring: Ring
    links: dict[str, Link]  # name → endpoint
    away: frozenset[Link]  # those that the node called suspect or down
    policies: dict[str, Policy]
    default: Policy
    max_value_bytes: int

    @classmethod
    def of(cls, message: Topology) -> View:
        """Raises ValueError or TypeError when the message is not one that a node would send."""
        links: dict[str, Link] = {}
        away = set()
        for name, endpoint, _incarnation, state in message.members:
            if not isinstance(name, str) or not isinstance(endpoint, str):
                raise ValueError("a member is a name and an endpoint")
            links[name] = endpoint
            if state != "up":
                away.add(endpoint)
        policies = {bucket: Policy(n, r, w) for bucket, n, r, w in message.buckets}
        ring = Ring.from_wire(message.ring)
        return cls(
            message.cluster,
            message.cluster_id,
            ring,
            links,
            frozenset(away),
            policies,
            Policy(message.n, message.r, message.w),
            message.max_value_bytes,
        )

    def policy(self, bucket: str) -> Policy:
        return self.policies.get(bucket, self.default)

    def name_of(self, link: Link) -> str:
        """The node's name, for people; the endpoint if it is not known."""
        return next((name for name, endpoint in self.links.items() if endpoint == link), link)

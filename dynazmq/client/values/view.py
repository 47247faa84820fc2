"""What a client knows of the cluster: the ring, where the nodes are, the policies. A value, replaced whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dynazmq.config import CONFLICTS, CONTEXT_BYTES_MAX, FRAME_BYTES_MAX, SIBLINGS
from dynazmq.dynamo.messages import Topology
from dynazmq.dynamo.values.ring import Ring

Link = str
"""A node's endpoint: how a client tells nodes apart, since it speaks to them before it knows their names."""

_VALUE_BYTES_MAX = FRAME_BYTES_MAX - 2 * CONTEXT_BYTES_MAX
"""What fits into a frame beside key, context and envelope, whatever a cluster was told to accept."""


class Policy(NamedTuple):
    n: int
    r: int
    w: int
    conflict: str = SIBLINGS


@dataclass(frozen=True, slots=True)
class View:
    """One node's answer to TopologyRequest."""

    cluster: str
    cluster_id: int
    ring: Ring
    links: dict[str, Link]  # name → endpoint
    away: frozenset[Link]  # those that the node called suspect or down
    policies: dict[str, Policy]  # in force
    default: Policy
    max_value_bytes: int
    wanted: dict[str, Policy] = field(default_factory=dict)  # of buckets whose policy is not in force yet

    @classmethod
    def of(cls, message: Topology) -> View:
        """Raises ValueError or TypeError when the message is not one that a node would send."""
        links: dict[str, Link] = {}
        away = set()
        for name, endpoint, _incarnation, state in message.members:
            if not isinstance(name, str) or not is_endpoint(endpoint):
                raise ValueError("a member is a name and an endpoint")
            links[name] = endpoint
            if state != "up":
                away.add(endpoint)
        policies = {str(bucket): _policy(*policy[:4]) for bucket, *policy in message.buckets}
        wanted = {
            str(each[0]): _policy(each[5], each[6], each[7], each[4]) for each in message.buckets if len(each) > 7 and each[5]
        }
        ring = Ring.from_wire(message.ring)
        return cls(
            message.cluster,
            message.cluster_id,
            ring,
            links,
            frozenset(away),
            policies,
            _policy(message.n, message.r, message.w),
            min(message.max_value_bytes, _VALUE_BYTES_MAX),
            {bucket: policy for bucket, policy in wanted.items() if policy != policies[bucket]},
        )

    def policy(self, bucket: str) -> Policy:
        return self.policies.get(bucket, self.default)

    def name_of(self, link: Link) -> str:
        """The node's name, for people; the endpoint if it is not known."""
        return next((name for name, endpoint in self.links.items() if endpoint == link), link)


def is_endpoint(endpoint: object) -> bool:
    """ipc://PATH or tcp://HOST:PORT. ZeroMQ itself would take some that can never be connected to."""
    if not isinstance(endpoint, str):
        return False
    if endpoint.startswith("tcp://"):
        host, _, port = endpoint[len("tcp://") :].rpartition(":")
        return bool(host) and port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16
    return endpoint.startswith("ipc://") and len(endpoint) > len("ipc://")


def _policy(n: int, r: int, w: int, conflict: str = SIBLINGS) -> Policy:
    if not (0 < r <= n and 0 < w <= n and conflict in CONFLICTS):
        raise ValueError(f"n={n} r={r} w={w} conflict={conflict!r} is no policy")
    return Policy(n, r, w, conflict)

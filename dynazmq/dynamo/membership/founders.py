"""§4.8.2 Those with whom a cluster began, and when a node may go by the ring that they had.

A node on an empty disk cannot tell by itself whether its cluster begins now, or has lived for years and this disk was lost. Its
peers can: if any of them relies on a ring, it tells that one. What the cluster began with holds only if *all* founders say that
they rely on none, so that none of them has a disk on which the cluster has ever begun.
"""

from __future__ import annotations

from collections.abc import Collection

from dynazmq.config import NodeConfig
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import Ring


class Founders:
    """As one node's configuration names them."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._names = config.founders or sorted(config.members)

    @property
    def alone(self) -> bool:
        """Whether this node is the only one."""
        return self._names == [self._config.name]

    def ring(self) -> Ring:
        """Their first one; for a later member version 0, which any other replaces."""
        config = self._config
        owners = claim(dict.fromkeys(sorted(self._names), 1.0), config.partitions, config.n)
        return Ring(1 if config.name in self._names else 0, owners)

    def unheard(self, ignorant: Collection[Address]) -> list[str]:
        """Those who have not said that they rely on no ring."""
        return [name for name in self._names if name != self._config.name and name not in ignorant]

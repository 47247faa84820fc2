"""Clients that are not told what became of their puts, and so try them again."""

from __future__ import annotations

from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.cluster.process import CLIENT


def settled(seed: int, **options: object) -> Cluster:
    """A cluster that has run for a while: its nodes' memory of write ids reaches back beyond what follows."""
    cluster = Cluster(seed, **options)  # type: ignore[arg-type]
    cluster.client("alice").connected()
    cluster.client("bob").connected()
    cluster.run(1.0)
    return cluster


def lose_answers(cluster: Cluster, node: NodeHandle, client: str = "alice") -> None:
    """This client hears nothing from that node any more; what it sends arrives."""
    cluster.cut(node, CLIENT + client)

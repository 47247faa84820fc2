"""A node that starts again learns from the answers to its probes whether its disk is an old copy: no gossip need come for that.

So whoever it can reach has told it: it takes writes beside a peer of which it hears nothing else (promise 2), and an old disk is
known for one there as well (promise 4). Gossip may be late for long: a busy node hears it after all that came before, and probes
at once (wire/gate.py).
"""

from __future__ import annotations

import pytest
from test_forgetting import a_cluster
from test_old_disks import grown_old, put_back, set_aside, shown

from dynazmq.dynamo.messages import GossipDelta, GossipDigest
from dynazmq.errors import Unavailable
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle


def hears_no_gossip(node: NodeHandle) -> None:
    """In this life of its process."""
    for kind in (GossipDelta, GossipDigest):
        node.process.node._from_peers[kind] = lambda *_: None


def crash_all_but(cluster: Cluster, *left: NodeHandle) -> None:
    for node in cluster.nodes:
        if node not in left:
            node.crash()
    cluster.run(3.0)


@pytest.mark.parametrize("w", [1, 2])
def test_it_takes_writes_beside_the_only_peer_that_is_up(w: int) -> None:
    cluster = Cluster(1)
    client = cluster.client()
    client.put("k", "v", w="all")
    node, peer = cluster.primaries("k")[:2]
    crash_all_but(cluster, node, peer)
    node.restart()
    hears_no_gossip(node)
    cluster.run(2.0)
    assert node.sees(peer) == "up"
    client.put("k", "newer", client.get("k", r=1, at=peer.name).context, w=w, at=node.name)
    for other in cluster.nodes:
        other.restart()
    cluster.settle()
    assert client.get("k", r="all").values == ["newer"]
    assert cluster.history.broken == []


def test_it_takes_writes_beside_a_peer_that_has_just_started_as_well() -> None:
    cluster = Cluster(2)
    client = cluster.client()
    client.put("k", "v", w="all")
    node, peer = cluster.primaries("k")[:2]
    crash_all_but(cluster, node, peer)
    for each in (node, peer):
        each.restart()
    for each in (node, peer):
        hears_no_gossip(each)
    cluster.run(2.0)
    for each in (node, peer):
        client.put("k", each.name, client.get("k", at=each.name).context, at=each.name)
    assert client.get("k").values == [peer.name]


def test_an_old_disk_serves_nobody_there_and_is_set_aside_when_gossip_comes() -> None:
    cluster = a_cluster(3)
    node, peer = cluster.primaries("k0")[:2]
    backups = grown_old(cluster, node)
    crash_all_but(cluster, node, peer)
    put_back([node], backups)
    hears_no_gossip(node)
    cluster.run(10.0)
    assert node.sees(peer) == "up"
    assert node.process.node.vouches.old
    client = cluster.client()
    with pytest.raises(Unavailable, match="its disk is an old copy"):
        client.get("k0", r=1, at=node.name)
    assert client.get("k0", r=1, at=peer.name).values == []
    for other in cluster.nodes:
        other.restart()
    cluster.settle()
    assert set_aside(cluster) == {node.name: 1}
    assert shown(cluster) == []

"""What membership costs and how fast news of it travels, in simulated clusters (docs/architecture.md, "Sixty-four members").

    python -m tools.gossip 64 20      nodes, seeds

For each seed: a cluster at rest for some seconds, then a bucket's policy is changed at one node, then one node begins a new life,
and in the end it is frozen.
Bytes are those of whole frames; one that carries gossip and probes counts as gossip. TCP's and ZeroMQ's own come on top.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from dynazmq.dynamo.messages import GossipDelta, GossipDigest
from dynazmq.simulator.cluster.client import SCHEME
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.wire.codec import decode_body, open_frame

REST_S = 5.0
WAIT_S = 60.0
ENDPOINT_BYTES = 60
"""Of a real endpoint, such as a socket's path; simulated ones have a few bytes less."""


@dataclass(slots=True)
class Measured:
    """One cluster. Rates are of one node and second, sent; times in seconds, until all know."""

    bytes_of: Counter[str] = field(default_factory=Counter)  # gossip, probes
    frames_of: Counter[str] = field(default_factory=Counter)
    policy_s: float = 0.0
    life_s: float = 0.0
    record_s: float = 0.0
    """Until all have the new life's own record, in which an address would be."""
    suspected_s: float = 0.0
    """Of a node that is frozen, until all others suspect it."""
    cleared_s: float = 0.0
    """Of the same when it runs again, until all reach it."""


def measure(nodes: int, seed: int) -> Measured:
    """Let a cluster rest, then change something and see when all know."""
    cluster, measured = Cluster(seed, nodes), Measured()
    cluster.run(3.0)
    _watch(cluster, measured, nodes)
    measured.policy_s = _until(cluster, "a policy", lambda: _set_policy(cluster), lambda: _policies(cluster) == nodes)
    subject = cluster.names[-1]
    before = cluster.node(subject).process.node.identity.incarnation
    node = cluster.node(subject)

    def knows(life_only: bool) -> bool:
        records = [each.process.node.membership.members[subject] for each in cluster.nodes]
        return all(record.incarnation > before and (life_only or record.heartbeat > 0) for record in records)

    measured.life_s = _until(cluster, "a new life", node.restart, lambda: knows(life_only=True))
    measured.record_s = measured.life_s + _until(cluster, "its record", lambda: None, lambda: knows(life_only=False))
    cluster.run(2.0)
    others = [each for each in cluster.nodes if each is not node]
    measured.suspected_s = _until(cluster, "its silence", node.pause, lambda: all(each.sees(node) != "up" for each in others))
    cluster.run(2.0)
    measured.cleared_s = _until(cluster, "its return", node.resume, lambda: all(each.sees(node) == "up" for each in others))
    return measured


def _watch(cluster: Cluster, measured: Measured, nodes: int) -> None:
    """What is sent while nothing happens."""
    send = cluster.network.send

    def counted(source: str, target: str, frame: bytes) -> bool:
        messages = decode_body(open_frame(frame)[1])
        records = [len(message.members) for message in messages if isinstance(message, GossipDelta)]
        gossip = records or any(isinstance(message, GossipDigest) for message in messages)
        what = "gossip" if gossip else "probes"
        measured.bytes_of[what] += len(frame) + sum(records) * (ENDPOINT_BYTES - len(SCHEME) - 3)
        measured.frames_of[what] += 1
        return send(source, target, frame)

    cluster.network.send = counted  # type: ignore[method-assign]
    cluster.run(REST_S)
    cluster.network.send = send  # type: ignore[method-assign]
    for counts in (measured.bytes_of, measured.frames_of):
        for what in counts:
            counts[what] = round(counts[what] / nodes / REST_S)


def _set_policy(cluster: Cluster) -> None:
    cluster.nodes[0].process.node.membership.set_policy("carts", 3, 1, 3)


def _policies(cluster: Cluster) -> int:
    return sum("carts" in node.process.node.membership.policies for node in cluster.nodes)


def _until(cluster: Cluster, what: str, act: Callable[[], None], done: Callable[[], bool]) -> float:
    start = cluster.world.now
    act()
    cluster.wait(done, f"all know {what}", WAIT_S)
    return cluster.world.now - start


def main(nodes: int = 64, seeds: int = 20) -> None:
    found = [measure(nodes, seed) for seed in range(1, seeds + 1)]
    for what in ("gossip", "probes"):
        size = max(each.bytes_of[what] for each in found)
        frames = max(each.frames_of[what] for each in found)
        print(f"{what}: {size:,} bytes in {frames} frames per node and second, the most of {seeds} seeds")
    total = max(each.bytes_of.total() for each in found)
    print(f"together: {total:,} bytes per node and second; {nodes} nodes")
    for name, times in (
        ("know a bucket's policy", [each.policy_s for each in found]),
        ("know a new life", [each.life_s for each in found]),
        ("have its own record", [each.record_s for each in found]),
        ("others suspect it when it is frozen", [each.suspected_s for each in found]),
        ("others reach it again", [each.cleared_s for each in found]),
    ):
        print(f"until all {name}: p50 {median(times):.2f} s, max {max(times):.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

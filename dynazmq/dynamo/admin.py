"""What people and programs ask of a node beside its keys: where everything is, how it is, and that something be otherwise.

Looking changes nothing (promise 8). What is decided here, a bucket's policy or who belongs to the cluster, gossip carries to all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from dynazmq.config import BUCKETS_MAX, CONFLICTS, MEMBERS_MAX, SIBLINGS
from dynazmq.dynamo.coordinator.stats import Latency
from dynazmq.dynamo.membership.change import BY_FORCE, EXPEL, GONE, IN, WANTED, Intent, gaining, intent_rows, refusal
from dynazmq.dynamo.membership.decisions import Decisions
from dynazmq.dynamo.membership.expulsion import objection, vote
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.membership.losses import Loss, total
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.stale_disks import Vouches
from dynazmq.dynamo.messages import (
    NOT_YET,
    STORAGE,
    AcknowledgeLosses,
    AcknowledgeLossesReply,
    ChangeMembers,
    ChangeMembersReply,
    Failure,
    SetBucket,
    SetBucketReply,
    StatusReply,
    StatusRequest,
    Topology,
    TopologyRequest,
)
from dynazmq.dynamo.repair.anti_entropy import AntiEntropy
from dynazmq.dynamo.repair.handover import Handover
from dynazmq.dynamo.repair.tombstone_gc import Retirement
from dynazmq.dynamo.repair.transfer import Transfer
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, Runtime, StoreFailed
from dynazmq.dynamo.values.ring import Quorums, fills

_INTENTS_AT_ONCE = MEMBERS_MAX


class Declined(Exception):
    """What an admin wants cannot be, as things are known here. There is nothing wrong with the message."""


class Admin:
    """One node's answers. It sees most techniques of the node, and only looks at them."""

    def __init__(
        self,
        runtime: Runtime,
        identity: Identity,
        membership: Membership,
        failure: FailureDetector,
        latency: Latency,
        hints: Hints,
        trees: Trees,
        replica: Replica,
        anti_entropy: AntiEntropy,
        retirement: Retirement,
        transfer: Transfer,
        handover: Handover,
        decisions: Decisions,
        vouches: Vouches,
        in_flight: Callable[[], int],
    ) -> None:
        self._runtime = runtime
        self._identity = identity
        self._membership = membership
        self._failure = failure
        self._latency = latency
        self._hints = hints
        self._trees = trees
        self._replica = replica
        self._entropy = anti_entropy
        self._retirement = retirement
        self._transferring = transfer
        self._handover = handover
        self._decisions = decisions
        self._vouches = vouches
        self._in_flight = in_flight

    # --- deciding ---------------------------------------------------------------------------------------------------------

    def on_set_bucket(self, sender: Address, message: SetBucket) -> None:
        membership = self._membership
        if self._has_no_say(sender, message.request_id):
            return
        defaults, members = self._runtime.config, len(membership.members)
        n = message.n or defaults.n
        r, w = message.r or min(defaults.r, n), message.w or min(defaults.w, n)
        if not 1 <= n <= min(members, MEMBERS_MAX):
            raise BadMessage(f"n={n} is not in 1..{members}, the number of members")
        for what, given in (("r", r), ("w", w)):
            if not 1 <= given <= n:
                raise BadMessage(f"{what}={given} is not in 1..{n} (n={n})")
        conflict = message.conflict or SIBLINGS
        if conflict not in CONFLICTS:
            raise BadMessage(f"conflict={conflict[:20]!r} is not one of {', '.join(CONFLICTS)}")
        if message.bucket not in membership.policies and len(membership.policies) >= BUCKETS_MAX:
            raise BadMessage(f"there are {BUCKETS_MAX} buckets with a policy already, the limit")
        if not self._trees.on and fills(membership.ring.quorums_of(message.bucket, membership.default_quorums), Quorums(n, r, w)):
            raise Declined("anti-entropy is off: without trees no replica can confirm that it has everything, and n stays")
        policy = membership.set_policy(message.bucket, n, r, w, conflict)
        self._decisions.acknowledge(sender, SetBucketReply(message.request_id, policy.version), buckets=[message.bucket])
        self._runtime.aborts.append((self._not_decided, (sender, message.request_id)))

    def on_change_members(self, sender: Address, message: ChangeMembers) -> None:
        """Raises BadMessage, Declined and ValueError, and then has changed nothing."""
        membership = self._membership
        if self._has_no_say(sender, message.request_id):
            return
        if not 0 < len(message.intents) <= _INTENTS_AT_ONCE:
            raise BadMessage(f"{len(message.intents)} decisions at once: 1 to {_INTENTS_AT_ONCE}")
        if message.ring_digest not in (b"", membership.ring.digest()):
            raise Declined(f"the ring has changed since this was planned, it is now ring {membership.ring.version}: plan again")
        if not self._trees.on:
            raise Declined("anti-entropy is off: without trees no new owner can confirm that it has everything")
        wanted: list[tuple[str, str, float, str]] = []
        for name, kind, weight, replaces in message.intents:
            if kind not in WANTED:
                raise BadMessage(f"an intent is {', '.join(WANTED)}, not {str(kind)[:20]!r}")
            Intent.from_wire([name, kind, weight, replaces, 1, self._runtime.name])
            if name not in (*membership.members, *membership.ring.members, *membership.intents):
                raise Declined(f"{name} is not a member, and has not made itself known")
            self._check_expelled(name, kind)
            wanted.append((name, kind, weight, replaces))
        would_be = membership.intents | {each[0]: Intent(*each, 1, "") for each in wanted}
        if why_not := refusal(membership.ring, would_be, membership.quorum()):
            raise Declined(why_not)
        if any(kind == EXPEL for _, kind, *_ in wanted):
            there = [name for name in membership.ring.members if self._failure.reachable(name)]
            if why_not := objection(membership.ring, would_be, there):
                raise Declined(why_not)
        membership.decide(wanted)
        reply = ChangeMembersReply(message.request_id, membership.ring.version)
        self._decisions.acknowledge(sender, reply, names=[name for name, *_ in wanted])
        self._runtime.aborts.append((self._not_decided, (sender, message.request_id)))

    def on_acknowledge_losses(self, sender: Address, message: AcknowledgeLosses) -> None:
        """An admin knows which partitions were lost. Those of rings to come are not known to anybody."""
        membership = self._membership
        if self._has_no_say(sender, message.request_id):
            return
        if not 0 <= message.ring_version <= membership.ring.version:
            raise BadMessage(f"ring {message.ring_version} is not one of 0..{membership.ring.version}")
        membership.acknowledge_losses(message.ring_version)
        self._decisions.acknowledge(sender, AcknowledgeLossesReply(message.request_id))
        self._runtime.aborts.append((self._not_decided, (sender, message.request_id)))

    def _has_no_say(self, admin: Address, request_id: int) -> bool:
        """This node has left: no member takes from it what is decided here, and the admin is sent to one who is heard."""
        if self._membership.emptied:
            self._runtime.send(admin, Failure(request_id, NOT_YET, 0, 0, 0, f"{self._runtime.name} has left the cluster"))
        return self._membership.emptied

    def _check_expelled(self, name: str, kind: str) -> None:
        """Who is removed by force may be pardoned until the ring is read without it; by no other word can that be taken back."""
        membership, ring = self._membership, self._membership.ring
        known = membership.intents.get(name)
        if known is None or known.kind not in BY_FORCE or kind in BY_FORCE:
            return
        if known.kind == GONE and (name not in ring.owners or not (ring.at_rest or ring.filling)):
            raise Declined(f"{name} was removed by force, and the ring is without it now: it needs another name")
        if kind != IN:
            raise Declined(f"{name} is being removed by force; take that back first")

    def _not_decided(self, asked: tuple[Address, int]) -> None:
        sender, request_id = asked
        text = f"{self._runtime.not_stored('it yet')}; it will be tried again"
        self._runtime.send(sender, Failure(request_id, STORAGE, 0, 0, 0, text))

    # --- looking ----------------------------------------------------------------------------------------------------------

    def on_topology_request(self, sender: Address, message: TopologyRequest) -> None:
        self._runtime.send(sender, self.topology(message.request_id))

    def topology(self, request_id: int) -> Topology:
        """Where everything is, as this node knows it. request_id: 0 where nobody has asked."""
        config, membership, failure = self._runtime.config, self._membership, self._failure
        in_force = membership.in_force
        return Topology(
            request_id,
            config.cluster,
            config.cluster_id,
            config.name,
            membership.ring.to_wire(),
            [[m.name, m.endpoint, m.incarnation, failure.state_of(m.name)] for m in membership.members.values()],
            [[bucket, *in_force.held(bucket), p.conflict, p.n, p.r, p.w] for bucket, p in membership.policies.items()],
            config.n,
            config.r,
            config.w,
            config.max_value_bytes,
            intent_rows(membership.intents),
        )

    def on_status_request(self, sender: Address, message: StatusRequest) -> None:
        document = {**self.status(), **self.driver_status()}
        self._runtime.send(sender, StatusReply(message.request_id, json.dumps(document).encode()))

    def driver_status(self) -> dict[str, Any]:
        """What only the driver knows (pid, memory, commits); it replaces this method."""
        return {}

    def status(self) -> dict[str, Any]:
        """What this node knows of itself and of its peers (docs/protocol.md)."""
        runtime, membership, ring, hints = self._runtime, self._membership, self._membership.ring, self._hints
        peers = self._failure.peers.items()
        return {
            "schema": "dynazmq.node/1",
            "name": runtime.name,
            "incarnation": self._identity.incarnation,
            "epoch": self._identity.epoch,
            "endpoint": runtime.config.endpoint,
            "uptime_s": round(runtime.now - runtime.started, 3),
            "wall_ms": runtime.wall_ms,
            "ring": {
                "version": ring.version, "digest": ring.digest().hex(), "partitions": ring.partitions,
                "phase": "rest" if ring.at_rest else "filling" if ring.filling else "flipped",
            },
            "old_disk": self._vouches.trouble or None,
            "standing": membership.standing,
            "change": self._change(),
            "transfer": self._transfer(),
            "lost": self._lost(),
            "owned": len(ring.owned_by(runtime.name)),
            "peers": {name: {"state": peer.state, "for_s": round(runtime.now - peer.since, 3)} for name, peer in peers},
            "keys": self._replica.keys,
            "hints_pending": sum(hints.pending.values()),
            "hints_for": dict(hints.pending),
            "hint_bytes": self._hint_bytes(),
            "hint_bytes_max": runtime.config.max_hint_bytes,
            "hints_oldest_s": {target: round(runtime.now - since, 3) for target, since in hints.since.items()},
            "anti_entropy": self._anti_entropy(),
            "lww_discarded": runtime.counters["lww_discarded"],
            "to_forget": len(self._retirement),
            "sync": runtime.config.sync,
            "in_flight": self._in_flight(),
            "counters": dict(sorted(runtime.counters.items())),
            "latency": self._latency.report(runtime.now),
            "histograms": self._latency.histograms(),
            "quorum": {"n": runtime.config.n, "r": runtime.config.r, "w": runtime.config.w},
        }  # fmt: skip

    def _hint_bytes(self) -> int | None:
        """None when the disk cannot be read: then above all somebody asks how things are."""
        try:
            return sum(total.bytes for total in self._runtime.store.hint_totals().values())
        except StoreFailed:
            return None

    def _anti_entropy(self) -> dict[str, Any]:
        trees, anti_entropy = self._trees, self._entropy
        return {
            "on": trees.on,
            "paused": anti_entropy.paused,
            "surveyed": trees.known,
            "open_with": anti_entropy.open_with(),
            "differing": anti_entropy.differing,
            "peers": {name: {"trees": shared, "left": left} for name, (shared, left) in anti_entropy.progress().items()},
        }

    def _change(self) -> dict[str, Any]:
        """waiting_for: members that do not know of the change yet, or have not confirmed that they have all that they gain; or of
        whom a majority must agree to an expulsion, and has not yet (expelling).
        """
        membership, ring = self._membership, self._membership.ring
        moving, target = membership.moving, membership.target()
        waiting = membership.awaited() if moving else []
        if not waiting and ring.filling:
            waiting = membership.unfilled(gaining(ring, membership.default_quorums))
        expelling = None
        if (voted := vote(ring, membership.intents)) is not None:
            agree = [name for name in voted.voters if membership.knows(name)]
            waiting = sorted({*waiting, *voted.voters}.difference(agree)) if voted.possible else waiting
            expelling = {"members": list(voted.expelled), "needed": voted.needed, "agree": agree, "possible": voted.possible}
        return {
            "under_way": moving,
            "waiting_for": waiting,
            "target": sorted(set(target.owners)) if moving else [],
            "buckets": membership.in_force.to_come(),
            "gone": [name for name in ring.members if membership.is_gone(name)],
            "expelling": expelling,
            "without_source": sorted(membership.without_source()),
        }

    def _lost(self) -> list[dict[str, Any]]:
        """Partitions of which no copy was left, by the version of the ring with which they were lost."""
        by_version: dict[int, list[Loss]] = {}
        for loss in self._membership.losses.by_partition.values():
            by_version.setdefault(loss.version, []).append(loss)
        return [
            {
                "ring_version": version,
                "partitions": [loss.partition for loss in losses],
                "owners": sorted({name for loss in losses for name in loss.owners}),
                "keys": total(losses),
            }
            for version, losses in sorted(by_version.items())
        ]

    def _transfer(self) -> dict[str, Any]:
        transfer = self._transferring
        return {
            "partitions": transfer.partitions,
            "left": transfer.left,
            "keys": transfer.keys,
            "bytes": transfer.bytes,
            "confirmed": transfer.confirmed,
            "strays": self._handover.strays,
            "salvaged": transfer.salvage.keys,
        }

"""One Dynamo node: a routing table from messages to techniques, and nothing else.

A driver (the server's loop, the simulator) owns the socket, the clock and the disk. One turn of it:

    node.wake(now, wall_ms)                         time has passed
    node.receive(sender, message)                   for each message that is there
    node.tick(now, wall_ms)                         what is due now: probes, gossip, handoff, deadlines
    store.commit()                                  everything that the turn wrote, at once and durable
    for to, messages in node.drain(): send          only now: *commit before speak* (promise 1)
        node.undeliverable(to, messages)            what the transport could not take
    node.turn_failed()                              instead of drain's whole, when the commit failed
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

from dynazmq.config import NodeConfig
from dynazmq.dynamo.admin import Admin, Declined
from dynazmq.dynamo.coordinator.forward import Forwards
from dynazmq.dynamo.coordinator.get import Gets
from dynazmq.dynamo.coordinator.idempotent_retry import Recalls
from dynazmq.dynamo.coordinator.put import Puts
from dynazmq.dynamo.coordinator.stats import Latency
from dynazmq.dynamo.coordinator.suspected_retries import Elsewhere
from dynazmq.dynamo.looking import Looking
from dynazmq.dynamo.membership.decisions import Decisions
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.gossip import Gossip
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.stale_disks import Vouches
from dynazmq.dynamo.messages import (
    ABOUT_LIVES,
    ACKNOWLEDGING,
    ASKED_BY,
    DECLINED_BY_FAILURE,
    DECLINED_BY_REFUSAL,
    FROM_CLIENTS,
    FROM_PEERS,
    INVALID,
    NOT_YET,
    OVERLOADED,
    STORAGE,
    TIMEOUT,
    VOUCHING,
    AcknowledgeLosses,
    ChangeMembers,
    Decided,
    DecidedReply,
    Failure,
    FillAsk,
    FillTell,
    Get,
    GossipDelta,
    GossipDigest,
    Handoff,
    HandoffReply,
    HintsAsk,
    LookAsk,
    Mend,
    MendReply,
    Message,
    Probe,
    ProbeReply,
    Put,
    PutAsk,
    PutReply,
    Read,
    ReadReply,
    Recall,
    RecallReply,
    Refused,
    Retire,
    RetireAsk,
    RetireTell,
    RowsAsk,
    RowsTell,
    Scan,
    SetAntiEntropy,
    SetBucket,
    StatusRequest,
    Stopping,
    StrayAsk,
    StrayTell,
    TopologyRequest,
    TraceAsk,
    TreeAsk,
    TreeTell,
    Write,
    WriteReply,
    request_id_of,
)
from dynazmq.dynamo.messages.fields import COUNTER_MAX
from dynazmq.dynamo.repair.anti_entropy import AntiEntropy
from dynazmq.dynamo.repair.handover import Handover
from dynazmq.dynamo.repair.responder import Answers
from dynazmq.dynamo.repair.tombstone_gc import Retirement
from dynazmq.dynamo.repair.transfer import Transfer
from dynazmq.dynamo.replica.collectable import Retirable
from dynazmq.dynamo.replica.eviction import Eviction
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.dynamo.replica.overwritten import Overwritten
from dynazmq.dynamo.replica.preference_list import Routes
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.replica.scans import Scans
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, Runtime, Store, StoreFailed, unhurried

_READS = frozenset((Get, Scan, LookAsk, TreeAsk, RowsAsk, HintsAsk))
"""Whose answer may be large, and to whom it does no harm to be told that nothing was attempted: a put may have been done."""

_UNREAD_RETRY_MS = 100

_WHATEVER_THE_DISK = ABOUT_LIVES | {Stopping, Refused}
"""What goes to peers and comes from them though this node is not sure of its disk: nothing of what is on it, or should be."""


class Node:
    """All techniques of one node, wired. `receive`, `tick`, `drain` are its whole life."""

    def __init__(self, config: NodeConfig, store: Store, random: Random, now: float, wall_ms: int) -> None:
        self.runtime = runtime = Runtime(config, store, random, now, wall_ms)
        self.identity = Identity(runtime)
        self.failure = FailureDetector(runtime)
        self.membership = Membership(runtime, self.identity, self.failure)
        self.routes = Routes(runtime, self.membership, self.failure)
        self.latency = Latency(config.timing, now)
        overwritten, retirable = Overwritten(runtime), Retirable()
        self.hints = Hints(runtime, self.identity, self.failure, overwritten)
        self.trees = Trees(runtime, self.membership, retirable)
        self.replica = Replica(
            runtime, self.identity, self.membership, self.routes, self.hints, self.trees, retirable, overwritten
        )
        self.anti_entropy = AntiEntropy(runtime, self.membership, self.failure, self.trees, self.replica)
        self.answers = Answers(runtime, self.membership, self.trees, self.replica, self.anti_entropy)
        elsewhere = Elsewhere(runtime, self.identity, self.failure)
        self.gets = Gets(runtime, self.membership, self.failure, self.routes, self.replica, self.latency, elsewhere)
        self.puts = Puts(
            runtime, self.identity, self.membership, self.failure, self.routes, self.replica, self.hints, self.latency, elsewhere
        )
        self.recalls = Recalls(runtime, self.membership, self.failure, self.replica, self.puts)
        self.forwards = Forwards(runtime, self.routes, self.puts, self.recalls)
        under_way = (self.puts.under_way, self.gets.under_way, self.recalls.under_way, self.replica.marks.under_way)
        empty = not self.replica.keys and not self.hints.pending
        self.vouches = Vouches(runtime, self.identity, self.membership, self.failure, empty=empty)
        self.retirement = Retirement(
            runtime, self.identity, self.membership, self.failure, self.hints, self.replica, retirable, self.trees, self.vouches,
            under_way,
        )  # fmt: skip
        self.gossip = Gossip(runtime, self.membership, self.failure, self.vouches, lambda: self.replica.keys)
        self.transfer = Transfer(runtime, self.membership, self.failure, self.trees, self.replica, self.hints)
        self.handover = Handover(
            runtime, self.membership, self.failure, self.trees, self.replica, self.hints,
            lambda: self.puts.may_leave_hints or len(self.recalls) > 0 or len(self.replica.marks) > 0,
        )  # fmt: skip
        self.eviction = Eviction(
            runtime, self.membership, self.failure, self.hints, self.replica,
            lambda: self.trees.on and not self.anti_entropy.paused,
        )  # fmt: skip
        self.decisions = Decisions(runtime, self.membership)
        self.admin = Admin(
            runtime, self.identity, self.membership, self.failure, self.latency, self.hints, self.trees, self.replica,
            self.anti_entropy, self.retirement, self.transfer, self.handover, self.decisions, self.vouches,
            lambda: self.in_flight,
        )  # fmt: skip
        self.scans = Scans(runtime, self.membership, self.admin.topology)
        self.looking = Looking(runtime, self.hints)
        self.stopping = False
        self._ring = self.membership.ring  # as the operations under way know it
        self._compare_at = 0.0
        handlers: dict[type, Callable[[Address, Any], None]] = {
            Get: self.gets.on_get,
            Put: self.forwards.on_put,
            PutAsk: self.forwards.on_put_ask,
            Scan: self.scans.on_scan,
            TopologyRequest: self.admin.on_topology_request,
            StatusRequest: self.admin.on_status_request,
            SetBucket: self.admin.on_set_bucket,
            ChangeMembers: self.admin.on_change_members,
            AcknowledgeLosses: self.admin.on_acknowledge_losses,
            SetAntiEntropy: self.anti_entropy.on_set,
            TreeAsk: self.answers.on_tree_ask,
            RowsAsk: self.answers.on_rows_ask,
            HintsAsk: self.hints.on_hints_ask,
            LookAsk: self.looking.on_look_ask,
            TraceAsk: self.looking.on_trace_ask,
            Read: self.replica.on_read,
            Write: self.replica.on_write,
            Recall: self.replica.on_recall,
            Handoff: self.replica.on_handoff,
            ReadReply: self.gets.on_read_reply,
            WriteReply: self.puts.on_write_reply,
            RecallReply: self.recalls.on_reply,
            HandoffReply: self.hints.on_handoff_reply,
            TreeTell: self._on_tree_tell,
            RowsTell: self._on_rows_tell,
            Mend: self.answers.on_mend,
            MendReply: self._on_mend_reply,
            FillAsk: self.transfer.on_fill_ask,
            FillTell: self.transfer.on_fill_tell,
            StrayAsk: self.handover.on_stray_ask,
            StrayTell: self.handover.on_stray_tell,
            RetireAsk: self.retirement.on_retire_ask,
            RetireTell: self.retirement.on_retire_tell,
            Retire: self.retirement.on_retire,
            PutReply: self.forwards.on_put_reply,
            Failure: self.forwards.on_failure,
            Refused: self._on_refused,
            Probe: self._on_probe,
            ProbeReply: self._on_probe_reply,
            Stopping: self.failure.on_stopping,
            GossipDigest: self.gossip.on_digest,
            GossipDelta: self.gossip.on_delta,
            Decided: self.decisions.on_decided,
            DecidedReply: self.decisions.on_decided_reply,
        }
        self._from_clients = {kind: handler for kind, handler in handlers.items() if kind in FROM_CLIENTS}
        self._from_peers = {kind: handler for kind, handler in handlers.items() if kind in FROM_PEERS}

    # --- driven from outside ----------------------------------------------------------------------------------------------

    def wake(self, now: float, wall_ms: int) -> None:
        """Time has come to this point: first of a turn, so that requests which waited too long are dropped."""
        self.runtime.now = now
        self.runtime.wall_ms = min(max(wall_ms, 0), COUNTER_MAX - 1)  # what can be stored and sent, whatever a clock shows

    def tick(self, now: float, wall_ms: int, hurry: Callable[[], bool] = unhurried) -> None:
        """Do what is due. After the messages that are there: nobody is called late whose answer was only waiting to be heard.

        hurry: whether the time for that is over; what was asked to be called then waits for the next turn.
        """
        runtime = self.runtime
        if now != runtime.now or wall_ms != runtime.wall_ms:
            self.wake(now, wall_ms)
        self.failure.tick()
        self.gossip.tick()
        if self.membership.ring is not self._ring:
            self._ring = self.membership.ring
            self.puts.ring_changed()
            self.gets.ring_changed()
            self._compare_at = now
        self.gossip.tell_news()  # which says that this node knows the ring: its operations obey it now
        if self.vouches.sure:
            self._mend(now)
        else:
            self.vouches.judge()
        self.latency.tick(now)
        runtime.run_timers(hurry)

    def _mend(self, now: float) -> None:
        """What a node does by itself to copies, its own and others'."""
        for peer in self.failure.take_returned():
            self.hints.deliver(peer)
        self.hints.tick()
        if now >= self._compare_at:
            self.trees.tick()
            self.anti_entropy.tick()
            self.retirement.tick()
            self.transfer.tick()
            self.handover.tick()
            self.eviction.tick()
            comparing = (self.trees, self.anti_entropy, self.retirement, self.transfer, self.handover, self.eviction)
            self._compare_at = min(technique.next_deadline() for technique in comparing)

    def receive(self, sender: Address, message: Message) -> None:
        """One message of a peer (its name) or of a client (the transport's bytes for it)."""
        peer = sender.__class__ is str
        handler = (self._from_peers if peer else self._from_clients).get(message.__class__)
        if handler is None:
            self.runtime.counters["messages_refused"] += 1
            return
        membership = self.membership
        if not self.vouches.sure and not self._may_hear(sender, message):
            return
        if (self.stopping or not membership.settled or membership.outcast) and message.__class__ in DECLINED_BY_FAILURE:
            why = "stopping" if self.stopping else "expelled from the cluster" if membership.outcast else "learning the ring"
            self._decline(sender, message.__class__, request_id_of(message), NOT_YET, f"{self.runtime.name} is {why}")
            return
        try:
            handler(sender, message)
        except StoreFailed as error:
            self.runtime.counters["store_failures"] += 1
            self._decline(sender, message.__class__, request_id_of(message), STORAGE, str(error))
        except Declined as error:
            self.runtime.counters["changes_declined"] += 1
            self.runtime.note(f"declined a change of members of {sender!r}: {error}", "WARN")
            self._decline(sender, message.__class__, request_id_of(message), INVALID, str(error))
        except (ValueError, TypeError) as error:  # BadMessage, MalformedVersion, StateTooLarge, …: its sender's fault
            self.refuse(sender, message.__class__, request_id_of(message), str(error))
        except AssertionError:
            raise  # what this node rests on is not so: its disk knows better than this life
        except Exception as error:
            # A fault of ours that somebody's message has found. It ends this message and not the node, or one frame, sent to all,
            # would end all of them. Where nodes are tested (the simulator, the fuzzer) it is never let pass.
            self.runtime.counters["handlers_failed"] += 1
            where = _innermost(error)
            self.runtime.note(f"{message.__class__.__name__} of {sender!r} was given up: {error!r} in {where}", "ERROR")
            text = f"{self.runtime.name} could not work on it: {type(error).__name__}"
            self._decline(sender, message.__class__, request_id_of(message), INVALID, text)

    def _may_hear(self, sender: Address, message: Message) -> bool:
        """Whether this is done although this node is not sure that its disk is no old copy. Else it is declined."""
        kind = message.__class__
        if kind in _WHATEVER_THE_DISK:
            return True
        if not isinstance(sender, str) and (self.vouches.serves or kind not in DECLINED_BY_FAILURE):
            return True
        why = self.vouches.trouble or "it asks its peers whether its disk is an old copy"
        self._decline(sender, kind, request_id_of(message), NOT_YET, f"{self.runtime.name} serves nobody now: {why}")
        return False

    def refuse(self, sender: Address, kind: type[Message], request_id: int, text: str) -> None:
        """A message of this kind holds what nobody should send: the sender's fault, never ours to end for."""
        self.runtime.counters["messages_refused"] += 1
        peer = sender if isinstance(sender, str) else "clients"
        self.runtime.note(f"refused {kind.__name__} of {sender!r}: {text}", "WARN", about=f"refusals of {peer}: {kind.__name__}")
        self._decline(sender, kind, request_id, INVALID, text)

    def overloaded(self, sender: Address, message: Message, retry_after_ms: int) -> None:
        """So much waits already that this is not begun; its sender may come back after that time."""
        self.runtime.counters["overloads"] += 1
        text = f"{self.runtime.name} has too much to do"
        self._decline(sender, message.__class__, getattr(message, "request_id", 0), OVERLOADED, text, retry_after_ms)

    def stop(self) -> None:
        """Begin nothing new, and say so to the peers at once and to clients when they ask. What is under way goes on."""
        self.stopping = True
        self.failure.stop()

    def heard(self, peer: str, incarnation: int) -> bool:
        """A frame of this peer's life has come; False when a newer life of it is known: its requests are void (N11)."""
        return self.membership.hear(peer, incarnation)

    def drain(self) -> dict[Address, list[Message]]:
        """What the turn wants sent, by destination. Call it after the commit."""
        self.trees.committed()
        self.membership.committed()
        self.vouches.committed()
        self.runtime.aborts.clear()  # what has been committed can no longer fail, though the turn's next round may
        self.runtime.unproven.clear()
        outbox, self.runtime.outbox = self.runtime.outbox, {}
        self.runtime.replying_bytes = 0
        return outbox if self.vouches.sure else self._without_states(outbox)

    @staticmethod
    def _without_states(outbox: dict[Address, list[Message]]) -> dict[Address, list[Message]]:
        """While this node is not sure of its disk peers get nothing of it. What would have been asked of them is overdue soon."""
        for to in [to for to in outbox if isinstance(to, str)]:
            outbox[to] = [message for message in outbox[to] if message.__class__ in _WHATEVER_THE_DISK]
        return {to: messages for to, messages in outbox.items() if messages}

    def undeliverable(self, to: Address, messages: list[Message]) -> None:
        """The transport could not take these: the receiver's connection is gone, or it does not read."""
        if not isinstance(to, str):
            self._unread(to, messages)
            return
        self.failure.refused(to)
        for message in messages:
            if message.__class__ in DECLINED_BY_REFUSAL:
                self._refused(to, request_id_of(message))
            elif isinstance(message, Put):
                self.forwards.undelivered(message.request_id)

    def _unread(self, client: Address, replies: list[Message]) -> None:
        """What a client has asked for waits for it already, as much as may: it is told so, for which there mostly is room."""
        self.runtime.counters["replies_undeliverable"] += len(replies)
        for reply in replies:
            for kind in ASKED_BY[reply.__class__]:
                if kind in _READS:
                    text = f"answers to this client wait at {self.runtime.name}: it does not read as fast as it asks"
                    self._decline(client, kind, request_id_of(reply), OVERLOADED, text, _UNREAD_RETRY_MS)

    def unsendable(self, to: Address, message: Message) -> None:
        """This message cannot be put into a frame. Who waits for an answer is told that it has none; nobody is suspected."""
        if isinstance(to, str):
            if message.__class__ in DECLINED_BY_REFUSAL:
                self._refused(to, request_id_of(message))
            elif isinstance(message, Put):
                self.forwards.undelivered(message.request_id)
        for kind in ASKED_BY[message.__class__]:
            self._decline(to, kind, request_id_of(message), TIMEOUT, f"the answer of {self.runtime.name} fits into no frame")

    def turn_failed(self, why: str = "") -> None:
        """The turn's commit failed and the store is as before the turn: take back whatever rested on it. why: for people."""
        runtime = self.runtime
        runtime.trouble = why
        runtime.counters["commits_failed"] += 1
        aborted, runtime.aborts = runtime.aborts, []
        runtime.unproven.clear()
        before, runtime.outbox = runtime.outbox, {}
        for to, messages in before.items():
            for message in messages:
                if message.__class__ not in VOUCHING:
                    runtime.send(to, message)
                    continue
                for request_id in _acknowledged(message):
                    runtime.send(to, Refused(request_id, runtime.not_stored()))
        self.trees.rolled_back()
        self.membership.turn_failed()
        self._compare_at = 0.0
        self.identity.reload()
        self.vouches.reload()
        self.hints.reload()
        self.replica.keys = runtime.store.key_count()
        for action, argument in aborted:
            action(argument)

    def next_deadline(self) -> float:
        """When tick must be called at the latest, on the driver's clock."""
        timer = self.runtime.next_timer()
        mending = min(self.hints.next_deadline(), self._compare_at) if self.vouches.sure else math.inf
        deadline = min(self.failure.next_deadline(), self.gossip.next_deadline(), mending)
        return deadline if timer is None else min(deadline, timer)

    @property
    def in_flight(self) -> int:
        return len(self.gets) + len(self.puts) + len(self.recalls) + len(self.forwards) + len(self.decisions)

    # --- probes: who is reachable, and what it knows of this node's disk ----------------------------------------------------

    def _on_probe(self, sender: Address, message: Probe) -> None:
        self.failure.on_probe(sender, message, *self.vouches.word_for(sender))

    def _on_probe_reply(self, sender: Address, message: ProbeReply) -> None:
        self.failure.on_probe_reply(sender, message)
        self.vouches.hear_in_short(sender, message.vouched, message.disk)

    # --- exchanges of trees: two techniques have them -----------------------------------------------------------------------

    def _on_tree_tell(self, sender: Address, message: TreeTell) -> None:
        self.anti_entropy.on_tree_tell(sender, message)
        self.transfer.on_tree_tell(sender, message)

    def _on_rows_tell(self, sender: Address, message: RowsTell) -> None:
        self.anti_entropy.on_rows_tell(sender, message)
        self.transfer.on_rows_tell(sender, message)

    def _on_mend_reply(self, sender: Address, message: MendReply) -> None:
        for technique in (self.anti_entropy, self.transfer, self.handover, self.eviction):
            technique.on_mend_reply(sender, message)

    # --- refusals ---------------------------------------------------------------------------------------------------------

    def _on_refused(self, sender: Address, message: Refused) -> None:
        assert isinstance(sender, str)
        self.runtime.counters["refused_by_peers"] += 1
        self.puts.hear_why(message.request_id, message.text)
        self._refused(sender, message.request_id)

    def _refused(self, peer: str, request_id: int) -> None:
        for technique in (
            self.puts, self.gets, self.recalls, self.hints, self.anti_entropy, self.retirement, self.transfer, self.handover,
            self.eviction,
        ):  # fmt: skip
            if technique.on_refused(peer, request_id):
                return

    def _decline(
        self, sender: Address, kind: type[Message], request_id: int, code: int, text: str, retry_after_ms: int = 0
    ) -> None:
        if kind in DECLINED_BY_FAILURE:
            self.runtime.send(sender, Failure(request_id, code, 0, 0, retry_after_ms, text))
        elif kind in DECLINED_BY_REFUSAL and request_id:
            self.runtime.send(sender, Refused(request_id, text))


def _innermost(error: Exception) -> str:
    """Where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}" if trace is not None else "nowhere"


def _acknowledged(message: Any) -> list[int]:
    """The requests of a peer that a message says are stored."""
    if message.__class__ not in ACKNOWLEDGING:
        return []
    return message.request_ids if isinstance(message, WriteReply) else [message.request_id]

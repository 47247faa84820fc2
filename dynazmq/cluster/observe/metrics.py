"""What all nodes count and measure, in the text format that Prometheus reads (version 0.0.4). Pure: a look in, text out.

    dynazmq metrics                      once
    dynazmq metrics serve --port 9464    for a scraper on this host (cli/metrics.py)

Every name begins with dynazmq_ and is explained by a HELP line; labels are node= (whose it is), target= (the other one), op=
(get, put). A node that does not answer has `dynazmq_up` 0 and no figures of its own: a gap is honest, an old figure is not.
`text` is given everything; `FAMILIES` names all that it may say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynazmq.cluster.observe import node_health
from dynazmq.cluster.observe.node_health import Answer, Facts
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.faults.fault import KINDS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNTERS = {
    "absences_unknown": "Gets that found nothing, where too few primaries could be reached to call it absent.",
    "bytes_transferred": "Bytes of state received as partitions moved here.",
    "changes_declined": "Changes of members that this node was asked for and that cannot be followed.",
    "clocks_shortened": "Keys whose causal history was shortened by entries that nobody needs any more.",
    "commits_failed": "Turns whose commit failed: nothing of them was acknowledged.",
    "connections_refused": "Connections that were refused since no descriptors were left for them.",
    "echoes_dropped": "Siblings that a replica knew to be overwritten.",
    "epochs_renewed": "Times that this node took a new name for its writes.",
    "exchanges": "Exchanges of Merkle trees begun.",
    "exchanges_abandoned": "Exchanges that a peer or the time ended.",
    "expired": "Requests that came after their deadline and were not done.",
    "fault_frames_late": "Frames that an injected fault has delayed.",
    "fault_frames_lost": "Frames that an injected fault has dropped.",
    "forwards": "Puts that were passed on to a primary.",
    "frames_of_other_versions": "Frames of another version of the protocol, dropped.",
    "frames_refused": "Frames that did not decode or were not for this cluster, dropped.",
    "gets_begun_anew": "Gets under way that asked the new owners, when the ring changed.",
    "gossip_refused": "Words of gossip that made no sense, ignored.",
    "handoffs_refused": "Hints brought here that belong elsewhere.",
    "hedges": "Requests that asked one more replica since one was slow.",
    "hints_delivered": "Hints brought home and acknowledged there.",
    "hints_evicted": "Hints let go past max_hint_bytes: all other primaries have the key, anti-entropy brings it to the target.",
    "hints_dropped": "Hints given up since they were damaged.",
    "hints_not_kept": "Hints that were not kept since the key was too large.",
    "hints_refused": "Hints that this node was asked to keep for a member that was removed.",
    "hints_redirected": "Hints whose target is a holder of their key no more, brought to the new ones.",
    "hints_stored": "Keys for which a hint was stored.",
    "keys_exchanged": "Keys exchanged since trees differed.",
    "keys_salvaged": "Versions found elsewhere of keys whose holders were all removed by force.",
    "keys_transferred": "Keys received as partitions moved here.",
    "lww_discarded": "Concurrent writes let go of in buckets where the last write wins.",
    "marks_given_up": "Puts of unknown outcome that a failing disk could not mark as retried, given up.",
    "messages_of_other_lives": "Messages meant for an earlier process of this node, dropped.",
    "handlers_failed": "Messages that met a mistake in this program, given up: please report the node's log.",
    "messages_refused": "Messages that made no sense here.",
    "old_disks": "Times that this node found that its disk is an old copy which somebody has put back.",
    "overloads": "Requests refused since too many were under way.",
    "put_asks": "Retries of large puts that asked what became of the first try before they sent their value again.",
    "puts_caught_up": "Puts under way that were written to new owners, too, when the ring changed.",
    "read_repairs": "Stale replicas that a get has mended.",
    "recalls": "Retried puts whose first try was looked for.",
    "reads_refused": "Reads of peers that went by another ring, or of keys that are not kept here.",
    "refused_by_peers": "Requests of this node that a peer could not do.",
    "refutations": "Rumours about this node that it refuted.",
    "repairs_failed": "Repairs that could not be stored.",
    "replies_undeliverable": "Replies to clients that are gone, or do not read as fast as they ask.",
    "retries_recognised": "Retried puts whose first try was found.",
    "rows_damaged": "Rows that failed their checksum.",
    "stand_ins": "Fallbacks asked to keep a hint.",
    "states_too_old": "Messages with a state that had been under way for too long, dropped.",
    "scans_refused": "Pages of keys that were asked for by another ring: the asker was told this one.",
    "siblings_read": "Gets that returned more than one value.",
    "store_failures": "Times that the storage could not read or write.",
    "strays_dropped": "Rows handed over to their owners and dropped here.",
    "strays_mended": "Rows to be handed over that an owner lacked and was sent.",
    "suspicions": "Times that a peer was suspected.",
    "tombstones_collected": "Deleted keys that were forgotten for good.",
    "trees_mended": "Merkle trees that did not say what was on the disk.",
    "values_not_resent": "Of the retries that asked first: found done, so that the value was not sent again.",
    "unsendable": "Messages that cannot be sent: too large.",
}
"""Counters of a node's status that are exported as dynazmq_NAME_total; those of requests are in dynazmq_requests_total."""

_REQUESTS = {f"{op}s_{outcome}": (op, outcome) for op in ("put", "get") for outcome in ("ok", "failed")}

BOUNDS_US = tuple(sorted(bound for power in range(6, 27) for bound in (1 << power, 3 << power - 1)))
"""le of the histograms, 64 µs to 100 s. They are bounds of the nodes' own buckets, so the counts are exact."""

STATES = ("up", "suspect", "down", "paused", "stopped", "starting", "joining", "leaving")

_FIXED: dict[str, tuple[str, str]] = {
    "build_info": ("gauge", "1, with the version of this program."),
    "members": ("gauge", "Members of the cluster."),
    "converged": ("gauge", "1 while rings agree, no hint pends and all replicas are known to be equal."),
    "degraded_seconds": ("gauge", "For how long something has been wrong; 0 while nothing is."),
    "partitions_lost": ("gauge", "Partitions of which no copy was left, and which nobody has acknowledged."),
    "ring_agreed": ("gauge", "1 while all nodes that answer have the same ring."),
    "ring_version": ("gauge", "Version of the newest ring."),
    "ring_at_rest": ("gauge", "0 while members come or go."),
    "supervisor_up": ("gauge", "1 while a supervisor answers."),
    "faults_active": ("gauge", "Injected faults that are on, by kind."),
    "up": ("gauge", "1 if the node answered this look."),
    "node_state": ("gauge", "1 for the state that the node is in, 0 for the others."),
    "node_exits_total": ("counter", "Times that the node's process ended without being asked, in the life of this supervisor."),
    "faults_applied": ("gauge", "Injected faults that act in this node."),
    "peer_up": ("gauge", "1 if this node can reach the target, 0 if it suspects it or calls it down."),
    "process_uptime_seconds": ("gauge", "Age of the node's process."),
    "process_cpu_seconds_total": ("counter", "CPU that the node's process has used."),
    "process_resident_memory_bytes": ("gauge", "Resident memory of the node's process."),
    "longest_turn_seconds": ("gauge", "The longest turn of the node's loop in the last minute: for so long it heard nobody."),
    "busiest_turn_seconds": ("gauge", "The most that a turn of the last minute has used of a processor."),
    "waiting_bytes": ("gauge", "Frames that were received and wait for their turn."),
    "unsent_bytes": ("gauge", "Large frames that wait until those whom they are for read them, by receiver: clients, peers."),
    "process_open_fds": ("gauge", "File descriptors that the node's process has open."),
    "process_max_fds": ("gauge", "File descriptors that it may have open."),
    "requests_total": ("counter", "Requests of clients that this node coordinated and that are complete."),
    "request_duration_seconds": ("histogram", "From a request's arrival at its coordinator to its answer, if it succeeded."),
    "requests_in_flight": ("gauge", "Gets, puts and forwarded puts under way."),
    "commits_total": ("counter", "Transactions of the node's storage."),
    "commit_rows_total": ("counter", "Rows written by them."),
    "commit_seconds": ("gauge", "What one took lately (moving average)."),
    "can_store": ("gauge", "0 while its commits fail: no put counts on it."),
    "log_bytes": ("gauge", "How much of the database's write-ahead log is in use."),
    "log_held": ("gauge", "1 while somebody's reading keeps the log from beginning anew."),
    "log_waits_total": ("counter", "Commits that waited for a slow disk, so that the log stays short."),
    "log_waited_seconds_total": ("counter", "How long they waited."),
    "log_refused_total": ("counter", "Commits that were refused, since the disk could not keep up."),
    "keys": ("gauge", "Rows of its own, tombstones included."),
    "keys_to_forget": ("gauge", "Keys that may hold a tombstone, and are looked at."),
    "partitions_owned": ("gauge", "Partitions that the node owns."),
    "hints_pending": ("gauge", "Keys that this node keeps for the target."),
    "hint_bytes": ("gauge", "Bytes of all hints that this node keeps."),
    "hint_bytes_max": ("gauge", "Past so many bytes hints are let go that anti-entropy can bring."),
    "hints_oldest_seconds": ("gauge", "Age of the oldest of them."),
    "anti_entropy_running": ("gauge", "1 if anti-entropy is on and not paused."),
    "anti_entropy_trees_differing": ("gauge", "Trees that are being mended."),
    "anti_entropy_trees_shared": ("gauge", "Trees that the node shares with others that answer."),
    "anti_entropy_trees_left": ("gauge", "Of those, not known to be equal yet."),
    "transfer_partitions": ("gauge", "Partitions that a change of the members brings to the node."),
    "transfer_partitions_left": ("gauge", "Of those, not filled yet."),
    "transfer_strays": ("gauge", "Partitions of which it holds rows and is no holder any more."),
}

FAMILIES: dict[str, tuple[str, str]] = {
    **{f"dynazmq_{name}": each for name, each in _FIXED.items()},
    **{f"dynazmq_{name}_total": ("counter", text) for name, text in COUNTERS.items()},
}
"""name → (type, help) of all metrics."""

Labels = Mapping[str, str]


@dataclass(slots=True)
class _Sheet:
    """Samples by family: the format wants those of one family together."""

    samples: dict[str, list[str]]

    def add(self, name: str, value: float | None, suffix: str = "", **labels: str) -> None:
        if value is None:
            return
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        line = f"dynazmq_{name}{suffix}{{{inside}}} {_number(value)}" if inside else f"dynazmq_{name}{suffix} {_number(value)}"
        self.samples.setdefault(f"dynazmq_{name}", []).append(line)

    def text(self) -> str:
        lines: list[str] = []
        for name, samples in self.samples.items():
            kind, explained = FAMILIES.get(name, ("counter", "Counted by a node of another release."))
            lines += [f"# HELP {name} {explained}", f"# TYPE {name} {kind}", *samples]
        return "\n".join(lines) + "\n"


def text(snapshot: Snapshot, answers: Mapping[str, Answer], facts: Facts, version: str) -> str:
    """All metrics of one look."""
    sheet = _Sheet({})
    sheet.add("build_info", 1, version=version)
    sheet.add("members", len(snapshot.nodes))
    sheet.add("converged", snapshot.converged)
    sheet.add("degraded_seconds", snapshot.degraded_s or 0)
    sheet.add("partitions_lost", len({partition for lost in snapshot.lost for partition in lost.partitions}))
    sheet.add("ring_agreed", snapshot.ring_agreed)
    sheet.add("ring_version", snapshot.ring_version)
    sheet.add("ring_at_rest", not node_health.changing(snapshot))
    sheet.add("supervisor_up", snapshot.supervisor_pid is not None)
    on = Counter(fault.kind for fault in snapshot.faults)
    for kind in KINDS:
        sheet.add("faults_active", on[kind], kind=kind)
    for node in snapshot.nodes:
        _outside(sheet, node, facts)
    for node in snapshot.nodes:
        if answer := answers.get(node.name):
            _inside(sheet, node, answer)
    _count(sheet, answers.values())
    return sheet.text()


def _outside(sheet: _Sheet, node: NodeView, facts: Facts) -> None:
    """What is known of a node whether it answers or not."""
    sheet.add("up", node.answers, node=node.name)
    for state in dict.fromkeys((*STATES, node.state)):
        sheet.add("node_state", node.state == state, node=node.name, state=state)
    if fact := facts.nodes.get(node.name):
        sheet.add("node_exits_total", fact.exits, node=node.name)


def _inside(sheet: _Sheet, node: NodeView, answer: Answer) -> None:
    """What only the node itself can tell."""
    name, status = node.name, answer.status
    for peer, said in answer.section("peers").items():
        sheet.add("peer_up", isinstance(said, dict) and said.get("state") == "up", node=name, target=str(peer))
    sheet.add("faults_applied", len(node.faults), node=name)
    sheet.add("process_uptime_seconds", node.uptime_s, node=name)
    sheet.add("process_cpu_seconds_total", _figure(status, "cpu_s"), node=name)
    sheet.add("process_resident_memory_bytes", node.rss_bytes, node=name)
    if (longest_ms := _figure(answer.section("turns"), "longest_ms")) is not None:
        sheet.add("longest_turn_seconds", longest_ms / 1000, node=name)
    if (busiest_ms := _figure(answer.section("turns"), "busiest_ms")) is not None:
        sheet.add("busiest_turn_seconds", busiest_ms / 1000, node=name)
    sheet.add("waiting_bytes", _figure(answer.section("waiting"), "bytes"), node=name)
    for receiver in ("clients", "peers"):
        sheet.add("unsent_bytes", _figure(answer.section("unsent_bytes"), receiver), node=name, receiver=receiver)
    descriptors = answer.section("descriptors")
    sheet.add("process_open_fds", _figure(descriptors, "open"), node=name)
    sheet.add("process_max_fds", _figure(descriptors, "limit"), node=name)
    for counter, (op, outcome) in _REQUESTS.items():
        sheet.add("requests_total", node.counters.get(counter, 0), node=name, op=op, outcome=outcome)
    for op, histogram in answer.section("histograms").items():
        if isinstance(histogram, dict):
            _histogram(sheet, name, str(op), histogram)
    sheet.add("requests_in_flight", node.in_flight, node=name)
    commit = answer.section("commit")
    sheet.add("commits_total", _figure(commit, "count"), node=name)
    sheet.add("commit_rows_total", _figure(commit, "rows"), node=name)
    sheet.add("commit_seconds", None if node.commit_ms is None else node.commit_ms / 1000, node=name)
    sheet.add("can_store", not node.cannot_store, node=name)
    log = answer.section("log")
    waited_ms = _figure(log, "waited_ms")
    sheet.add("log_bytes", _figure(log, "bytes"), node=name)
    sheet.add("log_held", _figure(log, "held"), node=name)
    sheet.add("log_waits_total", _figure(log, "waits"), node=name)
    sheet.add("log_waited_seconds_total", None if waited_ms is None else waited_ms / 1000, node=name)
    sheet.add("log_refused_total", _figure(log, "refused"), node=name)
    sheet.add("keys", node.keys, node=name)
    sheet.add("keys_to_forget", _figure(status, "to_forget"), node=name)
    sheet.add("partitions_owned", node.partitions, node=name)
    sheet.add("hint_bytes", _figure(status, "hint_bytes"), node=name)
    sheet.add("hint_bytes_max", _figure(status, "hint_bytes_max"), node=name)
    for target, number in node.hints_for.items():
        sheet.add("hints_pending", number, node=name, target=target)
        sheet.add("hints_oldest_seconds", node.hints_oldest_s.get(target, 0.0), node=name, target=target)
    sheet.add("anti_entropy_running", node.anti_entropy == "on", node=name)
    sheet.add("anti_entropy_trees_differing", node.ranges_differing, node=name)
    sheet.add("anti_entropy_trees_shared", node.trees_shared, node=name)
    sheet.add("anti_entropy_trees_left", node.trees_left, node=name)
    sheet.add("transfer_partitions", node.transfer.partitions, node=name)
    sheet.add("transfer_partitions_left", node.transfer.left, node=name)
    sheet.add("transfer_strays", node.transfer.strays, node=name)


def _histogram(sheet: _Sheet, node: str, op: str, histogram: Mapping[str, Any]) -> None:
    """From the node's sixteen buckets to the octave to two, cumulated."""
    pairs = [(int(upper), int(number)) for upper, number in histogram.get("buckets", ())]
    for bound, below in cumulated(pairs):
        sheet.add("request_duration_seconds", below, "_bucket", node=node, op=op, le=_number(bound / 1e6))
    total = sum(number for _, number in pairs)
    sheet.add("request_duration_seconds", total, "_bucket", node=node, op=op, le="+Inf")
    sheet.add("request_duration_seconds", _figure(histogram, "sum_s"), "_sum", node=node, op=op)
    sheet.add("request_duration_seconds", total, "_count", node=node, op=op)


def cumulated(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(bound, how many were below it) of `BOUNDS_US`, from (upper bound, number) in order."""
    found: list[tuple[int, int]] = []
    below = at = 0
    for bound in BOUNDS_US:
        while at < len(pairs) and pairs[at][0] <= bound:
            below += pairs[at][1]
            at += 1
        found.append((bound, below))
    return found


def _count(sheet: _Sheet, answers: Iterable[Answer]) -> None:
    """Counters that are not there yet are 0: a node writes down what has happened."""
    counted = [(answer.name, answer.section("counters")) for answer in answers]
    others = sorted({name for _, counters in counted for name in counters} - COUNTERS.keys() - _REQUESTS.keys())
    for name in (*COUNTERS, *filter(str.isidentifier, others)):
        for node, counters in counted:
            sheet.add(f"{name}_total", _figure(counters, name) or 0, node=node)


def _figure(section: Mapping[str, Any], name: str) -> float | None:
    value = section.get(name)
    return value if isinstance(value, (int, float)) else None


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

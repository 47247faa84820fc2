"""What can be seen of a cluster at one moment: the process fact, each node's own word, and what its peers say of it.

The terminal UI, `cluster status` and `cluster wait` all look at this value; only `observe.py` makes one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dynazmq.faults import Fault


@dataclass(slots=True, kw_only=True)
class Transfer:
    """How far a node is with what a change of the members brings it and takes from it (§4.9)."""

    partitions: int = 0  # that it gets
    left: int = 0  # of those, not filled yet
    keys: int = 0  # received so far
    bytes: int = 0
    confirmed: bool = False  # it has said that it has all of them
    salvaged: int = 0  # versions found, of keys whose holders are all gone
    strays: int = 0  # partitions of which it holds rows and is no holder of any more, as of its last look


@dataclass(slots=True, kw_only=True)
class Expelling:
    """Members that are to be removed by force, to which a majority has to agree first (dynamo/membership/expulsion.py)."""

    members: list[str]
    needed: int  # members that must agree
    agree: list[str]  # who is known to
    possible: bool  # False: of these expulsions together none can take effect


@dataclass(slots=True, kw_only=True)
class Lost:
    """Partitions of which no copy was left when members were removed by force, and which nobody has acknowledged."""

    ring_version: int  # with which they were lost
    partitions: list[int]
    owners: list[str]  # who held them
    keys: int | None  # about so many, by the last word of those; None: nobody knows


@dataclass(slots=True, kw_only=True)
class NodeView:
    """One node. Figures that only the node itself knows are None while it does not answer."""

    name: str
    endpoint: str
    state: str  # up | suspect | down | paused | stopped | starting | joining | leaving
    pid: int | None = None  # None: no process
    process: str = ""  # the fact: "running", "paused", "stopped", "wiped", "killed (9)", "exited (1)", "gone", "failed"
    since_s: float = 0.0  # seconds in this state
    restart_in_s: float | None = None  # the supervisor's countdown
    answers: bool = False  # it answered this snapshot's question
    gave_up: bool = False  # it died so often that nobody starts it again before somebody asks
    seen_by: dict[str, str] = field(default_factory=dict)  # peer → what that peer says of this node: up | suspect | down
    seen_for_s: dict[str, float] = field(default_factory=dict)  # peer → for how long it has said so
    partitions: int = 0  # owned
    keys: int | None = None
    hints_pending: int = 0  # hints that this node holds for others
    hints_for: dict[str, int] = field(default_factory=dict)  # target → count
    hints_oldest_s: dict[str, float] = field(default_factory=dict)
    surveyed: bool = True  # its Merkle trees are complete
    in_flight: int = 0  # gets, puts and forwarded puts under way
    compares_with: list[str] = field(default_factory=list)  # peers that may hold something else
    ranges_differing: int = 0  # trees that are being mended
    anti_entropy: str = "on"  # on | paused | off
    trees_with: dict[str, tuple[int, int]] = field(default_factory=dict)  # peer → trees that it asks it for, of those left
    trees_shared: int = 0  # with all nodes that answer, whoever asks for them
    trees_left: int = 0  # of those, not known to be equal yet
    lww_discarded: int = 0  # concurrent writes that it let go of in buckets where the last write wins, since its start
    uptime_s: float | None = None
    wall_ms: int | None = None  # what its clock showed when it answered; milliseconds since 1970
    rss_bytes: int | None = None
    cpu_percent: float | None = None
    ops_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    commit_ms: float | None = None
    rows_per_commit: float | None = None
    counters: dict[str, int] = field(default_factory=dict)
    ring_digest: str = ""
    ring_version: int = 0  # 0: it waits to be told of the cluster's
    incarnation: int = 0
    old_disk: str = ""  # what is wrong with its disk, while a node that started on an old copy waits to know what becomes of it
    cannot_store: str = ""  # why its commits fail; "" while it can store
    standing: str = "member"  # by its own word: member | joining | leaving | left
    transfer: Transfer = field(default_factory=Transfer)
    faults: list[str] = field(default_factory=list)  # ids of the faults that it applies
    protocol: int | None = None  # the version that it speaks, if whoever looks or a peer speaks another one and met it


@dataclass(slots=True)
class Event:
    at: float  # wall clock, seconds since 1970
    node: str  # "*" for the cluster
    text: str
    kind: str = ""  # for programs: cluster/observe/events.py, KINDS
    details: dict[str, Any] = field(default_factory=dict)  # what else a kind has to tell; by whom, and that one's count


@dataclass(slots=True, kw_only=True)
class Snapshot:
    name: str
    directory: str
    taken_at: float  # wall clock, seconds since 1970
    supervisor_pid: int | None
    ring_version: int
    owners: tuple[str, ...]  # partition → owner's name; () when no node answered
    n: int
    r: int
    w: int
    sync: str
    transport: str
    nodes: list[NodeView]
    ring_agreed: bool = False  # every node that answers has the same ring
    phase: str = "rest"  # of the newest ring: rest | filling | flipped (dynamo/membership/change.py)
    target: list[str] = field(default_factory=list)  # who is to own something; [] when nobody said
    buckets: list[list[Any]] = field(default_factory=list)  # that are to have others: [name, n, r, w now, n, r, w then]
    waiting_for: list[str] = field(default_factory=list)  # whose word the next step of the ring is waiting for
    expelling: Expelling | None = None
    given_up: list[str] = field(default_factory=list)  # members of the ring that were removed by force: nobody waits for them
    without_source: list[int] = field(default_factory=list)  # partitions whose holders are all gone, of a change under way
    lost: list[Lost] = field(default_factory=list)  # oldest first
    converged: bool = False
    degraded_s: float | None = None  # how long something has been wrong; None: nothing is
    faults: list[Fault] = field(default_factory=list)  # that are switched on
    events: list[Event] = field(default_factory=list)  # newest last, bounded
    cluster_id: int = 0  # 0: that is not told, in a recording

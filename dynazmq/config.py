"""Every limit and every setting: unit, default and why.

Limits are part of the protocol: both sides check them, a node never trusts a client to have done so. Settings belong to one
cluster or one node and travel in its configuration file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# --- limits ---------------------------------------------------------------------------------------------------------------

KEY_BYTES_MAX = 1024
"""A key is 1 to this many bytes, any bytes."""

BUCKET_BYTES_MAX = 64
"""A bucket's name is 1 to this many bytes of UTF-8, none of them a control character."""

VALUE_BYTES_MAX = 1 << 20
"""Default of `max_value_bytes`: larger values block the loop of a node for too long (one frame is handled at a time)."""

STATE_BYTES_MAX = 12 << 20
"""All siblings of one key together. A put that would pass it is refused: resolve the siblings first."""

SIBLINGS_MAX = 256
"""A put that would make more siblings of a key than this is refused: resolve them first. Each makes all its requests slower."""

RETRIED_MAX = 256
"""Retried writes that a key's state keeps in mind (dynamo/values/versions.py): 4.5 KiB. It is reached only by a key of which
hundreds of puts were retried while some node was away, since nothing is forgotten then; one more retry ends as unknown."""

SUSPECTED_MAX = RETRIED_MAX // 2
"""Past so many none are added that are only suspected of it (dynamo/coordinator/suspected_retries.py): there is room for those
that were retried."""

MERGED_BYTES_MAX = 15 << 20
"""Siblings that puts on several nodes have made may together be more than one put may. A replica merges them up to this, so that
what it holds fits into a frame. Past it the two sides stay as they are until a client has resolved one of them."""

CONTEXT_BYTES_MAX = 64 << 10
"""A context token. Real ones have some dozens of bytes; this is room for a key that hundreds of nodes have coordinated."""

FRAME_BYTES_MAX = 16 << 20
"""One ZeroMQ frame: the largest state and its envelope. Also set on the socket (MAXMSGSIZE), so it is never read whole."""

FRAME_BYTES_TARGET = 1 << 20
"""A sender starts a new frame past this, so that one large batch does not hold up small ones behind it."""

MESSAGES_PER_FRAME_MAX = 4096
"""Messages in one frame; also the longest array inside one."""

LINK_REQUESTS_MAX = 256
"""Requests of one client that are under way at one node; the next wait in the client. More make no cluster faster, they only
wait elsewhere."""

LINK_BYTES_MAX = 4 << 20
"""Bytes of values that one client has under way at one node, or expects of it: four values of the largest size."""

CONNECTIONS_MAX = 20_000
"""Descriptors that a node uses, most of them for connections, though it might have more: each costs some 40 KB of memory."""

MEMBERS_MAX = 128
"""Members of a cluster that a node accepts from gossip."""

BUCKETS_MAX = 256
"""Buckets with a policy of their own."""

PARTITIONS_MIN, PARTITIONS_MAX = 8, 4096
"""Q, fixed when the cluster is created."""

BUDGET_MS_MAX = 60_000
"""The longest deadline that a request may carry."""

DEFAULT_BUCKET = "default"

TRACE_MS_MAX = 10_000
"""For so long at most a node notes what it hears and says about a key that somebody traces."""

SIBLINGS, LWW = "siblings", "lww"
CONFLICTS = (SIBLINGS, LWW)
"""What a bucket does with concurrent writes: it keeps all of them (the default), or the last one alone (dynamo/values/lww.py)."""


@dataclass(slots=True, kw_only=True)
class Timing:
    """How patient a node is. All in milliseconds; `dynamo/` turns them into seconds of its own clock."""

    probe_interval_ms: int = 200
    """Each peer is probed this often: a frozen peer is suspected after a few of these."""

    probes_per_s: int = 100
    """One node probes no more often than this, however many peers it has: up to 20 peers each is probed at the interval above, 63
    peers every 630 ms. What 64 nodes send each other all the time would otherwise be 40,000 frames a second."""

    gossip_interval_ms: int = 1000
    """State is exchanged with one random peer this often (§4.8.1)."""

    suspect_phi: float = 8.0
    """Phi at which a peer is suspected: 8 is one false alarm in 10^8 intervals if replies are normally distributed."""

    down_after_ms: int = 800
    """A peer that stays suspected this long is called down. Only the word changes: routing avoids it from suspicion on."""

    hedge_min_ms: int = 25
    hedge_max_ms: int = 250
    """A replica that has not answered after about four times the usual time, within these bounds, is hedged."""

    hint_after_ms: int = 400
    """A primary that has not acknowledged a write after this long gets a hint, although the client was answered at W."""

    handoff_interval_ms: int = 500
    """Pending hints for a reachable target are looked for this often, beside the event of its return."""

    handoff_batch: int = 64
    """Hints under way to one target at a time: small enough that foreground requests fit between two batches."""

    anti_entropy_interval_ms: int = 1000
    """Trees are compared with one peer after the other this often (§4.7); at once again while something differs. 0: never, and
    no trees are kept."""

    retirement_grace_ms: int = 90_000
    """A tombstone is collected when all members have said twice, so long apart, that nothing older of its key is left. A message
    that carries a state dies after two thirds of it, and no request may live longer. 0: nothing is ever forgotten."""

    forward_timeout_ms: int = 300
    """A forwarded put that was not answered after this long goes to the next primary as a retry."""


@dataclass(slots=True, kw_only=True)
class NodeConfig:
    """What one node must know before it starts. `cluster/` writes it as JSON, `server.py` reads it."""

    name: str
    """1 to 32 of [a-z0-9_.-], starting with a letter; unique in the cluster."""

    cluster: str
    """Name of the cluster, for people."""

    cluster_id: int
    """64 bits, drawn when the cluster was created: frames of another cluster are refused (C22)."""

    secret: bytes
    """32 bytes, drawn when the cluster was created: keys the hash that authenticates contexts."""

    data_dir: str
    endpoint: str
    """ipc://… or tcp://127.0.0.1:port: where this node's ROUTER listens."""

    members: dict[str, str] = field(default_factory=dict)
    """name → endpoint of the members, this node among them: seeds of a first start (§4.8.2)."""

    founders: list[str] = field(default_factory=list)
    """Those with whom the cluster began: they make its first ring. Who is not one of them waits to be told of the ring.
    Empty: all members are."""

    partitions: int = 120
    n: int = 3
    r: int = 2
    w: int = 2
    sync: str = "full"
    """full: survives loss of power; normal: survives any crash of processes. See storage/sqlite.py."""

    max_value_bytes: int = VALUE_BYTES_MAX
    max_in_flight: int = 4096
    """Requests that one node coordinates at a time; one more is answered with Overloaded at once."""

    max_bytes_in_flight: int = 32 << 20
    """Bytes of states that gets, and as many that puts, hold at one node: one more is answered with Overloaded at once. It is
    eight times what one client may have under way there (LINK_BYTES_MAX)."""

    max_hint_bytes: int = 1 << 30
    """Bytes of hints that one node keeps for others. Past it those are let go that anti-entropy can bring
    (dynamo/replica/eviction.py); a write is never refused for it, and no copy is dropped that others do not have."""

    timing: Timing = field(default_factory=Timing)

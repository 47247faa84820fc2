"""Every message, declared once: the protocol in six conversations.

    client.py       reading, writing, walking through all keys                      client ↔ coordinator
    admin.py        where everything is, and that something be otherwise            client ↔ node
    inspect.py      looking closely at one key, and at hints                        client ↔ node
    replica.py      copies                                                          coordinator ↔ replica
    membership.py   who lives, who belongs, which ring they go by                   node ↔ node
    repair.py       comparing, handing over, forgetting                             node ↔ node

    registry.py     what a declaration says, and who makes what of it
    fields.py       what a field may hold

**A message is declared once**, with the type and the bounds of each field, who may send it, what answers it, how it is declined,
and what it means for ages, lives and durability. Encoder, decoder, validation, the rules of the gate, of the node and of traces,
the page about the protocol and the frames with which the fuzzer plays are made from that. Nothing that a declaration does not
admit reaches a handler: a handler looks at what depends on this node's own knowledge, and at nothing else.

A message is a positional record; on the wire it is the msgpack array [code, field, field, …] (`wire/rows.py`). Rules of growth:
codes and the order of fields never change, new fields are appended, a receiver ignores surplus fields, in messages and in rows.
Only flat fields on the hot path; there are no maps anywhere.

`request_id` is chosen by whoever asks and is returned unchanged; it means nothing to anyone else. `budget_ms` is the time that
the asker still has *when the frame leaves*: clocks differ between hosts, durations do not. The receiver's edge subtracts what
the frame spent under way, and expired work is dropped.
"""

# ruff: noqa: I001 (else each name that is handed on would be an import of its own)
from __future__ import annotations

from dynazmq.dynamo.messages.admin import (
    AcknowledgeLosses as AcknowledgeLosses,
    AcknowledgeLossesReply as AcknowledgeLossesReply,
    ChangeMembers as ChangeMembers,
    ChangeMembersReply as ChangeMembersReply,
    SetAntiEntropy as SetAntiEntropy,
    SetAntiEntropyReply as SetAntiEntropyReply,
    SetBucket as SetBucket,
    SetBucketReply as SetBucketReply,
    StatusReply as StatusReply,
    StatusRequest as StatusRequest,
    Topology as Topology,
    TopologyRequest as TopologyRequest,
)
from dynazmq.dynamo.messages.client import (
    ELSEWHERE as ELSEWHERE,
    INVALID as INVALID,
    NOT_YET as NOT_YET,
    OTHER_CLUSTER as OTHER_CLUSTER,
    OVERLOADED as OVERLOADED,
    STORAGE as STORAGE,
    TIMEOUT as TIMEOUT,
    UNAVAILABLE as UNAVAILABLE,
    Failure as Failure,
    Get as Get,
    GetReply as GetReply,
    Put as Put,
    PutAsk as PutAsk,
    PutReply as PutReply,
    PutTell as PutTell,
    Scan as Scan,
    ScanReply as ScanReply,
)
from dynazmq.dynamo.messages.inspect import (
    HintsAsk as HintsAsk,
    HintsTell as HintsTell,
    LookAsk as LookAsk,
    LookTell as LookTell,
    TraceAsk as TraceAsk,
    TraceTell as TraceTell,
)
from dynazmq.dynamo.messages.membership import (
    Decided as Decided,
    DecidedReply as DecidedReply,
    GossipDelta as GossipDelta,
    GossipDigest as GossipDigest,
    Probe as Probe,
    ProbeReply as ProbeReply,
    Stopping as Stopping,
)
from dynazmq.dynamo.messages.registry import (
    CLIENT,
    FAILURE,
    PEER,
    REFUSED,
    SILENCE,
    STRANGER,
    Message as Message,
    declarations,
    those,
)
from dynazmq.dynamo.messages.repair import (
    FillAsk as FillAsk,
    FillTell as FillTell,
    Mend as Mend,
    MendReply as MendReply,
    Retire as Retire,
    RetireAsk as RetireAsk,
    RetireTell as RetireTell,
    RowsAsk as RowsAsk,
    RowsTell as RowsTell,
    StrayAsk as StrayAsk,
    StrayTell as StrayTell,
    TreeAsk as TreeAsk,
    TreeTell as TreeTell,
)
from dynazmq.dynamo.messages.replica import (
    Handoff as Handoff,
    HandoffReply as HandoffReply,
    Read as Read,
    ReadReply as ReadReply,
    Recall as Recall,
    RecallReply as RecallReply,
    Refused as Refused,
    Write as Write,
    WriteReply as WriteReply,
)

DECLARATIONS = declarations()
MESSAGES = tuple(each.cls for each in DECLARATIONS)
"""By code."""


def request_id_of(message: Message) -> int:
    """0 for one that has none: it asks for no answer, or answers several at once."""
    return getattr(message, "request_id", 0)


# --- what follows from the declarations -----------------------------------------------------------------------------------

ANSWER_TO = {asked: each.cls for each in DECLARATIONS for asked in each.answers}
"""Request → its answer."""

ASKED_BY = {each.cls: each.answers for each in DECLARATIONS}
"""Answer → the requests that it answers; nothing for any other message."""

FROM_STRANGERS = those(lambda each: each.by & STRANGER)
FROM_CLIENTS = those(lambda each: each.by & CLIENT)
FROM_PEERS = those(lambda each: each.by & PEER or each.answered_to(PEER))
"""What each of them may send to a node: to begin with, and in answer."""

DECLINED_BY_FAILURE = those(lambda each: each.declined is FAILURE)
DECLINED_BY_REFUSAL = those(lambda each: each.declined is REFUSED)

VOUCHING = those(lambda each: each.vouches)
ACKNOWLEDGING = those(lambda each: each.vouches and any(asked in DECLINED_BY_REFUSAL for asked in each.answers))
"""Answers that say that what was asked for is stored here. When it is not, the request is refused instead."""

WITH_BUDGET = those(lambda each: each.has("budget_ms"))
WITH_AGE = those(lambda each: each.has("age_ms"))
DATED = those(lambda each: each.dated)
ABOUT_LIVES = those(lambda each: each.about_lives)

TRACED = those(lambda each: each.traced)
ANSWERS_TRACED = those(lambda each: not TRACED.isdisjoint(each.answers) or each.declines is not SILENCE)

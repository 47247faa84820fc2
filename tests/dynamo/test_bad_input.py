"""One node and what nobody should send it: contexts (W12) and every message of an exchange (W17)."""

from __future__ import annotations

from random import Random

import msgpack
import pytest
from lone_node import CLIENT, LoneNode, a_get, a_put, bytes_of, of, written

from dynazmq.config import Timing
from dynazmq.dynamo.messages import (
    INVALID,
    Failure,
    GetReply,
    Mend,
    MendReply,
    Message,
    PutReply,
    Refused,
    RowsAsk,
    RowsTell,
    TreeAsk,
    TreeTell,
    Write,
)
from dynazmq.dynamo.values import versions
from dynazmq.dynamo.values.merkle import FANOUT, LEAVES, NODES, places_of_leaves
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import COUNTER_MAX, Context, encode, put, seal_context

STATE = bytes_of(("b", b"1"))
PAGE_ROWS = 512
MENDS = 64

# --- contexts (W12) -------------------------------------------------------------------------------------------------------


def contexts(lone: LoneNode, key: bytes) -> dict[str, bytes]:
    """name → a token that this cluster never gave out for this key."""
    secret, actor = lone.config.secret, lone.node.identity.actor
    good = seal_context(Context({actor: 1}), "default", key, secret)
    future = Context({actor: 1 << 40, "b~epoch": COUNTER_MAX - 1})
    crowd = Context({f"n{i:05}~epoch": i + 1 for i in range(10_000)})
    content = b"\x01" + msgpack.packb([[[actor, 1 << 40]], []])
    return {
        "garbage": Random(1).randbytes(60),
        "one byte": b"\x01",
        "truncated": good[:-1],
        "without its hash": good[:-16],
        "one bit changed": bytes([*good[:-1], good[-1] ^ 1]),
        "of another key": seal_context(Context({actor: 1}), "default", key + b"x", secret),
        "of another bucket": seal_context(Context({actor: 1}), "carts", key, secret),
        "of another cluster": seal_context(Context({actor: 1}), "default", key, b"t" * 32),
        "from the future, under a guessed secret": seal_context(future, "default", key, b"guessed"),
        "from the future, under a hash of something else": content + good[-16:],
        "a megabyte": b"\x01" + Random(2).randbytes(1 << 20),
        "a megabyte of empty lists": b"\x01\xdd\x00\x10\x00\x00" + b"\x90" * (1 << 20),
        "ten thousand actors": seal_context(crowd, "default", key, b"guessed"),
        "text": good.hex().encode(),
    }


@pytest.mark.parametrize("what", contexts(LoneNode(), LoneNode().key(0)))
@pytest.mark.parametrize("delete", [False, True], ids=["put", "delete"])
def test_w12_a_context_that_was_not_given_out_for_this_key_is_refused_and_nothing_is_stored(
    what: str, delete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone = LoneNode()
    key = lone.key(0)
    token = contexts(lone, key)[what]
    before = lone.node.identity.epoch
    monkeypatch.setattr(versions, "_context_of", lambda *_: pytest.fail("it is not worked through"))
    ((to, failure),) = lone.hear(CLIENT, a_put(key, None if delete else b"v", context=token))
    assert isinstance(failure, Failure)
    assert (to, failure.code) == (CLIENT, INVALID)
    assert "not a context of this cluster and key" in failure.text
    assert lone.disk.committed() == {}
    assert lone.node.in_flight == 0
    assert lone.node.identity.epoch == before, "nobody who cannot sign makes it forget who it is"


def test_w12_a_forged_context_hides_no_write_that_comes_later() -> None:
    lone = LoneNode()
    key = lone.key(0)
    for token in contexts(lone, key).values():
        lone.hear(CLIENT, a_put(key, b"forged", context=token, write_id=b"f" * 16))
    said = lone.hear(CLIENT, a_put(key, b"later", w=1))
    assert of(PutReply, said)
    assert lone.stored(key).values == [b"later"]
    ((_, reply),) = of(GetReply, lone.hear(CLIENT, a_get(key, r=1)))
    assert reply.values == [b"later"]


def test_w12_a_true_context_of_what_this_disk_has_lost_hides_no_write_that_comes_later() -> None:
    """From the future, as far as a set back store can tell: its client was really given it."""
    lone = LoneNode()
    key = lone.key(0)
    backup = lone.disk.backup()
    token = b""
    for i in range(5):
        said = lone.hear(CLIENT, a_put(key, b"v%d" % i, context=token, w=1, write_id=b"%016d" % i))
        ((_, reply),) = of(PutReply, said)
        token = reply.context
    lone.disk.restore(backup)
    lone.start()
    lone.pass_time(0.5)
    lone.hear(CLIENT, a_put(key, b"blind", w=1, write_id=b"b" * 16))
    lone.hear(CLIENT, a_put(key, b"seen", context=token, w=1, write_id=b"s" * 16))
    assert sorted(lone.stored(key).values) == [b"blind", b"seen"]


def test_w12_a_counter_at_the_end_of_its_range_is_no_state_and_is_not_taken() -> None:
    lone = LoneNode()
    key = lone.key(0)
    state = written(("b", b"1"))
    at_the_end, _, _ = put(state, Context({"c~epoch": COUNTER_MAX - 1}), "c~epoch", b"2", b"w" * 16, 1)
    ((_, refused),) = lone.hear("b", Write(7, "default", key, encode(at_the_end), "", 1000))
    assert isinstance(refused, Refused)
    assert lone.disk.committed() == {}


# --- exchanges (W17) ------------------------------------------------------------------------------------------------------


def a_node() -> LoneNode:
    return LoneNode(timing=Timing(anti_entropy_interval_ms=1000))


def asked(lone: LoneNode) -> tuple[str, TreeAsk]:
    for _ in range(1_000):
        for to, message in of(TreeAsk, lone.turn(0.01)):
            assert isinstance(to, str)
            return to, message
    raise AssertionError("it compares with nobody")


def all_differ(question: TreeAsk) -> TreeTell:
    return TreeTell(question.request_id, [1] * (len(question.nodes) // 3))


def down_to_the_rows(lone: LoneNode) -> tuple[str, RowsAsk]:
    """A peer says that all its trees are other ones; what is then asked of its rows."""
    peer, question = asked(lone)
    said: list[tuple[object, Message]] = [(peer, question)]
    while isinstance(said[0][1], TreeAsk):
        said = list(lone.hear(peer, all_differ(said[0][1])))
    ((_, page),) = said
    assert isinstance(page, RowsAsk)
    return peer, page


def keys_of(lone: LoneNode, page: RowsAsk, count: int) -> list[bytes]:
    """Keys of a run of leaves, in its order."""
    ring = lone.node.membership.ring
    first, last = places_of_leaves(page.partition, ring.partitions, page.first_leaf, page.last_leaf)
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        key = b"key %d" % number
        number += 1
        if first <= place("default", key) <= last:
            found.append(key)
    return sorted(found, key=lambda key: place("default", key))


def test_w17_a_peer_that_claims_that_every_leaf_differs_is_asked_one_bounded_question_at_a_time() -> None:
    lone = a_node()
    peer, roots = asked(lone)
    trees = len(roots.nodes) // 3
    questions, said = 0, list[tuple[object, Message]]([(peer, roots)])
    while said:
        ((_, question),) = said
        questions += 1
        if isinstance(question, TreeAsk):
            assert len(question.nodes) <= 3 * LEAVES
            said = list(lone.hear(peer, all_differ(question)))
        else:
            assert isinstance(question, RowsAsk)
            said = list(lone.hear(peer, RowsTell(question.request_id, [], False, -1, "", b"")))
    assert questions == 1 + 3 * trees, "the roots; of each tree its branches, its leaves and one run of rows"
    assert lone.disk.committed() == {}


def test_w17_of_a_million_rows_that_are_claimed_to_differ_64_are_asked_for_at_a_time() -> None:
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    keys = keys_of(lone, page, 200)
    told = RowsTell(
        page.request_id, [["default", key, 1, 10] for key in keys], True, place("default", keys[-1]), "default", keys[-1]
    )
    mends = [mend for _, mend in of(Mend, lone.hear(peer, told))]
    assert [mend.key for mend in mends] == keys[:MENDS]
    said = []
    for mend in mends:
        assert said == [], "it waits for all of them"
        said = lone.hear(peer, MendReply(mend.request_id, b""))
    ((_, again),) = said
    assert isinstance(again, RowsAsk)
    assert again.after_key == keys[MENDS - 1]
    assert lone.disk.committed() == {}, "nothing came of it"


def test_w17_a_page_of_more_rows_than_anybody_tells_is_refused_before_it_is_worked_through() -> None:
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    (key,) = keys_of(lone, page, 1)
    assert lone.hear(peer, RowsTell(page.request_id, [["default", key, 1, 1]] * (PAGE_ROWS + 1), False, -1, "", b"")) == []
    assert lone.node.runtime.counters["messages_refused"] == 1
    assert lone.disk.committed() == {}


def test_w17_a_page_that_goes_on_behind_the_run_is_refused() -> None:
    """Otherwise there would be no end to the pages."""
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    _, last = places_of_leaves(page.partition, 16, page.first_leaf, page.last_leaf)
    assert lone.hear(peer, RowsTell(page.request_id, [], True, last + 1, "", b"")) == []
    assert lone.node.runtime.counters["messages_refused"] == 1


@pytest.mark.parametrize("rows", [1, 3, 10_000])
def test_w17_an_answer_of_another_length_than_the_question_changes_nothing(rows: int) -> None:
    lone = a_node()
    peer, question = asked(lone)
    said = lone.hear(peer, TreeTell(question.request_id, [1] * (len(question.nodes) // 3 + rows)))
    assert said == []
    assert lone.node.runtime.counters["messages_refused"] == 1


@pytest.mark.parametrize(
    "message",
    [
        RowsAsk(1, 0, 3, FANOUT + 1, NODES - 1, (1 << 64) - 1, "\U0010ffff" * 16, b"\xff" * 1024),
        RowsAsk(1, 0, 3, FANOUT + 1, NODES - 1, -(1 << 63), "", b""),
        RowsAsk(1, 0, -1, FANOUT + 1, NODES - 1, -1, "", b""),
        RowsAsk(1, 0, (1 << 64) - 1, FANOUT + 1, NODES - 1, -1, "", b""),
    ],
    ids=["behind everything", "before everything", "an n below none", "an n above all"],
)
def test_w17_a_question_that_begins_out_of_range_gets_what_there_is_and_no_more(message: RowsAsk) -> None:
    lone = a_node()
    for i in range(50):
        lone.hear(CLIENT, a_put(b"key %d" % i, write_id=b"%016d" % i))
    ((_, told),) = of(RowsTell, lone.hear("b", message))
    held = [key for (at, _, key) in sorted(lone.disk.committed()) if lone.node.membership.ring.partition_of(at) == 0]
    assert held
    assert [row[1] for row in told.rows] == (held if message.after_place < -1 else [])
    assert told.more is False


@pytest.mark.parametrize(
    "answer",
    [
        TreeTell(10**9, [0]),
        RowsTell(10**9, [], False, -1, "", b""),
        MendReply(10**9, STATE),
        TreeTell(0, []),
        MendReply(0, STATE),
    ],
    ids=str,
)
def test_w17_an_answer_that_nobody_asked_for_changes_nothing(answer: Message) -> None:
    lone = a_node()
    asked(lone)
    assert lone.hear("b", answer) == []
    assert lone.hear("e", answer) == []
    assert lone.disk.committed() == {}


def test_w17_an_answer_of_another_peer_than_the_one_that_was_asked_changes_nothing() -> None:
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    (key,) = keys_of(lone, page, 1)
    other = next(name for name in lone.config.members if name not in (lone.name, peer))
    assert lone.hear(other, RowsTell(page.request_id, [["default", key, 1, 1]], False, -1, "", b"")) == []
    ((_, mend),) = lone.hear(peer, RowsTell(page.request_id, [["default", key, 1, 1]], False, -1, "", b""))
    assert isinstance(mend, Mend)
    assert lone.hear(other, MendReply(mend.request_id, STATE)) == []
    assert lone.disk.committed() == {}


@pytest.mark.parametrize("state", [b"\xc1", b"\x93\x90\x90\x90", STATE[:-1], STATE + b"\x00", b"\x91" * 1000], ids=repr)
def test_w17_a_mended_state_that_is_none_is_not_stored_and_the_node_exchanges_on(state: bytes) -> None:
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    (key,) = keys_of(lone, page, 1)
    ((_, mend),) = of(Mend, lone.hear(peer, RowsTell(page.request_id, [["default", key, 1, 1]], False, -1, "", b"")))
    lone.hear(peer, MendReply(mend.request_id, state))
    assert lone.disk.committed() == {}
    assert lone.node.runtime.counters["messages_refused"] == 1
    assert asked(lone)


def test_w9_a_get_and_a_put_of_the_same_key_work_after_all_of_it() -> None:
    lone = a_node()
    key = lone.key(0)
    for message in (Mend(1, "default", key, b"\xc1"), TreeAsk(2, [1]), RowsAsk(3, 99, 3, 40, 40, -1, "", b""), TreeTell(4, [1])):
        lone.hear("b", message)
    assert of(PutReply, lone.hear(CLIENT, a_put(key, w=1)))
    ((_, reply),) = of(GetReply, lone.hear(CLIENT, a_get(key, r=1)))
    assert reply.values == [b"v"]

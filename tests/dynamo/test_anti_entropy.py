"""§4.7 One node's part in an exchange: what it asks, what it answers, what it refuses (W17)."""

from __future__ import annotations

import pytest
from lone_node import CLIENT, LoneNode, bytes_of, of, written

from dynazmq.config import Timing
from dynazmq.dynamo.messages import (
    Failure,
    Mend,
    MendReply,
    Message,
    Refused,
    RowsAsk,
    RowsTell,
    SetAntiEntropy,
    SetAntiEntropyReply,
    TreeAsk,
    TreeTell,
)
from dynazmq.dynamo.values.merkle import FANOUT, NODES, leaf_of, row_hash
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import decode, encode

STATE = bytes_of(("b", b"1"))
LEAF = FANOUT + 1


def a_node() -> LoneNode:
    return LoneNode(timing=Timing(anti_entropy_interval_ms=1000))


def asked(lone: LoneNode) -> tuple[str, TreeAsk]:
    """The next exchange that it begins."""
    for _ in range(1_000):  # the one that it has begun is given up first
        for to, message in of(TreeAsk, lone.turn(0.01)):
            assert isinstance(to, str)
            return to, message
    raise AssertionError("it compares with nobody")


def where(lone: LoneNode, key: bytes) -> tuple[int, int, int]:
    at = place("default", key)
    return at, lone.node.membership.ring.partition_of(at), leaf_of(at, 16)


def test_it_asks_for_the_roots_of_what_both_have_and_is_content_when_they_are_equal() -> None:
    lone = a_node()
    peer, roots = asked(lone)
    assert set(roots.nodes[2::3]) == {0}, "roots"
    ring = lone.node.membership.ring
    for partition, n in zip(roots.nodes[::3], roots.nodes[1::3], strict=True):
        walk = ring.walk(partition)[:n]
        assert walk.index(lone.name) < walk.index(peer), "of two primaries the first one asks"
    assert peer in lone.node.anti_entropy.open_with()
    assert lone.hear(peer, TreeTell(roots.request_id, [0] * (len(roots.nodes) // 3))) == []
    assert peer not in lone.node.anti_entropy.open_with()


def test_it_descends_to_the_key_that_differs_and_ships_that_one_alone() -> None:
    lone = a_node()
    keys = [b"key %d" % i for i in range(200)]
    peer, roots = asked(lone)
    mine = [key for key in keys if where(lone, key)[1] in roots.nodes[::3]][:5]
    for key in mine:
        lone.node.replica.merge("", place("default", key), "default", key, STATE)
    lone.flush()
    differing, (at, partition, leaf) = mine[0], where(lone, mine[0])

    def told(nodes: list[int]) -> list[int]:
        """The peer has everything but one key."""
        hashes = []
        for of_partition, n, node in zip(*[iter(nodes)] * 3, strict=True):
            tree = lone.node.trees.of(of_partition, n)
            assert tree is not None
            above = of_partition == partition and node in (0, (leaf - 1) // FANOUT, leaf)
            hashes.append(tree.hashes[node] ^ (row_hash(at, STATE) if above else 0))
        return hashes

    said: list[tuple[object, Message]] = [(peer, roots)]
    asks = 0
    while isinstance(said[0][1], TreeAsk):
        asks += 1
        said = list(lone.hear(peer, TreeTell(said[0][1].request_id, told(said[0][1].nodes))))
    assert asks == 3, "the roots, the branches, the leaves"
    ((_, page),) = said
    assert isinstance(page, RowsAsk)
    assert (page.partition, page.first_leaf, page.last_leaf) == (partition, leaf, leaf)
    in_leaf = [key for key in mine[1:] if where(lone, key)[1:] == (partition, leaf)]
    same = [["default", key, row_hash(place("default", key), STATE), len(STATE)] for key in in_leaf]
    ((_, mend),) = lone.hear(peer, RowsTell(page.request_id, same, False, -1, "", b""))
    assert mend == Mend(mend.request_id, "default", differing, STATE)
    newer = bytes_of(("b", b"1"), ("c", b"2"), covering=True)
    lone.hear(peer, MendReply(mend.request_id, newer))
    assert lone.stored(differing) == decode(newer), "what the peer had beyond it is merged"


def test_what_it_lacks_is_asked_for_with_an_empty_state() -> None:
    lone = a_node()
    key = lone.key(1)
    at = place("default", key)
    (_, reply), *_ = lone.hear("b", Mend(7, "default", key, STATE))
    assert reply == MendReply(7, b""), "the same on both sides now"
    (_, reply), *_ = lone.hear("b", Mend(8, "default", key, b""))
    assert reply == MendReply(8, STATE)
    assert lone.disk.committed()[at, "default", key] == STATE


def test_two_states_are_merged_and_the_asker_is_told_the_whole() -> None:
    lone = a_node()
    key = lone.key(0)
    lone.hear("b", Mend(7, "default", key, STATE))
    (_, reply), *_ = lone.hear("c", Mend(8, "default", key, bytes_of(("c", b"2"))))
    assert isinstance(reply, MendReply)
    assert sorted(decode(reply.state).values) == [b"1", b"2"]
    assert decode(reply.state) == lone.stored(key)


def test_a_young_key_is_left_to_the_next_exchange() -> None:
    lone = a_node()
    key = lone.key(0)
    at, partition, _ = where(lone, key)
    peer, roots = asked(lone)
    while partition not in roots.nodes[::3]:
        lone.hear(peer, TreeTell(roots.request_id, [0] * (len(roots.nodes) // 3)))
        peer, roots = asked(lone)
    state = written(("a", b"1"))
    young = state._replace(live=(state.live[0]._replace(wall_ms=lone.node.runtime.wall_ms),))
    lone.node.replica.merge("", at, "default", key, encode(young))
    lone.flush()
    said: list[tuple[object, Message]] = [(peer, roots)]
    while said and isinstance(said[0][1], TreeAsk):
        said = list(lone.hear(peer, TreeTell(said[0][1].request_id, [0] * (len(said[0][1].nodes) // 3))))
    if said:
        ((_, page),) = said
        assert isinstance(page, RowsAsk)
        assert of(Mend, lone.hear(peer, RowsTell(page.request_id, [], False, -1, "", b""))) == []
    assert lone.node.runtime.counters["keys_exchanged"] == 0


@pytest.mark.parametrize(
    "message",
    [
        TreeAsk(1, [0, 3]),
        TreeAsk(1, [0, 3, NODES]),
        TreeAsk(1, [16, 3, 0]),
        TreeAsk(1, [0, 3, -1]),
        TreeAsk(1, [0, 3, 0] * 2000),
        RowsAsk(1, 0, 3, 0, LEAF, -1, "", b""),
        RowsAsk(1, 0, 3, LEAF, NODES, -1, "", b""),
        RowsAsk(1, 0, 3, LEAF + 1, LEAF, -1, "", b""),
        RowsAsk(1, 99, 3, LEAF, LEAF, -1, "", b""),
        Mend(1, "default", b"key 1", b"\x93\x90\x90\x90"),
    ],
    ids=str,
)
def test_w17_questions_of_a_wrong_depth_or_range_are_refused(message: Message) -> None:
    lone = a_node()
    if isinstance(message, Mend) and message.key:
        message.key = lone.key(0)
    ((_, refused),) = lone.hear("b", message)
    assert isinstance(refused, Refused)
    assert lone.node.runtime.counters["messages_refused"] == 1


def test_w17_a_tree_of_an_n_that_no_bucket_has_is_not_made() -> None:
    lone = a_node()
    ((_, told),) = of(TreeTell, lone.hear("b", TreeAsk(1, [0, 9, 0, 0, 3, 0])))
    assert told.hashes == [-1, 0]


def test_w17_an_answer_that_does_not_fit_the_question_ends_the_exchange_and_changes_nothing() -> None:
    lone = a_node()
    peer, roots = asked(lone)
    lone.hear(peer, TreeTell(roots.request_id, [0] * 1_000_000))
    assert lone.node.runtime.counters["messages_refused"] == 1
    assert peer in lone.node.anti_entropy.open_with()
    assert lone.disk.committed() == {}


def down_to_the_rows(lone: LoneNode) -> tuple[str, RowsAsk]:
    """A peer says that all its trees are other ones; what is then asked of its rows."""
    peer, message = asked(lone)
    said: list[tuple[object, Message]] = [(peer, message)]
    while isinstance(said[0][1], TreeAsk):
        said = list(lone.hear(peer, TreeTell(said[0][1].request_id, [1] * (len(said[0][1].nodes) // 3))))
    ((_, page),) = said
    assert isinstance(page, RowsAsk)
    return peer, page


def test_w17_rows_that_were_not_asked_for_are_not_taken() -> None:
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    foreign = next(key for i in range(1000) if where(lone, key := b"key %d" % i)[1] != page.partition)
    told = RowsTell(page.request_id, [["default", foreign, 1, 1]], False, -1, "", b"")
    assert of(Mend, lone.hear(peer, told)) == []
    assert lone.node.runtime.counters["messages_refused"] == 1


@pytest.mark.parametrize(
    "row",
    [["default", "k", 1, 1], ["default"], 7, []],
    ids=str,
)
def test_w9_rows_that_no_gate_lets_in_are_refused_and_the_node_goes_on(row: object) -> None:
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    assert lone.hear(peer, RowsTell(page.request_id, [row], False, -1, "", b"")) == []
    assert lone.node.runtime.counters["messages_refused"] == 1


def test_no_more_is_asked_for_than_a_turn_should_carry() -> None:
    """Promise 7: the states that a peer would answer with are not here to be counted, so it says how long they are."""
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    keys = [key for i in range(20_000) if where(lone, key := b"key %d" % i)[1] == page.partition][:100]
    keys.sort(key=lambda key: place("default", key))
    leaf = where(lone, keys[0])[2]
    if not page.first_leaf <= leaf <= page.last_leaf:
        raise AssertionError("a peer whose trees are all other ones is asked for all leaves")
    told = [["default", key, 1, 256 << 10] for key in keys]
    asked_for = of(Mend, lone.hear(peer, RowsTell(page.request_id, told, False, -1, "", b"")))
    assert [mend.key for _, mend in asked_for] == keys[:2]


def test_a_page_that_does_not_go_forward_ends_the_exchange() -> None:
    lone = a_node()
    peer, page = down_to_the_rows(lone)
    assert lone.hear(peer, RowsTell(page.request_id, [], True, -1, "", b"")) == []
    assert lone.node.runtime.counters["messages_refused"] == 1


def test_w18_a_key_that_is_not_ours_is_refused() -> None:
    lone = a_node()
    ((_, refused),) = lone.hear("b", Mend(7, "default", lone.key(3), STATE))
    assert isinstance(refused, Refused)
    assert lone.disk.committed() == {}


def test_clients_may_look_and_not_take_part() -> None:
    lone = a_node()
    key = lone.key(0)
    lone.hear("b", Mend(1, "default", key, STATE))
    at, partition, leaf = where(lone, key)
    before = lone.disk.committed()
    told = lone.hear(CLIENT, TreeAsk(2, [partition, 3, leaf]))
    assert told == [(CLIENT, TreeTell(2, [row_hash(at, STATE)]))]
    shown = lone.hear(CLIENT, RowsAsk(3, partition, 3, FANOUT + 1, NODES - 1, -1, "", b""))
    assert shown == [(CLIENT, RowsTell(3, [["default", key, row_hash(at, STATE), len(STATE)]], False, -1, "", b""))]
    assert lone.hear(CLIENT, Mend(4, "default", lone.key(1), STATE)) == []
    assert lone.disk.committed() == before


def test_s7_a_damaged_row_is_told_without_hash_and_bytes_and_telling_it_changes_nothing() -> None:
    lone = a_node()
    key = lone.key(0)
    lone.hear("b", Mend(1, "default", key, STATE))
    at, partition, _ = where(lone, key)
    lone.disk.damage(at, "default", key)
    ((_, told),) = of(RowsTell, lone.hear(CLIENT, RowsAsk(3, partition, 3, FANOUT + 1, NODES - 1, -1, "", b"")))
    assert told.rows == [["default", key, 0, 0]]
    assert lone.node.runtime.counters["rows_damaged"] == 0
    assert lone.disk.committed()[at, "default", key] == STATE


@pytest.mark.parametrize("side", ["asks", "is asked"])
def test_s7_a_damaged_row_that_the_peer_lacks_as_well_is_given_up(side: str) -> None:
    """Nothing is shipped then, and nobody reads it: the two trees would differ for as long as it stays."""
    lone = a_node()
    if side == "asks":
        peer, page = down_to_the_rows(lone)
        key = next(key for i in range(1000) if where(lone, key := b"key %d" % i)[1] == page.partition)
    else:
        peer, key = "b", lone.key(0)
    at, partition, _ = where(lone, key)
    lone.node.replica.merge("", at, "default", key, STATE)
    lone.flush()
    lone.disk.damage(at, "default", key)
    if side == "asks":
        said = lone.hear(peer, RowsTell(page.request_id, [], False, -1, "", b""))
        assert of(Mend, said) == []
    else:
        ((_, told),) = of(RowsTell, lone.hear(peer, RowsAsk(3, partition, 3, FANOUT + 1, NODES - 1, -1, "", b"")))
        assert told.rows == [["default", key, 0, 0]]
    assert lone.node.runtime.counters["rows_damaged"] == 1
    assert lone.disk.committed() == {}
    lone.pass_time(1.0)
    ((_, tree),) = of(TreeTell, lone.hear("b", TreeAsk(4, [partition, 3, 0])))
    assert tree.hashes == [0], "surveyed again, and equal to that of who has nothing"


def test_w17_a_client_is_held_to_the_bounds_of_a_peer() -> None:
    lone = a_node()
    for message in (TreeAsk(1, [0, 3, 0] * 2000), RowsAsk(1, 99, 3, LEAF, LEAF, -1, "", b"")):
        ((_, refused),) = lone.hear(CLIENT, message)
        assert isinstance(refused, Refused)


# --- paused ---------------------------------------------------------------------------------------------------------------


def paused_node() -> LoneNode:
    lone = a_node()
    assert lone.hear(CLIENT, SetAntiEntropy(1, True)) == [(CLIENT, SetAntiEntropyReply(1, True, True))]
    return lone


def test_a_paused_node_asks_nobody_refuses_its_peers_and_answers_clients() -> None:
    lone = paused_node()
    assert of(TreeAsk, lone.pass_time(3.0)) == []
    for message in (TreeAsk(2, [0, 3, 0]), RowsAsk(2, 0, 3, LEAF, LEAF, -1, "", b""), Mend(2, "default", lone.key(0), STATE)):
        assert lone.hear("b", message) == [("b", Refused(2, "anti-entropy is paused on a"))]
    assert lone.disk.committed() == {}
    assert lone.hear(CLIENT, TreeAsk(3, [0, 3, 0])) == [(CLIENT, TreeTell(3, [0]))]


def test_a_pause_ends_the_exchange_that_is_under_way() -> None:
    lone = a_node()
    peer, roots = asked(lone)
    lone.hear(CLIENT, SetAntiEntropy(1, True))
    assert lone.hear(peer, TreeTell(roots.request_id, [1] * (len(roots.nodes) // 3))) == []


def test_a_pause_outlives_the_process_and_says_so_and_the_resumed_node_exchanges_again() -> None:
    lone = paused_node()
    lone.start()
    assert of(TreeAsk, lone.pass_time(3.0)) == []
    assert lone.node.admin.status()["anti_entropy"]["paused"] is True
    assert lone.hear(CLIENT, SetAntiEntropy(2, False)) == [(CLIENT, SetAntiEntropyReply(2, False, True))]
    asked(lone)
    lone.start()
    assert lone.node.admin.status()["anti_entropy"]["paused"] is False


def test_a_pause_that_could_not_be_stored_is_none_and_is_not_acknowledged() -> None:
    lone = a_node()
    lone.node.receive(CLIENT, SetAntiEntropy(1, True))
    lone.disk.fail_commits = True
    lone.disk.rollback()
    lone.node.turn_failed()
    ((_, failure),) = [(to, m) for to, messages in lone.node.drain().items() for m in messages if to == CLIENT]
    assert isinstance(failure, Failure)
    assert not lone.node.anti_entropy.paused


def test_s7_a_paused_node_leaves_a_damaged_row_as_it_is_until_it_is_resumed() -> None:
    lone = paused_node()
    key = lone.key(0)
    lone.node.replica.merge("", place("default", key), "default", key, STATE)
    lone.flush()
    lone.disk.damage(place("default", key), "default", key)
    lone.start()
    lone.pass_time(3.0)
    assert lone.node.runtime.counters["rows_damaged"] == 0
    lone.hear(CLIENT, SetAntiEntropy(1, False))
    lone.pass_time(2.0)
    assert lone.node.runtime.counters["rows_damaged"] == 1


# --- how far it is --------------------------------------------------------------------------------------------------------


def test_it_says_of_each_peer_how_many_trees_are_not_known_to_be_equal() -> None:
    lone = a_node()
    shared = {peer: trees for peer, (trees, _) in lone.node.anti_entropy.progress().items()}
    peer, roots = asked(lone)
    assert shared[peer] == len(roots.nodes) // 3
    assert lone.node.anti_entropy.progress()[peer] == (shared[peer], shared[peer]), "nothing is known yet"
    hashes = [1, 1] + [0] * (shared[peer] - 2)
    ((_, branches),) = of(TreeAsk, lone.hear(peer, TreeTell(roots.request_id, hashes)))
    assert lone.node.anti_entropy.progress()[peer] == (shared[peer], 2)
    ((_, more),) = of(TreeAsk, lone.hear(peer, TreeTell(branches.request_id, [0] * (len(branches.nodes) // 3))))
    assert lone.node.anti_entropy.progress()[peer] == (shared[peer], 1), "the first has become equal"
    lone.hear(peer, TreeTell(more.request_id, [0] * (len(more.nodes) // 3)))
    assert lone.node.anti_entropy.progress()[peer] == (shared[peer], 0)


def test_a_peer_that_never_answers_is_given_up() -> None:
    lone = a_node()
    asked(lone)
    lone.pass_time(8.0)
    assert lone.node.runtime.counters["exchanges_abandoned"] >= 1
    assert lone.node.runtime.counters["exchanges"] >= 2, "and the next one is asked"

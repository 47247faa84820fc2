"""§4.4 Whether a node's disk is the newest that it had: what it counts, tells, and does until it was told."""

from __future__ import annotations

from lone_node import LoneNode, a_get, of
from test_tombstone_gc import a_node, give, hash_of, next_round, proposal, tombstone

from dynazmq.dynamo.membership.stale_disks import OLD, SURE, UNSURE
from dynazmq.dynamo.messages import (
    NOT_YET,
    Failure,
    GetReply,
    GossipDelta,
    Probe,
    ProbeReply,
    Read,
    ReadReply,
    Refused,
    RetireAsk,
    RetireTell,
)
from dynazmq.dynamo.values.versions import encode


def tell(lone: LoneNode, peer: str, count: int, says: int = SURE) -> None:
    """What this peer remembers of the node, and says of its own disk."""
    lone.hear(peer, GossipDelta([], [], [], [], vouched=[["a", count]] if count else [], disk=says))


def answer_to_a_probe(lone: LoneNode, peer: str) -> ProbeReply:
    """Whole, as it goes to this peer."""
    ((to, answer),) = of(ProbeReply, lone.hear(peer, Probe(1)))
    assert to == peer
    return answer


def restarted(count: int = 0) -> LoneNode:
    """On rows of an earlier life, which has vouched so often; nobody has told it anything yet."""
    lone = a_node()
    give(lone, lone.key(1), encode(tombstone()))
    for _ in range(count):
        lone.node.vouches.vouch()
    lone.disk.commit()
    lone.start()
    lone.node.vouches.sure = False
    return lone


def ask(lone: LoneNode) -> RetireAsk:
    key, state = lone.key(1), encode(tombstone())
    give(lone, key, state)
    return RetireAsk(7, [["default", key, hash_of(key, state)]], [["c", 4]])


def test_who_is_clear_counts_that_and_tells_it_when_it_is_stored_and_a_turn_has_made_it_safe() -> None:
    lone = a_node()
    assert of(RetireTell, lone.hear("b", ask(lone))) == []
    ((_, told),) = of(RetireTell, lone.turn(0.002))
    assert (told.unclear, told.vouched) == ([], 1)
    lone.start()
    assert (lone.node.vouches.mine, lone.node.vouches.rows()) == (1, [["c", 4]]), "it keeps in mind what it was told of others"


def test_who_is_not_clear_counts_nothing() -> None:
    lone = a_node()
    ((_, told),) = of(RetireTell, lone.hear("b", RetireAsk(7, [["default", lone.key(1), 1]])))
    assert (told.unclear, told.vouched) == ([0], 0)


def test_a_count_that_could_not_be_stored_is_not_told() -> None:
    lone = a_node()
    asked = ask(lone)
    lone.node.receive("b", asked)
    lone.disk.rollback()
    lone.node.turn_failed()
    said = lone.flush() + lone.turn(0.002)
    assert of(RetireTell, said) == []
    assert [refused.request_id for _, refused in of(Refused, said)] == [7]
    assert (lone.node.vouches.mine, lone.node.vouches.rows()) == (0, [])


def test_the_second_asking_goes_with_all_counts_of_the_first() -> None:
    lone = a_node()
    _, asked = proposal(lone)
    assert {str(each.vouched) for each in asked.values()} == {"[['a', 0]]"}
    for count, (peer, each) in enumerate(asked.items(), 5):
        lone.hear(peer, RetireTell(each.request_id, [], [peer], count))
    (again,) = {str(each.vouched) for each in next_round(lone).values()}
    assert again == "[['b', 5], ['c', 6], ['d', 7], ['e', 8], ['a', 1]]"


def test_a_count_that_was_lost_with_a_failed_turn_makes_the_rounds_begin_anew() -> None:
    lone = a_node()
    key, asked = proposal(lone)
    for peer, each in asked.items():
        lone.node.receive(peer, RetireTell(each.request_id, [], [peer], 5))
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.flush()
    for _ in range(2):
        assert lone.stored(key) == tombstone()
        for peer, each in next_round(lone).items():
            lone.hear(peer, RetireTell(each.request_id, [], [peer], 5))
    assert not lone.stored(key).context
    assert lone.node.vouches.rows() == [[peer, 5] for peer in asked]


def test_until_a_peer_has_told_it_states_go_neither_to_peers_nor_to_clients() -> None:
    lone = restarted()
    key = lone.key(1)
    assert of(ReadReply, lone.hear("b", Read(7, "default", key, 1000))) == []
    assert of(Refused, lone.hear("b", Read(7, "default", key, 1000)))
    ((_, failure),) = of(Failure, lone.hear(b"client", a_get(key)))
    assert failure.code == NOT_YET
    tell(lone, "b", 0)
    assert of(ReadReply, lone.hear("b", Read(7, "default", key, 1000)))


def test_who_reaches_nobody_serves_clients_all_the_same() -> None:
    lone = restarted()
    lone.away = {"b", "c", "d", "e"}
    lone.pass_time(3.0)
    assert of(GetReply, lone.hear(b"client", a_get(lone.key(1), r=1)))
    assert of(Refused, lone.hear("b", Read(7, "default", lone.key(1), 1000)))


def test_where_all_have_just_started_a_majority_is_heard_first() -> None:
    lone = restarted()
    tell(lone, "b", 0, UNSURE)
    assert not lone.node.vouches.sure
    tell(lone, "c", 0, UNSURE)
    assert lone.node.vouches.sure


def test_who_waits_to_be_told_has_nothing_to_do_meanwhile() -> None:
    lone = restarted(count=3)
    tell(lone, "b", 4)
    lone.pass_time(3.0)
    assert not lone.node.vouches.sure
    assert lone.node.next_deadline() > lone.now


def test_or_all_who_can_be_reached() -> None:
    lone = restarted()
    lone.away = {"c", "d", "e"}
    tell(lone, "b", 0, UNSURE)
    lone.pass_time(0.5)
    assert not lone.node.vouches.sure
    lone.pass_time(2.5)
    assert lone.node.vouches.sure


def test_each_answer_to_a_probe_says_what_is_remembered_of_the_asker_and_what_of_the_own_disk() -> None:
    lone = a_node()
    lone.hear("b", GossipDelta([], [], [], [], vouched=[["c", 4]]))
    for peer, told in (("b", ProbeReply(1, 0, SURE)), ("c", ProbeReply(1, 4, SURE))):
        assert answer_to_a_probe(lone, peer) == told
    lone.node.vouches.sure = False
    assert answer_to_a_probe(lone, "c") == ProbeReply(1, 4, UNSURE)


def test_such_an_answer_is_a_peer_s_word() -> None:
    lone = restarted(count=3)
    lone.hear("b", ProbeReply(1, 3, SURE))
    assert lone.node.vouches.sure
    lone.hear("c", ProbeReply(1, 4, SURE))
    assert lone.node.vouches.old, "and found out late is found out"


def test_who_can_reach_anybody_has_been_told_though_no_gossip_comes() -> None:
    lone = restarted()
    lone.away = {"c", "d", "e"}
    lone.pass_time(3.0)
    assert lone.node.vouches.sure


def test_an_old_disk_is_not_set_aside_by_answers_of_who_may_not_have_heard_of_it() -> None:
    lone = restarted(count=3)
    for peer in ("b", "c", "d", "e"):
        lone.hear(peer, ProbeReply(1, 4, SURE))
    lone.pass_time(0.5)
    for peer in ("b", "c", "d", "e"):
        lone.hear(peer, ProbeReply(2, 4, SURE))
    assert not lone.node.vouches.sure
    assert not lone.node.vouches.rebuild
    for peer in ("b", "c", "d"):
        tell(lone, peer, 4)
    assert lone.node.vouches.rebuild


def test_an_old_disk_is_rebuilt_when_a_majority_is_sure_of_theirs() -> None:
    lone = restarted(count=3)
    tell(lone, "b", 4)
    for peer in ("b", "c", "d"):
        tell(lone, peer, 0)
    assert not lone.node.vouches.rebuild, "they may not have heard yet what b has told"
    lone.pass_time(0.5)
    for peer in ("b", "c"):
        tell(lone, peer, 0)
    assert not lone.node.vouches.sure
    assert not lone.node.vouches.rebuild
    assert "old copy (it has vouched 3 times, a peer knows of 4)" in lone.node.admin.status()["old_disk"]
    tell(lone, "d", 0)
    assert lone.node.vouches.rebuild


def test_it_is_believed_when_a_majority_is_old_and_then_says_so() -> None:
    lone = restarted(count=3)
    tell(lone, "b", 4)
    lone.pass_time(0.5)
    tell(lone, "c", 0, OLD)
    assert not lone.node.vouches.sure
    tell(lone, "d", 0, OLD)
    assert lone.node.vouches.sure
    assert (lone.node.vouches.says, lone.node.vouches.mine) == (OLD, 4)
    lone.start()
    lone.node.vouches.sure = False
    tell(lone, "b", 4)
    assert lone.node.vouches.sure


def test_a_disk_that_is_found_out_late_is_an_old_one_as_well() -> None:
    lone = restarted(count=3)
    tell(lone, "b", 3)
    assert lone.node.vouches.sure
    tell(lone, "c", 4)
    assert not lone.node.vouches.sure
    assert of(Refused, lone.hear("b", Read(7, "default", lone.key(1), 1000)))


def test_an_empty_disk_takes_over_what_is_remembered_of_the_one_before() -> None:
    lone = LoneNode()
    tell(lone, "b", 9)
    assert lone.node.vouches.sure
    lone.start()
    assert lone.node.vouches.mine == 9


def test_a_count_that_nobody_can_have_reached_is_not_believed() -> None:
    lone = restarted(count=3)
    tell(lone, "b", 1 << 40)
    assert lone.node.vouches.sure
    lone.hear("c", GossipDelta([], [], [], [], vouched=[["d", 1 << 60]], disk=SURE))
    assert lone.node.vouches.rows() == []


def test_that_a_disk_is_believed_is_stored_again_when_its_turn_was_not() -> None:
    """Or a backup of it would be rescued as if nobody else had its writes, and those that were deleted since would be back."""
    lone = restarted()
    lone.node.receive("b", ProbeReply(1, 0, SURE))
    assert lone.node.vouches.sure
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.turn()
    epoch = lone.node.identity.epoch
    lone.start()
    assert epoch not in lone.node.identity.unproven

"""§4.5: one get at its coordinator, message by message."""

from __future__ import annotations

from lone_node import CLIENT, LoneNode, a_get, bytes_of, of, written

from dynazmq.config import MERGED_BYTES_MAX
from dynazmq.dynamo.messages import INVALID, STORAGE, TIMEOUT, Failure, GetReply, GossipDelta, Read, ReadReply, Refused, Write
from dynazmq.dynamo.values.ring import Ring
from dynazmq.dynamo.values.versions import decode, encode


def coordinating(rank: int = 0) -> tuple[LoneNode, bytes, list[str]]:
    lone = LoneNode()
    key = lone.key(rank)
    return lone, key, lone.peers(key)


def test_just_enough_replicas_are_asked_the_own_copy_first() -> None:
    lone, key, (second, *_) = coordinating()
    ((to, read),) = of(Read, lone.hear(CLIENT, a_get(key)))
    assert to == second
    ((_, reply),) = of(GetReply, lone.hear(second, ReadReply(read.request_id, b"")))
    assert (reply.values, reply.responders) == ([], ["a", second])


def test_all_concurrent_values_come_back_and_whoever_had_less_is_repaired() -> None:
    lone, key, (second, third, *_) = coordinating()
    reads = dict(of(Read, lone.hear(CLIENT, a_get(key, r=3))))
    lone.hear(second, ReadReply(reads[second].request_id, bytes_of(("b", b"1"), ("c", b"2"))))
    said = lone.hear(third, ReadReply(reads[third].request_id, bytes_of(("b", b"1"))))
    ((_, reply),) = of(GetReply, said)
    assert sorted(reply.values) == [b"1", b"2"]
    ((to, repair),) = of(Write, said)
    assert (to, repair.request_id, repair.hint_for) == (third, 0, "")
    assert sorted(decode(repair.state).values) == sorted(lone.stored(key).values) == [b"1", b"2"]
    assert lone.node.runtime.counters["siblings_read"] == 1


def test_an_answer_that_makes_no_sense_is_none_and_ends_nothing_later() -> None:
    """It came while others were awaited, was kept, and was read again in a timer (found by the fuzzer)."""
    lone, key, _ = coordinating(rank=3)
    asked = of(Read, lone.hear(CLIENT, a_get(key, r=2, budget_ms=1000)))
    first, read = asked[0]
    outside_of_its_context = b"\x93\x91\x92\xa7b~epoch\x01\x90\x91\x95\xa7b~epoch\x02\xc4\x01v\xc4\x10" + b"w" * 16 + b"\x00"
    assert of(GetReply, lone.hear(str(first), ReadReply(read.request_id, outside_of_its_context))) == []
    assert lone.node.runtime.counters["messages_refused"] == 1
    said = lone.pass_time(2.0)
    ((_, failure),) = of(Failure, said)
    assert failure.code == TIMEOUT


def test_a_get_that_outlives_the_flip_of_a_change_asks_the_new_owners_and_hears_no_others() -> None:
    """Who held the key before may have handed it over by the time the question comes."""
    lone, key, _ = coordinating(rank=3)
    asked = dict(of(Read, lone.hear(CLIENT, a_get(key, budget_ms=30_000))))
    others = [name for name in ("b", "c", "d", "e") if name not in asked][:2]
    owners = lone.node.membership.ring.owners
    flipped = Ring(3, tuple((others * len(owners))[: len(owners)]), owners)
    lone.hear("b", GossipDelta([], [], flipped.to_wire(), []))
    anew = dict(of(Read, lone.turn()))
    assert sorted(anew) == sorted(others)
    for name, read in asked.items():
        assert lone.hear(name, ReadReply(read.request_id, b"")) == [], "it is of the old round"
    for name, read in anew.items():
        said = lone.hear(name, ReadReply(read.request_id, bytes_of(("b", b"1"))))
    ((_, reply),) = of(GetReply, said)
    assert reply.values == [b"1"]
    assert lone.node.runtime.counters["gets_begun_anew"] == 1


def test_a_get_goes_on_when_a_change_leaves_its_replicas_as_they_are() -> None:
    lone, key, (second, *_) = coordinating()
    ((_, read),) = of(Read, lone.hear(CLIENT, a_get(key)))
    owners = lone.node.membership.ring.owners
    lone.hear("b", GossipDelta([], [], Ring(2, owners, owners[1:] + owners[:1], filling=True).to_wire(), []))
    assert of(Read, lone.turn()) == []
    assert of(GetReply, lone.hear(second, ReadReply(read.request_id, b"")))


def test_a_get_under_way_when_its_bucket_gets_fewer_replicas_asks_those_alone() -> None:
    """The others may have handed the key over by the time the question comes."""
    lone, key, _ = coordinating(rank=2)
    asked = dict(of(Read, lone.hear(CLIENT, a_get(key, budget_ms=30_000))))
    lone.hear("b", GossipDelta([], [], Ring(4, lone.node.membership.ring.owners, quorums=(("default", 1, 1, 1),)).to_wire(), []))
    ((to, read),) = of(Read, lone.turn())
    assert to == lone.walk(key)[0]
    for name, old in asked.items():
        assert lone.hear(name, ReadReply(old.request_id, b"")) == [], "it is of the old round"
    ((_, reply),) = of(GetReply, lone.hear(to, ReadReply(read.request_id, bytes_of(("b", b"1")))))
    assert (reply.values, reply.responders) == ([b"1"], [to])


def test_a_get_under_way_when_its_bucket_gets_more_replicas_asks_as_many_as_are_needed_now() -> None:
    lone = LoneNode(n=1, r=1, w=1)
    key = lone.key(1)
    assert [to for to, _ in of(Read, lone.hear(CLIENT, a_get(key)))] == [lone.walk(key)[0]]
    lone.hear("b", GossipDelta([], [], Ring(4, lone.node.membership.ring.owners, quorums=(("default", 3, 2, 2),)).to_wire(), []))
    ((to, read),) = of(Read, lone.turn())
    assert to in lone.walk(key)[:3], "this node is one of the three itself"
    assert of(GetReply, lone.hear(to, ReadReply(read.request_id, bytes_of(("b", b"1")))))


def test_a_get_that_names_more_replicas_than_its_bucket_has_by_now_is_told_so() -> None:
    lone, key, _ = coordinating()
    lone.hear(CLIENT, a_get(key, n=3))
    lone.hear("b", GossipDelta([], [], Ring(4, lone.node.membership.ring.owners, quorums=(("default", 1, 1, 1),)).to_wire(), []))
    ((_, failure),) = of(Failure, lone.turn())
    assert (failure.code, failure.text) == (INVALID, "n=3 is not in 1..1, the bucket's n")
    assert lone.node.in_flight == 0


def test_a_slow_replica_is_hedged_and_its_late_answer_repairs_it() -> None:
    lone, key, (second, third, *_) = coordinating()
    ((_, read),) = of(Read, lone.hear(CLIENT, a_get(key)))
    ((to, hedge),) = of(Read, lone.pass_time(0.26))
    assert (to, hedge.request_id) == (third, read.request_id)
    assert of(GetReply, lone.hear(third, ReadReply(read.request_id, bytes_of(("b", b"1")))))
    said = lone.hear(second, ReadReply(read.request_id, b""))
    assert [to for to, _ in of(Write, said)] == [second]
    assert lone.node.in_flight == 0


def test_a_hedge_that_asks_this_node_itself_leaves_nothing_behind() -> None:
    """The own answer came at once, inside the asking; those who were still awaited were awaited for ever."""
    lone, key, peers = coordinating(rank=3)
    reads = dict(of(Read, lone.hear(CLIENT, a_get(key))))
    first, second = reads
    lone.hear(first, ReadReply(reads[first].request_id, bytes_of(("b", b"1"))))
    said = lone.pass_time(1.0)  # the third primary is asked, then this node, which answers
    assert of(GetReply, said)
    assert second in peers
    lone.pass_time(2.0)
    assert lone.node.in_flight == 0


def test_the_deadline_ends_a_get_and_says_how_many_answered() -> None:
    lone, key, _ = coordinating()
    lone.hear(CLIENT, a_get(key, r=3))
    ((_, failure),) = of(Failure, lone.pass_time(2.2))
    assert (failure.code, failure.required, failure.received) == (TIMEOUT, 3, 1)
    assert lone.node.in_flight == 0


def test_replicas_that_cannot_read_are_replaced_and_when_none_is_left_the_client_is_told() -> None:
    lone, key, (second, third, fourth, fifth) = coordinating()
    ((_, read),) = of(Read, lone.hear(CLIENT, a_get(key)))
    for node, after in ((second, third), (third, fourth), (fourth, fifth)):
        ((to, _),) = of(Read, lone.hear(node, Refused(read.request_id, "I/O error")))
        assert to == after
    ((_, failure),) = of(Failure, lone.hear(fifth, Refused(read.request_id, "I/O error")))
    assert failure.code == STORAGE
    assert lone.node.in_flight == 0


def test_a_refusal_of_the_last_that_was_awaited_ends_a_get_that_was_answered() -> None:
    lone, key, (second, third, *_) = coordinating()
    ((_, read),) = of(Read, lone.hear(CLIENT, a_get(key)))
    lone.pass_time(0.26)
    lone.hear(third, ReadReply(read.request_id, b""))
    lone.hear(second, Refused(read.request_id, "I/O error"))
    assert lone.node.in_flight == 0


def test_an_own_copy_that_cannot_be_read_is_left_out() -> None:
    lone, key, (second, third, *_) = coordinating()
    lone.disk.fail_reads = True
    reads = dict(of(Read, lone.hear(CLIENT, a_get(key))))
    assert sorted(reads) == sorted([second, third])
    lone.hear(second, ReadReply(reads[second].request_id, bytes_of(("b", b"1"))))
    ((_, reply),) = of(GetReply, lone.hear(third, ReadReply(reads[third].request_id, bytes_of(("b", b"1")))))
    assert reply.values == [b"1"]


def test_an_own_copy_that_cannot_be_repaired_does_not_keep_the_client_waiting() -> None:
    lone, key, (second, *_) = coordinating()
    ((_, read),) = of(Read, lone.hear(CLIENT, a_get(key)))
    lone.disk.fail_reads = True
    ((_, reply),) = of(GetReply, lone.hear(second, ReadReply(read.request_id, bytes_of(("b", b"1")))))
    assert reply.values == [b"1"]
    assert lone.node.in_flight == 0


def test_two_halves_that_together_fit_into_no_frame_are_told_and_can_be_read_one_by_one() -> None:
    """Both sides of a split wrote as much as they may. Nothing is sent that no peer would take."""
    lone, key, (second, *_) = coordinating()
    half = MERGED_BYTES_MAX * 2 // 3
    lone.hear(second, Write(0, "default", key, encode(written(("b", b"x" * half))), "", 1000))
    theirs = encode(written(("c", b"y" * half)))
    ((_, read),) = of(Read, lone.hear(CLIENT, a_get(key)))
    said = lone.hear(second, ReadReply(read.request_id, theirs))
    ((_, failure),) = of(Failure, said)
    assert failure.code == INVALID
    assert "r=1" in failure.text
    assert of(Write, said) == []
    ((_, reply),) = of(GetReply, lone.hear(CLIENT, a_get(key, r=1)))
    assert [len(value) for value in reply.values] == [half]
    assert lone.node.in_flight == 0

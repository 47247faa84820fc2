"""§4.5 §4.9: a put during a change of members is done when the owners of both rings have it."""

from __future__ import annotations

from lone_node import CLIENT, LoneNode, a_put, of

from dynazmq.config import Timing
from dynazmq.dynamo.messages import Failure, PutReply, Refused, Write, WriteReply
from dynazmq.dynamo.values.ring import Ring, place

OLD = Ring(1, ("a", "b", "c") * 5 + ("a",))
FILLING = Ring(2, OLD.owners, ("a", "b", "d", "e") * 4, filling=True)


def changing(ring: Ring = FILLING) -> LoneNode:
    """The node `a` of a ring of three that shall be one of four others: d and e gain keys."""
    lone = LoneNode(members=("a", "b", "c", "d", "e"), founders=["a", "b", "c"])
    lone.node.membership.learn_ring(Ring(1, OLD.owners, FILLING.also, filling=True))  # ranks by its digest
    lone.node.membership.ring = OLD
    lone.turn()
    if ring is not OLD:
        lone.node.membership.learn_ring(ring)
    lone.turn()
    return lone


def a_key(others: int) -> bytes:
    """A key that `a` owns first, and that so many other nodes gain."""
    for i in range(1000):
        partition = OLD.partition_of(place("default", key := b"key %d" % i))
        if OLD.walk(partition)[0] == "a" and len(FILLING.extras(partition, 3)) == others:
            return key
    raise AssertionError(f"no key of which {others} nodes become owners")


def writes(lone: LoneNode, key: bytes) -> dict[str, Write]:
    lone.node.receive(CLIENT, a_put(key))
    return {str(to): message for to, message in of(Write, lone.flush())}


def test_a_put_is_written_to_the_old_and_the_new_owners_and_done_when_the_new_ones_have_it() -> None:
    lone, key = changing(), a_key(1)
    sent = writes(lone, key)
    (new,) = FILLING.extras(OLD.partition_of(place("default", key)), 3)
    assert sent.keys() == {"b", "c", new}
    assert not of(PutReply, lone.hear("b", WriteReply([sent["b"].request_id]))), "W old owners have it, the new one has not"
    assert of(PutReply, lone.hear(new, WriteReply([sent[new].request_id])))


def test_a_new_owner_alone_is_no_quorum() -> None:
    lone, key = changing(), a_key(1)
    sent = writes(lone, key)
    (new,) = FILLING.extras(OLD.partition_of(place("default", key)), 3)
    assert not of(PutReply, lone.hear(new, WriteReply([sent[new].request_id])))
    assert of(PutReply, lone.hear("c", WriteReply([sent["c"].request_id])))


def test_a_new_owner_that_is_away_gets_a_hint_and_holds_nobody_up() -> None:
    lone, key = changing(), a_key(1)
    (new,) = FILLING.extras(OLD.partition_of(place("default", key)), 3)
    lone.away.add(new)
    lone.pass_time(1.5)
    sent = writes(lone, key)
    assert new not in sent
    assert of(PutReply, lone.hear("b", WriteReply([sent["b"].request_id])))
    assert {to: total.count for to, total in lone.disk.hint_totals().items()} == {new: 1}


def test_one_that_is_silent_or_refuses_gets_a_hint_and_then_the_put_is_done() -> None:
    for answer in ("silence", "refusal"):
        lone, key = changing(), a_key(1)
        sent = writes(lone, key)
        (new,) = FILLING.extras(OLD.partition_of(place("default", key)), 3)
        assert not of(PutReply, lone.hear("b", WriteReply([sent["b"].request_id])))
        if answer == "silence":
            said = lone.pass_time(0.5)
        else:
            said = lone.hear(new, Refused(sent[new].request_id, "full"))
        assert len(of(PutReply, said)) == 1, answer
        assert lone.disk.hint_total(new).count == 1


def test_a_put_under_way_when_the_ring_changes_is_caught_up_with() -> None:
    lone, key = changing(OLD), a_key(1)
    sent = writes(lone, key)
    assert sent.keys() == {"b", "c"}
    lone.node.membership.learn_ring(FILLING)
    caught_up = of(Write, lone.turn())
    (new,) = FILLING.extras(OLD.partition_of(place("default", key)), 3)
    assert [to for to, _ in caught_up] == [new]
    assert not of(PutReply, lone.hear("b", WriteReply([sent["b"].request_id])))
    assert of(PutReply, lone.hear(new, WriteReply([caught_up[0][1].request_id])))


def test_after_the_flip_the_old_owners_are_written_to_as_well() -> None:
    flipped = Ring(3, FILLING.also, OLD.owners)
    lone = changing(flipped)
    for i in range(200):
        key = b"key %d" % i
        partition = flipped.partition_of(place("default", key))
        if flipped.walk(partition)[0] == "a" and "c" in flipped.extras(partition, 3):
            break
    sent = writes(lone, key)
    assert "c" in sent
    assert set(sent) == set(flipped.holders(partition, 3)) - {"a"}


def fewer_replicas() -> tuple[LoneNode, bytes, str]:
    """The bucket is to have one replica instead of three, elsewhere than at `a`, who is the last of the three."""
    lone = LoneNode(timing=Timing(retirement_grace_ms=0))
    owners = lone.node.membership.ring.owners
    lone.node.membership.learn_ring(Ring(2, owners, owners, True, (), (("default", 1, 1, 1),)))
    lone.turn()
    key = lone.key(2)
    return lone, key, lone.walk(key)[0]


def test_of_a_bucket_with_fewer_replicas_to_come_those_are_awaited_whoever_else_has_it() -> None:
    lone, key, only = fewer_replicas()
    sent = writes(lone, key)
    (other,) = sent.keys() - {only}
    assert not of(PutReply, lone.hear(other, WriteReply([sent[other].request_id]))), (
        "two of three, and not the one that is to stay"
    )
    assert of(PutReply, lone.hear(only, WriteReply([sent[only].request_id])))


def test_one_of_those_that_is_silent_or_refuses_gets_a_hint_here_and_then_the_put_is_done() -> None:
    for answer in ("silence", "refusal"):
        lone, key, only = fewer_replicas()
        sent = writes(lone, key)
        (other,) = sent.keys() - {only}
        assert not of(PutReply, lone.hear(other, WriteReply([sent[other].request_id])))
        said = lone.hear(only, Refused(sent[only].request_id, "full")) if answer == "refusal" else []
        said += lone.pass_time(0.5)
        assert len(of(PutReply, said)) == 1, answer
        assert lone.disk.hint_total(only).count == 1


def test_one_of_those_that_somebody_stands_in_for_gets_a_hint_here_as_well() -> None:
    """The stand-in need not be one of the W, and what is sent to it may be lost."""
    lone, key, only = fewer_replicas()
    lone.away.add(only)
    lone.pass_time(1.5)
    sent = writes(lone, key)
    (stand_in,) = [name for name, write in sent.items() if write.hint_for == only]
    (other,) = sent.keys() - {stand_in}
    assert of(PutReply, lone.hear(other, WriteReply([sent[other].request_id])))
    assert lone.disk.hint_total(only).count == 1


def test_of_a_bucket_with_more_replicas_to_come_a_put_that_names_its_n_is_for_all_of_them() -> None:
    lone = LoneNode(n=1, r=1, w=1, timing=Timing(retirement_grace_ms=0))
    owners = lone.node.membership.ring.owners
    lone.node.membership.learn_ring(Ring(2, owners, owners, True, (), (("default", 3, 2, 2),)))
    lone.turn()
    key = lone.key(0)
    lone.node.receive(CLIENT, a_put(key, n=1))
    assert sorted(str(to) for to, _ in of(Write, lone.flush())) == sorted(lone.walk(key)[1:3])


def test_a_turn_that_fails_acknowledges_nothing_whoever_answers() -> None:
    lone, key = changing(), a_key(1)
    lone.node.receive(CLIENT, a_put(key))
    lone.disk.rollback()
    lone.node.turn_failed()
    said = lone.flush()
    assert not of(Write, said)
    assert len(of(Failure, said)) == 1
    for request_id in range(1, 30):
        for name in ("b", "c", "d", "e"):
            assert not of(PutReply, lone.hear(name, WriteReply([request_id])))


def fail(lone: LoneNode) -> None:
    """The turn ends with a commit that fails."""
    lone.node.tick(lone.now, lone.wall_ms + int(lone.now * 1000))
    lone.disk.rollback()
    lone.node.turn_failed("the disk is full")
    assert not of(PutReply, lone.flush())


def test_a_hint_for_a_new_owner_that_was_lost_with_its_turn_is_kept_again_before_the_put_is_done() -> None:
    """In the turn in which the node hears of the ring, so that nothing else makes the put wait."""
    lone, key = changing(OLD), a_key(1)
    (new,) = FILLING.extras(OLD.partition_of(place("default", key)), 3)
    lone.away.add(new)
    lone.pass_time(1.5)
    sent = writes(lone, key)
    lone.node.membership.learn_ring(FILLING)
    fail(lone)
    assert lone.disk.hint_total(new).count == 0
    assert not of(PutReply, lone.hear("b", WriteReply([sent["b"].request_id]))), "only old owners have it"
    assert len(of(PutReply, lone.pass_time(0.5))) == 1
    assert lone.disk.hint_total(new).count == 1


def test_one_that_refuses_in_a_turn_that_is_not_stored_has_its_hint_before_the_put_is_done() -> None:
    lone, key = changing(), a_key(2)
    sent = writes(lone, key)
    first, second = FILLING.extras(OLD.partition_of(place("default", key)), 3)
    assert not of(PutReply, lone.hear("b", WriteReply([sent["b"].request_id])))
    lone.node.receive(first, Refused(sent[first].request_id, "full"))
    fail(lone)
    assert not of(PutReply, lone.hear(second, WriteReply([sent[second].request_id])))
    assert len(of(PutReply, lone.pass_time(0.5))) == 1
    assert lone.disk.hint_total(first).count == 1


def test_a_put_whose_dot_was_not_stored_leaves_no_hint_behind() -> None:
    lone, key = changing(), a_key(1)
    (new,) = FILLING.extras(OLD.partition_of(place("default", key)), 3)
    lone.away.add(new)
    lone.pass_time(1.5)
    lone.node.receive(CLIENT, a_put(key))
    fail(lone)
    lone.pass_time(2.5)
    assert lone.disk.hint_total(new).count == 0
    assert not lone.stored(key).context

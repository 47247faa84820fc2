"""The node as its driver sees it: turns, failed commits, frames of other lives, looking without touching."""

from __future__ import annotations

import json

import msgpack
from lone_node import CLIENT, LoneNode, a_get, a_put, bytes_of, of, written

from dynazmq.dynamo.membership.identity import INCARNATION_MAX
from dynazmq.dynamo.messages import (
    INVALID,
    NOT_YET,
    OVERLOADED,
    STORAGE,
    Failure,
    Get,
    GetReply,
    Handoff,
    Message,
    Probe,
    PutReply,
    Read,
    ReadReply,
    Recall,
    RecallReply,
    Refused,
    ScanReply,
    StatusReply,
    StatusRequest,
    Stopping,
    Topology,
    TopologyRequest,
    Write,
    WriteReply,
)
from dynazmq.dynamo.runtime import ROWS_LOST
from dynazmq.dynamo.values.versions import EMPTY, encode


def fail_commit(lone: LoneNode, why: str = "") -> None:
    lone.disk.rollback()
    lone.node.turn_failed(why)


def test_when_the_commit_fails_nothing_is_said_that_rests_on_it() -> None:
    lone = LoneNode()
    key = lone.key(0)
    second = lone.peers(key)[0]
    lone.node.receive(CLIENT, a_put(key))
    lone.node.receive(second, Write(5, "default", key, encode(written(("b", b"1"))), "", 1000))
    lone.node.receive(second, Read(6, "default", b"another", 1000))
    fail_commit(lone)
    said = lone.flush()
    assert of(Write, said) == []
    assert of(WriteReply, said) == []
    assert [(to, failure.code) for to, failure in of(Failure, said)] == [(CLIENT, STORAGE)]
    assert [(to, refused.request_id) for to, refused in of(Refused, said)] == [(second, 5)]
    assert lone.stored(key) == EMPTY
    assert lone.node.in_flight == 0


def test_when_the_commit_fails_nobody_is_shown_the_write_that_was_not_stored() -> None:
    """Found by seed 4866: a read of the same turn carried the new dot away, and the dot was then given to another write."""
    lone = LoneNode()
    key = lone.key(0)
    second = lone.peers(key)[0]
    lone.node.receive(CLIENT, a_put(key))
    lone.node.receive(second, Read(5, "default", key, 1000))
    lone.node.receive(second, Recall(6, "default", key, b"w" * 16, 10, 1000))
    lone.node.receive(b"another", a_get(key, r=1))
    lone.node.receive(b"a third", a_get(key, r=2))
    lone.node.receive(second, Read(7, "default", b"another", 1000))
    fail_commit(lone)
    said = lone.flush()
    assert [(to, refused.request_id) for to, refused in of(Refused, said)] == [(second, 5), (second, 6)]
    assert [to for to, failure in of(Failure, said) if failure.code == STORAGE] == [CLIENT, b"another", b"a third"]
    assert of(GetReply, said) == of(RecallReply, said) == []
    assert [reply.request_id for _, reply in of(ReadReply, said)] == [7], "what this turn did not touch can be read"
    assert lone.node.in_flight == 0, "what a get has read here must not be repaired elsewhere when others answer"


def test_a_retried_put_that_read_what_was_not_stored_is_refused() -> None:
    lone = LoneNode()
    key = lone.key(0)
    lone.node.receive(CLIENT, a_put(key))
    lone.node.receive(b"another", a_put(key, b"2", write_id=b"x" * 16, age_ms=50))
    fail_commit(lone)
    assert [(to, failure.code) for to, failure in of(Failure, lone.flush())] == [(CLIENT, STORAGE), (b"another", STORAGE)]
    assert lone.node.in_flight == 0


def test_a_hint_of_a_failed_commit_is_not_brought_home() -> None:
    lone = LoneNode()
    key = lone.key(3)
    primaries = lone.peers(key)[:3]
    lone.away.update(primaries)
    lone.pass_time(3.0)
    lone.node.receive(CLIENT, a_put(key, w=1))
    target = next(iter(lone.node.hints.pending))
    lone.node.failure.peers[target].state = "up"
    lone.node.hints.deliver(target)
    fail_commit(lone)
    said = lone.flush()
    assert of(Handoff, said) == []
    assert [(to, failure.code) for to, failure in of(Failure, said)] == [(CLIENT, STORAGE)]


def test_a_dot_of_a_failed_commit_is_given_again_since_nobody_has_seen_it() -> None:
    lone = LoneNode()
    key = lone.key(0)
    lone.node.receive(CLIENT, a_put(key))
    fail_commit(lone)
    lone.flush()
    lone.hear(CLIENT, a_put(key, b"second", write_id=b"2" * 16))
    assert [sibling.counter for sibling in lone.stored(key).live] == [1]


def test_a_commit_that_fails_in_a_later_round_takes_nothing_back_that_was_committed_in_an_earlier_one() -> None:
    lone = LoneNode()
    key = lone.key(0)
    said = lone.hear(CLIENT, a_put(key))  # committed and spoken of
    for to, write in of(Write, said):
        lone.node.undeliverable(to, [write])  # new work in the same turn
    fail_commit(lone)
    assert of(Failure, lone.flush()) == []
    assert lone.stored(key).values == [b"v"]
    assert lone.node.in_flight == 1


def test_an_epoch_that_could_not_be_stored_is_not_used() -> None:
    lone = LoneNode()
    epoch = lone.node.identity.epoch
    lone.node.identity.new_epoch("a test")
    fail_commit(lone)
    assert lone.node.identity.epoch == epoch


def test_what_is_undeliverable_is_as_good_as_refused() -> None:
    lone = LoneNode()
    key = lone.key(0)
    second, _, fourth, _ = lone.peers(key)
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key))))
    lone.node.undeliverable(second, [writes[second]])
    ((to, hint),) = of(Write, lone.flush())
    assert (to, hint.hint_for) == (fourth, second)
    assert lone.node.failure.state_of(second) == "suspect"


def test_a_reply_to_a_client_that_has_gone_is_counted() -> None:
    lone = LoneNode()
    lone.node.undeliverable(CLIENT, [Failure(1, 1, 0, 0, 0, "")])
    assert lone.node.runtime.counters["replies_undeliverable"] == 1


def test_a_client_for_whom_enough_waits_is_told_that_its_read_is_too_much() -> None:
    lone = LoneNode()
    unread: list[Message] = [GetReply(7, [b"v"], [], b"", []), ScanReply(8, [], True, 0, b""), PutReply(9, b"", [], [])]
    lone.node.undeliverable(CLIENT, unread)
    told = [message for _, message in of(Failure, lone.flush())]
    assert [(each.request_id, each.code) for each in told] == [(7, OVERLOADED), (8, OVERLOADED)]
    assert all(each.retry_after_ms for each in told)
    lone.node.undeliverable(CLIENT, told)
    assert lone.flush() == [], "that is not answered again"


def test_a_node_that_stops_begins_nothing_and_answers_its_peers() -> None:
    lone = LoneNode()
    lone.node.stop()
    ((_, failure),) = of(Failure, lone.hear(CLIENT, a_get(b"k")))
    assert failure.code == NOT_YET
    assert len(lone.hear("b", Read(6, "default", b"k", 1000))) == 1


def test_a_node_that_stops_says_so_to_each_peer_and_gives_probes_no_other_answer() -> None:
    lone = LoneNode()
    lone.node.stop()
    assert [to for to, _ in of(Stopping, lone.turn())] == ["b", "c", "d", "e"]
    assert of(Stopping, lone.hear("b", Probe(7))) == [("b", Stopping(7))]


def test_what_only_peers_may_say_is_refused_to_clients() -> None:
    lone = LoneNode()
    assert lone.hear(CLIENT, Write(5, "default", b"k", bytes_of(("b", b"1")), "", 1000)) == []
    assert lone.node.runtime.counters["messages_refused"] == 1


def test_bytes_that_are_no_state_are_refused_and_the_node_goes_on() -> None:
    lone = LoneNode()
    key = lone.key(0)
    ((_, refused),) = lone.hear("b", Write(5, "default", key, b"\x93\x90\x90\x90", "", 1000))
    assert isinstance(refused, Refused)
    assert lone.hear("b", Write(6, "default", key, bytes_of(("b", b"1")), "", 1000)) == [("b", WriteReply([6]))]


def test_bad_requests_are_answered_with_the_limit_and_what_was_given() -> None:
    lone = LoneNode()
    for request, words in (
        (a_get(b"k", r=4), "r=4 is not in 1..3"),
        (a_get(b"k", n=9), "n=9 is not in 1..3"),
        (a_put(b"k", w=-2), "w=-2"),
        (a_put(b"k", pw=7), "pw=7"),
        (a_put(b"k", b"v" * ((1 << 20) + 1)), "1,048,577 bytes is over the limit of 1,048,576"),
        (a_put(b"k", context=b"garbage"), "context"),
    ):
        ((to, failure),) = of(Failure, lone.hear(CLIENT, request))
        assert (to, failure.code) == (CLIENT, INVALID)
        assert words in failure.text


def test_a_frame_of_an_earlier_life_of_a_peer_is_void_and_one_that_nobody_could_refute_as_well() -> None:
    lone = LoneNode()
    assert lone.node.heard("b", 1000)
    assert lone.node.heard("b", 1001)
    assert not lone.node.heard("b", 1000)
    assert not lone.node.heard("b", INCARNATION_MAX + 1)
    assert lone.node.heard("b", 1001), "it has left no trace"
    assert not lone.node.heard("stranger", 5)


def test_incarnations_end_somewhere_and_a_node_starts_there_too() -> None:
    lone = LoneNode()
    lone.node.identity.refute(INCARNATION_MAX)
    assert lone.node.identity.incarnation == INCARNATION_MAX
    lone.flush()
    lone.start()
    assert lone.node.identity.incarnation == INCARNATION_MAX


def test_status_and_topology_say_what_is_and_change_nothing() -> None:
    lone = LoneNode()
    lone.hear(CLIENT, a_put(lone.key(0)))
    before = (lone.disk.commits, lone.disk.snapshot().committed(), dict(lone.node.runtime.counters))
    ((_, reply),) = of(StatusReply, lone.hear(CLIENT, StatusRequest(4)))
    document = json.loads(reply.status)
    assert (document["name"], document["keys"], document["in_flight"]) == ("a", 1, 1)
    ((_, topology),) = of(Topology, lone.hear(CLIENT, TopologyRequest(5)))
    assert sorted(row[0] for row in topology.members) == ["a", "b", "c", "d", "e"]
    assert (lone.disk.commits, lone.disk.snapshot().committed(), dict(lone.node.runtime.counters)) == before


def test_an_expired_request_is_dropped_without_an_answer() -> None:
    lone = LoneNode()
    assert lone.hear(CLIENT, a_get(b"k", budget_ms=0)) == []
    assert lone.hear(CLIENT, a_put(b"k", budget_ms=-5)) == []
    assert isinstance(a_get(b"k"), Get)
    assert lone.node.runtime.counters["expired"] == 2


def test_a_node_says_once_that_its_store_has_lost_rows() -> None:
    lone = LoneNode()
    lone.disk.set_meta(ROWS_LOST, b"2 pages are damaged")
    lone.disk.commit()
    assert [note for note in lone.start().runtime.notes if "2 pages are damaged" in note.text]
    assert lone.start().runtime.notes == []


def test_each_life_of_a_node_is_an_actor_of_its_own_and_has_a_greater_incarnation() -> None:
    lone = LoneNode()
    lives = [lone.start().identity for _ in range(5)]
    assert len({life.actor for life in lives} | {life.stand_in_actor for life in lives}) == 10
    assert [life.session for life in lives] == [0] * 5
    assert sorted({life.incarnation for life in lives}) == [life.incarnation for life in lives]


def test_the_identity_that_an_earlier_release_has_stored_is_understood() -> None:
    lone = LoneNode()
    later = lone.wall_ms + 1_000_000
    lone.disk.set_meta("identity", msgpack.packb(["epoch", 3, later, "boot", "normal"]))
    lone.disk.commit()
    identity = lone.start().identity
    assert (identity.incarnation, identity.session) == (later + 1, 0)
    assert identity.epoch != "epoch"


def test_who_is_refused_since_the_commit_failed_is_told_why() -> None:
    lone = LoneNode()
    key = lone.key(0)
    second = lone.peers(key)[0]
    lone.node.receive(CLIENT, a_put(key))
    lone.node.receive(second, Write(5, "default", key, encode(written(("b", b"1"))), "", 1000))
    fail_commit(lone, "cannot commit: disk I/O error (Read-only file system)")
    said = lone.flush()
    why = "a could not store it: cannot commit: disk I/O error (Read-only file system)"
    assert [failure.text for _, failure in of(Failure, said)] == [why]
    assert [refused.text for _, refused in of(Refused, said)] == [why]


def test_a_put_that_its_replicas_refuse_says_what_they_said() -> None:
    lone = LoneNode()
    key = lone.key(0)
    said = lone.hear(CLIENT, a_put(key, w=3))
    for _ in range(8):
        for to, write in of(Write, said):
            assert isinstance(to, str)
            said = [each for each in said if each[1] is not write]
            said += lone.hear(to, Refused(write.request_id, f"{to} could not store it: No space left on device"))
    [failure] = [failure for _, failure in of(Failure, said)]
    assert "could not store it: No space left on device" in failure.text

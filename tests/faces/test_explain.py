"""`explain`: who holds what, what a get returns, and what repair does next, from what nodes tell."""

from __future__ import annotations

import json

import pytest
from seen_key import KEY, NAMES, SeenKey, wrote

from dynazmq.cli.explained import lines
from dynazmq.client.inspect.explained import PREVIEW_BYTES, Copy, Explanation, Version, cut
from dynazmq.client.inspect.looked import Told
from dynazmq.dynamo.messages import LookTell
from dynazmq.dynamo.values.ring import Ring
from dynazmq.dynamo.values.versions import sync

OLD = wrote("n1", b"old")
NEW = wrote("n1", b"new", OLD)
BESIDE = wrote("n2", b"beside", OLD)


def copy_of(found: Explanation, name: str) -> Copy:
    return next(copy for copy in found.copies if copy.node == name)


def steps(found: Explanation) -> list[tuple[str, str, tuple[str, ...], str]]:
    return [(step.kind, step.by, step.to, step.when) for step in found.repair]


def test_when_all_primaries_hold_the_same_there_is_nothing_to_do() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2", "n3")
    found = seen.explain()
    assert [(copy.node, copy.rank, copy.role) for copy in found.copies] == [
        ("n1", 1, "primary"), ("n2", 2, "primary"), ("n3", 3, "primary"), ("n4", 4, "fallback"), ("n5", 5, "fallback"),
    ]  # fmt: skip
    assert found.agreed
    assert {answer.via for answer in found.answers} == {"n1", "n2", "n3"}
    assert found.answers[0].state.values == [b"new"]
    assert steps(found) == [("nothing", "", (), "")]
    assert len(found.states) == 1


def test_a_stand_in_holds_a_hint_for_a_primary_that_is_down_and_brings_it_home_later() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2")
    seen.hint("n4", "n3", NEW)
    seen.kill("n3")
    found = seen.explain()
    gone, stand_in = copy_of(found, "n3"), copy_of(found, "n4")
    assert (gone.state, gone.known, gone.error, gone.held) == ("down", False, "no connection", None)
    assert gone.seen_by == {"n1": "down", "n2": "down", "n4": "down", "n5": "down"}
    assert stand_in.stands_in_for == "n3"
    assert [(hint.target, hint.kept_s) for hint in stand_in.hints] == [("n3", 18.0)]
    assert (found.reads.met, found.reads.reachable, found.writes.met) == (True, 3, True)
    assert found.agreed
    assert found.answers[0].found
    assert steps(found) == [("hint delivery", "n4", ("n3",), "when n3 is back")]


def test_a_hint_for_a_primary_that_is_back_is_on_its_way() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2")
    seen.hold(OLD, "n3")
    seen.hint("n4", "n3", NEW)
    assert ("hint delivery", "n4", ("n3",), "now") in steps(seen.explain())


def test_a_primary_that_lacks_a_write_is_mended_by_the_next_get_or_by_anti_entropy() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2")
    seen.hold(OLD, "n3")
    found = seen.explain()
    assert found.agreed, "whoever asks n3 asks another one, too"
    assert steps(found) == [
        ("read repair", "n2", ("n3",), "at the next get through n2"),
        ("anti-entropy", "n1", ("n3",), "now"),
    ]
    assert found.repair[1].why == "n3 lacks what n1 holds"


def test_of_two_primaries_without_the_write_each_meets_one_that_has_it() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n3")
    assert [step[1:3] for step in steps(seen.explain()) if step[0] == "anti-entropy"] == [("n1", ("n3",)), ("n2", ("n3",))]


def test_with_r_1_the_answer_depends_on_who_is_asked_and_all_are_shown() -> None:
    seen = SeenKey(r=1)
    seen.hold(NEW, "n1", "n2")
    seen.hold(OLD, "n3")
    found = seen.explain()
    assert not found.agreed
    assert {answer.via: answer.state.values for answer in found.answers} == {"n1": [b"new"], "n2": [b"new"], "n3": [b"old"]}


def test_siblings_are_merged_for_the_reader_and_left_to_a_client() -> None:
    seen = SeenKey()
    both = sync(NEW, BESIDE)
    seen.hold(both, "n1", "n2", "n3")
    found = seen.explain()
    assert sorted(found.answers[0].state.values) == [b"beside", b"new"]
    assert steps(found)[-1][0] == "resolve"


def test_in_an_lww_bucket_a_get_returns_the_last_alone() -> None:
    seen = SeenKey(buckets=(["carts", 3, 2, 2, "lww"],))
    seen.ring = Ring(5, tuple(NAMES) * 24)
    for name in NAMES:
        seen.hold(sync(wrote("n1", b"early"), wrote("n2", b"late", at_ms=1_700_000_000_500)), name)
    found = seen.explain("carts")
    assert found.conflict == "lww"
    assert found.answers[0].state.values == [b"late"]


def test_a_tombstone_is_a_version_and_is_forgotten_when_all_have_it() -> None:
    seen = SeenKey()
    seen.hold(wrote("n1", None, NEW), "n1", "n2", "n3")
    found = seen.explain()
    assert not found.answers[0].found
    assert found.copies[0].held is not None
    assert [version.value for version in found.copies[0].held.live] == [None]
    assert steps(found) == [("forgetting", "n1", ("n2", "n3"), "when all members have been up for some minutes")]


def test_an_absent_key_is_explained_as_well() -> None:
    found = SeenKey().explain()
    assert (found.states, found.answers[0].found, steps(found)) == ((), False, [("nothing", "", (), "")])


def test_a_copy_on_a_node_that_is_no_holder_is_a_stray_that_goes_to_the_primaries() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2", "n3", "n5")
    found = seen.explain()
    assert copy_of(found, "n5").stray
    assert not copy_of(found, "n1").stray
    assert steps(found) == [("handover", "n5", ("n1", "n2", "n3"), "now")]
    seen.kill("n2")
    assert ("handover", "n5", ("n1", "n2", "n3"), "when n2 is back") in steps(seen.explain())


def test_a_hint_for_who_holds_the_key_no_more_goes_to_its_primaries() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2", "n3")
    seen.hint("n4", "n5", NEW)
    ((kind, by, to, when),) = steps(seen.explain())
    assert (kind, by, to, when) == ("handover", "n4", ("n1", "n2", "n3"), "now")


def test_a_damaged_copy_is_told_and_comes_back_from_the_peers() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2")
    seen.damaged.add("n3")
    found = seen.explain()
    assert copy_of(found, "n3").damaged
    assert copy_of(found, "n3").held is None
    assert ("anti-entropy", "n3", ("n1", "n2"), "when it is next read") in steps(found)


@pytest.mark.parametrize(
    ("state", "when"), [({"on": False}, "never: it is off on n1"), ({"on": True, "paused": True}, "when it is resumed on n1")]
)
def test_anti_entropy_that_is_held_is_not_promised(state: dict[str, bool], when: str) -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2")
    seen.hold(OLD, "n3")
    seen.entropy["n1"] = state
    assert ("anti-entropy", "n1", ("n3",), when) in steps(seen.explain())


def test_a_frozen_node_that_nobody_suspects_yet_is_silent_and_passed_over() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2", "n3")
    seen.kill("n2", noticed=False, why="no answer in 0.4 s")
    found = seen.explain()
    assert copy_of(found, "n2").state == "silent"
    assert {answer.via: (answer.asks, answer.passes_over) for answer in found.answers} == {
        "n1": (("n1", "n3"), ("n2",)), "n3": (("n3", "n1"), ()),
    }  # fmt: skip
    assert found.reads.reachable == 3, "n4 is one more that can be asked"


def test_with_too_few_nodes_left_no_get_is_answered_and_it_is_said() -> None:
    seen = SeenKey()
    seen.hold(NEW, *NAMES[:3])
    for name in NAMES[1:]:
        seen.kill(name)
    found = seen.explain()
    assert (found.reads.met, found.reads.needed, found.reads.reachable, found.answers) == (False, 2, 1, ())
    assert not found.writes.met
    assert {step[0] for step in steps(found)} == {"anti-entropy"}, "what n2 and n3 hold is not known"


@pytest.mark.parametrize("full", [("n2",), ("n2", "n3", "n4", "n5"), ("n1", "n2", "n3", "n4", "n5")])
def test_a_put_counts_on_those_alone_who_can_store_and_the_reason_is_shown(full: tuple[str, ...]) -> None:
    """Whether a node lives says nothing of whether it can do a put; gets are served by it as before."""
    key = SeenKey()
    key.hold(wrote("n1", b"milk"), "n1", "n2", "n3")
    key.cannot_store = dict.fromkeys(full, "the disk is full")
    found = key.explain()
    assert (found.reads.reachable, found.reads.met) == (3, True)
    assert (found.writes.reachable, found.writes.met) == {1: (3, True), 4: (1, False), 5: (0, False)}[len(full)]
    assert {copy.node: copy.cannot_store for copy in found.copies if copy.cannot_store} == key.cannot_store
    told = {copy["node"]: copy["cannot_store"] for copy in found.document()["copies"]}
    assert told == {name: key.cannot_store.get(name) for name in told}
    text = "\n".join(line.plain for line in lines(found))
    assert text.count("cannot store: the disk is full") == len(full)
    assert f"W=2 of {found.writes.reachable} that can store: {'can' if found.writes.met else 'cannot'} be done" in text


def test_when_nobody_answers_the_place_is_still_explained() -> None:
    seen = SeenKey()
    for name in NAMES:
        seen.kill(name)
    found = seen.explain()
    assert [copy.state for copy in found.copies] == ["unknown"] * 5
    assert (found.reads.reachable, found.answers) == (0, ())


def test_while_new_owners_fill_both_sets_of_owners_are_shown() -> None:
    seen = SeenKey()
    also = tuple("n5" if owner == "n3" else owner for owner in seen.ring.owners)
    seen.ring = Ring(6, seen.ring.owners, also, True)
    seen.hold(NEW, "n1", "n2", "n3")
    found = seen.explain()
    assert found.phase == "filling"
    assert copy_of(found, "n5").role == "new owner"
    assert steps(found) == [("transfer", "n5", ("n1", "n2", "n3"), "now")]
    seen.hold(NEW, "n5")
    found = seen.explain()
    assert not copy_of(found, "n5").stray
    assert steps(found) == [("nothing", "", (), "")]
    seen.ring = Ring(7, also, seen.ring.owners, False)
    assert copy_of(seen.explain(), "n3").role == "old owner"


def test_a_node_that_tells_what_makes_no_sense_spoils_nothing_else() -> None:
    seen = SeenKey()
    seen.hold(NEW, "n1", "n2")
    seen.own["n3"] = b"garbage"
    seen.hints["n4"] = [["n3", b"garbage", 1]]
    found = seen.explain()
    assert "makes no sense" in copy_of(found, "n3").error
    assert "makes no sense" in copy_of(found, "n4").error
    assert copy_of(found, "n1").known
    assert found.answers[0].state.values == [b"new"]
    assert Told(look=LookTell(1, b"", False, [["n3"]])).error == ""


def test_the_document_is_json_and_cuts_values_at_whole_characters() -> None:
    seen = SeenKey()
    long = "ä".encode() * PREVIEW_BYTES
    seen.hold(sync(wrote("n1", long), wrote("n2", b"\xff\x00")), "n1", "n2", "n3")
    document = json.loads(json.dumps(seen.explain().document()))
    assert document["key"] == KEY.decode()
    first, second = document["copies"][0]["held"]["versions"]
    assert first["preview"] == "ä" * (PREVIEW_BYTES // 2)
    assert first["value_bytes"] == 2 * PREVIEW_BYTES
    assert (second["encoding"], second["preview"]) == ("base64", "/wA=")
    assert document["get"]["met"]
    assert document["repair"][-1]["kind"] == "resolve"
    assert cut(b"x" * PREVIEW_BYTES + "ä".encode()) == b"x" * PREVIEW_BYTES
    assert Version("n1~e", 1, None, 0.0).node == "n1"

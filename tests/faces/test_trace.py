"""From what nodes noted to the timeline of one request: drawn histories (drawn.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from drawn import a_hedged_get, a_put, drawn, passed_on, with_a_stand_in

from dynazmq.client.inspect.trace import read
from dynazmq.client.inspect.traced import Row, Trace
from dynazmq.errors import WriteTimeout


def row(trace: Trace, node: str, message: str = "") -> Row:
    return next(row for row in trace.rows if row.node == node and message in ("", row.message))


def spans(row: Row) -> list[tuple[str, int, int]]:
    return [(span.kind, span.begin_us, span.end_us) for span in row.spans if span.end_us > span.begin_us]


def test_a_put_is_the_clients_row_the_coordinators_and_one_for_each_replica() -> None:
    trace = a_put()
    assert [(row.node, row.role, row.asked_by) for row in trace.rows] == [
        ("client", "client", ""), ("n1", "coordinator", "client"), ("n2", "replica", "n1"), ("n3", "replica", "n1"),
    ]  # fmt: skip
    assert (trace.coordinator, trace.quorum_us, trace.quorum_of, trace.elapsed_us) == ("n1", 2000, ("n1", "n2"), 2100)


def test_times_are_counted_from_the_clients_beginning_and_cut_into_way_queue_work_commit_and_back() -> None:
    trace = a_put()
    assert spans(row(trace, "n2")) == [
        ("way", 1050, 1180), ("queue", 1180, 1200), ("work", 1200, 1300), ("commit", 1350, 1700), ("back", 1750, 1900),
    ]  # fmt: skip
    assert (row(trace, "n2").begin_us, row(trace, "n2").end_us) == (1050, 1900)


def test_what_came_while_a_node_was_at_work_was_queued_and_not_under_way() -> None:
    assert spans(row(a_put(), "n3"))[0] == ("queue", 1060, 2600)


def test_an_answer_after_the_clients_is_late_and_one_before_is_not() -> None:
    trace = a_put()
    assert trace.late == ("n3",)
    assert not row(trace, "n2").late
    assert row(trace, "n3").answered


def test_a_commit_of_no_rows_is_not_drawn() -> None:
    assert [span for span in spans(row(a_put(), "n1")) if span[0] == "commit"] == [("commit", 650, 1000)]


def test_a_replica_that_was_not_watched_is_silent_and_its_stand_in_has_its_name() -> None:
    trace = with_a_stand_in()
    silent, stand_in = row(trace, "n2"), row(trace, "n4")
    assert (silent.answered, silent.late, silent.spans) == (False, True, ())
    assert (stand_in.role, stand_in.stands_in_for, stand_in.late) == ("stand-in", "n2", True)
    assert trace.stand_ins == (("n4", "n2"),)
    assert trace.late == ("n2", "n4")


def test_requests_of_others_about_the_key_are_counted_and_left_out() -> None:
    trace = with_a_stand_in()
    assert trace.others == 1
    assert not [point for point in trace.points if point.peer == "client"]


def test_a_hedged_get_shows_both_reads_and_the_repair_that_the_late_answer_led_to() -> None:
    trace = a_hedged_get()
    assert [(row.node, row.role, row.late) for row in trace.rows if row.node != "client"] == [
        ("n1", "coordinator", False), ("n2", "replica", True), ("n3", "replica", False), ("n2", "repaired", False),
    ]  # fmt: skip
    assert row(trace, "n2", "Read").end_us == 12_000
    assert not row(trace, "n2", "Write").answered, "read repair is not answered"


def test_a_put_that_is_passed_on_has_two_rows_and_the_answer_of_the_first() -> None:
    trace = passed_on()
    assert [(row.node, row.role) for row in trace.rows] == [
        ("client", "client"), ("n5", "forwards"), ("n1", "coordinator"), ("n2", "replica"),
    ]  # fmt: skip
    assert row(trace, "n2").answered, "n2 noted nothing, but n1 has heard of it"
    assert trace.coordinator == "n1"
    assert trace.quorum_us == 2800, "when it went to the client"


def test_a_clock_that_cannot_be_compared_begins_when_its_node_was_asked() -> None:
    trace = passed_on()
    assert not trace.comparable
    assert row(trace, "n1").begin_us == 400
    assert [point.at_us for point in trace.points if point.node == "n1"][:3] == [400, 600, 900]


def test_a_first_try_that_nobody_heard_is_a_row_and_the_second_begins_when_it_was_made() -> None:
    trace = drawn(
        "get", (0, "n2"), (300_000, "n1"), ended=301_000, silent={"n2": "no answer in 0.15 s"},
        n1="""
            300200 heard me Get      9 1 -  0 100 300190
            300300 done  -  -        0 1
            300900 sent  me GetReply 9 1 n1 0
        """,
    )  # fmt: skip
    tried, served = row(trace, "n2"), row(trace, "n1")
    assert (tried.role, tried.answered, tried.late) == ("coordinator", False, False)
    assert served.begin_us == 300_000
    assert trace.coordinator == "n1"


def test_a_request_that_failed_has_no_quorum_and_its_error() -> None:
    trace = drawn(
        "put", (0, "n1"), ended=2_000_000, error=WriteTimeout("put 'k': no answer", 2, 1),
        n1="""
            200 heard  me Put   9 1
            300 done   -  -     0 1
            400 unsent n2 Write 7 1
        """,
    )  # fmt: skip
    assert trace.quorum_us is None
    assert not trace.document()["ok"]
    assert row(trace, "n2").late
    assert not row(trace, "n2").left


def test_points_of_a_request_that_nobody_heard_are_the_clients_own() -> None:
    trace = drawn("get", (0, "n1"), ended=500, error=WriteTimeout("x"))
    assert [(point.node, point.what) for point in trace.points] == [("client", "asked"), ("client", "failed")]
    assert trace.coordinator == "n1"


def test_the_document_has_all_points_in_order_of_time() -> None:
    document = json.loads(json.dumps(a_put().document()))
    assert document["quorum"] == {"needed": 2, "at_us": 2000, "of": ["n1", "n2"]}
    assert document["late"] == ["n3"]
    times = [point["at_us"] for point in document["points"]]
    assert times == sorted(times)
    assert len(times) == 2 + 11 + 4 + 4
    assert document["points"][0] == {
        "at_us": 0, "node": "client", "what": "asked", "peer": "n1", "message": "Put", "request_id": 9, "note": "", "size": 0
    }  # fmt: skip


@pytest.mark.parametrize("garbage", [[[1, "heard"]], [["soon", "heard", "", "", 0, 1, "", 0, 0, 0]], [None]])
def test_what_no_node_would_note_is_an_error_of_that_node(garbage: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        read("n1", garbage)

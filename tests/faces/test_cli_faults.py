"""Faults as people type and see them: words in, a fault out; what `status` shows of one; a schedule's lines."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from seen import NAMES, Seen

from dynazmq.cli import schedule
from dynazmq.cli.fault_words import fault_of, steps_of
from dynazmq.cli.faults import outcome
from dynazmq.cli.status import _met, code, document
from dynazmq.cluster.observe.changes import Chronicle
from dynazmq.errors import InvalidRequest
from dynazmq.faults import DISK_FULL, DROP, ISOLATE, KINDS, ONE_WAY, PARTITION, SKEW, SLOW, Fault

SPLIT = Fault(kind=PARTITION, sides=(("n1", "n2"), ("n3", "n4", "n5")))


def typed(line: str) -> Fault:
    """As the command line splits it: options by name, the rest as words."""
    (step,) = steps_of(f"0s {line}", NAMES)
    assert step.fault is not None
    return step.fault


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("partition n1,n2/n3,n4,n5", SPLIT),
        ("partition n1,n2 / n3,n4,n5", SPLIT),
        ("partition n1, n2 / n3 n4 n5", SPLIT),
        ("partition 'n[1-2]/n[3-5]'", SPLIT),
        ("partition n1/n2/n3", Fault(kind=PARTITION, sides=(("n1",), ("n2",), ("n3",)))),
        ("one-way n1 n2", Fault(kind=ONE_WAY, sides=(("n1",), ("n2",)))),
        ("one-way n2,n3/n1", Fault(kind=ONE_WAY, sides=(("n2", "n3"), ("n1",)))),
        ("isolate n3", Fault(kind=ISOLATE, nodes=("n3",))),
        ("isolate n3 n1", Fault(kind=ISOLATE, nodes=("n1", "n3"))),
        ("slow n3 --delay 200ms --jitter 50ms", Fault(kind=SLOW, nodes=("n3",), delay_ms=200, jitter_ms=50)),
        ("slow n1 50ms", Fault(kind=SLOW, nodes=("n1",), delay_ms=50)),
        ("slow n1,n2 1.5s --jitter=1s", Fault(kind=SLOW, nodes=("n1", "n2"), delay_ms=1500, jitter_ms=1000)),
        ("drop n1/n2 --rate 0.1", Fault(kind=DROP, sides=(("n1",), ("n2",)), rate=0.1)),
        ("drop n1 / n2 .5", Fault(kind=DROP, sides=(("n1",), ("n2",)), rate=0.5)),
        ("drop n3 5%", Fault(kind=DROP, nodes=("n3",), rate=0.05)),
        ("skew n2 --by 5m", Fault(kind=SKEW, nodes=("n2",), by_ms=300_000)),
        ("skew n2 --by -5m", Fault(kind=SKEW, nodes=("n2",), by_ms=-300_000)),
        ("skew n2 +250ms", Fault(kind=SKEW, nodes=("n2",), by_ms=250)),
        ("disk-full n4", Fault(kind=DISK_FULL, nodes=("n4",))),
    ],
)
def test_each_fault_can_be_typed(line: str, fault: Fault) -> None:
    assert typed(line) == fault


@pytest.mark.parametrize(
    ("kind", "words", "options", "says"),
    [
        ("partition", [], {}, "partition of which nodes? write for example partition n1,n2/n3,n4,n5"),
        ("partition", ["n1,n2"], {}, "two sides"),
        ("partition", ["n1/"], {}, "a side of the partition is empty"),
        ("partition", ["/"], {}, "a side of the partition is empty"),
        ("partition", ["n1/n1,n2"], {}, "n1 is on two sides"),
        ("partition", ["n1/n7"], {}, "no node 'n7'; there are n1 n2 n3 n4 n5"),
        ("one-way", ["n1"], {}, "two sides"),
        ("isolate", ["n1/n2"], {}, "isolate takes nodes and no sides"),
        ("isolate", ["n1"], {"rate": "1"}, "isolate has no --rate"),
        ("slow", ["n1"], {}, "slow needs --delay; write for example slow n3 --delay 200ms"),
        ("slow", ["50ms"], {}, "slow needs --delay"),
        ("slow", ["n1"], {"delay": "soon"}, "not a duration: 'soon'"),
        ("slow", ["n1", "-50ms"], {}, "a delay is 1ms to 1m, not -50ms"),
        ("drop", ["n1/n2"], {"rate": "often"}, "not a rate: 'often'; write for example 0.1 or 10%"),
        ("drop", ["n1/n2", "1.5"], {}, "not 1.5"),
        ("skew", ["n1", "0s"], {}, "not 0s"),
        ("earthquake", ["n1"], {}, "no fault 'earthquake'; there are partition one-way"),
    ],
)
def test_what_was_typed_wrongly_is_said_with_what_would_be_right(
    kind: str, words: list[str], options: dict[str, str], says: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        fault_of(kind, words, options, NAMES)
    assert says in str(refused.value)


def test_a_schedule_is_played_in_the_order_of_its_times_whatever_that_of_its_lines() -> None:
    lines = (
        "# a cut and a crash",
        "",
        "20s heal",
        "5s partition n1,n2/n3,n4,n5 for 10s  # both go on",
        "12s kill n3,n4",
        "1m heal f1",
        "1s start --all",
    )
    steps = steps_of("\n".join(lines), NAMES)
    assert [(step.at_s, step.verb, step.nodes, step.for_s) for step in steps] == [
        (1.0, "start", NAMES, None),
        (5.0, "partition", (), 10.0),
        (12.0, "kill", ("n3", "n4"), None),
        (20.0, "heal", (), None),
        (60.0, "heal", (), None),
    ]
    assert (steps[1].fault, steps[4].words) == (SPLIT, ("f1",))
    assert steps[1].text == "partition n1,n2/n3,n4,n5 for 10s"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing is in it; write for example: 5s partition"),
        ("5s", "line 1: a time and what is to be done then, not '5s'"),
        ("\n\nsoon heal", "line 3: not a duration: 'soon'"),
        ("5s explode n1", "line 1: no verb 'explode'; there are partition"),
        ("5s kill", "line 1: kill which nodes?"),
        ("5s kill n9", "line 1: no node 'n9'"),
        ("5s isolate n1 for 0s", "line 1: a fault lasts for more than 0s"),
        ("5s slow n1 --delay", "line 1: --delay needs a value"),
        ("5s kill 'n1", "line 1: No closing quotation"),
        ("5s wipe n1", "line 1: no verb 'wipe'"),
        ("5s heal\n" * 10_001, "over the limit of 10,000"),
    ],
)
def test_a_line_that_cannot_be_played_is_named_before_anything_is_done(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        steps_of(text, NAMES)
    assert says in str(refused.value)


def test_a_schedule_that_an_editor_saved_with_a_byte_order_mark_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b"\xef\xbb\xbf0s kill n1\r\n2s heal\r\n"
    (tmp_path / "faults.txt").write_bytes(raw)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw), "ascii"))
    for file in (str(tmp_path / "faults.txt"), "-"):
        assert [step.text for step in steps_of(schedule.text_of(file), NAMES)] == ["kill n1", "heal"]


def test_a_schedule_that_is_too_long_or_no_text_is_refused_from_standard_input_as_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for raw, says in ((b"0s heal\n" * 200_000, "over the limit of 1,048,576 bytes"), (b"0s kill \xff", "not text in UTF-8")):
        (tmp_path / "faults.txt").write_bytes(raw)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw), "ascii"))
        for file in (str(tmp_path / "faults.txt"), "-"):
            with pytest.raises(InvalidRequest, match=says):
                schedule.text_of(file)


def test_what_comes_of_a_cut_depends_on_how_many_are_on_a_side() -> None:
    cluster = Seen().cluster
    assert outcome(SPLIT, cluster) == "both sides accept writes (sloppy quorum)"
    alone = Fault(kind=PARTITION, sides=(("n1",), ("n2", "n3", "n4", "n5")))
    assert outcome(alone, cluster) == outcome(Fault(kind=ISOLATE, nodes=("n1",)), cluster) == "too few for R=2 W=2: n1"
    assert outcome(Fault(kind=PARTITION, sides=(("n1", "n2"), ("n3",))), cluster) == "n4 n5 are on no side and reach all"
    assert outcome(Fault(kind=DISK_FULL, nodes=("n1",)), cluster) == ""


# --- what is seen of it ---------------------------------------------------------------------------------------------------


def test_a_fault_that_is_on_cannot_be_overlooked_though_everything_serves() -> None:
    seen = Seen()
    seen.faults = [Fault(kind=SKEW, nodes=("n2",), by_ms=300_000, id="f1", until=8.0)]
    seen.facts.degraded_s = 3.0
    assert seen.lines[0].endswith("DEGRADED 3.0s")
    assert seen.lines[-3:] == [
        "fault f1 is on: skew n2, wall clock 5m ahead, 8s left, not yet at n2",
        "every key meets R=2 W=2",
        "next  dynazmq heal",
    ]
    seen.said["n2"]["faults"] = ["f1"]
    assert "fault f1 is on: skew n2, wall clock 5m ahead, 8s left" in seen.lines
    (shown,) = document(seen.snapshot)["faults"]
    assert (shown["id"], shown["kind"], shown["by_ms"], shown["applied_by"]) == ("f1", "skew", 300_000, ["n2"])
    assert code(seen.snapshot, check=True) == 8
    assert "fault f1 is on" in _met(seen.snapshot, "converged", 0)[1]


def test_a_cluster_that_does_not_run_shows_what_waits_for_it() -> None:
    seen = Seen()
    seen.faults = [Fault(kind=ISOLATE, nodes=("n2",), id="f1")]
    for name in NAMES:
        seen.gone(name, 3.0, process="stopped", state="stopped", purpose="stopped")
    assert seen.lines[1:] == ["fault f1 is on: isolate n2 ⇹ all others, until healed", "next  dynazmq up"]


def test_the_history_tells_what_was_switched_on_and_off() -> None:
    seen, chronicle = Seen(), Chronicle()
    chronicle.changes(seen.snapshot)
    seen.faults = [Fault(kind=ISOLATE, nodes=("n2",), id="f1")]
    assert [(event.kind, event.text) for event in chronicle.changes(seen.snapshot) if "fault" in event.kind] == [
        ("fault-on", "fault f1 on: isolate n2 ⇹ all others")
    ]
    assert [event for event in chronicle.changes(seen.snapshot) if "fault" in event.kind] == []
    seen.faults = []
    assert [event.kind for event in chronicle.changes(seen.snapshot) if "fault" in event.kind] == ["fault-off"]


def test_there_is_a_command_for_each_kind() -> None:
    from dynazmq.cli.commands import _fault  # noqa: F401 - puts them into the tree
    from dynazmq.cli.options import fault_app

    assert {*KINDS, "list", "heal", "schedule"} == {each.name for each in fault_app.registered_commands}

"""What the supervisor makes of one look after the other: outages, hints, exchanges, transfers, overload, faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seen import NAMES, OWNERS, Seen

from dynazmq.cluster.observe.changes import Chronicle
from dynazmq.cluster.observe.events import KINDS
from dynazmq.cluster.observe.node_health import Answer, NodeFact, judge
from dynazmq.cluster.observe.snapshot import Event
from dynazmq.faults import Fault

DOWN, SUSPECT = "down", "suspect"


@dataclass
class Story:
    """A cluster of five, looked at twice a second; the clock begins at 1000."""

    seen: Seen = field(default_factory=Seen)
    chronicle: Chronicle = field(default_factory=lambda: Chronicle(fallbacks=lambda _name: (72, 120)))
    now: float = 1000.0
    told: list[Event] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in NAMES:
            self.seen.said[name]["counters"] = {}
            self.seen.said[name]["incarnation"] = 1
        self.look()

    def look(self, passed_s: float = 0.5) -> list[Event]:
        self.now += passed_s
        answers = {name: Answer(name=name, status=said, heard_at=self.now - 0.1) for name, said in self.seen.said.items()}
        snapshot = judge(
            self.seen.cluster, Path("/c"), self.seen.facts, answers, owners=OWNERS, now=self.now, faults=self.faults
        )
        events = self.chronicle.changes(snapshot)
        self.told += events
        assert all(event.kind in KINDS for event in events)
        return events

    def count(self, name: str, counter: str, more: int) -> None:
        counters: Any = self.seen.said[name]["counters"]
        self.seen.said[name]["counters"] = {**counters, counter: counters.get(counter, 0) + more}

    def kill(self, name: str, word: str, for_s: float) -> None:
        self.seen.gone(name, for_s, word=word)

    def back(self, name: str) -> None:
        self.seen.facts.nodes[name] = NodeFact(pid=5, process="running", answered=True, state="up", state_s=1.0)
        self.seen.said[name] = {**Seen().said[name], "incarnation": 2, "counters": {}}
        for said in self.seen.said.values():
            said["peers"] = {peer: {"state": "up", "for_s": 0.2} for peer in NAMES}

    def peers_say(self, name: str, word: str, for_s: float) -> None:
        for said in self.seen.said.values():
            said["peers"][name] = {"state": word, "for_s": for_s}  # type: ignore[index]


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def test_a_start_is_told_when_it_is_whole() -> None:
    story = Story()
    assert kinds(story.told) == ["converged"]
    assert story.told[0].details == {}
    assert story.look() == []


def test_an_outage_is_told_with_the_times_at_which_things_were_and_ends_with_how_long_it_took() -> None:
    story = Story()
    story.chronicle.heard(Event(story.now + 0.1, "n3", "process gone, signal 9 (asked for)", "killed"))
    story.kill("n3", SUSPECT, 0.2)
    [suspected] = story.look()
    assert (suspected.kind, suspected.text) == ("suspected", "suspected by n1 n2 n4 n5")
    assert suspected.at == story.now - 0.1 - 0.2, "as long ago as the peers say, and as old as their word is"
    story.peers_say("n3", DOWN, 0.1)
    story.seen.said["n1"]["peers"]["n3"]["for_s"] = 0.3  # type: ignore[index]
    [down] = story.look()
    assert (down.kind, down.text) == ("down", "down: 4/4 agree; 72 of 120 partitions use a fallback")
    assert down.at == story.now - 0.2, "when the last one came to agree"
    assert down.details == {"by": ["n1", "n2", "n4", "n5"], "of": 4}
    story.seen.hold("n1", "n3", 12, 1.0)
    story.seen.hold("n4", "n3", 30, 1.0)
    [stored] = story.look()
    assert (stored.node, stored.text) == ("n3", "hints for it are kept at n1 n4")
    assert stored.details == {"phase": "stored", "count": 42, "holders": {"n1": 12, "n4": 30}}
    story.back("n3")
    assert kinds(story.look()) == ["up"]
    story.seen.hold("n1", "n3", 2, 1.0)
    story.count("n1", "hints_delivered", 10)
    [begin] = story.look()
    assert begin.details["phase"] == "delivering"
    for name in ("n1", "n4"):
        story.seen.said[name] |= {"hints_for": {}, "hints_pending": 0}
    story.count("n1", "hints_delivered", 2)
    story.count("n4", "hints_delivered", 30)
    end, converged = story.look()
    assert end.details == {"phase": "delivered", "count": 42}
    assert "42" in end.text
    assert converged.details["duration_s"] == round(story.now - 1000.6, 3)
    assert converged.details["cause"] == {"kind": "killed", "node": "n3"}
    assert converged.details["hints_delivered"] == 42
    assert "2.9 s after it began (n3 killed)" in converged.text
    assert story.look() == []


def test_hints_for_a_node_that_is_slow_for_a_moment_are_not_told() -> None:
    story = Story()
    for _ in range(3):
        story.seen.hold("n1", "n3", 5, 1.0)
        assert story.look() == []
        story.seen.said["n1"] |= {"hints_for": {}, "hints_pending": 0}
        assert story.look() == []


def test_hints_that_stay_are_told_although_their_target_is_up() -> None:
    story = Story()
    story.seen.hold("n1", "n3", 5, 1.0)
    for _ in range(4):
        assert story.look() == []
    assert kinds(story.look()) == ["hints"]
    story.seen.said["n1"] |= {"hints_for": {}, "hints_pending": 0}
    assert [event.details.get("phase") for event in story.look()] == ["delivering", "delivered", None]


def test_hints_of_a_holder_that_is_silent_are_not_told_to_be_home() -> None:
    story = Story()
    story.seen.hold("n1", "n3", 5, 1.0)
    story.peers_say("n3", DOWN, 1.0)
    assert "hints" in kinds(story.look())
    del story.seen.said["n1"]
    assert "hints" not in kinds(story.look())


def test_an_exchange_that_found_something_is_told_and_a_write_under_way_is_not() -> None:
    story = Story()
    trees: dict[str, Any] = {"on": True, "surveyed": 0, "differing": 1}
    story.seen.said["n2"]["anti_entropy"] = trees
    assert story.look() == []
    trees["differing"] = 0
    assert story.look() == []
    trees["differing"] = 3
    for _ in range(4):
        assert story.look() == []
    [begin] = story.look()
    assert (begin.node, begin.details) == ("n2", {"phase": "begin", "trees": 3})
    story.count("n2", "keys_exchanged", 41)
    trees["differing"] = 0
    assert story.look() == []
    [end] = story.look()
    assert end.text == "41 keys exchanged, no tree differs any more"
    assert end.details["keys"] == 41


def test_an_exchange_has_ended_before_the_cluster_has_converged() -> None:
    story = Story()
    trees: dict[str, Any] = {"on": True, "surveyed": 0, "differing": 3, "open_with": ["n3"]}
    story.seen.said["n2"]["anti_entropy"] = trees
    for _ in range(5):
        story.look()
    story.count("n2", "keys_exchanged", 41)
    story.seen.said["n2"].pop("anti_entropy")
    assert [(event.kind, event.details.get("keys")) for event in story.look()] == [("exchange", 41), ("converged", None)]


def test_a_transfer_is_told_at_its_begin_and_end() -> None:
    story = Story()
    moved = {"partitions": 60, "left": 60, "keys": 0, "bytes": 0, "confirmed": False, "strays": 0}
    story.seen.said["n5"]["transfer"] = moved
    [begin] = story.look()
    assert (begin.kind, begin.node, begin.text) == ("transfer", "n5", "gets copies of 60 partitions")
    moved |= {"left": 10, "keys": 1_000}
    assert story.look() == []
    moved |= {"left": 0, "confirmed": True}
    assert "has copies of all 60 partitions: 1,000 keys" in story.look()[0].text
    story.seen.said["n1"]["transfer"] = {"strays": 7}
    assert story.look()[0].details == {"phase": "handover", "partitions": 7}
    story.seen.said["n1"]["transfer"] = {"strays": 0}
    assert story.look()[0].details == {"phase": "handed-over"}


def test_overload_is_told_once_at_its_begin_and_with_a_count_at_its_end() -> None:
    story = Story()
    for _ in range(4):
        story.count("n2", "overloads", 25)
        story.look()
    for _ in range(5):
        story.look()
    begin, end = [event for event in story.told if event.kind == "overload"]
    assert begin.details == {"phase": "begin", "refused": 25}
    assert end.details == {"phase": "end", "refused": 100, "duration_s": 1.5}


def test_faults_are_told_when_they_are_switched_and_at_the_time_that_their_file_names() -> None:
    story = Story()
    story.faults = [Fault(kind="isolate", nodes=("n3",), id="f1", since=story.now + 0.2, until=story.now + 0.7)]
    [on] = story.look()
    assert (on.kind, on.at, on.details) == ("fault-on", 1000.7, {"fault": "f1", "fault_kind": "isolate"})
    story.faults = []
    [off] = story.look()
    assert (off.kind, off.at) == ("fault-off", 1001.2)


def test_a_supervisor_that_took_over_tells_what_it_finds() -> None:
    story = Story(chronicle=Chronicle(whole_once=True))
    assert story.told == [], "all is well: nothing happened"
    story.kill("n3", DOWN, 9.0)
    assert kinds(story.look()) == ["down"]


def test_a_restarted_node_counts_from_nothing() -> None:
    story = Story()
    story.count("n2", "overloads", 50)
    assert kinds(story.look()) == ["overload"]
    story.seen.said["n2"] |= {"incarnation": 2, "counters": {"overloads": 3}}
    story.look()
    for _ in range(6):
        story.look()
    assert story.told[-1].details["refused"] == 53

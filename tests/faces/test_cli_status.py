"""What `status` prints of a cluster in trouble: a snapshot in, lines out. And the small words of the command line."""

from __future__ import annotations

import pytest
from seen import NAMES, Seen

from dynazmq.cli import words
from dynazmq.cli.status import _met, code, document
from dynazmq.errors import InvalidRequest


def test_a_healthy_cluster_fits_eighty_columns_and_asks_for_nothing() -> None:
    seen = Seen()
    assert seen.lines == [
        "demo  5 nodes  N=3 R=2 W=2  ring v5 agreed by 5/5     HEALTHY",
        "",
        "NODE  PROCESS  ITSELF  PEERS SAY  FOR   OWNS   KEYS  HINTS FOR  OP/S  P99",
        *(f"n{i}    ● 4120{i}  up      up 4/4     12m  20.0%  30.1k  –          1.1k  3.2" for i in range(1, 6)),
        "",
        "Up 5 / Suspect 0 / Down 0",
        "every key meets R=2 W=2",
    ]
    assert max(map(len, seen.lines)) <= 80
    assert code(seen.snapshot, check=True) == 0


def test_a_killed_node_is_shown_from_three_sides_with_its_hints_and_the_next_command() -> None:
    seen = Seen()
    seen.gone("n3", 18.0)
    seen.hold("n1", "n3", 412, 18.0)
    seen.hold("n4", "n3", 769, 17.0)
    lines = seen.lines
    assert lines[0] == "demo  5 nodes  N=3 R=2 W=2  ring v5 agreed by 4/4     DEGRADED 18s"
    assert lines[3] == "n1    ● 41201       up      up 3/3     12m  20.0%  30.1k  n3:412     1.1k  3.2"
    assert lines[5] == "n3    ✗ killed (9)  –       DOWN 4/4   18s  20.0%      –  –             –    –"
    assert lines[9:] == [
        "Up 4 / Suspect 0 / Down 1",
        "1,181 hints wait for n3, the oldest for 18s",
        "every key meets R=2 W=2",
        "next  dynazmq node start n3",
    ]
    assert max(map(len, lines)) <= 80
    assert code(seen.snapshot, check=False) == 0
    assert code(seen.snapshot, check=True) == 8


def test_a_node_that_is_rebuilt_says_how_far_it_is() -> None:
    """Each pair is known to one of the two; who lost its disk has trees left with all of them."""
    seen = Seen()
    for name in NAMES:
        peers = {peer: {"trees": 12, "left": 0} for peer in NAMES if peer > name}
        seen.said[name]["anti_entropy"] = {"on": True, "surveyed": 120, "peers": peers}
    seen.said["n1"]["anti_entropy"]["peers"]["n3"]["left"] = 12  # type: ignore[index]
    seen.said["n2"]["anti_entropy"]["peers"]["n3"]["left"] = 5  # type: ignore[index]
    seen.said["n3"]["anti_entropy"]["peers"]["n4"]["left"] = 1  # type: ignore[index]
    seen.said["n3"]["keys"] = 1200
    assert [line for line in seen.lines if "trees" in line] == [
        "n3 compares with its peers: 30 of 48 trees equal, 1.2k keys here"
    ]
    nodes = {node["name"]: node for node in document(seen.snapshot)["nodes"]}
    assert {name: (node["trees_shared"], node["trees_left"]) for name, node in nodes.items()} == {
        "n1": (48, 12), "n2": (48, 5), "n3": (48, 18), "n4": (48, 1), "n5": (48, 0)
    }  # fmt: skip
    seen.gone("n1", 3.0)
    assert document(seen.snapshot)["nodes"][2]["trees_shared"] == 36, "who does not answer does not count"


def test_paused_and_switched_off_are_said_plainly_and_are_not_converged() -> None:
    seen = Seen()
    for name in NAMES:
        peers = {peer: {"trees": 12, "left": 0} for peer in NAMES if peer > name}
        seen.said[name]["ring"] = {"version": 5, "digest": "d", "partitions": 120}
        seen.said[name]["anti_entropy"] = {"on": True, "paused": False, "surveyed": 120, "open_with": [], "peers": peers}
    assert seen.snapshot.converged
    seen.said["n2"]["anti_entropy"]["paused"] = True  # type: ignore[index]
    assert not seen.snapshot.converged
    assert "anti-entropy is paused on n2: replicas are not compared" in seen.lines
    assert seen.lines[-1] == "next  dynazmq aae resume n2"
    assert document(seen.snapshot)["anti_entropy"] == {"paused": ["n2"], "off": []}
    assert _met(seen.snapshot, "converged", 0) == (False, "anti-entropy is paused on n2")
    for said in seen.said.values():
        said["anti_entropy"]["paused"] = True  # type: ignore[index]
    assert seen.lines[-1] == "next  dynazmq aae resume"
    for said in seen.said.values():
        said["anti_entropy"] |= {"on": False, "paused": False, "surveyed": 0}  # type: ignore[operator]
    assert not seen.snapshot.converged
    assert "anti-entropy is off on n1 n2 n3 n4 n5: replicas are not compared" in seen.lines


def test_writes_that_last_write_wins_let_go_of_are_told_in_one_line_and_by_node() -> None:
    seen = Seen()
    seen.said["n1"]["lww_discarded"] = 1_181
    assert "1,181 concurrent writes discarded in buckets where the last write wins" in seen.lines
    seen.said["n2"]["lww_discarded"] = 1
    assert [node["lww_discarded"] for node in document(seen.snapshot)["nodes"]] == [1181, 1, 0, 0, 0]
    assert max(map(len, seen.lines)) <= 80
    assert code(seen.snapshot, check=True) == 0, "that is what was asked for, and no trouble"


def test_a_countdown_is_shown_instead_of_a_command() -> None:
    seen = Seen()
    seen.gone("n3", 3.0, restart_in_s=7.0)
    assert seen.lines[-1] == "n3 died and is started again in 7.0s"


def test_a_paused_node_is_resumed_and_not_started() -> None:
    seen = Seen()
    seen.gone("n2", 3.0, pid=41202, process="paused", state="paused")
    assert seen.lines[-1] == "next  dynazmq node resume n2"
    assert "Paused 1" in seen.lines[-3]


def test_a_node_that_does_not_answer_is_silent_itself() -> None:
    seen = Seen()
    seen.gone("n2", 3.0, word="suspect", pid=41202, process="running", state="suspect", answered=True)
    assert seen.lines[4].startswith("n2    ◐ 41202  silent  SUSPECT 4/4")
    assert seen.lines[-1] == "n2 runs and does not answer    look  dynazmq logs n2"


def test_a_node_that_is_given_up_is_named_with_its_last_words() -> None:
    seen = Seen()
    seen.gone("n2", 3.0, process="exited (1)", gave_up=True, reason="disk I/O error")
    assert seen.lines[-2:] == [
        "n2 died again and again, nobody starts it any more: disk I/O error",
        "next  dynazmq node start n2",
    ]


def test_a_node_that_refuses_its_disk_is_not_proposed_to_be_started_on_it_again() -> None:
    seen = Seen()
    reason = "n2/data.db is empty (0 bytes); to start empty and be filled by the peers: dynazmq node start n2 --rebuild"
    seen.gone("n2", 3.0, process="exited (65)", gave_up=True, reason=reason)
    seen.gone("n3", 3.0)
    assert seen.lines[-2:] == [
        f"n2 cannot use its disk, nobody starts it any more: {reason}",
        "next  dynazmq node start n3",
    ]


def test_without_a_quorum_the_code_is_9() -> None:
    seen = Seen()
    for name in NAMES[1:]:
        seen.gone(name, 3.0)
    assert code(seen.snapshot, check=True) == 9
    assert seen.lines[-2:] == ["no key meets R=2 and W=2: 1 node left", "next  dynazmq node start n2,n3,n4,n5"]


def test_without_a_supervisor_the_next_command_brings_one() -> None:
    seen = Seen()
    seen.facts.supervisor_pid = None
    assert seen.lines[-2:] == ["no supervisor: nodes that die stay down", "next  dynazmq up"]


def test_rings_that_differ_are_degraded() -> None:
    seen = Seen()
    seen.said["n2"]["ring"] = {"version": 6, "digest": "other"}
    assert "RINGS DIFFER" in seen.lines[0]
    assert code(seen.snapshot, check=True) == 8


def test_the_suspicions_that_a_node_is_born_with_are_not_held_against_the_others() -> None:
    seen = Seen()
    seen.said["n3"] |= {"uptime_s": 0.3, "peers": {peer: {"state": "suspect", "for_s": 0.3} for peer in NAMES if peer != "n3"}}
    nodes = {node.name: node for node in seen.snapshot.nodes}
    assert {node.state for node in nodes.values()} == {"up"}
    assert "n3" not in nodes["n1"].seen_by
    seen.said["n3"] |= {"uptime_s": 1.3, "peers": {"n1": {"state": "down", "for_s": 0.5}}}
    assert seen.snapshot.nodes[0].state == "suspect"


# --- words -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("250ms", 0.25), ("2s", 2.0), ("5m", 300.0), ("1.5h", 5400.0), ("3", 3.0), (" 2 S ", 2.0)],
)
def test_durations_have_units(typed: str, meant: float) -> None:
    assert words.seconds(typed) == meant


@pytest.mark.parametrize("typed", ["", "s", "-1s", "2 weeks", "1e9", "nan", "2s2s"])
def test_what_is_no_duration_is_refused(typed: str) -> None:
    with pytest.raises(InvalidRequest, match="not a duration"):
        words.seconds(typed)


@pytest.mark.parametrize(("typed", "meant"), [("100", 100), ("64KiB", 65_536), ("1MB", 1_000_000), ("2 mib", 2 << 20)])
def test_sizes_have_units(typed: str, meant: int) -> None:
    assert words.size_bytes(typed) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["n3", "n1"], ["n1", "n3"]),
        (["n1,n3"], ["n1", "n3"]),
        (["n[2-4]"], ["n2", "n3", "n4"]),
        (["n[9-11]"], ["n10"]),
        (["n*"], [*NAMES, "n10"]),
        (["n?", "n1"], list(NAMES)),
    ],
)
def test_nodes_are_named_by_lists_ranges_and_globs(typed: list[str], meant: list[str]) -> None:
    assert words.select(typed, [*NAMES, "n10"]) == meant


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "–"), (0.04, "0.0s"), (9.94, "9.9s"), (18, "18s"), (740, "12m"), (7300, "2h"), (999_999, "12d")]
)
def test_spans_have_one_unit(seconds: float | None, shown: str) -> None:
    assert words.span(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0"), (999, "999"), (1181, "1.2k"), (30_100, "30.1k"), (412_000, "412k"), (1_200_000, "1.2M")]
)
def test_counts_have_five_characters_at_most(count: int, shown: str) -> None:
    assert words.short(count) == shown


def test_nodes_that_cannot_store_count_for_no_write_and_are_named_with_the_reason() -> None:
    seen = Seen()
    why = "cannot commit: database or disk is full (No space left on device)"
    seen.said["n2"]["cannot_store"] = why
    assert seen.lines[0].partition("     ")[2].startswith("DEGRADED")
    assert f"n2 cannot store: {why}" in seen.lines
    assert "every key meets R=2 W=2" in seen.lines
    assert next(line for line in seen.lines if line.startswith("n2  ")).split()[3:5] == ["no", "writes"]
    assert code(seen.snapshot, check=True) == 8
    assert _met(seen.snapshot, "ready", 0) == (False, "n2 cannot store")
    assert document(seen.snapshot)["nodes"][1]["cannot_store"] == why
    assert document(seen.snapshot)["nodes"][0]["cannot_store"] is None

    for name in NAMES[:4]:
        seen.said[name]["cannot_store"] = "Read-only file system"
    assert "no key meets W=2: 1 node can store; every key meets R=2" in seen.lines
    assert code(seen.snapshot, check=True) == 9
    assert code(seen.snapshot, check=False) == 0

"""What verify calls a finding: each kind, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from dynazmq.cluster.observe.comparison import DAMAGED, Counts, Finding, Told, compare, compare_roots, compare_statuses
from dynazmq.cluster.observe.node_health import Answer
from dynazmq.dynamo.values.merkle import NODES
from dynazmq.dynamo.values.ring import Ring, place

NAMES = ("n1", "n2", "n3", "n4")
RING = Ring(1, NAMES * 4)
KEYS = [key for i in range(2000) if RING.partition_of(place("default", key := b"k%d" % i)) == 0]
"""Keys of partition 0: n1, n2, n3 are their primaries, n4 the first fallback."""


class Nodes:
    """Four nodes that hold some keys of one partition as they should, until a test changes that."""

    def __init__(self, keys: int = 3) -> None:
        self.keys = KEYS[:keys]
        self.rows: dict[str, dict[bytes, tuple[int, int]]] = {name: {} for name in NAMES}
        self.hints: dict[str, dict[tuple[str, bytes], tuple[int, int]]] = {name: {} for name in NAMES}
        self.n = 3
        for name in NAMES[:3]:
            self.rows[name] = {key: (1 + i, 10) for i, key in enumerate(self.keys)}

    def told(self, *left_out: str) -> dict[str, Told]:
        found = {}
        for name in NAMES:
            each = found[name] = Told()
            for key, held in self.rows[name].items():
                each.add_row(RING, 0, self.n, ["default", key, *held])
            for (target, key), held in self.hints[name].items():
                each.add_hint(RING, 0, target, ["default", key, *held])
            if name != "n4":
                each.trees[self.n] = each.grown[self.n].hashes.tolist() if self.n in each.grown else [0] * NODES
        return {name: each for name, each in found.items() if name not in left_out}

    def compare(self, told: dict[str, Told] | None = None) -> tuple[list[Finding], Counts]:
        return compare(0, RING, lambda _: self.n, self.told() if told is None else told, NAMES)

    def found(self, told: dict[str, Told] | None = None) -> list[tuple[str, tuple[str, ...], bytes]]:
        return [(finding.kind, finding.nodes, finding.key) for finding in self.compare(told)[0]]


def test_nodes_that_hold_what_they_should_are_counted_and_nothing_is_found() -> None:
    findings, counts = Nodes().compare()
    assert findings == []
    assert counts == Counts(keys=3, copies=9, bytes=90, trees=3)


def test_a_copy_that_is_not_there_is_missing() -> None:
    nodes = Nodes()
    key = nodes.keys[1]
    del nodes.rows["n3"][key]
    ((finding,), _) = nodes.compare()
    assert (finding.kind, finding.nodes, finding.bucket, finding.key) == ("missing", ("n3",), "default", key)
    assert finding.text == "n3 has no copy, n1 n2 have one"
    del nodes.rows["n1"][key]
    assert nodes.found() == [("missing", ("n1", "n3"), key)]


def test_copies_that_are_not_the_same_differ_and_who_holds_what_is_told() -> None:
    nodes = Nodes()
    key = nodes.keys[0]
    nodes.rows["n2"][key] = (0xABCDEF01 << 32, 12)
    ((finding,), _) = nodes.compare()
    assert (finding.kind, finding.nodes, finding.key) == ("differs", ("n1", "n2", "n3"), key)
    assert finding.text == "n1 n3: 00000000, n2: abcdef01"


def test_s7_a_row_that_fails_its_checksum_is_damaged_and_neither_missing_nor_different() -> None:
    nodes = Nodes()
    nodes.rows["n2"][nodes.keys[0]] = DAMAGED
    assert nodes.found() == [("damaged", ("n2",), nodes.keys[0])]


def test_a_copy_beside_the_primaries_is_a_stray_and_what_it_alone_holds_is_missing() -> None:
    nodes = Nodes()
    nodes.rows["n4"][nodes.keys[0]] = (1, 10)
    assert nodes.found() == [("stray", ("n4",), nodes.keys[0])]
    alone = KEYS[9]
    nodes.rows["n4"] = {alone: (7, 10)}
    assert nodes.found() == [("stray", ("n4",), alone), ("missing", ("n1", "n2", "n3"), alone)]


def test_a_key_of_a_bucket_with_fewer_copies_is_expected_on_fewer_nodes() -> None:
    nodes = Nodes()
    nodes.n = 2
    assert {kind for kind, *_ in nodes.found()} == {"stray"}
    nodes.rows["n3"] = {}
    assert nodes.found() == []


def test_nothing_is_held_against_a_node_that_was_not_read() -> None:
    nodes = Nodes()
    nodes.rows["n3"] = {}
    assert nodes.found(nodes.told("n3")) == []
    assert nodes.found(nodes.told("n1", "n2")) == []


def test_c10_a_key_for_which_a_hint_waits_is_on_its_way() -> None:
    nodes = Nodes()
    key = nodes.keys[0]
    nodes.rows["n1"][key] = nodes.rows["n2"][key] = (9, 20)
    nodes.hints["n4"]["n3", key] = (9, 20)
    findings, counts = nodes.compare()
    assert findings == []
    assert (counts.hints, counts.under_way) == (1, 1)


def test_hints_for_nobody_or_for_no_primary_are_found_and_damaged_ones() -> None:
    nodes = Nodes()
    key = nodes.keys[0]
    nodes.hints["n1"] = {("n9", key): (9, 20), ("n4", key): (9, 20), ("n3", key): DAMAGED}
    assert nodes.found() == [("hint-lost", ("n1",), key), ("hint-astray", ("n1",), key), ("damaged-hint", ("n1",), key)]


def test_a_tree_that_is_not_that_of_its_rows_is_found_be_it_in_one_leaf() -> None:
    nodes = Nodes()
    told = nodes.told()
    told["n2"].trees[3][500] ^= 1
    ((finding,), _) = nodes.compare(told)
    assert (finding.kind, finding.nodes, finding.partition) == ("tree", ("n2",), 0)
    assert "1 of 1,057 nodes differ" in finding.text


def test_a_tree_over_a_damaged_row_is_not_found_as_well_and_an_unknown_one_is_counted() -> None:
    nodes = Nodes()
    told = nodes.told()
    nodes.rows["n2"][nodes.keys[0]] = DAMAGED
    rotten = nodes.told()
    rotten["n2"].trees[3] = told["n2"].trees[3]  # as it was before
    rotten["n3"].trees[3] = [-1] * NODES
    findings, counts = nodes.compare(rotten)
    assert [finding.kind for finding in findings] == ["damaged"]
    assert (counts.trees, counts.trees_unknown) == (2, 1)


def test_findings_that_rest_on_other_hashes_are_not_the_same_finding() -> None:
    """A key that is written all the time differs at each look, and each time otherwise."""
    nodes = Nodes()
    key = nodes.keys[0]
    nodes.rows["n2"][key] = (50, 10)
    first, _ = nodes.compare()
    assert nodes.compare()[0] == first
    for name in ("n1", "n3"):
        nodes.rows[name][key] = (50, 10)
    nodes.rows["n2"][key] = (51, 10)
    second, _ = nodes.compare()
    assert [finding.kind for finding in second] == ["differs"]
    assert set(first) & set(second) == set()


@pytest.mark.parametrize(
    "row",
    [None, [], ["default", b"k", 1], [b"default", b"k", 1, 1], ["default", KEYS[0], -1, 1], ["default", KEYS[0], 1 << 64, 1]],
    ids=str,
)
def test_w9_what_is_no_row_is_refused(row: object) -> None:
    with pytest.raises(ValueError, match="no row of partition 0"):
        Told().add_row(RING, 0, 3, row)
    with pytest.raises(ValueError, match="no row of partition 1"):
        Told().add_hint(RING, 1, "n1", ["default", KEYS[0], 1, 1])


def test_roots_are_compared_among_the_replicas_that_know_theirs() -> None:
    findings, counts = compare_roots(7, {"n1": {3: 5, 2: 9}, "n2": {3: 5, 2: 9}, "n3": {3: -1}})
    assert findings == []
    assert (counts.trees, counts.trees_unknown) == (4, 1)
    ((finding,), _) = compare_roots(7, {"n1": {3: 5 << 32}, "n2": {3: 5 << 32}, "n3": {3: 6 << 32}})
    assert (finding.kind, finding.nodes) == ("roots", ("n1", "n2", "n3"))
    assert finding.text == "the replicas of partition 7 differ (N=3): n1 n2: 00000005, n3: 00000006"


def answers(**changed: dict[str, Any]) -> dict[str, Answer]:
    peers = {name: {"state": "up", "for_s": 300.0} for name in NAMES}
    status = {"uptime_s": 900.0, "ring": {"version": 1, "digest": "d"}, "peers": peers, "hints_oldest_s": {}}
    return {name: Answer(name=name, status={**status, **changed.get(name, {})}) for name in NAMES}


def test_nodes_with_other_rings_are_found() -> None:
    assert compare_statuses(answers()) == []
    (finding,) = compare_statuses(answers(n3={"ring": {"version": 2, "digest": "e"}}))
    assert (finding.kind, finding.text) == ("rings", "the nodes have different rings: n1 v1, n2 v1, n3 v2, n4 v1")


def test_hints_that_wait_long_for_a_node_that_is_up_are_stuck_and_those_for_one_that_is_away_are_not() -> None:
    (finding,) = compare_statuses(answers(n1={"hints_oldest_s": {"n3": 61.0, "n2": 5.0}}))
    assert (finding.kind, finding.nodes) == ("hint-stuck", ("n1", "n3"))
    away = {"n3": {"state": "down", "for_s": 300.0}, "n2": {"state": "up", "for_s": 3.0}}
    assert compare_statuses(answers(n1={"hints_oldest_s": {"n3": 61.0, "n2": 99.0}, "peers": away})) == []


# --- members come and go (§4.9) ---------------------------------------------------------------------------------------------


def test_while_members_change_new_holders_may_have_copies_and_only_those_who_are_read_must() -> None:
    nodes = Nodes()
    filling = Ring(2, RING.owners, tuple(NAMES[(NAMES.index(owner) + 1) % len(NAMES)] for owner in RING.owners), filling=True)
    told = nodes.told()
    holders = filling.holders(0, nodes.n)
    assert set(holders) > set(filling.primaries(0, nodes.n))
    findings, _ = compare(0, filling, lambda _: nodes.n, told, NAMES)
    assert findings == [], "who is still to be filled is missing nothing"
    extra = next(name for name in holders if name not in filling.primaries(0, nodes.n))
    primary = filling.primaries(0, nodes.n)[0]
    told[extra].rows.update(told[primary].rows)
    findings, _ = compare(0, filling, lambda _: nodes.n, told, NAMES)
    assert [finding.kind for finding in findings if finding.kind == "stray"] == []


def test_copies_that_are_handed_over_are_counted_and_no_finding() -> None:
    nodes = Nodes()
    told = nodes.told()
    stranger = next(name for name in NAMES if name not in RING.primaries(0, nodes.n))
    told[stranger].rows.update(told[RING.primaries(0, nodes.n)[0]].rows)
    findings, _ = compare(0, RING, lambda _: nodes.n, told, NAMES)
    assert {(finding.kind, finding.nodes) for finding in findings} == {("stray", (stranger,))}
    findings, counts = compare(0, RING, lambda _: nodes.n, told, NAMES, [stranger])
    assert findings == []
    assert counts.handed_over == len(told[stranger].rows) > 0


def test_who_waits_to_be_told_of_the_ring_or_has_left_has_no_other_one() -> None:
    left = {"ring": {"version": 2, "digest": "old"}, "standing": "left"}
    said = answers(n3={"ring": {"version": 0, "digest": "its own"}}, n2=left)
    assert compare_statuses(said) == []

"""Claim while members come and go: the promises of docs/claim.md, over drawn lives of clusters.

`python -m tools.claim_histories 20000` judges more of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dynazmq.dynamo.values.claim import claim, moves, violations
from dynazmq.dynamo.values.ring import Ring
from tools.claim_histories import Change, distinct_is_possible, life
from tools.claim_table import SIZES, copies, distinct_bound, members, row

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_6_2_whoever_joins_or_leaves_a_ring_stays_distinct_balanced_and_moves_little(first: int) -> None:
    broken = [(seed, promise) for seed in range(first, first + 250) for change in life(seed) for promise in change.broken()]
    assert broken == []


def test_the_lives_that_are_judged_have_joins_leaves_weights_and_rings_that_cannot_be_distinct() -> None:
    changes = [change for seed in range(200) for change in life(seed)]
    kinds = Counter(change.kind for change in changes)
    assert min(kinds["join"], kinds["leave"]) > 300
    assert kinds["weight"] > 5
    impossible = [not distinct_is_possible(len(change.members), len(change.before), change.n) for change in changes]
    assert 20 < sum(impossible) < len(changes) // 4
    assert sum(not change.equal_weights for change in changes) > 50
    assert sum(change.spare <= 0 for change in changes) > 50
    assert max(len(change.members) for change in changes) > 20


def test_a_change_that_breaks_a_promise_is_found() -> None:
    five, six = members(5), members(6)
    before = claim(five, 120, 3)
    good = claim(six, 120, 3, before)
    joiner = next(at for at, owner in enumerate(good) if owner == "n06")
    repeated = (*good[: joiner + 1], "n06", *good[joiner + 2 :])
    assert Change(3, six, before, good).broken() == []
    assert Change(3, six, before, repeated).broken() == [
        "distinct exactly where that is possible", "balanced, by weight", "a join to a distinct ring moves what it must",
    ]  # fmt: skip
    assert Change(3, six, before, before).broken()[0] == "balanced, by weight"
    renamed = dict(zip(sorted(members(9)), [*sorted(members(9))[1:], "n01"], strict=True))
    ten = claim(members(10), 120, 3)
    turned = tuple(renamed[owner] for owner in claim(members(9), 120, 3, ten))
    assert Change(3, members(9), ten, turned).broken() == ["a leave moves little beyond what the leaver had"]


def test_the_order_in_which_members_are_named_never_matters() -> None:
    assert not any(change.depends_on_order() for seed in range(60) for change in life(seed))


def test_two_processes_that_hash_strings_differently_make_the_same_rings() -> None:
    """Founders each compute the first ring alone: gossip would keep one of two, but only after keys have gone to both."""
    told = [
        subprocess.run(
            [sys.executable, "-m", "tools.claim_histories", "40"], cwd=REPOSITORY, env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1]
    assert "40 lives, 240 changes, 0 broken promises" in told[0]


@pytest.mark.parametrize(
    ("partitions", "count", "digest"),
    [
        (120, 3, "3f28031a5bf74992"),
        (128, 4, "5b6c351186d58803"),
        (120, 5, "ad84d3883eb27ecd"),
        (512, 12, "22c04eda41ecad95"),
        (4096, 64, "b627ea7c76c4a529"),
    ],
)
def test_founders_of_any_release_make_the_same_first_ring(partitions: int, count: int, digest: str) -> None:
    """Each founder computes it alone, and nodes of two releases may found a cluster together."""
    assert Ring(1, claim(members(count), partitions, 3)).digest().hex() == digest


def test_what_no_member_below_its_share_can_take_goes_to_another_of_equal_standing() -> None:
    """Of 47 nodes, 26 own 3 of 120 partitions and 21 own 2: which of those that own two get a third is open, and matters here."""
    before = claim(members(47), 120, 3)
    for gone in members(47):
        stay = {name: 1.0 for name in members(47) if name != gone}
        after = claim(stay, 120, 3, before)
        assert violations(after, 3) == 0
        assert len(moves(before, after)) == before.count(gone)


def test_128_partitions_of_three_nodes_repeat_an_owner_at_the_closing_and_of_four_nodes_nowhere() -> None:
    three = claim(members(3), 128, 3)
    assert violations(three, 3) == 2
    four = claim(members(4), 128, 3, three)
    assert violations(four, 3) == 0
    assert violations(claim(members(3), 128, 3, four), 3) == 2


def test_a_leave_that_ends_with_n_nodes_moves_as_little_as_taking_turns_allows_and_copies_only_the_leavers_share() -> None:
    before = claim(members(4), 120, 3)
    for gone in members(4):
        stay = [name for name in members(4) if name != gone]
        after = claim(dict.fromkeys(stay, 1.0), 120, 3, before)
        numbers = [stay.index(owner) if owner in stay else -1 for owner in before]
        assert len(moves(before, after)) == distinct_bound(numbers, 3)
        assert copies(before, after) == 3 * before.count(gone)


def test_a_join_copies_n_times_the_joiners_partitions_and_to_nobody_else() -> None:
    for count in (3, 4, 5, 8, 12, 24):
        before = claim(members(count), 120, 3)
        after = claim(members(count + 1), 120, 3, before)
        assert copies(before, after) == 3 * after.count(f"n{count + 1:02}")


def test_the_table_in_the_docs_says_what_claim_does() -> None:
    page = (REPOSITORY / "docs" / "claim.md").read_text(encoding="utf-8")
    for partitions, sizes in SIZES.items():
        table = page.partition(f"<!-- Q={partitions} -->\n")[2].partition("<!-- end -->")[0].splitlines()[2:]
        assert [int(line.split("|")[1]) for line in table] == list(sizes)
        for line in table[:7] + table[7 :: 9 if partitions == 120 else 3]:
            assert line == row(partitions, int(line.split("|")[1]))

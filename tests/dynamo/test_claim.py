"""Claim: distinct, balanced, few moves, in this order; the same everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynazmq.dynamo.values.claim import claim, moves, violations


def equal(count: int) -> dict[str, float]:
    return {f"n{i:02}": 1.0 for i in range(count)}


def distinct_is_possible(members: int, partitions: int, n: int) -> bool:
    run = min(n, members, partitions)
    return members * (partitions // run) >= partitions


def fewest_moves(before: Sequence[str | None], members: Mapping[str, float]) -> int:
    """No claim with equal shares can move fewer: what has no owner, and what members own above the shares that suit them best."""
    low, richer = divmod(len(before), len(members))
    owned = Counter(owner for owner in before if owner in members)
    most = sorted((owned[name] for name in members), reverse=True)
    kept = sum(min(count, low + (rank < richer)) for rank, count in enumerate(most))
    return len(before) - kept


def spread(owners: Sequence[str]) -> int:
    counts = Counter(owners)
    return max(counts.values()) - min(counts.values())


def test_small_rings_of_any_size_are_founded_distinct_and_balanced_where_that_is_possible() -> None:
    for partitions in range(8, 26):
        for count in range(1, 9):
            for n in range(1, 5):
                owners = claim(equal(count), partitions, n)
                run = min(n, count, partitions)
                if distinct_is_possible(count, partitions, n):
                    assert violations(owners, run) == 0, (partitions, count, n)
                assert len(set(owners)) == min(count, partitions)
                assert spread(owners) <= 1, (partitions, count, n)


def test_where_distinct_is_impossible_repeats_stay_at_the_closing_of_the_ring() -> None:
    assert not distinct_is_possible(3, 128, 3)
    owners = claim(equal(3), 128, 3)
    assert 0 < violations(owners, 3) <= 2
    assert spread(owners) <= 1


def test_small_rings_survive_every_single_join_and_leave_distinct_and_balanced() -> None:
    for partitions in (8, 12, 15, 16, 24):
        for count in range(2, 8):
            for n in (2, 3):
                before = claim(equal(count), partitions, n)
                members = equal(count)
                changes = [{k: v for k, v in members.items() if k != gone} for gone in members] + [{**members, "new": 1.0}]
                for changed in changes:
                    after = claim(changed, partitions, n, before)
                    if distinct_is_possible(len(changed), partitions, n):
                        assert violations(after, min(n, len(changed))) == 0, (partitions, n, before, changed)
                    if len(changed) <= partitions:
                        assert spread(after) <= 1
                    if len(changed) > n + 1 and partitions >= 4 * len(changed):
                        assert len(moves(before, after)) <= fewest_moves(before, changed) + 4


@pytest.mark.parametrize("count", [5, 6, 7, 8, 9, 10, 11])
def test_a_join_moves_no_more_than_the_joiners_share_and_only_to_it(count: int) -> None:
    before = claim(equal(count), 120, 3)
    after = claim({**equal(count), "new": 1.0}, 120, 3, before)
    moved = moves(before, after)
    assert {new for _, _, new in moved} == {"new"}
    assert len(moved) == fewest_moves(before, {**equal(count), "new": 1.0}) in (120 // (count + 1), -(-120 // (count + 1)))


@pytest.mark.parametrize("count", [7, 8, 9, 10, 11, 12])
def test_a_leave_moves_what_the_leaver_had_and_at_most_two_others(count: int) -> None:
    before = claim(equal(count), 120, 3)
    for gone in equal(count):
        members = {name: 1.0 for name in equal(count) if name != gone}
        after = claim(members, 120, 3, before)
        assert len(moves(before, after)) <= before.count(gone) + 2
        assert set(after) == set(members)


def test_nothing_moves_when_nobody_comes_or_goes() -> None:
    for count in range(1, 13):
        owners = claim(equal(count), 120, 3)
        assert claim(equal(count), 120, 3, owners) == owners


@pytest.mark.parametrize("seed", range(12))
def test_a_life_of_joins_and_leaves_stays_distinct_and_balanced_at_few_moves(seed: int) -> None:
    """Ring operations in a row, as riak_core simulates its claim: what one step spoils, a later one would have to pay for."""
    random = Random(seed)
    partitions, n = random.choice([(64, 3), (120, 3), (128, 3), (120, 4)])
    names = [f"n{i}" for i in range(n + 1)]
    owners = claim(dict.fromkeys(names, 1.0), partitions, n)
    moved = fewest = 0
    for step in range(20):
        if len(names) > n + 1 and random.random() < 0.5:
            names.remove(random.choice(names))
        else:
            names += [f"j{step}.{i}" for i in range(random.choice([1, 1, 1, 2]))]
        members = dict.fromkeys(names, 1.0)
        before, owners = owners, claim(members, partitions, n, owners)
        assert violations(owners, n) == 0
        assert spread(owners) <= 1
        moved += len(moves(before, owners))
        fewest += fewest_moves(before, members)
    assert moved <= 1.25 * fewest, f"{moved} moves where {fewest} were needed"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0]), min_size=1, max_size=8), st.integers(8, 64), st.integers(1, 4))
def test_shares_follow_weights_as_far_as_distinctness_allows(weights: list[float], partitions: int, n: int) -> None:
    members = {f"n{i}": weight for i, weight in enumerate(weights)}
    owners = claim(members, partitions, n)
    run = min(n, len(weights))
    most = max(partitions // run, -(-partitions // len(weights)))
    owned = Counter(owners)
    assert max(owned.values()) <= most
    if distinct_is_possible(len(weights), partitions, n):
        assert violations(owners, run) == 0
    fair = {name: weight * partitions / sum(weights) for name, weight in members.items()}
    if max(fair.values()) < most:
        assert all(abs(owned[name] - fair[name]) < 1 for name in members)


def test_the_order_in_which_members_are_named_does_not_matter() -> None:
    members = {"b": 1.0, "a": 2.0, "c": 1.0, "d": 1.0}
    backwards = dict(reversed(members.items()))
    owners = claim(members, 120, 3)
    assert claim(backwards, 120, 3) == owners
    assert claim({**backwards, "e": 1.0}, 120, 3, owners) == claim({**members, "e": 1.0}, 120, 3, owners)


def test_partitions_without_an_owner_or_with_a_strangers_name_find_one() -> None:
    before = [*claim(equal(5), 120, 3)]
    before[7], before[60] = None, "stranger"  # type: ignore[call-overload]
    after = claim(equal(5), 120, 3, before)
    assert set(after) == set(equal(5))
    assert violations(after, 3) == 0


def test_with_more_members_than_partitions_some_have_none_and_nobody_has_two() -> None:
    assert max(Counter(claim(equal(20), 8, 3)).values()) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", None, "gone"]), min_size=8, max_size=40), st.integers(1, 6), st.integers(1, 5)
)
def test_any_previous_owners_whatever_lead_to_a_ring(before: list[str | None], count: int, n: int) -> None:
    members = dict.fromkeys("abcdef"[:count], 1.0)
    after = claim(members, len(before), n, before)
    run = min(n, count, len(before))
    assert set(after) <= set(members)
    assert spread(after) <= 1 or len(after) < count
    if distinct_is_possible(count, len(before), n):
        assert violations(after, run) == 0


def test_moves_names_each_partition_that_changes_hands_with_its_old_and_new_owner() -> None:
    assert moves(["a", None, "b", "b"], ["a", "c", "b", "a"]) == ((1, None, "c"), (3, "b", "a"))


@pytest.mark.parametrize(
    ("members", "partitions", "n", "previous"),
    [({}, 8, 3, None), ({"a": 1}, 0, 3, None), ({"a": 1}, 8, 0, None), ({"a": 0}, 8, 3, None), ({"a": -1}, 8, 3, None),
     ({"a": float("nan")}, 8, 3, None), ({"a": float("inf")}, 8, 3, None), ({"a": 1}, 8, 3, ["a"] * 7)],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(
    members: dict[str, float], partitions: int, n: int, previous: list[str | None] | None
) -> None:
    with pytest.raises(ValueError, match=r"claim|weights|previous"):
        claim(members, partitions, n, previous)

"""Places, partitions, preference lists; and what a ring from elsewhere must not do."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import Ring, place

SPACE = 1 << 64
FIVE = {f"n{i}": 1.0 for i in range(1, 6)}

# Data on disks is filed under these. If this test fails, the code is wrong, never the numbers.
GOLDEN = {
    ("default", b"a"): 0x87BED5190169ADC4,
    ("default", b"cart"): 0xA6B2328D8DE567D4,
    ("carts", b"alice"): 0xF4A47913F229ED0B,
    ("", b""): 0xE33FFBAE8D470DB6,
    ("ünï", b"\x00\xff"): 0x889A628CDF12BAD6,
    ("a", b"bc"): 0x2D5851B47F988989,
    ("ab", b"c"): 0x057E01F1D56444D0,
    ("default", b"k" * 1024): 0xD9A02296DFC37E1F,
}

owners = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=8, max_size=40).map(tuple)


def by_definition(owners: tuple[str, ...], partition: int) -> tuple[str, ...]:
    return tuple(dict.fromkeys(owners[partition:] + owners[:partition]))


@pytest.mark.parametrize(("at", "number"), GOLDEN.items())
def test_a_place_never_changes(at: tuple[str, bytes], number: int) -> None:
    assert place(*at) == number


def test_a_place_is_the_same_in_a_process_with_another_hash_seed() -> None:
    code = "from dynazmq.dynamo.values.ring import *; from dynazmq.dynamo.values.claim import *; import sys\n"
    code += "ring = Ring(1, claim({f'n{i}': 1.0 for i in range(1, 6)}, 120, 3)); sys.stdout.write(ring.digest().hex())"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("0", "4711")
    }
    assert said == {Ring(1, claim(FIVE, 120, 3)).digest().hex()}


def test_bucket_and_key_cannot_be_mistaken_for_another_pair_with_the_same_bytes() -> None:
    assert len({place("ab", b"c"), place("a", b"bc"), place("", b"abc"), place("abc", b"")}) == 4


def test_a_bucket_name_of_more_than_255_bytes_has_no_place() -> None:
    with pytest.raises(OverflowError):
        place("b" * 256, b"k")


@given(st.integers(8, 4096), st.integers(0, SPACE - 1))
def test_a_place_lies_in_the_range_of_its_partition(partitions: int, at: int) -> None:
    ring = Ring(1, ("a",) * partitions)
    first, last = ring.places_of(ring.partition_of(at))
    assert first <= at <= last


@pytest.mark.parametrize("partitions", [8, 12, 100, 120, 128, 1000, 4095, 4096])
def test_partitions_cover_the_circle_without_gap_or_overlap(partitions: int) -> None:
    ring = Ring(1, ("a",) * partitions)
    ends = [ring.places_of(partition) for partition in range(partitions)]
    assert ends[0][0] == 0
    assert ends[-1][1] == SPACE - 1
    assert all(left[1] + 1 == right[0] for left, right in itertools.pairwise(ends))


@given(owners)
def test_a_preference_list_is_the_walk_that_takes_each_node_the_first_time(owners: tuple[str, ...]) -> None:
    ring = Ring(1, owners)
    assert [ring.walk(p) for p in range(len(owners))] == [by_definition(owners, p) for p in range(len(owners))]
    assert ring.members == tuple(sorted(set(owners)))


@given(owners, st.integers(1, 7))
def test_primaries_are_the_first_n_or_all_when_there_are_fewer(owners: tuple[str, ...], n: int) -> None:
    ring = Ring(1, owners)
    assert all(ring.primaries(p, n) == ring.walk(p)[:n] for p in range(len(owners)))
    assert sorted(p for name in ring.members for p in ring.owned_by(name)) == list(range(len(owners)))
    assert ring.owned_by("nobody") == ()


@given(owners, st.integers(0, (1 << 63) - 1))
def test_a_ring_comes_back_from_the_wire_as_it_was(owners: tuple[str, ...], version: int) -> None:
    ring = Ring(version, owners)
    again = Ring.from_wire(ring.to_wire())
    assert again == ring
    assert again.digest() == ring.digest()
    assert Ring.from_wire([*ring.to_wire(), "a field of a later release"]) == ring


@given(owners, owners, st.integers(0, 3), st.integers(0, 3))
def test_rings_have_one_digest_exactly_if_they_are_equal(one: tuple[str, ...], other: tuple[str, ...], v1: int, v2: int) -> None:
    assert (Ring(v1, one) == Ring(v2, other)) == (Ring(v1, one).digest() == Ring(v2, other).digest())


def test_the_digest_of_the_founding_ring_of_five_is_what_it_was_when_first_released() -> None:
    """Nodes found the ring each for itself: two releases that claim differently would found two."""
    assert Ring(1, claim(FIVE, 120, 3)).digest().hex() == "cc76627252974d0c"


GOOD: list[Any] = [1, ["a", "b"], [0, 1] * 4]


@pytest.mark.parametrize(
    "wire",
    [
        None, 7, "ring", b"ring", {}, [], [1], [1, ["a"]], [1, ["a", "b"], None], [1, ["a", "b"], "01010101"],
        [-1, *GOOD[1:]], [1 << 63, *GOOD[1:]], [True, *GOOD[1:]], [1.0, *GOOD[1:]], ["1", *GOOD[1:]],
        [1, [], [0] * 8], [1, ["b", "a"], GOOD[2]], [1, ["a", "a"], GOOD[2]], [1, ["a", "b", "c"], GOOD[2]],
        [1, ["", "b"], GOOD[2]], [1, ["a", "b" * 65], GOOD[2]], [1, ["a", b"b"], GOOD[2]], [1, ["a", None], GOOD[2]],
        [1, ["a", "b"], [0, 1]], [1, ["a", "b"], [0, 1] * 2049], [1, ["a", "b"], [0, 2] * 4], [1, ["a", "b"], [0, -1] * 4],
        [1, ["a", "b"], [0, True] * 4], [1, ["a", "b"], [0, 0.0] * 4], [1, ["a", "b"], [[0], [1]] * 4],
        [1, [str(i) for i in range(9)], GOOD[2]], [*GOOD, *range(14)],
    ],
)  # fmt: skip
def test_anything_else_from_the_wire_is_refused_with_value_error(wire: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - that it is ValueError and nothing else is the point
        Ring.from_wire(wire)


tree = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3), st.lists, max_leaves=20
)


@given(tree | st.tuples(tree, tree, tree))
def test_random_trees_from_the_wire_are_a_ring_or_a_value_error(wire: object) -> None:
    try:
        ring = Ring.from_wire(wire)
    except ValueError:
        return
    assert Ring.from_wire(ring.to_wire()) == ring


def test_a_ring_without_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one partition"):
        Ring(1, ())

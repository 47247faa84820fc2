"""§4.7 The trees themselves: what they say does not depend on how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dynazmq.dynamo.values.merkle import FANOUT, LEAVES, NODES, Tree, children, leaf_of, places_of_leaves, row_hash, runs
from dynazmq.dynamo.values.ring import Ring

FIRST_LEAF = NODES - LEAVES
places = st.integers(0, 2**64 - 1)
rows = st.lists(st.tuples(places, st.binary(max_size=8), st.binary(min_size=1, max_size=8)), max_size=30)


def tree_of(changes: Sequence[tuple[int, bytes, bytes]], partitions: int = 120) -> Tree:
    tree = Tree()
    for at, old, new in changes:
        tree.change(leaf_of(at, partitions), row_hash(at, old) ^ row_hash(at, new))
    return tree


@given(rows, st.randoms())
def test_a_tree_depends_on_the_rows_and_not_on_their_order_nor_on_what_they_were(changes, random) -> None:  # type: ignore[no-untyped-def]
    by_place = {at: (old, new) for at, old, new in changes}
    through_an_older_state = [(at, b"", old) for at, (old, _) in by_place.items()]
    through_an_older_state += [(at, old, new) for at, (old, new) in by_place.items()]
    at_once = [(at, b"", new) for at, (_, new) in by_place.items()]
    random.shuffle(at_once)
    assert tree_of(through_an_older_state) == tree_of(at_once)


@given(rows)
def test_each_node_is_the_xor_of_those_below_it(changes: list[tuple[int, bytes, bytes]]) -> None:
    tree = tree_of([(at, b"", new) for at, _, new in changes])
    for node in range(FIRST_LEAF):
        below = 0
        for child in children(node):
            below ^= tree.hashes[child]
        assert tree.hashes[node] == below


@given(rows.filter(bool))
def test_one_row_that_differs_is_seen_at_the_root(changes: list[tuple[int, bytes, bytes]]) -> None:
    by_place = {at: new for at, _, new in changes}
    at, state = next(iter(by_place.items()))
    tree = tree_of([(at, b"", new) for at, new in by_place.items()])
    other = tree_of([(at, b"", new) for at, new in by_place.items()] + [(at, state, state + b"!")])
    assert tree.hashes[0] != other.hashes[0]
    assert [node for node in range(NODES) if tree.hashes[node] != other.hashes[node]] == path_to(leaf_of(at, 120))


def path_to(node: int) -> list[int]:
    path = [node]
    while path[-1]:
        path.append((path[-1] - 1) // FANOUT)
    return sorted(path)


def test_the_same_state_under_two_keys_has_two_hashes() -> None:
    assert row_hash(1, b"state") != row_hash(2, b"state")
    assert row_hash(1, b"") == 0


@given(places, st.sampled_from((8, 64, 120, 4096)))
def test_a_leaf_holds_the_places_that_it_says(at: int, partitions: int) -> None:
    partition = Ring(1, ("n",) * partitions).partition_of(at)
    leaf = leaf_of(at, partitions)
    first, last = places_of_leaves(partition, partitions, leaf, leaf)
    assert first <= at <= last
    assert leaf_of(first, partitions) == leaf_of(last, partitions) == leaf
    assert places_of_leaves(partition, partitions, FIRST_LEAF, NODES - 1) == Ring(1, ("n",) * partitions).places_of(partition)


def test_the_nodes_below_cover_each_level_once() -> None:
    branches = list(children(0))
    assert branches == list(range(1, FIRST_LEAF))
    assert [leaf for branch in branches for leaf in children(branch)] == list(range(FIRST_LEAF, NODES))
    assert list(children(FIRST_LEAF)) == []


@given(st.sets(st.integers(FIRST_LEAF, NODES - 1)))
def test_runs_are_the_neighbours_among_leaves(leaves: set[int]) -> None:
    found = list(runs(sorted(leaves)))
    assert [leaf for first, last in found for leaf in range(first, last + 1)] == sorted(leaves)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(found))

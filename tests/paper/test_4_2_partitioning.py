"""§4.2, §4.3, §4.6 and §6.2: who holds a key."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from dynazmq.dynamo.values.claim import claim, moves, violations
from dynazmq.dynamo.values.ring import Ring, place

N = 3
MEMBERS = {f"n{i}": 1.0 for i in range(1, 6)}
RING = Ring(1, claim(MEMBERS, 120, N))


def test_4_2_the_output_range_of_the_hash_is_a_ring_whose_largest_value_wraps_to_the_smallest() -> None:
    assert RING.partition_of(0) == 0
    assert RING.partition_of((1 << 64) - 1) == 119
    last = RING.walk(119)
    assert last[0] == RING.owners[119]
    assert list(last[1:]) == [name for name in RING.walk(0) if name != last[0]]


def test_4_2_each_key_is_assigned_to_a_place_by_hashing_it() -> None:
    counts = Counter(RING.partition_of(place("default", b"key-%d" % i)) for i in range(60_000))
    assert len(counts) == 120
    assert max(counts.values()) < 1.3 * 500, "uniform: 500 each, sigma is 22"
    assert min(counts.values()) > 0.7 * 500


def test_4_2_departure_or_arrival_of_a_node_leaves_what_it_does_not_own_where_it_was() -> None:
    without = {name: weight for name, weight in MEMBERS.items() if name != "n3"}
    joined = claim({**MEMBERS, "n6": 1.0}, 120, N, RING.owners)
    assert {new for _, _, new in moves(RING.owners, joined)} == {"n6"}, "only the joiner receives"
    left = claim(without, 120, N, RING.owners)
    kept = [p for p, owner in enumerate(RING.owners) if owner != "n3"]
    assert sum(left[p] == RING.owners[p] for p in kept) >= len(kept) * 4 // 5, "with five nodes and three distinct in a row"


def test_4_2_a_node_that_becomes_unavailable_has_its_load_spread_over_all_the_others() -> None:
    for name in MEMBERS:
        heirs = Counter(RING.walk(p)[N] for p in range(120) if name in RING.primaries(p, N))
        assert set(heirs) == set(MEMBERS) - {name}
        assert max(heirs.values()) <= 2 * sum(heirs.values()) / len(heirs)


def test_4_2_a_node_gets_partitions_according_to_its_capacity() -> None:
    owned = Counter(claim({"small1": 1, "small2": 1, "small3": 1, "small4": 1, "small5": 1, "large": 2}, 120, N))
    assert owned.pop("large") in (34, 35)
    assert set(owned.values()) == {17, 18} or set(owned.values()) == {17}


def test_4_3_each_data_item_is_replicated_at_n_hosts_its_owner_and_the_successors_on_the_ring() -> None:
    for partition in range(120):
        assert RING.primaries(partition, N) == tuple(RING.owners[(partition + i) % 120] for i in range(N))


def test_4_3_the_preference_list_skips_positions_so_that_it_has_only_distinct_nodes() -> None:
    ring = Ring(1, ("a", "a", "b", "a", "c", "c", "b", "d"))
    assert ring.walk(0) == ("a", "b", "c", "d")
    assert ring.walk(3) == ("a", "c", "b", "d")
    assert ring.walk(7) == ("d", "a", "b", "c")


def test_4_3_the_preference_list_has_more_than_n_nodes_to_account_for_failures() -> None:
    assert all(sorted(RING.walk(partition)) == sorted(MEMBERS) for partition in range(120))


def test_4_3_every_node_can_determine_the_preference_list_of_any_key() -> None:
    told = Ring.from_wire(RING.to_wire())
    key = place("carts", b"alice")
    assert told.walk(told.partition_of(key)) == RING.walk(RING.partition_of(key))


def test_4_9_after_one_node_is_added_keys_have_the_n_owners_that_the_new_ring_says_and_shares_are_even() -> None:
    joined = claim({**MEMBERS, "n6": 1.0}, 120, N, RING.owners)
    assert Counter(joined) == dict.fromkeys((*MEMBERS, "n6"), 20)
    assert violations(joined, N) == 0


def test_6_2_strategy_3_divides_the_hash_space_into_q_equal_partitions() -> None:
    sizes = [last - first + 1 for first, last in map(RING.places_of, range(120))]
    assert sum(sizes) == 1 << 64
    assert max(sizes) - min(sizes) <= 1


def test_6_2_strategy_3_gives_each_node_q_over_s_partitions() -> None:
    for count in range(1, 13):
        owned = Counter(claim({f"n{i}": 1.0 for i in range(count)}, 120, N))
        assert max(owned.values()) - min(owned.values()) <= 1


def test_6_2_strategy_3_a_leaving_nodes_partitions_are_distributed_so_that_q_over_s_is_preserved() -> None:
    for left in combinations(MEMBERS, 2):
        owned = Counter(claim({name: 1.0 for name in MEMBERS if name not in left}, 120, N, RING.owners))
        assert set(owned.values()) == {40}


def test_6_2_strategy_3_a_joining_node_steals_partitions_from_the_others_so_that_q_over_s_is_preserved() -> None:
    joined = claim({**MEMBERS, "n6": 1.0}, 120, N, RING.owners)
    assert Counter(old for _, old, _ in moves(RING.owners, joined)) == dict.fromkeys(MEMBERS, 4)

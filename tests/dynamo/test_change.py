"""The pure functions of change.py, over drawn lives of clusters: what intents want, and the steps in which the ring follows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dynazmq.config import MEMBERS_MAX
from dynazmq.dynamo.membership import change
from dynazmq.dynamo.membership.change import GONE, IN, LEFT, NAMES_MAX, OUT, WEIGHT_MAX, Intent, Side
from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import VERSION_MAX, Quorums, Ring
from tools.claim_histories import Change

ONE, FOUR = Quorums(1, 1, 1), Quorums(4, 1, 1)

REPOSITORY = Path(__file__).parents[2]
LIVES = 400
DECISIONS = 6
WEIGHTS = (0.3, 1.0, 1.0, 1.0, 2.0)


@dataclass(slots=True)
class Life:
    """A cluster's ring at rest, and all that was ever decided of members. `names` counts: no name is used twice."""

    random: Random
    n: int
    ring: Ring
    intents: dict[str, Intent]
    names: int
    weighed_as: tuple[float, ...]

    @classmethod
    def drawn(cls, seed: int) -> Life:
        """In every eighth members have weights, and there are so many partitions that the smallest is worth one."""
        random = Random(seed)
        count, n = random.randint(1, 9), random.choice((1, 2, 3, 3, 3, 4))
        partitions = random.choice((24, 32, 36) if seed % 8 else (96, 120, 128))
        founders = [f"n{i}" for i in range(count)]
        ring = Ring(1, claim(dict.fromkeys(sorted(founders), 1.0), partitions, n))
        return cls(random, n, ring, {}, count, WEIGHTS if seed % 8 == 0 else (1.0,))

    @property
    def wanted(self) -> list[str]:
        wanted = {name for name in self.ring.owners if name not in self.intents}
        return sorted(wanted | {name for name, intent in self.intents.items() if intent.kind == IN})

    @property
    def weights(self) -> dict[str, float]:
        return {name: self.intents[name].weight if name in self.intents else 1.0 for name in self.wanted}

    def decide(self) -> dict[str, Intent]:
        """One more decision, of one or two members; what was decided."""
        random, wanted = self.random, self.wanted
        kinds = ["join", "weigh"] + (["leave", "leave", "replace"] if len(wanted) > 1 else [])
        kind = random.choice(kinds)
        some = random.choice(wanted)
        new = f"n{self.names}"
        self.names += kind in ("join", "replace")
        rows: list[tuple[str, str, float, str]] = {
            "join": [(new, IN, random.choice(self.weighed_as), "")],
            "weigh": [(some, IN, random.choice(self.weighed_as), "")],
            "leave": [(some, random.choice((OUT, GONE, LEFT)), 1.0, "")],
            "replace": [(new, IN, 1.0, some), (some, random.choice((OUT, GONE)), 1.0, "")],
        }[kind]
        decided = {row[0]: Intent(*row, self.intents[row[0]].version + 1 if row[0] in self.intents else 1, "n0") for row in rows}
        self.intents = self.intents | decided
        return decided

    def goal(self) -> tuple[str, ...]:
        return change.goal(self.ring, self.intents, self.n)

    def settle(self) -> None:
        self.ring = Ring(self.ring.version + 3, self.goal())


def lives() -> Iterator[Life]:
    return map(Life.drawn, range(LIVES))


# --- what intents want ------------------------------------------------------------------------------------------------------


def test_nothing_is_wanted_where_nothing_was_decided() -> None:
    assert all(life.goal() is life.ring.owners for life in lives())


@pytest.mark.parametrize("first", range(0, LIVES, 80))
def test_the_goal_has_who_is_in_moves_what_claim_must_move_and_is_wanted_no_further_once_it_is_there(first: int) -> None:
    """The last: else a cluster at rest would begin a change of its own."""
    judged = 0
    for life in map(Life.drawn, range(first, first + 80)):
        for _ in range(DECISIONS):
            life.decide()
            goal = life.goal()
            assert sorted(set(goal)) == life.wanted
            heirs = {intent.replaces: name for name, intent in life.intents.items() if intent.replaces and intent.kind == IN}
            handed_on = tuple(heirs.get(owner, owner) if owner not in life.wanted else owner for owner in life.ring.owners)
            if goal != life.ring.owners:
                assert Change(life.n, life.weights, handed_on, goal).broken() == [], life
                judged += 1
            life.settle()
            assert life.goal() == life.ring.owners, life
    assert judged > 160


def test_who_takes_the_place_of_another_takes_his_partitions_and_nobody_else_moves() -> None:
    taken = 0
    for life in lives():
        if len(life.wanted) < 2:
            continue
        old = life.random.choice(life.wanted)
        life.intents = {"new": Intent("new", IN, 1.0, old, 1, "a"), old: Intent(old, GONE, 1.0, "", 1, "a")}
        goal = life.goal()
        assert all(after == ("new" if before == old else before) for before, after in zip(life.ring.owners, goal, strict=True))
        taken += 1
    assert taken > LIVES / 2


def test_the_goal_does_not_depend_on_the_order_in_which_intents_were_heard() -> None:
    for life in map(Life.drawn, range(100)):
        for _ in range(3):
            life.decide()
        shuffled = list(life.intents.items())
        life.random.shuffle(shuffled)
        assert change.goal(life.ring, dict(shuffled), life.n) == life.goal()
        assert change.intents_digest(dict(shuffled)) == change.intents_digest(life.intents)
        assert change.concerned(life.ring, dict(shuffled)) == change.concerned(life.ring, life.intents)


def test_two_processes_that_hash_strings_differently_want_the_same() -> None:
    code = (
        "from tests.dynamo.test_change import Life\n"
        "from dynazmq.dynamo.membership import change\n"
        "for life in map(Life.drawn, range(40)):\n"
        "    life.decide(); life.decide()\n"
        "    print(life.goal(), change.intents_digest(life.intents).hex())\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1


def test_intents_that_nobody_could_follow_leave_the_owners_as_they_are() -> None:
    ring = Ring(1, claim({"a": 1.0, "b": 1.0}, 8, 2))
    nobody = {name: Intent(name, OUT, 1.0, "", 1, "a") for name in "ab"}
    crowd = {f"n{i}": Intent(f"n{i}", IN, 1.0, "", 1, "a") for i in range(7)}
    assert change.goal(ring, nobody, 2) == ring.owners
    assert change.goal(ring, crowd, 2) == ring.owners, "9 members for 8 partitions"


def test_all_old_and_new_owners_are_concerned_but_for_those_who_will_not_come_back() -> None:
    ring = Ring(4, ("a", "b", "c", "a"), ("a", "b", "d", "a"), filling=True)
    intents = {name: Intent(name, kind, 1.0, "", 1, "a") for name, kind in (("d", IN), ("c", OUT), ("e", IN))}
    assert change.concerned(ring, intents) == ["a", "b", "c", "d", "e"]
    gone = {"c": Intent("c", GONE, 1.0, "", 2, "a"), "e": Intent("e", LEFT, 1.0, "", 2, "a")}
    assert change.concerned(ring, intents | gone) == ["a", "b", "d"]


# --- the steps --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Node:
    """What one member knows."""

    ring: Ring
    intents: dict[str, Intent]
    filled: Ring | None = None

    def knows(self) -> Known:
        return _known(self.ring, tuple(sorted(self.intents.values())))


Known = tuple[bytes, bytes]


@lru_cache(4096)
def _known(ring: Ring, intents: tuple[Intent, ...]) -> Known:
    return ring.digest(), change.intents_digest({intent.name: intent for intent in intents})


@lru_cache(4096)
def _goal(ring: Ring, intents: tuple[Intent, ...], n: int) -> tuple[str, ...]:
    return change.goal(ring, {intent.name: intent for intent in intents}, n)


def merge(node: Node, other: Node) -> None:
    """As gossip does (membership.py): the newer ring, of each name the later word."""
    node.ring = max(node.ring, other.ring, key=lambda ring: (ring.version, ring.digest()))
    for name, intent in other.intents.items():
        if name not in node.intents or intent.rank > node.intents[name].rank:
            node.intents = {**node.intents, name: intent}


def play(seed: int) -> tuple[dict[str, Node], list[str], Life]:
    """Members gossip, decide, confirm and step in an order that the seed draws. What was broken on the way, and all in the end.

    A member may step when it has heard from all concerned that they know what it knows; what it has heard may be old.
    """
    life = Life.drawn(seed)
    random, default = life.random, Quorums(life.n, 1, 1)
    nodes = {name: Node(life.ring, {}) for name in life.ring.members}
    told: dict[str, dict[str, tuple[Known, Ring | None]]] = {name: {} for name in nodes}
    broken: list[str] = []
    made: dict[int, Ring] = {1: life.ring}
    decisions = 3

    def turn() -> None:
        nonlocal decisions
        name = random.choice(sorted(nodes))
        node = nodes[name]
        if decisions and random.random() < 0.02:
            decisions -= 1
            life.intents, life.ring = node.intents, node.ring
            for intent in life.decide().values():
                node.intents = {**node.intents, intent.name: intent._replace(writer=name)}
                if intent.kind == IN and intent.name not in nodes:
                    nodes[intent.name], told[intent.name] = Node(life.ring, {}), {}
        elif node.ring.filling and name in change.gaining(node.ring, default) and random.random() < 0.3:
            node.filled = node.ring
        else:
            other = random.choice(sorted(nodes))
            merge(nodes[other], node)
            told[other][name] = node.knows(), node.filled
            step(other)

    def step(name: str) -> None:
        node = nodes[name]
        heard = told[name] | {name: (node.knows(), node.filled)}
        if any(each not in heard or heard[each][0] != node.knows() for each in change.concerned(node.ring, node.intents)):
            return
        goal = _goal(node.ring, tuple(sorted(node.intents.values())), life.n)
        ring = change.next_ring(node.ring, Side(goal), default, lambda each: heard[each][1] == node.ring)
        if ring is not None:
            judge(node, ring)
            node.ring = ring

    def judge(node: Node, ring: Ring) -> None:
        before, gone = node.ring, {each for each, intent in node.intents.items() if intent.kind in (GONE, LEFT)}
        if ring.version != before.version + 1:
            broken.append(f"{before.version} is followed by {ring.version}")
        for each in set(before.members) - gone:
            if nodes[each].ring.version < before.version:
                broken.append(f"{each} is more than one step behind ring {ring.version}")
        read, written = set(before.owners), {*before.owners, *before.also}
        if set(ring.owners) != read and not (before.filling and ring.owners == before.also and before.owners == ring.also):
            broken.append(f"ring {ring.version} is read at others, who were not written to before")
        if before.filling and ring.owners == before.also and any(
            nodes[each].filled != before for each in change.gaining(before, default)
        ):
            broken.append(f"ring {ring.version} is read at some who have not confirmed")
        if ring.at_rest and not set(ring.owners) <= written:
            broken.append(f"ring {ring.version} is at rest with strangers")
        known = made.setdefault(ring.version, ring)
        if known != ring and known.owners != ring.owners:
            broken.append(f"two rings {ring.version} are read at different owners")

    for turns in range(20_000):
        turn()
        if not decisions and turns % 20 == 0 and len({node.knows() for node in nodes.values()}) == 1:
            node = next(iter(nodes.values()))
            if node.ring.at_rest and _goal(node.ring, tuple(sorted(node.intents.values())), life.n) == node.ring.owners:
                break
    return nodes, broken, life


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_in_whatever_order_members_hear_and_step_all_come_to_one_ring_and_never_more_than_a_step_apart(first: int) -> None:
    for seed in range(first, first + 20):
        nodes, broken, life = play(seed)
        assert broken == [], seed
        rings = {node.ring for node in nodes.values()}
        assert len(rings) == 1, seed
        ring = rings.pop()
        assert ring.at_rest
        (intents,) = {tuple(sorted(node.intents.items())) for node in nodes.values()}
        assert change.goal(ring, dict(intents), life.n) == ring.owners


def ring_of(*owners: str, also: tuple[str, ...] = (), filling: bool = False) -> Ring:
    return Ring(7, owners, also, filling)


def test_the_steps_of_one_change() -> None:
    old, new = ("a", "b") * 4, ("a", "c") * 4
    rest = Ring(7, old)
    filling = change.next_ring(rest, Side(new), ONE, lambda _: False)
    assert filling == Ring(8, old, new, filling=True)
    assert change.gaining(filling, ONE) == ["c"]
    assert change.next_ring(filling, Side(new), ONE, lambda name: name != "c") is None
    flipped = change.next_ring(filling, Side(new), ONE, lambda name: name == "c")
    assert flipped == Ring(9, new, old)
    assert change.gaining(flipped, ONE) == []
    assert change.next_ring(flipped, Side(new), ONE, lambda _: False) == Ring(10, new)
    assert change.next_ring(Ring(10, new), Side(new), ONE, lambda _: True) is None


def test_a_change_that_is_taken_back_or_becomes_another_one_while_it_fills() -> None:
    old, new, other = ("a", "b") * 4, ("a", "c") * 4, ("d", "b") * 4
    filling = Ring(8, old, new, filling=True)
    assert change.next_ring(filling, Side(old), ONE, lambda _: True) == Ring(9, old)
    assert change.next_ring(filling, Side(other), ONE, lambda _: True) == Ring(9, old, other, filling=True)
    flipped = Ring(9, new, old)
    assert change.next_ring(flipped, Side(old), ONE, lambda _: True) == Ring(10, new), "first to an end, then back"


def test_with_buckets_of_several_n_whoever_gains_by_any_of_them_must_confirm() -> None:
    old, new = ("a", "b", "c", "d") * 2, ("a", "b", "d", "c") * 2
    filling = Ring(8, old, new, filling=True)
    assert change.gaining(filling, ONE) == ["c", "d"]
    assert change.gaining(filling, FOUR) == [], "everybody holds every key anyway"
    assert change.next_ring(filling, Side(new), FOUR, lambda _: False) == Ring(9, new, old)
    bucket = (("b", 4, 1, 1),)
    both = Ring(8, old, new, True, bucket, bucket)
    assert change.next_ring(both, Side(new, bucket), ONE, lambda _: False) is None


# --- buckets get other numbers of replicas ----------------------------------------------------------------------------------

OWNERS = ("a", "b", "c", "d") * 2
DEFAULT = Quorums(3, 2, 2)


def wanted(*quorums: tuple[str, int, int, int]) -> Side:
    return Side(OWNERS, quorums)


def test_the_steps_in_which_a_bucket_gets_more_replicas() -> None:
    one, three = ("b", 1, 1, 1), ("b", 3, 2, 2)
    rest = Ring(7, OWNERS, quorums=(one,))
    filling = change.next_ring(rest, wanted(three), DEFAULT, lambda _: False)
    assert filling == Ring(8, OWNERS, OWNERS, True, (one,), (three,))
    level = filling.level("b", DEFAULT)
    assert filling.primaries(0, level) == ("a",)
    assert filling.extras(0, level) == ("b", "c")
    assert filling.must_have_all(0, level) == ("a", "b", "c")
    assert change.gaining(filling, DEFAULT) == ["a", "b", "c", "d"]
    assert change.next_ring(filling, wanted(three), DEFAULT, lambda name: name != "c") is None
    flipped = change.next_ring(filling, wanted(three), DEFAULT, lambda _: True)
    assert flipped == Ring(9, OWNERS, OWNERS, False, (three,), (one,))
    assert flipped.level("b", DEFAULT) == level, "trees stay what they are"
    assert flipped.primaries(0, level) == ("a", "b", "c")
    assert flipped.must_have_all(0, level) == ("a",)
    assert change.next_ring(flipped, wanted(three), DEFAULT, lambda _: False) == Ring(10, OWNERS, quorums=(three,))


def test_a_bucket_with_fewer_replicas_is_read_as_before_until_those_that_stay_have_all() -> None:
    """W of three need not be the one that stays."""
    filling = change.next_ring(Ring(7, OWNERS), wanted(("b", 1, 1, 1)), DEFAULT, lambda _: False)
    assert filling is not None
    level = filling.level("b", DEFAULT)
    assert filling.primaries(0, level) == ("a", "b", "c")
    assert filling.must_have_all(0, level) == ("a",)
    assert filling.level("another", DEFAULT) == 3
    assert filling.must_have_all(0, 3) == (), "it is not concerned"


@pytest.mark.parametrize(
    ("before", "after", "fills"),
    [
        ((3, 2, 2), (3, 3, 1), False),
        ((3, 2, 2), (3, 1, 3), True),  # one of three need not be among the two that acknowledged
        ((3, 2, 2), (3, 1, 1), False),  # nothing is promised then
        ((3, 1, 3), (3, 2, 2), False),
        ((3, 3, 1), (3, 2, 2), True),
        ((3, 1, 1), (3, 2, 2), True),
        ((3, 2, 2), (2, 1, 1), True),
        ((1, 1, 1), (2, 2, 2), True),
    ],
)
def test_other_quorums_take_one_step_unless_reads_by_them_would_miss_what_was_acknowledged(
    before: tuple[int, int, int], after: tuple[int, int, int], fills: bool
) -> None:
    rest = Ring(7, OWNERS, quorums=(("b", *before),))
    ring = change.next_ring(rest, wanted(("b", *after)), DEFAULT, lambda _: False)
    assert ring is not None
    assert ring.filling == fills
    assert ring.quorums == ((("b", *before),) if fills else (("b", *after),))


def test_members_and_a_bucket_change_in_one_change_and_each_is_read_by_its_own() -> None:
    owners = ("a", "b", "c", "e") * 2
    filling = change.next_ring(Ring(7, OWNERS), Side(owners, (("b", 1, 1, 1),)), DEFAULT, lambda _: False)
    assert filling is not None
    flipped = change.next_ring(filling, Side(owners, (("b", 1, 1, 1),)), DEFAULT, lambda _: True)
    assert flipped is not None
    level = filling.level("b", DEFAULT)
    assert filling.holders(1, 3) == ("b", "c", "d", "e")
    assert filling.holders(1, level) == ("b", "c", "d")
    assert flipped.primaries(1, 3) == ("b", "c", "e")
    assert flipped.primaries(1, level) == ("b",)
    assert flipped.extras(1, level) == ("c", "d")


def test_a_wish_that_is_taken_back_while_it_fills_ends_where_it_began() -> None:
    filling = Ring(8, OWNERS, OWNERS, True, (("b", 1, 1, 1),), (("b", 3, 2, 2),))
    assert change.next_ring(filling, wanted(("b", 1, 1, 1)), DEFAULT, lambda _: True) == Ring(
        9, OWNERS, quorums=(("b", 1, 1, 1),)
    )


# --- refusal ----------------------------------------------------------------------------------------------------------------


def test_too_few_members_for_a_quorum_are_refused_with_who_goes_and_who_is_left() -> None:
    ring = Ring(1, claim(dict.fromkeys("abc", 1.0), 12, 3))
    out = {"a": Intent("a", OUT, 1.0, "", 1, "a"), "b": Intent("b", GONE, 1.0, "", 1, "a")}
    assert change.refusal(ring, out, 1) == ""
    assert change.refusal(ring, out, 2) == "without a b only c would be left, and the cluster's quorums need 2"
    assert change.refusal(ring, {}, 3) == ""


@pytest.mark.parametrize(("partitions", "limit"), [(8, 8), (4096, MEMBERS_MAX)])
def test_more_members_than_partitions_or_than_the_limit_are_refused(partitions: int, limit: int) -> None:
    ring = Ring(1, claim({"a": 1.0}, partitions, 1))
    many = {f"n{i}": Intent(f"n{i}", IN, 1.0, "", 1, "a") for i in range(limit)}
    said = f"{limit + 1} members are more than {limit}, the limit with {partitions} partitions"
    assert change.refusal(ring, many, 2) == said
    assert change.refusal(ring, dict(list(many.items())[1:]), 2) == ""


def test_more_names_than_are_kept_in_mind_are_refused() -> None:
    ring = Ring(1, claim({"a": 1.0}, 8, 1))
    names = {f"n{i}": Intent(f"n{i}", LEFT, 1.0, "", 1, "a") for i in range(NAMES_MAX + 1)}
    assert change.refusal(ring, names, 1) == f"{NAMES_MAX + 1:,} names were members or are to be, the limit is {NAMES_MAX:,}"


# --- from the wire ----------------------------------------------------------------------------------------------------------

GOOD: list[Any] = ["n1", IN, 1.0, "", 1, "n2"]


def test_an_intent_survives_the_wire_and_fields_of_a_newer_release_are_ignored() -> None:
    for kind in (IN, OUT, GONE, LEFT):
        intent = Intent("n1", kind, 2.5, "n0", 3, "n2")
        assert Intent.from_wire(list(intent)) == intent
        assert Intent.from_wire([*intent, "later", 7]) == intent
    assert Intent.from_wire(GOOD)._replace(version=2).rank > Intent.from_wire(GOOD).rank


@pytest.mark.parametrize("index", range(len(GOOD)))
@pytest.mark.parametrize(
    "value",
    [None, True, b"n1", 0, -1, 1.5, "", "x" * 65, "é" * 33, [], {}, float("nan"), float("inf"), -1.0, 0.0, WEIGHT_MAX + 1,
     VERSION_MAX + 1, "up"],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_whatever_is_no_intent_is_a_value_error(index: int, value: object) -> None:
    row = [*GOOD[:index], value, *GOOD[index + 1 :]]
    good = {
        0: value == "up", 1: False, 2: value == 1.5, 3: value in ("", "up"), 4: False, 5: value == "up",
    }[index]  # fmt: skip
    if good:
        Intent.from_wire(row)
        return
    with pytest.raises((ValueError, TypeError)):
        Intent.from_wire(row)


@pytest.mark.parametrize("row", [None, 7, [], GOOD[:5], "in", b"", {}, [[]] * 6])
def test_whatever_has_not_the_form_of_an_intent_is_refused(row: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Intent.from_wire(row)


def test_the_ranks_of_two_different_decisions_of_one_version_differ_by_who_made_them() -> None:
    first = Intent.from_wire(GOOD)
    assert replace_writer(first, "n3").rank > first.rank
    assert replace_writer(first, "n3").rank < first._replace(version=2).rank


def test_gone_is_the_last_word_whoever_speaks_later_or_at_once() -> None:
    gone = Intent("n1", GONE, 1.0, "", 1, "n2")
    assert all(gone.rank > Intent("n1", kind, 1.0, "", 9, "n3").rank for kind in (IN, OUT, LEFT))


def test_one_writer_may_give_a_version_twice_when_its_disk_was_lost_and_all_keep_the_same_of_the_two() -> None:
    first = Intent("n5", IN, 1.0, "n4", 1, "n1")
    for other in (first._replace(kind=OUT), first._replace(weight=2.0), first._replace(replaces="")):
        assert (first.rank > other.rank) != (other.rank > first.rank)


def replace_writer(intent: Intent, writer: str) -> Intent:
    return intent._replace(writer=writer)

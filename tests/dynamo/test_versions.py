"""Dotted version vectors against a model that keeps whole causal histories; their bytes; the client's token."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynazmq.dynamo.replica.collectable import CLOCK_ENTRIES_KEPT, may_retire, without_actors, without_retried
from dynazmq.dynamo.values.versions import (
    COUNTER_MAX,
    EMPTY,
    BadContext,
    Context,
    Dot,
    MalformedVersion,
    Sibling,
    Siblings,
    actor_id,
    decode,
    decode_stored,
    encode,
    node_of,
    open_context,
    put,
    seal_context,
    sync,
)

ACTORS = ("a~1", "b~1", "c~1")
NOTHING = Context()

# --- the model: a version is its dot, a history a set of dots --------------------------------------------------------------


class World:
    """Three replicas and the contexts that clients hold, each beside its model."""

    def __init__(self) -> None:
        self.past: dict[Dot, frozenset[Dot]] = {}
        self.states: list[Siblings] = [EMPTY] * len(ACTORS)
        self.known: list[frozenset[Dot]] = [frozenset()] * len(ACTORS)
        self.contexts: list[tuple[Context, frozenset[Dot]]] = [(NOTHING, frozenset())]
        self.all_states: list[tuple[Siblings, frozenset[Dot]]] = [(EMPTY, frozenset())]

    def live(self, known: frozenset[Dot]) -> list[Dot]:
        return sorted(dot for dot in known if not any(dot in self.past[other] for other in known))

    def put(self, at: int, context: int) -> None:
        seen, dots = self.contexts[context % len(self.contexts)]
        value = b"%d" % len(self.past)
        self.states[at], new, gone = put(self.states[at], seen, ACTORS[at], value, b"w" + value, 0)
        assert new.dot not in self.past, "a dot names one write for ever"
        assert {sibling.dot for sibling in gone} == set(self.live(self.known[at])) & dots
        self.past[new.dot] = dots
        self.known[at] |= dots | {new.dot}
        self.contexts.append((seen.add(*new.dot), dots | {new.dot}))
        self.all_states.append((self.states[at], self.known[at]))

    def get(self, first: int, second: int) -> None:
        merged = sync(self.states[first], self.states[second])
        self.contexts.append((merged.context, self.known[first] | self.known[second]))

    def replicate(self, source: int, target: int) -> None:
        self.states[target] = sync(self.states[target], self.states[source])
        self.known[target] |= self.known[source]
        self.all_states.append((self.states[target], self.known[target]))

    def check(self) -> None:
        for state, known in zip(self.states, self.known, strict=True):
            assert [sibling.dot for sibling in state.live] == self.live(known)
            assert dots_of(state.context) == known
        for context, known in self.contexts:
            assert dots_of(context) == known


def dots_of(context: Context) -> frozenset[Dot]:
    return frozenset((actor, n) for actor, last in context.vector.items() for n in range(1, last + 1)) | context.cloud


replica = st.integers(0, len(ACTORS) - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), replica, st.integers(0, 30)),
        st.tuples(st.just("get"), replica, replica),
        st.tuples(st.just("replicate"), replica, replica),
    ),
    max_size=25,
)


def played(steps: Sequence[tuple[str, int, int]]) -> World:
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
    return world


@settings(max_examples=400, deadline=None)
@given(steps)
def test_replicas_show_exactly_what_causal_histories_say_after_any_puts_gets_and_merges(
    steps: list[tuple[str, int, int]],
) -> None:
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
        world.check()


@settings(max_examples=200, deadline=None)
@given(steps, st.data())
def test_sync_is_idempotent_commutative_and_associative_on_states_that_can_be_reached(
    steps: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    world = played(steps)
    pick = st.sampled_from([state for state, _ in world.all_states])
    a, b, c = data.draw(pick), data.draw(pick), data.draw(pick)
    assert sync(a, a) == a
    assert sync(a, b) == sync(b, a)
    assert sync(sync(a, b), c) == sync(a, sync(b, c))
    assert sync(sync(a, b), b) == sync(a, b)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_replicas_that_saw_the_same_writes_are_equal_to_the_byte(steps: list[tuple[str, int, int]]) -> None:
    world = played(steps)
    merged = set()
    for order in permutations(range(len(ACTORS))):
        state = EMPTY
        for replica in order:
            state = sync(state, world.states[replica])
        merged.add(encode(state))
    assert len(merged) == 1


@settings(max_examples=200, deadline=None)
@given(steps)
def test_a_state_comes_back_from_its_bytes_and_has_one_form(steps: list[tuple[str, int, int]]) -> None:
    for state, _ in played(steps).all_states:
        raw = encode(state)
        assert decode(raw) == state
        assert encode(decode(raw)) == raw


# --- stories ---------------------------------------------------------------------------------------------------------------


def write(state: Siblings, seen: Context, actor: str, value: bytes | None, write_id: bytes = b"") -> Siblings:
    return put(state, seen, actor, value, write_id, 0)[0]


def test_c1_two_blind_puts_on_both_sides_of_a_split_are_two_siblings_exactly() -> None:
    assert sync(write(EMPTY, NOTHING, "a~1", b"1"), write(EMPTY, NOTHING, "b~1", b"2")).values == [b"1", b"2"]


def test_c3_the_context_that_a_put_returned_does_not_cover_siblings_that_its_client_was_not_shown() -> None:
    unseen = write(EMPTY, NOTHING, "a~1", b"unseen")
    both, mine, _ = put(unseen, NOTHING, "a~1", b"mine", b"", 0)
    returned = NOTHING.add(*mine.dot)
    assert returned == Context({}, frozenset({("a~1", 2)})), "a dot of its own: the vector would say that 1 was seen, too"
    assert write(both, returned, "a~1", b"mine again").values == [b"unseen", b"mine again"]


def test_c4_two_clients_alternating_get_and_put_a_thousand_times_leave_two_siblings_and_small_clocks() -> None:
    states = [EMPTY, EMPTY]
    seen = [NOTHING, NOTHING]
    for turn in range(1000):
        client, node = turn % 2, turn // 3 % 2
        states[node] = write(states[node], seen[client], ACTORS[node], b"%d" % turn)
        states[1 - node] = sync(states[1 - node], states[node])
        seen[client] = states[node].context  # it reads after each put
        assert len(states[node].live) <= 2
    assert set(states[0].context.vector) == set(ACTORS[:2])
    assert not states[0].context.cloud
    assert len(encode(states[0])) < 150


def test_c5_the_same_put_at_two_coordinators_folds_into_one_value() -> None:
    first, retry = write(EMPTY, NOTHING, "a~1", b"v", b"id"), write(EMPTY, NOTHING, "b~1", b"v", b"id")
    assert sync(first, retry) == sync(retry, first)
    assert sync(first, retry).values == [b"v"]
    assert dots_of(sync(first, retry).context) == {("a~1", 1), ("b~1", 1)}


def test_c5_when_one_try_was_overwritten_replicas_agree_once_they_have_met_in_whatever_order() -> None:
    first, retry = write(EMPTY, NOTHING, "a~1", b"v", b"id"), write(EMPTY, NOTHING, "b~1", b"v", b"id")
    newer = write(first, first.context, "c~1", b"newer", b"other")
    for one in permutations((first, retry, newer)):
        for other in permutations((first, retry, newer)):
            p, q = sync(sync(one[0], one[1]), one[2]), sync(sync(other[0], other[1]), other[2])
            assert b"newer" in p.values, "what nobody overwrote always stays"
            assert sync(p, q) == sync(q, p) == sync(sync(p, q), p)


def test_a_retried_write_that_was_overwritten_takes_its_other_try_with_it_in_whatever_order_they_meet() -> None:
    first, retry = write(EMPTY, NOTHING, "a~1", b"v", b"id"), write(EMPTY, NOTHING, "b~1", b"v", b"id").with_retried(b"id")
    newer = write(retry, retry.context, "c~1", b"newer", b"other")
    assert newer.overwritten == {b"id"}
    for order in permutations((first, retry, newer)):
        one, two, three = order
        for met in (sync(sync(one, two), three), sync(one, sync(two, three))):
            assert met.values == [b"newer"]
            assert encode(met) == encode(sync(first, newer))


def test_two_retries_of_one_write_are_one_value_and_neither_takes_the_other_away() -> None:
    tries = [write(EMPTY, NOTHING, actor, b"v", b"id").with_retried(b"id") for actor in ACTORS]
    merged = {encode(sync(sync(a, b), c)) for a, b, c in permutations(tries)}
    assert len(merged) == 1
    assert decode(merged.pop()).values == [b"v"]


def test_who_has_seen_a_retried_write_overwrites_it_under_whatever_dot_it_is_here() -> None:
    """Its context was read elsewhere; this coordinator has the other try alone."""
    first, retry = write(EMPTY, NOTHING, "a~1", b"v", b"id"), write(EMPTY, NOTHING, "b~1", b"v", b"id").with_retried(b"id")
    assert write(first, retry.context, "a~1", b"newer", b"other").values == [b"newer"]
    token = seal_context(retry.context, "carts", b"alice", SECRET)
    assert open_context(token, "carts", b"alice", SECRET) == retry.context
    assert write(first, NOTHING, "a~1", b"beside", b"other").values == [b"v", b"beside"]


def met() -> tuple[Siblings, Siblings, Siblings]:
    """A first try, its retry, and a state in which they have met."""
    first, retry = write(EMPTY, NOTHING, "b~1", b"v", b"id"), write(EMPTY, NOTHING, "a~1", b"v", b"id").with_retried(b"id")
    both = sync(first, retry)
    assert both.live == retry.live
    assert both.tries == {(b"id", "b~1", 1)}
    return first, retry, both


def test_who_has_seen_the_first_try_alone_overwrites_a_write_whose_two_tries_have_met() -> None:
    first, _, both = met()
    newer = write(both, first.context, "c~1", b"newer", b"other")
    assert newer.values == [b"newer"]
    assert newer.overwritten == {b"id"}
    assert not newer.tries
    assert write(both, NOTHING, "c~1", b"beside", b"other").tries == both.tries


def test_what_overwrote_the_first_try_alone_takes_with_it_a_write_whose_two_tries_have_met() -> None:
    first, retry, both = met()
    newer = write(first, first.context, "c~1", b"newer", b"other")
    assert sync(newer, retry).values == [b"v", b"newer"], "nobody can tell"
    assert sync(newer, both).values == sync(both, newer).values == [b"newer"]
    assert encode(sync(newer, both)) == encode(sync(both, newer))
    assert not sync(newer, both).tries


def test_what_has_overwritten_a_first_try_unknowing_is_what_would_have_overwritten_another_write() -> None:
    """Why an echo cannot be told without a byte for each write that is overwritten (suspected_retries.py, "What is left")."""
    first, retry, _ = met()
    another = write(EMPTY, NOTHING, "b~1", b"another", b"never tried twice")
    over_first, over_another = (write(state, state.context, "c~1", b"newer", b"other") for state in (first, another))
    assert encode(over_first) == encode(over_another)
    assert sync(over_another, retry).values == [b"v", b"newer"], "here nobody has seen v: it must stay"


def test_who_knows_the_tries_of_a_write_and_who_has_forgotten_them_keep_it() -> None:
    """A retirement that reached one of two replicas (tombstone_gc.py)."""
    _, _, both = met()
    assert sync(without_retried(both), both) == sync(both, without_retried(both)) == both


def test_tries_of_a_write_come_back_from_their_bytes_and_are_kept_only_while_it_is_live() -> None:
    _, _, both = met()
    assert decode(encode(both)) == both == decode_stored(encode(both))
    assert may_retire(encode(both))
    assert not without_retried(both).tries
    assert not both.with_live(()).tries


@pytest.mark.parametrize(
    "tries",
    [
        [], None, b"id", 1, [b"id"], [[b"id", "b~1"]], [[b"id", "b~1", 2]], [[b"id", "b~1", 0]], [[b"id", "b~1", True]],
        [[b"id", 1, 1]], [[b"other", "b~1", 1]], [[b"id", "a~1", 1]], [[b"id", "b~1", 1]] * 2, [[[], "b~1", 1]], {},
    ],
)  # fmt: skip
def test_tries_of_another_form_are_no_state(tries: Any) -> None:
    _, _, both = met()
    vector, cloud, live, retried, _ = msgpack.unpackb(encode(both))
    with pytest.raises(MalformedVersion):
        decode(msgpack.packb([vector, cloud, live, retried, tries]))
    with pytest.raises(MalformedVersion):
        decode(msgpack.packb([vector, cloud, live, retried, [[b"id", "b~1", 1]], [[b"id", "b~1", 1]]]))


def test_the_memory_of_retries_costs_nothing_where_there_is_none_and_can_be_seen_at_a_glance() -> None:
    never = write(EMPTY, NOTHING, "a~1", b"v", b"i" * 16)
    retried = never.with_retried(b"i" * 16)
    assert len(msgpack.unpackb(encode(never))) == 3
    assert len(encode(retried)) - len(encode(never)) == 19, "an array of one id"
    assert may_retire(encode(retried))
    assert not may_retire(encode(never))
    assert without_retried(retried) == never


@pytest.mark.parametrize("ids", [[], [b""], [b"b", b"a"], [b"a", b"a"], ["a"], [1], b"a", None, [[b"a"]]])
def test_ids_of_retried_writes_of_another_form_are_no_state(ids: Any) -> None:
    vector, cloud, live = msgpack.unpackb(encode(write(EMPTY, NOTHING, "a~1", b"v", b"a")))
    with pytest.raises(MalformedVersion):
        decode(msgpack.packb([vector, cloud, live, ids]))
    with pytest.raises(MalformedVersion):
        decode(msgpack.packb([vector, cloud, live, [b"a"], [b"b"]]))


def test_c6_a_delete_with_context_removes_what_it_saw_and_a_concurrent_put_survives() -> None:
    state = write(EMPTY, NOTHING, "a~1", b"old")
    deleted = write(state, state.context, "a~1", None)
    concurrent = write(state, state.context, "b~1", b"new")
    assert deleted.values == []
    assert sync(deleted, concurrent).values == [b"new"]
    assert sync(deleted, state).values == []


def test_w14_an_empty_value_is_a_value_and_no_tombstone() -> None:
    assert decode(encode(write(EMPTY, NOTHING, "a~1", b""))).values == [b""]


def test_c8_a_disk_that_was_lost_gives_no_dot_twice_because_its_next_life_is_another_actor() -> None:
    before = write(write(EMPTY, NOTHING, actor_id("n1", "aa"), b"1"), NOTHING, actor_id("n1", "aa"), b"2")
    after = write(EMPTY, NOTHING, actor_id("n1", "bb"), b"3")
    assert sync(before, after).values == [b"1", b"2", b"3"]
    assert {node_of(sibling.actor) for sibling in sync(before, after).live} == {"n1"}


def test_a_store_that_was_set_back_gives_no_dot_that_the_context_of_the_put_has_already() -> None:
    """The caller read counter 3 of a node whose store has forgotten 2 and 3: were 2 given again, the context would cover it."""
    forgotten = write(EMPTY, NOTHING, "a~1", b"1")
    state, new, _ = put(forgotten, Context({"a~1": 3}), "a~1", b"4", b"", 0)
    assert new.dot == ("a~1", 4)
    assert state.values == [b"4"]


def test_a_put_does_not_change_the_state_or_context_that_it_was_given() -> None:
    state = write(EMPTY, NOTHING, "a~1", b"1")
    seen = Context({"a~1": 1}, frozenset({("b~1", 7)}))
    before = encode(state), repr(seen)
    put(state, seen, "b~1", b"2", b"", 0)
    sync(state, write(state, seen, "c~1", b"3"))
    assert (encode(state), repr(seen)) == before


def test_a_thousand_blind_puts_are_a_thousand_siblings_and_can_still_be_read_and_resolved() -> None:
    state = EMPTY
    for n in range(1000):
        state = write(state, NOTHING, "a~1", b"%d" % n)
    assert len(decode(encode(state)).values) == 1000
    assert write(state, state.context, "a~1", b"all").values == [b"all"]


def test_a_state_with_as_many_siblings_as_a_client_can_be_told_can_be_read_again_and_one_with_more_is_none() -> None:
    live = tuple(Sibling("a~1", n, b"x", b"", 0) for n in range(1, 4098))
    state = Siblings(live[1:], Context({"a~1": 4097}))
    assert decode(encode(state)) == state
    with pytest.raises(MalformedVersion):
        decode(encode(Siblings(live, state.context)))


@pytest.mark.parametrize(
    "state",
    [
        Siblings((), Context({f"{n:05}~{'e' * 100}": 1 for n in range(1_000)})),
        Siblings((), Context({"a" * 129: 1})),
        Siblings((), Context({"ü" * 65: 1})),
        Siblings((), Context({"a~1": 2}, frozenset({("b" * 129, 9)}))),
        Siblings((), Context({"a~1": 2}, retried=frozenset({b"w" * 17}))),
        Siblings((Sibling("a~1", 1, b"x", b"w" * 17, 0),), Context({"a~1": 1})),
        Siblings((Sibling("a~1", 1, b"x", b"w", -1),), Context({"a~1": 1})),
        Siblings((Sibling("a~1", 1, b"x", b"w", 1 << 48),), Context({"a~1": 1})),
    ],
)
def test_a_state_that_no_client_could_be_told_of_is_none(state: Siblings) -> None:
    with pytest.raises(MalformedVersion):
        decode(encode(state))


# --- contexts as sets ------------------------------------------------------------------------------------------------------

dots = st.frozensets(st.tuples(st.sampled_from(ACTORS), st.integers(1, 6)), max_size=12)


def context_of(dots: frozenset[Dot]) -> Context:
    context = NOTHING
    for dot in sorted(dots, reverse=True):
        context = context.add(*dot)
    return context


@given(dots, dots)
def test_a_context_is_a_set_of_dots_in_one_form_however_it_came_about(one: frozenset[Dot], other: frozenset[Dot]) -> None:
    a, b = context_of(one), context_of(other)
    assert dots_of(a) == one
    assert a.join(b) == b.join(a) == context_of(one | other)
    assert (a == b) == (one == other)
    assert bool(a) == bool(one)
    for actor in ACTORS:
        assert a.last(actor) == max((n for who, n in one if who == actor), default=0)
        assert all(a.covers(actor, n) == ((actor, n) in one) for n in range(1, 8))


# --- bytes of others -------------------------------------------------------------------------------------------------------

GOOD_CONTEXT: list[Any] = [["a~1", 2]], []
GOOD_LIVE: list[Any] = [["a~1", 2, b"v", b"id", 0]]


def test_the_bytes_of_a_state_are_those_that_the_first_release_wrote() -> None:
    state = write(write(EMPTY, NOTHING, "a~1", b"1", b"i"), NOTHING, "b~1", None, b"j")
    assert encode(state) == msgpack.packb([[["a~1", 1], ["b~1", 1]], [], [["a~1", 1, b"1", b"i", 0], ["b~1", 1, None, b"j", 0]]])


@pytest.mark.parametrize(
    "rows",
    [
        None,
        1,
        [],
        [[], []],
        [[], [], []],
        ["", "", ""],
        [None, None, None],
        [*GOOD_CONTEXT, None],
        [*GOOD_CONTEXT, b""],
        [*GOOD_CONTEXT, GOOD_LIVE, 0],
        [[["a~1", 2], ["a~1", 3]], [], []],
        [[["b~1", 1], ["a~1", 1]], [], []],
        [[["a~1", 0]], [], []],
        [[["a~1", -1]], [], []],
        [[["a~1", COUNTER_MAX]], [], []],
        [[["a~1", True]], [], []],
        [[["a~1", 1.0]], [], []],
        [[[b"a~1", 1]], [], []],
        [[["", 1]], [], []],
        [[["a~1"]], [], []],
        [[["a~1", 1, 1]], [], []],
        [[["a~1", 2]], [["a~1", 2]], []],
        [[["a~1", 2]], [["a~1", 3]], []],
        [[], [["a~1", 1]], []],
        [[], [["b~1", 5], ["a~1", 5]], []],
        [[], [["a~1", 5], ["a~1", 5]], []],
        [[], [["a~1", "5"]], []],
        [[["a~1", 2]], 0, []],
        [*GOOD_CONTEXT, [["a~1", 3, b"", b"", 0]]],
        [*GOOD_CONTEXT, [["b~1", 1, b"", b"", 0]]],
        [*GOOD_CONTEXT, [["b~1", 0, b"", b"", 0]]],
        [*GOOD_CONTEXT, [["a~1", -1, b"", b"", 0]]],
        [*GOOD_CONTEXT, [["a~1", 1, "v", b"", 0]]],
        [*GOOD_CONTEXT, [["a~1", 1, b"", "id", 0]]],
        [*GOOD_CONTEXT, [["a~1", 1, b"", b"", 0.5]]],
        [*GOOD_CONTEXT, [["a~1", True, b"", b"", 0]]],
        [*GOOD_CONTEXT, [["a~1", 1, b""]]],
        [*GOOD_CONTEXT, [*GOOD_LIVE, *GOOD_LIVE]],
        [*GOOD_CONTEXT, [*GOOD_LIVE, ["a~1", 1, b"", b"", 0]]],
        [*GOOD_CONTEXT, ["abcde"]],
        {"a": 1},
        [*GOOD_CONTEXT, [[["a~1"], 1, b"", b"", 0]]],
    ],
)
def test_w12_rows_that_are_no_state_are_malformed(rows: object) -> None:
    with pytest.raises(MalformedVersion):
        decode(msgpack.packb(rows))


@settings(max_examples=500)
@given(st.binary(max_size=60).filter(bool))
def test_random_bytes_are_malformed_or_the_bytes_of_a_state(raw: bytes) -> None:
    try:
        state = decode(raw)
    except MalformedVersion:
        return
    assert encode(state) == raw


def test_every_cut_and_every_flipped_bit_of_a_state_is_malformed_or_another_sound_state() -> None:
    """A row's own checksum finds these on disk, the frame's under way; what passes both must still not break the reader."""
    raw = encode(write(write(EMPTY, NOTHING, "a~1", b"1", b"i"), Context({}, frozenset({("c~1", 9)})), "b~1", b"2", b"j"))
    broken = [raw[:n] for n in range(1, len(raw))] + [raw + b"\x00"]
    broken += [raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :] for at in range(len(raw)) for bit in range(8)]
    for other in broken:
        try:
            state = decode(other)
        except MalformedVersion:
            continue
        assert all(state.context.covers(*sibling.dot) for sibling in state.live)
        assert len(other) == len(raw), "no cut passes"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x91" * 1_000_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x93\xdd\xff\xff\xff\xff\x90\x90",
        b"\xc1",
        b"\xdc\xff\xff" + b"\x90" * 65535,
    ],
)
def test_w4_w5_nesting_and_lengths_that_are_claimed_are_malformed_at_once(raw: bytes) -> None:
    with pytest.raises(MalformedVersion):
        decode(raw)


# --- the client's token ----------------------------------------------------------------------------------------------------

SECRET = b"s" * 32
SEEN = Context({"a~1": 3, "b~1": 1}, frozenset({("c~1", 7)}))
TOKEN = seal_context(SEEN, "carts", b"alice", SECRET)


@given(dots, st.text(max_size=5), st.binary(max_size=5))
def test_a_context_comes_back_from_its_token(dots: frozenset[Dot], bucket: str, key: bytes) -> None:
    context = context_of(dots)
    assert open_context(seal_context(context, bucket, key, SECRET), bucket, key, SECRET) == context


def test_a_token_survives_json_as_base64() -> None:
    kept = json.dumps(base64.b64encode(TOKEN).decode())
    assert open_context(base64.b64decode(json.loads(kept)), "carts", b"alice", SECRET) == SEEN


def test_no_token_and_the_empty_context_are_the_same() -> None:
    assert seal_context(NOTHING, "carts", b"alice", SECRET) == b""
    assert open_context(b"", "carts", b"alice", SECRET) == NOTHING


def test_w12_every_cut_and_every_flipped_bit_of_a_token_is_refused() -> None:
    broken = [TOKEN[:n] for n in range(1, len(TOKEN))] + [TOKEN[n:] for n in range(1, len(TOKEN))] + [TOKEN + b"\x00"]
    broken += [TOKEN[:at] + bytes([TOKEN[at] ^ 1 << bit]) + TOKEN[at + 1 :] for at in range(len(TOKEN)) for bit in range(8)]
    for token in broken:
        with pytest.raises(BadContext):
            open_context(token, "carts", b"alice", SECRET)


@pytest.mark.parametrize(
    ("bucket", "key", "secret"),
    [
        ("carts", b"bob", SECRET),
        ("orders", b"alice", SECRET),
        ("cart", b"salice", SECRET),
        ("", b"cartsalice", SECRET),
        ("carts", b"alice", b"t" * 32),
    ],
)
def test_w12_a_token_of_another_key_bucket_or_cluster_is_refused(bucket: str, key: bytes, secret: bytes) -> None:
    with pytest.raises(BadContext):
        open_context(TOKEN, bucket, key, secret)


def test_w12_a_forged_context_of_the_future_is_refused_and_so_hides_no_later_write() -> None:
    content = b"\x01" + msgpack.packb([[["a~1", COUNTER_MAX - 1]], []])
    for forged in (
        content + bytes(16),
        content + TOKEN[-16:],
        seal_context(Context({"a~1": 1 << 40}), "carts", b"alice", b"guessed"),
    ):
        with pytest.raises(BadContext):
            open_context(forged, "carts", b"alice", SECRET)


@given(st.binary(max_size=100).filter(bool))
def test_w12_random_bytes_are_no_token(token: bytes) -> None:
    with pytest.raises(BadContext):
        open_context(token, "carts", b"alice", SECRET)


def test_w12_a_megabyte_is_refused_without_being_unpacked() -> None:
    with pytest.raises(BadContext):
        open_context(b"\x01" + b"\x90" * (1 << 20), "carts", b"alice", SECRET)


# --- forgetting -----------------------------------------------------------------------------------------------------------

siblings = st.builds(
    Sibling,
    st.sampled_from([f"n{i}~e" for i in range(20)]),
    st.integers(1, 1 << 40),
    st.one_of(st.none(), st.binary(max_size=40)),
    st.binary(min_size=16, max_size=16),
    st.integers(-(1 << 62), 1 << 62),
)


@given(live=st.lists(siblings, max_size=4), actors=st.integers(0, 14))
def test_the_glance_at_a_state_never_overlooks_a_tombstone_or_a_long_context(live: list[Sibling], actors: int) -> None:
    by_dot = {sibling.dot: sibling for sibling in live}
    vector = {f"n{i}~e": 1 for i in range(actors)}
    for actor, counter in by_dot:
        vector[actor] = max(vector.get(actor, 0), counter)
    state = Siblings(tuple(by_dot[dot] for dot in sorted(by_dot)), Context(vector or {"n1~e": 1}))
    if not state.values or len(state.context.vector) > CLOCK_ENTRIES_KEPT:
        assert may_retire(encode(state))


def test_the_glance_lets_most_values_pass() -> None:
    state, _, _ = put(EMPTY, NOTHING, "n1~e", b"value", b"w" * 16, 1_700_000_000_000)
    assert not may_retire(encode(state))


def test_dots_begin_above_the_floor_and_the_vector_covers_what_is_below() -> None:
    state, first, _ = put(EMPTY, NOTHING, "a~1", b"v", b"w" * 16, 0, floor=7)
    assert first.counter == 8
    state, second, _ = put(state, state.context, "a~1", b"w", b"x" * 16, 0, floor=7)
    assert second.counter == 9
    assert state.context == Context({"a~1": 9}), "no cloud that would grow with each write"


def test_only_actors_that_are_gone_and_have_no_live_write_are_left_out() -> None:
    state = EMPTY
    for actor in ("gone~1", "gone~2", "here~1"):
        seen = state.context if actor != "here~1" else NOTHING
        state, _, _ = put(state, seen, actor, actor.encode(), actor.encode().ljust(16), 0)
    less = without_actors(state, {"here~1", "other~1"})
    assert less.live == state.live
    assert less.context == Context({"gone~2": 1, "here~1": 1})
    assert decode(encode(less)) == less

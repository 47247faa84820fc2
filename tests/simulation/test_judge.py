"""What a history proves, and what it does not: of answers and of what is stored in the end, without any cluster."""

from __future__ import annotations

import pytest

from dynazmq.dynamo.messages import Get, GetReply, Put, PutReply
from dynazmq.dynamo.values.versions import EMPTY, Context, Siblings, put, seal_context
from dynazmq.errors import DynazmqError, Overloaded, WriteTimeout
from dynazmq.simulator.cluster.history import History, Op
from dynazmq.simulator.cluster.judge import of_answer, of_key

KEY = b"k"


class Told:
    """A client's side of a story about one key. `state` is what a perfect store would hold in the end."""

    def __init__(self, *, sees_commits: bool = False) -> None:
        self.history = History(b"s" * 32, sees_commits=sees_commits)
        self.state = EMPTY
        self._written = 0

    def put(
        self, value: bytes | None, seen: Context = EMPTY.context, *, error: DynazmqError | None = None, stored: bool = True
    ) -> Op:
        """Of a put that is not stored, or not answered, nobody learns the dot. value None: a delete."""
        self._written += 1
        write_id = b"%016d" % self._written
        message = Put(0, "b", KEY, value, self._token(seen), write_id, 0, 0, 0, 0, 0, 0)
        op = self.history.begin("c", "delete" if value is None else "put", message, 0.0)
        after = seen
        if stored:
            self.state, new, _ = put(self.state, seen, "n1~1", value, write_id, 0)
            after = seen.add(*new.dot)
        self.history.end(op, PutReply(0, self._token(after), ["n1", "n2"], []), error, 1, 1.0)
        return op

    def get(self, state: Siblings | None = None) -> tuple[Op, Context]:
        shown = self.state if state is None else state
        op = self.history.begin("c", "get", Get(0, "b", KEY, 0, 0, 0, 0), 2.0)
        self.history.end(op, GetReply(0, shown.values, [], self._token(shown.context), []), None, 1, 3.0)
        return op, shown.context

    def _token(self, context: Context) -> bytes:
        return seal_context(context, "b", KEY, self.history.secret)

    def found_of(self, state: Siblings | None = None, *, collected: bool = False) -> list[tuple[str, str]]:
        breaches = of_key(self.history, KEY, self.state if state is None else state, collected=collected)
        return [(breach.promise, breach.kind) for breach in breaches]


def without(state: Siblings, value: bytes) -> Siblings:
    return Siblings(tuple(each for each in state.live if each.value != value), state.context)


def test_what_was_acknowledged_and_is_there_or_was_overwritten_by_who_had_seen_it_is_not_lost() -> None:
    told = Told()
    told.put(b"a")
    told.put(b"b", told.get()[1])
    told.put(b"c")
    assert told.found_of() == []


def test_an_acknowledged_write_that_nobody_has_overwritten_and_that_is_gone_is_lost() -> None:
    told = Told()
    told.put(b"a")
    told.put(b"b")
    assert told.found_of(without(told.state, b"a")) == [("I1", "lost")]


def test_a_write_that_is_covered_only_by_one_that_is_gone_itself_is_lost_with_it() -> None:
    told = Told()
    told.put(b"a")
    told.put(b"b", told.get()[1])
    assert told.found_of(without(told.state, b"b")) == [("I1", "lost"), ("I1", "lost")]


def test_of_a_write_of_unknown_outcome_only_what_somebody_has_seen_must_stay() -> None:
    told = Told()
    told.put(b"a", error=WriteTimeout("late"))
    assert told.found_of(EMPTY) == []
    told.get()
    assert told.found_of(EMPTY) == [("I1", "lost")]


def test_what_was_seen_once_may_be_gone_when_a_disk_was_lost_since() -> None:
    told = Told()
    told.put(b"a", error=WriteTimeout("late"))
    told.get()
    told.history.robs("n1")
    assert told.found_of(EMPTY) == []


def test_what_an_acknowledged_write_covers_must_not_be_there() -> None:
    told = Told()
    told.put(b"a")
    before = told.state
    told.put(None, told.get()[1])
    assert told.found_of() == []
    assert told.found_of(before) == [("I4", "resurrected")]


def test_a_delete_whose_tombstone_was_collected_still_explains_what_is_gone() -> None:
    told = Told()
    told.put(b"a")
    told.put(None, told.get()[1])
    assert told.found_of(EMPTY, collected=True) == []


def test_what_a_delete_of_unknown_outcome_covers_may_be_there_or_not_for_who_sees_answers_alone() -> None:
    told = Told()
    told.put(b"a")
    before = told.state
    told.put(None, told.get()[1], error=WriteTimeout("late"))
    assert told.found_of(before) == []
    assert told.found_of(EMPTY) == []
    seeing = Told(sees_commits=True)
    seeing.put(b"a")
    seeing.put(None, seeing.get()[1], error=WriteTimeout("late"), stored=False)
    assert seeing.found_of(EMPTY) == [("I1", "lost")]


def test_what_nobody_wrote_and_what_is_there_twice_is_seen_in_the_end() -> None:
    told = Told()
    told.put(b"a")
    stranger, new, _ = put(told.state, EMPTY.context, "n2~1", b"x", b"x" * 16, 0)
    assert told.found_of(stranger) == [("I6", "invented")]
    again = Siblings((*told.state.live, new._replace(write_id=told.state.live[0].write_id)), stranger.context)
    assert told.found_of(again) == [("I5", "false sibling")]


def test_an_answer_must_not_show_a_value_beside_one_that_covers_it() -> None:
    told = Told()
    told.put(b"a")
    first = told.state.live[0]
    told.put(b"b", told.get()[1])
    op, _ = told.get()
    assert list(of_answer(told.history, op)) == []
    op, _ = told.get(Siblings((first, *told.state.live), told.state.context))
    (breach,) = of_answer(told.history, op)
    assert (breach.promise, breach.kind) == ("I5", "resurrected")
    assert breach.write is not None
    assert breach.by is not None
    assert (breach.write.value, breach.by.value) == (b"a", b"b")


def test_an_answer_must_not_show_what_was_never_put_or_not_attempted_or_one_value_twice() -> None:
    told = Told()
    told.put(b"a", error=Overloaded("full"))
    op, _ = told.get()
    assert [(b.promise, b.kind) for b in of_answer(told.history, op)] == [("I6", "invented")]
    op, _ = told.get(Siblings((told.state.live[0]._replace(value=b"x"),), told.state.context))
    assert [(b.promise, b.kind) for b in of_answer(told.history, op)] == [("I6", "invented")]
    told.put(b"b")
    twice = told.state.live[1]
    op, _ = told.get(Siblings((twice, twice), told.state.context))
    assert [(b.promise, b.kind) for b in of_answer(told.history, op)] == [("I5", "false sibling")]


@pytest.mark.parametrize(
    ("suspected", "known", "let_off"),
    [
        (frozenset(), None, True),
        (frozenset(), Context({"b~1": 1}, retried=frozenset({b"w" * 16})), True),
        (frozenset(), Context({"a~1": 1, "b~1": 1}, retried=frozenset({b"w" * 16})), False),
        (frozenset({b"w" * 16}), None, False),
    ],
    ids=["nobody could know", "its coordinator knew the other try alone", "its coordinator had met both", "it was told"],
)
def test_what_was_read_before_it_was_answered_and_comes_back_is_let_off_only_where_nobody_could_tell(
    suspected: frozenset[bytes], known: Context | None, let_off: bool
) -> None:
    """A put with two dots, of which the writer of another has seen one."""
    history = History(b"s" * 32)
    write = history.begin("a", "put", Put(0, "b", KEY, b"v", b"", b"w" * 16, 0, 0, 0, 0, 0, 0), 0.0)
    token = seal_context(Context({"a~1": 1}, retried=suspected), "b", KEY, history.secret)
    read = history.begin("b", "get", Get(0, "b", KEY, 0, 0, 0, 0), 1.0)
    history.end(read, GetReply(0, [b"v"], [], token, []), None, 1, 2.0)
    answer = seal_context(Context({"b~1": 1}, retried=frozenset({b"w" * 16})), "b", KEY, history.secret)
    history.end(write, PutReply(0, answer, ["n1", "n2"], []), None, 2, 3.0)
    history.dots_of[write.write_id] = {("a~1", 1), ("b~1", 1)}
    by = history.begin("b", "put", Put(0, "b", KEY, b"x", token, b"x" * 16, 0, 0, 0, 0, 0, 0), 4.0)
    if known is not None:
        history.coordinated[by.write_id] = known
    assert history.seen_too_early(by, write) == let_off

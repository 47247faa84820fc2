"""The parts of chaos that need no cluster: drawing a plan, the longest gap, judging what is stored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from itertools import islice

import pytest

from dynazmq.chaos.evidence import Evidence, Held, _Looker
from dynazmq.chaos.interrupts import uninterrupted
from dynazmq.chaos.load import BUCKET, LWW_BUCKET, set_value
from dynazmq.chaos.nemesis import Chronicle
from dynazmq.chaos.plan import CHANGES, KINDS, LOSING, Blow, Situation, aim, chosen, strikes
from dynazmq.chaos.record import Record, longest_gap
from dynazmq.chaos.verdict import judge_all
from dynazmq.dynamo.messages import Get, GetReply, Put, PutReply
from dynazmq.dynamo.values.versions import EMPTY, Context, Siblings, encode, put, seal_context
from dynazmq.simulator.cluster.history import History, Op

MEMBERS = ("n1", "n2", "n3", "n4", "n5")


def situation(**changes: object) -> Situation:
    return Situation(**{"members": MEMBERS, "n": 3, "r": 2, "w": 2, "begun_with": 5, **changes})  # type: ignore[arg-type]


# --- the plan -------------------------------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_plan_each_time_and_another_seed_another_one() -> None:
    first, second, other = (list(islice(strikes(seed, KINDS, 600.0), 50)) for seed in (1, 1, 2))
    assert first == second != other
    aimed = [aim(strike, situation()) for strike in first]
    assert aimed == [aim(strike, situation()) for strike in second]


def test_every_kind_is_drawn_and_can_be_done() -> None:
    blows = [aim(strike, situation()) for strike in islice(strikes(3, KINDS, 600.0), 500)]
    assert {blow.kind for blow in blows if blow is not None} == set(KINDS)


def test_never_are_so_many_away_that_too_few_are_left_to_serve() -> None:
    now = situation(away=frozenset({"n1", "n2"}))
    for strike in islice(strikes(4, ("kill", "pause", "stop"), 600.0), 200):
        blow = aim(strike, now)
        assert isinstance(blow, Blow)
        assert len(blow.nodes) == 1
        assert blow.nodes[0] not in now.away
        assert aim(strike, situation(away=frozenset({"n1", "n2", "n3"}))) is None


@pytest.mark.parametrize("kind", LOSING)
def test_no_disk_is_lost_where_one_acknowledged_copy_may_be_the_only_one_or_while_members_change(kind: str) -> None:
    strike = next(strikes(5, (kind,), 600.0))
    assert aim(strike, situation()) is not None
    assert aim(strike, situation(w=1)) is None
    assert aim(strike, situation(changing=True)) is None


def test_members_change_one_at_a_time_and_enough_of_them_stay() -> None:
    for kind in CHANGES:
        strike = next(strikes(6, (kind,), 600.0))
        assert aim(strike, situation(changing=True)) is None
    assert aim(next(strikes(6, ("remove",), 600.0)), situation(members=MEMBERS[:4])) is None
    assert aim(next(strikes(6, ("add",), 600.0)), situation(begun_with=2)) is None


def test_the_network_is_cut_once_at_a_time_and_long_enough_to_be_noticed() -> None:
    for strike in islice(strikes(7, ("partition", "one-way", "isolate"), 600.0), 50):
        assert aim(strike, situation(cut=True)) is None
        blow = aim(strike, situation())
        assert blow is not None
        assert blow.lasting_s >= 1.0


def test_without_any_kind_of_fault_there_is_no_strike() -> None:
    assert chosen("none", fresh=False) == ()
    assert list(strikes(1, (), 600.0)) == []


# --- the chronicle --------------------------------------------------------------------------------------------------------


def test_a_pause_is_known_for_a_while_after_its_end_and_of_the_paused_alone() -> None:
    chronicle = Chronicle(Record(History(b"s" * 32)))
    assert not chronicle.was_paused("n1", 60.0)
    chronicle.end(chronicle.begin("kill n1"))
    assert not chronicle.was_paused("n1", 60.0)
    chronicle.end(chronicle.begin("pause n1 n2"))
    assert [chronicle.was_paused(name, 60.0) for name in ("n1", "n2", "n3")] == [True, True, False]
    chronicle.record.began -= 100.0
    assert not chronicle.was_paused("n1", 60.0)


# --- gaps -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "gap"),
    [([], (0.0, 10.0)), ([4.0], (4.0, 10.0)), ([1.0, 2.0, 7.0, 9.5], (2.0, 7.0)), ([6.0, 9.0], (0.0, 6.0))],
    ids=["none at all", "after the last", "between two", "before the first"],
)
def test_the_longest_gap_without_a_success(successes: list[float], gap: tuple[float, float]) -> None:
    assert tuple(longest_gap(successes, 0.0, 10.0)) == gap


# --- the judge ------------------------------------------------------------------------------------------------------------


class Told:
    """Writes to one key, each of which sees what was there unless it is blind, and the state that they make."""

    def __init__(self, bucket: str = BUCKET, key: bytes = b"k") -> None:
        self.history = History(b"s" * 32, sees_commits=False)
        self.bucket, self.key, self.state = bucket, key, EMPTY

    def write(self, value: bytes | None, *, blind: bool = False, acked: tuple[str, ...] = ("n1", "n2")) -> Op:
        seen = EMPTY.context if blind else self.state.context
        token = seal_context(seen, self.bucket, self.key, self.history.secret) if seen else b""
        write_id = b"%016d" % len(self.history.ops)
        message = Put(0, self.bucket, self.key, value, token, write_id, 0, 0, 0, 0, 0, 0)
        if not blind:
            self.history.shown["c", token] = (1 << len(self.history.writes)) - 1
        op = self.history.begin("c", "delete" if value is None else "put", message, 0.0)
        op.needed = 2
        self.state, new, _ = put(self.state, seen, "n1~1", value, write_id, 0)
        after = seal_context(seen.add(*new.dot), self.bucket, self.key, self.history.secret)
        self.history.end(op, PutReply(0, after, list(acked), []), None, 1, 1.0)
        return op

    def acknowledged(self, context: Context) -> PutReply:
        return PutReply(0, seal_context(context, self.bucket, self.key, self.history.secret), ["n1", "n2"], [])

    def kinds(self, *states: Siblings, evidence: Evidence | None = None) -> list[str]:
        evidence = evidence or Evidence()
        held = {f"n{i + 1}": encode(state) for i, state in enumerate(states or (self.state,) * 3)}
        evidence.held[self.bucket, self.key] = Held(held)
        return [each.kind for each in judge_all(self.history, evidence, {}, "").broken]


def test_what_all_primaries_hold_as_it_was_acknowledged_is_valid() -> None:
    told = Told()
    told.write(b"a")
    told.write(b"b")
    told.write(b"c", blind=True)
    assert told.kinds() == []


def test_primaries_that_differ_and_a_write_that_none_of_them_has_are_seen() -> None:
    told = Told()
    told.write(b"a")
    before = told.state
    told.write(b"b", blind=True)
    assert told.kinds(told.state, told.state, before) == ["diverged"]
    assert told.kinds(before, before, before) == ["lost"]


def test_an_acknowledgement_by_fewer_than_were_asked_for_is_dishonest_and_a_node_that_died_is_no_valid_run() -> None:
    told = Told()
    told.write(b"a", acked=("n1",))
    assert told.kinds(evidence=Evidence(died=["n3 exited with code 1"])) == ["dishonest", "died"]


def test_what_nobody_could_be_asked_for_is_not_called_lost() -> None:
    told = Told()
    told.write(b"a")
    asked = (told.bucket, told.key)
    seen = Evidence(held={asked: Held({}, unread=["n1", "n2"])}, unread={"n1": "no answer", "n2": "no answer"})
    verdict = judge_all(told.history, seen, {}, "")
    assert verdict.broken == []
    assert verdict.open == ["n1 could not be read: no answer", "n2 could not be read: no answer"]
    seen.held[asked] = Held({"n1": b"", "n2": b""})
    assert [each.kind for each in judge_all(told.history, seen, {}, "").broken] == ["lost"]


def test_an_element_that_no_sibling_of_a_set_holds_is_lost_whatever_contexts_say() -> None:
    told = Told(key=b"x-sets-1")
    told.write(set_value([], "one"))
    told.write(set_value([], "two"))
    assert told.kinds() == ["lost"]


def test_where_the_last_write_wins_there_is_a_value_unless_a_delete_may_be_the_last() -> None:
    told = Told(LWW_BUCKET)
    told.write(b"a", blind=True)
    told.write(b"b", blind=True)
    last = Siblings(told.state.live[1:], told.state.context)
    assert told.kinds(last, last, last) == []
    nothing = Siblings((), told.state.context)
    assert told.kinds(nothing, nothing, nothing) == ["lost"]
    told.write(None, blind=True)
    assert told.kinds(nothing, nothing, nothing) == []


@pytest.mark.parametrize(("read_at", "found"), [(2.0, ([], 1)), (5.0, (["resurrected"], 0))], ids=["before", "after"])
def test_what_was_overwritten_between_two_tries_of_its_put_is_an_echo_if_it_was_read_before_the_put_was_answered(
    read_at: float, found: tuple[list[str], int]
) -> None:
    told = Told()
    history = told.history
    writing = history.begin("a", "put", Put(0, BUCKET, b"k", b"a", b"", b"a" * 16, 0, 0, 0, 0, 0, 0), 0.0)
    first, _, _ = put(EMPTY, EMPTY.context, "n1~1", b"a", b"a" * 16, 0)
    second, new, _ = put(EMPTY, EMPTY.context, "n2~1", b"a", b"a" * 16, 0)
    reading = history.begin("b", "get", Get(0, BUCKET, b"k", 0, 0, 0, 0), 1.0)
    token = seal_context(first.context, BUCKET, b"k", history.secret)
    answers = [
        (read_at, reading, GetReply(0, [b"a"], [], token, [])),
        (3.0, writing, told.acknowledged(EMPTY.context.add(*new.dot))),
    ]
    for at, op, reply in sorted(answers, key=lambda each: each[0]):
        history.end(op, reply, None, 1, at)
    over = history.begin("b", "put", Put(0, BUCKET, b"k", b"b", token, b"b" * 16, 0, 0, 0, 0, 0, 0), 6.0)
    after, _, _ = put(first, first.context, "n1~1", b"b", b"b" * 16, 0)
    history.end(over, told.acknowledged(after.context), None, 1, 7.0)
    state = Siblings((*after.live, *second.live), Context({**after.context.vector, **second.context.vector}))
    evidence = Evidence(held={(BUCKET, b"k"): Held({f"n{i}": encode(state) for i in range(3)})})
    verdict = judge_all(history, evidence, {}, "")
    assert ([each.kind for each in verdict.broken], verdict.echoes) == found


class Looking(_Looker):
    """Finds replicas equal from one of its looks on."""

    def __init__(self, equal_at: int) -> None:
        self.looks = 0
        self._equal_at = equal_at

    def look(self, keys: Iterable[tuple[str, bytes]], evidence: Evidence) -> None:
        self.looks += 1
        for each in keys:
            state, _, _ = put(EMPTY, EMPTY.context, "n1~1", b"v", b"i" * 16, 0)
            other = state if self.looks >= self._equal_at else EMPTY
            evidence.held[each] = Held({"n1": encode(state), "n2": encode(other)})


def test_keys_that_differ_though_all_seems_at_rest_are_looked_at_again_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    looking, evidence = Looking(2), Evidence()
    looking.look([(BUCKET, b"k")], evidence)
    looking.look_again(evidence)
    assert looking.looks == 2
    assert evidence.held[BUCKET, b"k"].equal
    assert [told.partition(":")[0] for told in evidence.late] == [f"{BUCKET}/k"]


def test_keys_that_stay_different_are_no_late_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynazmq.chaos.evidence._LATE_S", 0.0)
    looking, evidence = Looking(1 << 30), Evidence()
    looking.look([(BUCKET, b"k")], evidence)
    looking.look_again(evidence)
    assert not evidence.held[BUCKET, b"k"].equal
    assert evidence.late == []


def test_what_could_not_be_found_out_makes_the_verdict_unknown_and_not_valid() -> None:
    told = Told()
    told.write(b"a")
    evidence = Evidence(unread={"n2": "no answer"})
    evidence.held[told.bucket, told.key] = Held({"n1": encode(told.state)})
    assert judge_all(told.history, evidence, {}, "").word == "unknown"
    assert judge_all(told.history, Evidence(), {}, "n2 is not up").word == "unknown"
    assert judge_all(told.history, Evidence(), {}, "").word == "valid"


# --- interrupts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_undone_is_undone_whole_and_an_interrupt_comes_afterwards(number: int) -> None:
    undone = []

    def undo() -> None:
        with uninterrupted():
            os.kill(os.getpid(), number)
            undone.append("all")

    with pytest.raises(KeyboardInterrupt):
        undo()
    assert undone == ["all"]

"""The counter of replies against its definition, for every possible history."""

from __future__ import annotations

from itertools import product

import pytest

from dynazmq.dynamo.values.quorum import IMPOSSIBLE, PENDING, REACHED, Quorum

ASKED = {"n1": True, "n2": True, "n3": True, "n4": False}


def by_definition(needed: int, primaries_needed: int, answered: list[str], may_answer: list[str]) -> str:
    def enough(names: list[str]) -> bool:
        return len(names) >= needed and sum(ASKED[name] for name in names) >= primaries_needed

    if enough(answered):
        return REACHED
    return PENDING if enough(answered + may_answer) else IMPOSSIBLE


@pytest.mark.parametrize(("needed", "primaries_needed"), [(n, p) for n in range(1, 5) for p in range(4)])
def test_the_state_is_what_the_replies_so_far_and_those_still_possible_say(needed: int, primaries_needed: int) -> None:
    for fates in product(("answers", "fails", "is awaited"), repeat=len(ASKED)):
        quorum = Quorum(needed, primaries_needed)
        for name, primary in ASKED.items():
            quorum.ask(name, primary)
        sorted_out: dict[str, list[str]] = {"answers": [], "fails": [], "is awaited": []}
        for name, fate in zip(ASKED, fates, strict=True):
            sorted_out[fate].append(name)
            if fate == "answers":
                assert quorum.answer(name)
            elif fate == "fails":
                assert quorum.fail(name)
        assert quorum.state == by_definition(needed, primaries_needed, sorted_out["answers"], sorted_out["is awaited"])
        assert quorum.reached == (quorum.state == REACHED)
        assert quorum.answered == sorted_out["answers"]


def test_n9_a_reply_that_comes_twice_counts_once() -> None:
    quorum = Quorum(2)
    quorum.ask("n1", True)
    quorum.ask("n2", True)
    assert quorum.answer("n1")
    assert not quorum.answer("n1")
    assert quorum.state == PENDING


def test_n6_a_reply_of_somebody_who_was_not_asked_does_not_count() -> None:
    quorum = Quorum(1)
    quorum.ask("n1", True)
    assert not quorum.answer("n9")
    assert not quorum.fail("n9")
    assert quorum.state == PENDING


def test_a_reply_after_a_refusal_does_not_count() -> None:
    quorum = Quorum(1)
    quorum.ask("n1", True)
    quorum.ask("n2", True)
    assert quorum.fail("n1")
    assert not quorum.answer("n1")
    assert not quorum.fail("n1")
    assert quorum.answered == []


def test_pw_is_not_met_by_any_number_of_fallbacks() -> None:
    quorum = Quorum(2, primaries_needed=1)
    quorum.ask("n3", False)
    quorum.ask("n4", False)
    assert quorum.state == IMPOSSIBLE
    quorum.answer("n3")
    quorum.answer("n4")
    assert quorum.state == IMPOSSIBLE

"""§4.5: the arithmetic of get() and put()."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest

from dynazmq.dynamo.values.quorum import IMPOSSIBLE, PENDING, REACHED, Quorum

REPLICAS = ("n1", "n2", "n3")


def asked(needed: int, names: tuple[str, ...] = REPLICAS) -> Quorum:
    quorum = Quorum(needed)
    for name in names:
        quorum.ask(name, primary=True)
    return quorum


def test_4_5_if_r_plus_w_is_above_n_every_read_quorum_meets_every_write_quorum() -> None:
    for r in range(1, 4):
        for w in range(1, 4):
            meet = all(set(read) & set(wrote) for read in combinations(REPLICAS, r) for wrote in combinations(REPLICAS, w))
            assert meet == (r + w > 3)


@pytest.mark.parametrize("w", [1, 2, 3])
def test_4_5_a_write_is_successful_when_w_nodes_have_responded_whichever_they_are(w: int) -> None:
    for order in permutations(REPLICAS):
        quorum = asked(w)
        for count, name in enumerate(order, start=1):
            quorum.answer(name)
            assert quorum.state == (REACHED if count >= w else PENDING)


def test_4_5_the_latency_is_that_of_the_slowest_of_the_replicas_needed_not_of_all() -> None:
    quorum = asked(2)
    quorum.answer("n3")
    quorum.answer("n1")
    assert quorum.state == REACHED
    assert "n2" in quorum.outstanding


def test_4_5_too_few_responses_fail_the_request_as_soon_as_that_is_certain() -> None:
    quorum = asked(2)
    quorum.fail("n1")
    assert quorum.state == PENDING
    quorum.fail("n2")
    assert quorum.state == IMPOSSIBLE


def test_4_6_a_fallback_asked_instead_makes_a_quorum_possible_again() -> None:
    quorum = asked(2, ("n1", "n2"))
    quorum.fail("n2")
    assert quorum.state == IMPOSSIBLE
    quorum.ask("n4", primary=False)
    assert quorum.state == PENDING
    quorum.answer("n1")
    quorum.answer("n4")
    assert quorum.state == REACHED

"""When a node that died by itself is started again."""

from __future__ import annotations

from dynazmq.cluster.supervisor.back_off import Restarts


def test_p4_pauses_double_up_to_a_limit_and_then_the_node_is_given_up() -> None:
    restarts = Restarts(first_s=10.0, cap_s=60.0, deaths_max=6)
    assert [restarts.died(lived_s=1.0) for _ in range(6)] == [10.0, 20.0, 40.0, 60.0, 60.0, None]


def test_p4_who_lived_for_long_did_not_die_of_its_start() -> None:
    restarts = Restarts(first_s=10.0, calm_s=60.0)
    assert [restarts.died(lived_s) for lived_s in (1.0, 59.9, 60.0, 1.0)] == [10.0, 20.0, 10.0, 20.0]


def test_p4_who_is_started_by_hand_is_given_as_many_tries_again() -> None:
    restarts = Restarts(first_s=10.0, deaths_max=2)
    assert [restarts.died(1.0), restarts.died(1.0)] == [10.0, None]
    restarts.forgive()
    assert restarts.died(1.0) == 10.0

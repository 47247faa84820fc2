"""From a seed that fails to the least that still does."""

from __future__ import annotations

import math
from collections import Counter

from dynazmq.simulator.mutants import MUTANTS
from dynazmq.simulator.run.faults import CRASH, PAUSE, SPLIT
from dynazmq.simulator.run.shrink import shrink, spelled
from dynazmq.simulator.run.simulation import Plan, Report, run
from dynazmq.simulator.run.workload import Load, Mix
from dynazmq.simulator.world.network import Conditions


def report_of(plan: Plan, *broken: str) -> Report:
    return Report(plan, list(broken), Counter(), {}, "", 0, 0.0)


BIG = Plan(
    seed=1, faults=(CRASH, PAUSE, SPLIT), conditions=Conditions(loss=0.1, jitter_s=0.01), core=3,
    load=Load(clients=4, keys=12, requests=40),
)  # fmt: skip


def test_what_a_failure_does_not_need_is_left_out() -> None:
    """It needs a pause, loss, two clients and seven requests."""

    def play(plan: Plan) -> Report:
        fails = PAUSE in plan.faults and plan.conditions.loss and plan.load.clients > 1 and plan.load.requests > 6
        return report_of(plan, "I1: lost") if fails else report_of(plan)

    told: list[Plan] = []
    found = shrink(report_of(BIG, "I1: lost"), told.append, play).plan
    assert found == Plan(seed=1, faults=(PAUSE,), conditions=Conditions(loss=0.1), load=Load(clients=2, keys=1, requests=7))
    assert told[-1] == found


def test_another_failure_is_another_story() -> None:
    def play(plan: Plan) -> Report:
        return report_of(plan, "I2: differ" if plan.faults != BIG.faults else "I1: lost")

    assert shrink(report_of(BIG, "I1: lost"), lambda _: None, play).plan.faults == BIG.faults


def test_it_ends_although_everything_fails() -> None:
    found = shrink(report_of(BIG, "I1: lost"), lambda _: None, lambda plan: report_of(plan, "I1: lost")).plan
    assert found == Plan(seed=1, load=Load(clients=1, keys=1, requests=1))


def test_a_plan_is_spelled_so_that_python_reads_it() -> None:
    assert eval(spelled(Plan(seed=7, conditions=Conditions(notice_s=math.inf)))).conditions.notice_s == math.inf
    plan = Plan(seed=7, conditions=Conditions(loss=0.5), load=Load(keys=1, mix=Mix(put_blind=8.0)))
    assert spelled(plan) == "Plan(seed=7, conditions=Conditions(loss=0.5), load=Load(keys=1, mix=Mix(put_blind=8.0)))"
    assert eval(spelled(plan)) == plan


def test_a_real_failure_becomes_small_and_stays_the_same_failure() -> None:
    mutant = MUTANTS["last_write_wins_in_puts"]
    with mutant.built_in():
        failed = run(BIG)
        assert not failed.ok
        found = shrink(failed, lambda _: None)
        assert run(found.plan).broken == found.broken != []
    assert found.plan.faults == ()
    assert found.plan.load.requests < BIG.load.requests / 2
    assert run(found.plan).ok

"""From a seed that fails to the least that still fails: without this fault, with better weather, with a client or a request less.

What still fails must break one of the promises that were broken at first: another failure is another story. Each candidate is a
whole run, and dropping one thing shifts the fortunes of what is left, so what is found is small and not the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from dynazmq.simulator.run.simulation import Plan, Report, run
from dynazmq.simulator.run.workload import Load, Mix
from dynazmq.simulator.world.network import Conditions

_RUNS_MAX = 300


def shrink(failed: Report, told: Callable[[Plan], None], play: Callable[[Plan], Report] = run) -> Report:
    """The report of the smallest plan that was found. `told` hears of each that still fails."""
    promises = broken_promises(failed)
    runs = 0
    smaller = True
    while smaller:
        smaller = False
        for plan in candidates(failed.plan):
            runs += 1
            if runs > _RUNS_MAX:
                return failed
            report = play(plan)
            if promises & broken_promises(report):
                failed, smaller = report, True
                told(plan)
                break
    return failed


def broken_promises(report: Report) -> set[str]:
    """I1, I15, …: how each line begins."""
    return {line.split(":")[0] for line in report.broken}


def candidates(plan: Plan) -> Iterator[Plan]:
    """Plans that are a step smaller: faults first, then clients, then requests."""
    for kind in plan.faults:
        yield replace(plan, faults=tuple(other for other in plan.faults if other != kind))
    for act in plan.acts:
        yield replace(plan, acts=tuple(other for other in plan.acts if other != act))
    for victim in plan.victims:
        yield replace(plan, victims=tuple(other for other in plan.victims if other != victim))
    if plan.acts_max > 1 and plan.acts:
        yield replace(plan, acts_max=plan.acts_max - 1)
    calm = Conditions()
    for field in fields(Conditions):
        if getattr(plan.conditions, field.name) != getattr(calm, field.name):
            yield replace(plan, conditions=replace(plan.conditions, **{field.name: getattr(calm, field.name)}))
    if plan.core:
        yield replace(plan, core=0)
    if not plan.one_clock:
        yield replace(plan, one_clock=True)
    load = plan.load
    if load.clients > 1:
        yield _with(plan, clients=load.clients - 1)
    if load.keys > 1:
        yield _with(plan, keys=load.keys - 1)
    for requests in (load.requests // 2, load.requests * 3 // 4, load.requests - 1):
        if 0 < requests < load.requests:
            yield _with(plan, requests=requests)


def _with(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, load=replace(plan.load, **changes))


def spelled(plan: Plan) -> str:
    """The plan as Python: `run(…)` in simulation.py plays it."""
    return _spelled(plan, Plan(seed=-1))


def _spelled(value: Any, usual: Any) -> str:
    if not isinstance(value, (Plan, Load, Mix, Conditions)):
        return 'float("inf")' if value == math.inf else repr(value)
    said = [
        f"{field.name}={_spelled(mine, theirs)}"
        for field in fields(value)
        if (mine := getattr(value, field.name)) != (theirs := getattr(usual, field.name))
    ]
    return f"{type(value).__name__}({', '.join(said)})"

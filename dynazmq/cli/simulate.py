"""`dynazmq simulate`: whole clusters in virtual time, each from one seed, and whether they kept the promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dynazmq.cli import CHECK_FAILED, OK
from dynazmq.cli.terminal import bar_console, emit, say
from dynazmq.errors import InvalidRequest
from dynazmq.simulator.mutants import MUTANTS, Hunt, hunt
from dynazmq.simulator.mutants import SEEDS as MUTANT_SEEDS
from dynazmq.simulator.run.campaign import SOMETIMES, Campaign, play
from dynazmq.simulator.run.shrink import shrink as shrunk
from dynazmq.simulator.run.shrink import spelled
from dynazmq.simulator.run.simulation import Plan, Report

_SEEDS = 200
_SEEDS_MAX = 1_000_000
_LINE = 140
_SHOWN = ("acked", "lost", "resurrected", "diverged", "false_siblings", "echoes")


def run(
    seeds: int | None, seed: int | None, *, log: bool, as_json: bool, mutant: str = "", shrink: bool = False
) -> int:
    """0, or 10 when a promise was broken; with a mutant 10 when none was, for then it was not caught."""
    default = len(MUTANT_SEEDS) if mutant else _SEEDS
    count = seeds if seeds is not None else default if seed is None or mutant else 1
    first = 1 if seed is None else seed
    if not 1 <= count <= _SEEDS_MAX:
        raise InvalidRequest(f"--seeds is 1 to {_SEEDS_MAX:,}, not {count:,}")
    if first < 0:
        raise InvalidRequest(f"--seed is a number from 0 on, not {first}")
    if mutant:
        return _mutants(mutant, range(first, first + count), as_json)
    reports: list[Report] = []

    with _progress(count) as done:

        def told(report: Report) -> None:
            done()
            if shrink and not report.ok and not reports:
                reports.append(report)
            if as_json:
                return
            if log:
                say("\n".join(report.log or ()))
            if not report.ok or count == 1:
                say(str(report))

        campaign = play(range(first, first + count), told, log)
    smallest = _shrink(reports[0], as_json) if reports else None
    if as_json:
        emit("simulate", document(campaign, smallest))
    else:
        for line in summary(campaign):
            say(line)
    return CHECK_FAILED if campaign.failed else OK


def document(campaign: Campaign, smallest: Report | None = None) -> dict[str, object]:
    found = {"plan": spelled(smallest.plan), "broken": smallest.broken} if smallest is not None else None
    return {
        "seeds": campaign.seeds,
        "failed": campaign.failed,
        "log_hash": campaign.log_hash,
        **{name: campaign.figures[name] for name in _SHOWN},
        "unsettled": campaign.figures["unsettled"],
        "settle_s": {"p50": campaign.settle(0.5), "p99": campaign.settle(0.99), "max": campaign.settle(1.0)},
        "sometimes": campaign.reached,
        "not_reached": campaign.not_reached,
        "shrunk": found,
        "events": campaign.events,
        "virtual_s": round(campaign.virtual_s, 3),
        "wall_s": round(campaign.wall_s, 3),
        "injected": dict(sorted(campaign.injected.items())),
        "figures": dict(sorted(campaign.figures.items())),
    }


def summary(campaign: Campaign) -> list[str]:
    faster = campaign.virtual_s / max(campaign.wall_s, 1e-9)
    per_minute = campaign.seeds / max(campaign.wall_s, 1e-9) * 60
    counted = "  ".join(f"{name.replace('_', ' ')} {campaign.figures[name]:,}" for name in _SHOWN)
    injected = "  ".join(f"{kind} {count:,}" for kind, count in sorted(campaign.injected.items()))
    lines = [
        f"{campaign.seeds:,} seeds, {len(campaign.failed):,} failed    {counted}",
        f"faults  {injected or 'none'}",
        f"speed   {campaign.events:,} events, {campaign.virtual_s:,.0f} virtual s in {campaign.wall_s:,.1f} s: "
        f"{faster:,.0f} times as fast, {per_minute:,.0f} seeds a minute",
        f"log hash {campaign.log_hash}",
    ]
    if campaign.not_reached and campaign.seeds > 1:
        lines.append("never   " + "; ".join(SOMETIMES[name] for name in campaign.not_reached))
    lines.append(campaign.line)
    return lines + [f"replay  dynazmq simulate --seed {seed}" for seed in campaign.failed[:10]]


def _shrink(failed: Report, quiet: bool) -> Report:
    """Of the first seed that failed: the least that still does."""

    def told(plan: Plan) -> None:
        if not quiet:
            say(f"still fails  {plan}")

    smallest = shrunk(failed, told)
    if not quiet:
        say(str(smallest))
        say(f"as Python  {spelled(smallest.plan)}")
    return smallest


def _mutants(name: str, seeds: range, as_json: bool) -> int:
    """Play seeds with known bugs built in; `list` says which there are, `all` plays every one."""
    if name == "list":
        if as_json:
            emit("simulate", {"mutants": [{"name": m.name, "says": m.says, "breaks": list(m.broken)} for m in MUTANTS.values()]})
        else:
            for mutant in MUTANTS.values():
                say(f"{mutant.name}\n    {mutant.says} ({', '.join(mutant.broken)})")
        return OK
    if name != "all" and name not in MUTANTS:
        raise InvalidRequest(f"there is no mutant {name!r}; --mutant list names them")
    chosen = list(MUTANTS.values()) if name == "all" else [MUTANTS[name]]
    hunts: list[Hunt] = []
    width = max(len(mutant.name) for mutant in chosen)
    for mutant in chosen:
        found = hunt(mutant, seeds)
        hunts.append(found)
        if not as_json:
            say(f"{mutant.name:<{width}}  " + (f"seed {found.seed}: {_cut(found.line)}" if found.caught else "not caught"))
    caught = sum(found.caught for found in hunts)
    if as_json:
        rows = [
            {"name": h.mutant.name, "says": h.mutant.says, "caught": h.caught, "seed": h.seed, "seeds": h.seeds, "line": h.line}
            for h in hunts
        ]
        emit("simulate", {"mutants": rows, "mutants_caught": caught, "mutants_run": len(hunts)})
    else:
        say(f"mutants_caught={caught}/{len(hunts)}")
    return OK if caught == len(hunts) else CHECK_FAILED


def _cut(line: str) -> str:
    return line if len(line) <= _LINE else f"{line[: _LINE - 1]}…"


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty() or count == 1:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=bar_console(), transient=True) as bar:
        task = bar.add_task("", total=count)
        yield lambda: bar.advance(task)

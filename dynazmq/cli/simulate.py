"""`dynazmq simulate`: whole clusters in virtual time, each from one seed, and whether they kept the promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dynazmq.cli import CHECK_FAILED, OK
from dynazmq.cli.terminal import emit, say
from dynazmq.errors import InvalidRequest
from dynazmq.simulator.campaign import Campaign, play
from dynazmq.simulator.simulation import Report

_SEEDS = 200
_SEEDS_MAX = 1_000_000
_SHOWN = ("acked", "lost", "resurrected", "diverged", "false_siblings", "echoes")


def run(seeds: int | None, seed: int | None, *, log: bool, as_json: bool) -> int:
    """0, or 10 when a promise was broken."""
    count = seeds if seeds is not None else _SEEDS if seed is None else 1
    first = 1 if seed is None else seed
    if not 1 <= count <= _SEEDS_MAX:
        raise InvalidRequest(f"--seeds is 1 to {_SEEDS_MAX:,}, not {count:,}")
    if first < 0:
        raise InvalidRequest(f"--seed is a number from 0 on, not {first}")

    with _progress(count) as done:

        def told(report: Report) -> None:
            done()
            if as_json:
                return
            if log:
                say("\n".join(report.log or ()))
            if not report.ok or count == 1:
                say(str(report))

        campaign = play(range(first, first + count), told, log)
    if as_json:
        emit("simulate", document(campaign))
    else:
        for line in summary(campaign):
            say(line)
    return CHECK_FAILED if campaign.failed else OK


def document(campaign: Campaign) -> dict[str, object]:
    return {
        "seeds": campaign.seeds,
        "failed": campaign.failed,
        "log_hash": campaign.log_hash,
        **{name: campaign.figures[name] for name in _SHOWN},
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
    return lines + [f"replay  dynazmq simulate --seed {seed}" for seed in campaign.failed[:10]]


@contextmanager
def _progress(count: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty() or count == 1:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=count)
        yield lambda: bar.advance(task)

"""How fast is this cluster: closed-loop load through the public client, and what it cost.

Each of the `in_flight` workers has one request under way at a time, so the figures are what a program with as many concurrent
callers would see. Puts carry the context of the key's last one, as a program that reads before it writes does: nothing piles up
as siblings. The keys are always the same, so repeating it does not fill the cluster.

A cluster that refuses work for having too much of it does what it should: what ended as Overloaded is counted apart from errors.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dynazmq import aio
from dynazmq.cli.terminal import bar_console, emit, note, say
from dynazmq.cli.words import many
from dynazmq.client.api.asynchronous import AsyncBucket, AsyncClient
from dynazmq.client.core.requests import Key
from dynazmq.client.values.context import EMPTY, Context
from dynazmq.cluster.observe.asking import Asker
from dynazmq.errors import ClusterReplaced, DynazmqError, Overloaded
from dynazmq.paths import ClusterFile

T = TypeVar("T")

BUCKET = "dynazmq.bench"
KEYS = 10_000
TIMEOUT_S = 5.0
_PROGRESS_S = 0.1
_FILL_TIMEOUT_S = 30.0  # nothing is measured meanwhile: a disk that is slow for a moment need not end it
_FILL_SAID = 250  # so many keys later it is said again how many are made


class Step(Protocol):
    """Told of progress: seconds done."""

    def __call__(self, done_s: float) -> None: ...


@dataclass(slots=True)
class Run:
    """One line of the table. Rates and latencies are of operations that succeeded."""

    op: str
    in_flight: int
    seconds: float
    ops_per_s: float
    mb_per_s: float
    """Bytes of values, put and acknowledged or got: 10^6 a second."""
    avg_ms: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    errors: int
    overloads: int
    """Operations of which nothing was attempted, since the cluster had too much to do. No errors."""
    backoffs: int
    """Times that a node has refused something for that; most were done later all the same."""
    cpu_us_per_op: float
    """Of all nodes together, per operation that succeeded."""
    client_cpu_us_per_op: float
    """Of this process."""


@dataclass(slots=True)
class _Tally:
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    errors: int = 0
    overloads: int = 0
    first_error: str = ""


def run_bench(
    *, directory: Path, ops: Sequence[str], in_flight: Sequence[int], value_bytes: int, seconds: float, as_json: bool
) -> int:
    """Measure, print the table or the JSON document. Raises DynazmqError when it cannot begin.

    Returns 0, or 1 if an operation failed or none was done; one that the cluster had no room for did not fail.
    """
    cluster = ClusterFile.load(directory)
    asker = Asker(cluster.cluster_id, cluster.members)
    try:
        runs, first_error = asyncio.run(_measure(directory, asker, ops, in_flight, value_bytes, seconds))
        nodes = [
            {"name": name, "rss_bytes": answer.status.get("rss_bytes", 0), "keys": answer.status.get("keys", 0)}
            for name, answer in sorted(_ask(asker, cluster).items())
        ]
    finally:
        asker.close()
    if as_json:
        shown = [asdict(run) for run in runs]
        settings = {"value_bytes": value_bytes, "sync": cluster.sync, "anti_entropy": cluster.anti_entropy}
        emit("bench", {"cluster": cluster.name, **settings, "runs": shown, "nodes": nodes})
    else:
        _print_table(cluster, value_bytes, runs, nodes)
    if first_error:
        note(f"the first error: {first_error}")
    return 1 if any(run.errors or not run.ops_per_s for run in runs) else 0


async def _measure(
    directory: Path, asker: Asker, ops: Sequence[str], in_flight: Sequence[int], value_bytes: int, seconds: float
) -> tuple[list[Run], str]:
    cluster = ClusterFile.load(directory)
    async with aio.connect(dir=directory, timeout=TIMEOUT_S) as client:
        load = _Load(client, value_bytes)
        runs: list[Run] = []
        first_error = ""
        total = len(ops) * len(in_flight)
        with _progress(total, seconds) as begin:
            await load.prepare(lambda done: begin(f"preparing {KEYS:,} keys: {done:,}"))
            gc.collect()
            gc.freeze()
            for op in ops:
                for workers in in_flight:
                    step = begin(f"{op}, {workers} in flight")
                    before = _cpu_s(asker, cluster)
                    refused_before = client.overloads
                    own_before, began = time.process_time(), time.perf_counter()
                    tally = await load.run(op, workers, seconds, step)
                    length = time.perf_counter() - began
                    own = time.process_time() - own_before
                    run = _summary(op, workers, length, tally, value_bytes, _cpu_s(asker, cluster) - before, own)
                    run.backoffs = client.overloads - refused_before
                    if ClusterFile.load(directory).cluster_id != cluster.cluster_id:
                        raise ClusterReplaced(f"another cluster was made in {directory}: what was measured is of neither")
                    runs.append(run)
                    first_error = first_error or tally.first_error
    return runs, first_error


class _Load:
    def __init__(self, client: AsyncClient, value_bytes: int) -> None:
        self._bucket: AsyncBucket = client.bucket(BUCKET)
        self._value = os.urandom(value_bytes)
        self._keys = [f"key-{index}" for index in range(KEYS)]
        self._contexts: list[Context] = [EMPTY] * KEYS
        self._next = count()

    async def prepare(self, begun: Callable[[int], object]) -> None:
        """Every key exists, with a value of this size and one sibling. begun: told how many do. Raises the first error."""
        begun(0)
        contexts = self._contexts
        found = self._bucket.get_iter(self._keys, ordered=True, timeout=_FILL_TIMEOUT_S)  # of an earlier bench, with values
        async for index, result in _in_order(found):
            contexts[index] = result.context
        items = ((key, self._value, context) for key, context in zip(self._keys, contexts, strict=True))
        written = self._bucket.put_iter(items, ordered=True, timeout=_FILL_TIMEOUT_S)
        async for index, done in _in_order(written):
            contexts[index] = done.context
            if not (index + 1) % _FILL_SAID:
                begun(index + 1)

    async def run(self, op: str, workers: int, seconds: float, step: Step) -> _Tally:
        tally = _Tally()
        work = self._put if op == "put" else self._get
        began = time.perf_counter()
        tasks = [asyncio.create_task(work(began + seconds, tally)) for _ in range(workers)]
        pending: set[asyncio.Task[None]] = set(tasks)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=_PROGRESS_S)
            step(min(seconds, time.perf_counter() - began))
        for task in tasks:
            task.result()
        return tally

    async def _put(self, until: float, tally: _Tally) -> None:
        put, contexts, latencies = self._bucket.put, self._contexts, tally.latencies_s
        began = time.perf_counter()
        while began < until:
            index = next(self._next) % KEYS
            try:
                contexts[index] = (await put(self._keys[index], self._value, contexts[index])).context
            except DynazmqError as error:
                await self._failed(error, tally)
                began = time.perf_counter()
                continue
            ended = time.perf_counter()
            latencies.append(ended - began)
            began = ended

    async def _get(self, until: float, tally: _Tally) -> None:
        get, latencies = self._bucket.get, tally.latencies_s
        began = time.perf_counter()
        while began < until:
            key = self._keys[next(self._next) % KEYS]
            try:
                result = await get(key)
                if not result.found:
                    raise DynazmqError(f"{key} was written and is not found")
            except DynazmqError as error:
                await self._failed(error, tally)
                began = time.perf_counter()
                continue
            ended = time.perf_counter()
            latencies.append(ended - began)
            began = ended

    async def _failed(self, error: DynazmqError, tally: _Tally) -> None:
        if isinstance(error, Overloaded):
            tally.overloads += 1
        else:
            tally.errors += 1
            tally.first_error = tally.first_error or f"{type(error).__name__}: {error}"
        await asyncio.sleep(0.01)  # a cluster that is down must not be asked as fast as it can refuse


async def _in_order(outcomes: AsyncIterator[tuple[Key, T | DynazmqError]]) -> AsyncIterator[tuple[int, T]]:
    """Numbered. Raises the first error."""
    index = 0
    async for _, outcome in outcomes:
        if isinstance(outcome, DynazmqError):
            raise outcome
        yield index, outcome
        index += 1


# --- figures --------------------------------------------------------------------------------------------------------------


def _summary(
    op: str, workers: int, length_s: float, tally: _Tally, value_bytes: int, nodes_cpu_s: float, own_cpu_s: float
) -> Run:
    took = sorted(tally.latencies_s)
    done = len(took)

    def percentile(share: float) -> float:
        return round(took[min(done - 1, math.ceil(done * share) - 1)] * 1000, 3) if took else 0.0

    return Run(
        op=op,
        in_flight=workers,
        seconds=round(length_s, 3),
        ops_per_s=round(done / length_s, 1),
        mb_per_s=round(done * value_bytes / length_s / 1e6, 3),
        avg_ms=round(sum(took) / done * 1000, 3) if took else 0.0,
        p50_ms=percentile(0.5),
        p99_ms=percentile(0.99),
        p999_ms=percentile(0.999),
        max_ms=percentile(1.0),
        errors=tally.errors,
        overloads=tally.overloads,
        backoffs=0,
        cpu_us_per_op=round(nodes_cpu_s / max(done, 1) * 1e6, 1),
        client_cpu_us_per_op=round(own_cpu_s / max(done, 1) * 1e6, 1),
    )


def _ask(asker: Asker, cluster: ClusterFile) -> dict[str, Any]:
    return asker.gather(cluster.members, time.monotonic() + 1.0, rings=False)


def _cpu_s(asker: Asker, cluster: ClusterFile) -> float:
    """CPU time of all nodes that answer."""
    return sum(float(answer.status.get("cpu_s", 0.0)) for answer in _ask(asker, cluster).values())


def _print_table(cluster: ClusterFile, value_bytes: int, runs: Sequence[Run], nodes: Sequence[dict[str, Any]]) -> None:
    sync = "fsync" if cluster.sync == "full" else "no fsync"
    say(
        f" {cluster.name}  N={cluster.n} R={cluster.r} W={cluster.w}  {sync}  {many(len(cluster.members), 'node')}  "
        f"{os.cpu_count()} cores  {value_bytes:,} B values" + ("  anti-entropy off" if cluster.anti_entropy == "off" else "")
    )
    say(" op   flight   ops/s    MB/s    avg    p50    p99  p99.9     max ms  errors  overloads  cpu µs/op: nodes client")
    for run in runs:
        say(
            f" {run.op:<4} {run.in_flight:>6} {run.ops_per_s:>7,.0f} {run.mb_per_s:>7.1f} {run.avg_ms:>6.2f} {run.p50_ms:>6.2f} "
            f"{run.p99_ms:>6.2f} {run.p999_ms:>6.2f} {run.max_ms:>10.2f} {run.errors:>7,} {run.overloads:>10,}"
            f" {run.cpu_us_per_op:>17,.0f}"
            f" {run.client_cpu_us_per_op:>6,.0f}"
        )
    say(" memory  " + "  ".join(f"{node['name']} {node['rss_bytes'] / 1e6:.0f} MB" for node in nodes))


@contextmanager
def _progress(runs: int, seconds: float) -> Iterator[Any]:
    """Gives `begin(text)`, which gives a Step. A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _text: lambda _done_s: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=bar_console(), transient=True) as bar:
        task = bar.add_task("", total=runs * seconds)
        began_at = [-seconds]

        def begin(text: str) -> Step:
            if text.startswith("preparing"):
                bar.update(task, description=text)
                return lambda _done_s: None
            began_at[0] += seconds
            at = max(0.0, began_at[0])
            bar.update(task, description=text, completed=at)
            return lambda done_s: bar.update(task, completed=at + done_s)

        yield begin

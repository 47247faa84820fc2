"""`dynazmq verify`: what the nodes hold, compared; a table and what was found, or one document."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dynazmq.cli import CHECK_FAILED, OK, UNAVAILABLE
from dynazmq.cli.clusters import running
from dynazmq.cli.escaping import printable
from dynazmq.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, bar_console, emit, note, paint, say
from dynazmq.cli.words import brief, many, size
from dynazmq.cluster.observe.comparison import Finding
from dynazmq.cluster.observe.verify import Report, verify
from dynazmq.paths import where

_SHOWN = 20


def run(directory: Path, *, deep: bool, as_json: bool) -> int:
    """0; 10 when something differs; 5 when nothing does as far as could be read, and that was not all."""
    cluster = running(directory)
    with _progress() as step:
        report = verify(directory, deep=deep, step=step)
    if as_json:
        emit("verify", document(cluster.name, report))
    else:
        for line in lines(cluster.name, report):
            say(line)
        for line in advice(report, where(directory)):
            note(line)
    if report.found:
        return CHECK_FAILED
    return OK if report.whole else UNAVAILABLE


def document(name: str, report: Report) -> dict[str, Any]:
    counts = report.counts
    return {
        "cluster": name,
        "deep": report.deep,
        "ok": not report.found and report.whole,
        "nodes": report.nodes,
        "unread": report.unread,
        "ring": {"version": report.ring_version, "partitions": report.partitions},
        "keys": counts.keys,
        "copies": counts.copies,
        "bytes": counts.bytes,
        "hints": counts.hints if report.deep else report.hints_pending,
        "trees": {"compared": counts.trees, "unknown": counts.trees_unknown, "off": report.off},
        "under_way": counts.under_way,
        "handed_over": counts.handed_over,
        "unsettled": report.unsettled,
        "found": dict(sorted(report.found.items())),
        "findings": [_finding(finding) for finding in report.findings],
        "elapsed_s": round(report.elapsed_s, 3),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    shown: dict[str, Any] = {"kind": finding.kind, "nodes": list(finding.nodes), "text": finding.text}
    if finding.partition >= 0:
        shown["partition"] = finding.partition
    if finding.bucket:
        try:
            key, encoding = finding.key.decode(), "utf-8"
        except UnicodeDecodeError:
            key, encoding = base64.b64encode(finding.key).decode(), "base64"
        shown |= {"bucket": finding.bucket, "key": key, "encoding": encoding}
    return shown


def lines(name: str, report: Report) -> list[str]:
    """The table, the findings, the verdict."""
    counts, total = report.counts, sum(report.found.values())
    rows = [
        ("nodes", f"{len(report.nodes)} read" + (f", not {brief(list(report.unread))}" if report.unread else "")),
        ("ring", f"v{report.ring_version}, {many(report.partitions, 'partition')}"),
    ]
    if report.deep:
        handed_over = f", {counts.handed_over:,} being handed over" if counts.handed_over else ""
        under_way = f", {counts.under_way:,} not compared: hints wait" if counts.under_way else ""
        rows += [
            ("keys", f"{counts.keys:,}{under_way}"),
            ("copies", f"{counts.copies:,}, {size(counts.bytes)}{handed_over}"),
        ]
    rows.append(("hints", f"{counts.hints if report.deep else report.hints_pending:,}"))
    unknown = f", {counts.trees_unknown:,} not known yet" if counts.trees_unknown else ""
    off = f", none on {brief(report.off)}" if report.off else ""
    rows.append(("trees", f"{counts.trees:,} {'compared with their rows' if report.deep else 'compared'}{unknown}{off}"))
    if report.unsettled:
        rows.append(("changed", f"{many(report.unsettled, 'difference')} gone or other ones at the second look"))
    rows.append(("found", paint(f"{total:,}", RED, BOLD) if total else "0"))
    what = "all that is stored" if report.deep else "the roots of all trees"
    said = [f"{paint(name, BOLD)}  {what}, {report.elapsed_s:.1f} s", ""]
    said += [f"  {paint(head.ljust(8), DIM)} {text}" for head, text in rows]
    said += ["", *(_line(finding) for finding in report.findings[:_SHOWN])]
    if total > _SHOWN:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.found.most_common())
        said.append(f"and {total - _SHOWN:,} more; in all {kinds}")
    return [*said, _verdict(report, total)]


def _line(finding: Finding) -> str:
    what = f"{finding.bucket}/{printable(finding.key)}" if finding.bucket else ""
    return f"{paint(finding.kind.ljust(12), YELLOW)} {what + '  ' if what else ''}{finding.text}"


def _verdict(report: Report, total: int) -> str:
    if total:
        return paint(f"{many(total, 'finding')}: not as it should be", RED)
    if not report.whole:
        return paint("nothing differs in what could be read, and that was not all", YELLOW)
    return paint("nothing differs", GREEN)


def advice(report: Report, at: str) -> list[str]:
    """What was not read, and what to type next."""
    said = [f"{name} was not read: {why}" for name, why in report.unread.items()]
    if report.off and not report.deep:
        said.append(f"{brief(report.off)} keeps no trees    next  dynazmq verify --deep{at}")
    elif report.found and not report.deep:
        said.append(f"next  dynazmq verify --deep{at}    which keys, and how")
    elif report.found.keys() & {"missing", "differs"}:
        said.append(f"next  dynazmq cluster wait --for converged{at}    anti-entropy mends what is missing or differs")
    return said


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("partitions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=bar_console(), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

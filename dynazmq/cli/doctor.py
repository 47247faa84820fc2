"""`doctor`: what is wrong, and the command that mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dynazmq.cli import CHECK_FAILED, OK
from dynazmq.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, columns, emit, paint, say
from dynazmq.cli.words import many
from dynazmq.cluster.operations import checkup
from dynazmq.cluster.operations.checkup import PROBLEM, WARNING, Finding
from dynazmq.errors import ClusterError
from dynazmq.paths import where

_GLYPHS = {checkup.OK: ("✓", GREEN), WARNING: ("!", YELLOW), PROBLEM: ("✗", RED)}


def run(directory: Path, *, fix: bool, as_json: bool) -> int:
    """0, or 10 when there is a problem left."""
    found = checkup.examine(directory, where(directory))
    done: dict[int, str] = {}
    if fix:
        for index, finding in enumerate(found):
            if finding.repair:
                found[index], done[index] = _mended(finding)
    if as_json:
        emit("doctor", document(found, done))
    else:
        for line in lines(found, done):
            say(line)
    return CHECK_FAILED if any(finding.level == PROBLEM for finding in found) else OK


def _mended(finding: Finding) -> tuple[Finding, str]:
    """As it is after the attempt, and what came of it."""
    try:
        said = checkup.repair(finding)
    except (ClusterError, OSError) as error:
        return finding, f"could not be fixed: {error}"
    return replace(finding, level=checkup.OK, text=f"{finding.text}: {said}", fix=""), said


def document(found: list[Finding], done: dict[int, str]) -> dict[str, Any]:
    checks = [
        {"level": each.level, "check": each.check, "text": each.text, "fix": each.fix or None, "fixed": done.get(index)}
        for index, each in enumerate(found)
    ]
    count = {level: sum(each.level == level for each in found) for level in _GLYPHS}
    return {"ok": not count[PROBLEM], "problems": count[PROBLEM], "warnings": count[WARNING], "checks": checks}


def lines(found: list[Finding], done: dict[int, str]) -> list[str]:
    """What is well, as many to a line as fit; then what is not, worst first, each with what to type."""
    width = columns()
    shown: list[str] = []
    line = ""
    for text in [each.text for each in found if each.level == checkup.OK]:
        cell = f" {_mark(checkup.OK)} {text}"
        if line and len(line) + len(cell) + 4 > width:
            shown.append(line)
            line = ""
        line = f"{line}    {cell}" if line else cell
    shown += [line] if line else []
    for level in (PROBLEM, WARNING):
        for index, each in enumerate(found):
            if each.level == level:
                fix = f"    {paint('fix', DIM)}  {each.fix}" if each.fix and not done.get(index) else ""
                shown.append(f" {_mark(level)} {each.text}{fix}" + (f"    {done[index]}" if index in done else ""))
    return [*shown, _verdict(found)]


def _mark(level: str) -> str:
    glyph, color = _GLYPHS[level]
    return paint(glyph, color)


def _verdict(found: list[Finding]) -> str:
    problems, warnings = (sum(each.level == level for each in found) for level in (PROBLEM, WARNING))
    if not problems and not warnings:
        return paint(" nothing is wrong", GREEN)
    text = f" {many(problems, 'problem')}, {many(warnings, 'warning')}"
    return paint(text, RED if problems else YELLOW, BOLD)

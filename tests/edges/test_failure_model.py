"""docs/failure-model.md: every fault has what must happen and who shows it, and every citation of one finds its row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "failure-model.md"
_ROW = re.compile(r"^\| ([PNWSCI]\d+) \| (.*) \|$", re.MULTILINE)
_SHOWN = re.compile(r"`([a-z0-9_]+)::([a-z0-9_]+)`")
_CITED = re.compile(r"(?:\(|faults? |failure-model )([PNWSC]\d{1,2})\b")
_IN_A_NAME = re.compile(r"def test_([pnwsci]\d{1,2})_")


@cache
def page() -> str:
    return PAGE.read_text()


@cache
def rows() -> dict[str, list[str]]:
    """Fault → what goes wrong, what must happen, who shows it."""
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in _ROW.findall(page())}


@cache
def names_of_tests() -> dict[str, set[str]]:
    """Module without `test_` → the names of its tests, without it."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = found.setdefault(path.stem.removeprefix("test_"), set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                names.add(node.name.removeprefix("test_"))
    return found


def sources() -> Iterator[tuple[Path, str]]:
    for folder in ("dynazmq", "tests", "tools", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            yield path, path.read_text()


@pytest.mark.parametrize("letter", "PNWSCI")
def test_the_numbers_of_each_letter_have_no_gap(letter: str) -> None:
    numbers = [int(name[1:]) for name in _ROW_NAMES if name[0] == letter]
    assert numbers == list(range(1, len(numbers) + 1))


_ROW_NAMES = [name for name, _ in _ROW.findall(PAGE.read_text())]


def test_there_are_the_92_faults_that_the_page_speaks_of() -> None:
    assert sum(name[0] != "I" for name in _ROW_NAMES) == 92


@pytest.mark.parametrize("name", _ROW_NAMES)
def test_each_row_says_what_happens_and_names_tests_that_there_are_or_why_none(name: str) -> None:
    cells = rows()[name]
    assert len(cells) >= 2
    assert all(cells)
    shown = _SHOWN.findall(cells[-1])
    missing = [f"{module}::{test}" for module, test in shown if test not in names_of_tests().get(module, set())]
    assert not missing
    assert shown or len(cells[-1].split()) >= 4, "no test, and no reason"


def test_every_test_that_the_page_names_is_there() -> None:
    missing = [f"{module}::{test}" for module, test in _SHOWN.findall(page()) if test not in names_of_tests().get(module, set())]
    assert not missing


def test_every_fault_that_code_and_tests_cite_is_on_the_page() -> None:
    cited = {(path.name, name) for path, text in sources() for name in _CITED.findall(text)}
    cited |= {(path.name, name.upper()) for path, text in sources() for name in _IN_A_NAME.findall(text)}
    assert len(cited) > 30, "or nothing is looked at"
    assert sorted(each for each in cited if each[1] not in rows()) == []


def test_every_promise_that_is_cited_is_one_of_the_eight() -> None:
    cited = {int(number) for _, text in sources() for number in re.findall(r"\bpromises? (\d+)", text)}
    assert cited <= set(range(1, 9))
    assert all(re.search(rf"^{number}\. \*\*", page(), re.MULTILINE) for number in range(1, 9))

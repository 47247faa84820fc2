"""docs/failure-model.md against the repository: its rows are whole, its tests exist, and whatever is cited by number is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "failure-model.md"

GROUPS = {"P": 16, "N": 20, "W": 18, "S": 14, "C": 24, "I": 16}
"""So many rows of each letter, in the order of the page. New ones come at the end of theirs: an id that is cited somewhere is
never given to another fault."""

_ROW = re.compile(r"^\| ([A-Z]\d+) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)
_TEST = re.compile(r"`(\w+)::(\w+)`")
_ID = re.compile(r"\b(?!P50|P9[059])([PNWSCI])([1-9]\d?)\b")  # the 99th percentile is no fault
_IN_A_NAME = re.compile(r"_([pnwsci])([1-9]\d?)(?=_)")
_PROMISE = re.compile(r"[Pp]romises? (\d+)(?:(?:, | and |, and )(\d+))?")
_DOCSTRING = re.compile(r'"""(.*?)"""', re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#\s(.*)", re.MULTILINE)
_TEST_DEFINED = re.compile(r"^(?:async )?def test(_\w+)", re.MULTILINE)


def rows() -> list[tuple[str, str, str, str]]:
    return _ROW.findall(PAGE.read_text())


def ids() -> list[str]:
    return [row[0] for row in rows()]


@cache
def sources() -> dict[Path, str]:
    return {
        path: path.read_text()
        for part in ("dynazmq", "tests", "tools", "examples")
        for path in sorted((ROOT / part).rglob("*.py"))
    }


@cache
def files_of_tests() -> dict[str, Path]:
    """By their names without the test_ that they begin with."""
    paths = [path for path in sources() if path.name.startswith("test_")]
    found = {path.stem.removeprefix("test_"): path for path in paths}
    assert len(found) == len(paths), "two files of tests have one name"
    return found


@cache
def defined_in(file: str) -> set[str]:
    """The tests of a file, by their names without the test_ that they begin with."""
    if file not in files_of_tests():
        return set()
    functions = [each for each in ast.parse(sources()[files_of_tests()[file]]).body if isinstance(each, ast.FunctionDef)]
    return {each.name.removeprefix("test_") for each in functions if each.name.startswith("test_")}


def words(text: str) -> str:
    """What a reader of a module is told: its docstrings, those of constants included, and its comments."""
    return "\n".join([*_DOCSTRING.findall(text), *_COMMENT.findall(text)])


def test_ids_are_consecutive_and_each_has_one_row() -> None:
    assert ids() == [f"{letter}{number}" for letter, count in GROUPS.items() for number in range(1, count + 1)]


def test_each_row_says_what_goes_wrong_what_must_happen_and_what_shows_it() -> None:
    for id, *columns in rows():
        for column in columns:
            assert column.strip(), f"{id} has an empty column"
            assert " | " not in column, f"{id} has a column too many"


def test_each_row_names_a_test_or_says_why_none_shows_it() -> None:
    without = [(id, shown) for id, _, _, shown in rows() if not _TEST.search(shown)]
    assert [id for id, _ in without] == ["P13", "P15", "W11"], "update this list, and the reason in the row"
    assert all(shown.startswith(("Does not apply: ", "Not tested by itself: ")) for _, shown in without)


def test_each_test_that_is_named_exists() -> None:
    named = _TEST.findall(PAGE.read_text())
    assert len(named) > 200
    assert [f"{file}::{name}" for file, name in named if name not in defined_in(file)] == []


def test_each_id_that_is_cited_has_a_row() -> None:
    known = set(ids())
    cited = {f"{letter}{number}": str(path) for path, text in sources().items() for letter, number in _ID.findall(words(text))}
    for path, text in sources().items():  # invariants are named in what the checkers say
        if path.is_relative_to(ROOT / "dynazmq" / "simulator") or path.is_relative_to(ROOT / "dynazmq" / "chaos"):
            cited |= {f"I{number}": str(path) for number in re.findall(r"\bI(\d+)\b", text)}
    for page in (*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))):
        cited |= {f"{letter}{number}": str(page) for letter, number in _ID.findall(page.read_text())}
    assert len(cited) > 70
    assert {id: where for id, where in cited.items() if id not in known} == {}


def test_each_id_in_the_name_of_a_test_has_a_row() -> None:
    named = [name for path in files_of_tests().values() for name in _TEST_DEFINED.findall(sources()[path])]
    cited = {f"{letter.upper()}{number}": name for name in named for letter, number in _IN_A_NAME.findall(name)}
    assert len(cited) > 70
    assert {id: name for id, name in cited.items() if id not in ids()} == {}


def test_each_promise_that_is_cited_is_one_of_the_eight() -> None:
    promises = re.findall(r"^(\d)\. \*\*", PAGE.read_text(), re.MULTILINE)
    assert promises == list("12345678")
    texts = [words(text) for text in sources().values()] + [page.read_text() for page in sorted((ROOT / "docs").rglob("*.md"))]
    cited = [number for text in texts for pair in _PROMISE.findall(text) for number in pair if number]
    assert len(cited) > 50
    assert set(cited) <= set(promises)

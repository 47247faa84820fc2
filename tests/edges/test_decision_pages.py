"""docs/decisions/ against the repository, and no text that cites what the repository does not have.

A page about a decision is read long after it was written: whatever it names by file, command or identifier must still be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
INDEX = DECISIONS / "index.md"
PAGES = sorted(DECISIONS.glob("[0-9]*.md"))
SECTIONS = ["Context", "Choice", "Figures", "Consequences", "In the code", "Rejected"]
LINES_MAX = 70

FOLDERS = ("dynazmq", "tests", "docs", "tools", "examples", "bin", ".ci")
OTHERS = {"gc_grace_seconds", "match", "max", "min", "zmq.asyncio"}
"""Names in the pages that are not dynazmq's."""

QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
URL = re.compile(r"https?://\S+")
DOCUMENT = re.compile(r"(?<![\w./-])[\w./-]*\w\.md\b")
DECISION = re.compile(r"decisions/(\d+)")
ELSEWHERE = re.compile(r"\bdesign(?:\.md)?,? (?:section )?\d", re.IGNORECASE)
"""A section of a paper that has no name in this repository."""


@cache
def text(path: Path) -> str:
    return path.read_text()


@cache
def texts() -> tuple[Path, ...]:
    """All that people write here: code, tests, documents, scripts."""
    found = [path for path in (ROOT / "Makefile", ROOT / "pyproject.toml", *ROOT.glob("*.md")) if path.is_file()]
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".sh", ""} and path.is_file() and "__pycache__" not in path.parts:
                found.append(path)
    return tuple(sorted(found))


@cache
def words() -> frozenset[str]:
    """Each word of the code, identifiers and what stands in its texts; and metrics, whose names are put together."""
    return frozenset(word for path in (*code(), DOCS / "observability.md") for word in re.findall(r"\w+", text(path)))


def code() -> list[Path]:
    return [path for path in texts() if path.is_relative_to(ROOT / "dynazmq")]


def is_known(name: str) -> bool:
    """A word of the code; or Class.name, and then the two stand in one module."""
    first, *rest = name.split(".")
    if not rest or not first[0].isupper():
        return words().issuperset([first, *rest])
    homes = [text(path) for path in code() if re.search(rf"(?m)^class {first}\b", text(path))]
    return any(all(re.search(rf"\b{part}\b", home) for part in rest) for home in homes)


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def quoted(page: Path) -> Iterator[str]:
    yield from QUOTED.findall(re.sub(r"(?m)^    .*$", "", text(page)))


@cache
def anchors(path: Path) -> frozenset[str]:
    """As GitHub makes them of headings: lower case, hyphens for spaces, no other punctuation."""
    headings = re.findall(r"(?m)^#+ +(.+?) *$", re.sub(r"(?ms)^```.*?^```$", "", text(path)))
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def missing_files(page: Path) -> list[str]:
    named = [token for token in quoted(page) if token.split("/")[0] in FOLDERS and "/" in token and " " not in token]
    return [token for token in named if not (ROOT / token).exists()]


def unknown_names(page: Path) -> list[str]:
    names = [token for token in quoted(page) if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", token) and token not in OTHERS]
    return [name for name in names if not is_known(name)]


def unknown_options(page: Path) -> list[str]:
    return [option for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text(page)) if option not in text(DOCS / "commands.md")]


def missing_decisions(said: str, pages: list[str]) -> list[str]:
    return [number for number in DECISION.findall(said) if not any(page.startswith(f"{number}-") for page in pages)]


def missing_documents(path: Path, said: str) -> list[str]:
    places = (ROOT, DOCS, DECISIONS, path.parent)
    return [name for name in DOCUMENT.findall(URL.sub("", said)) if not any((place / name).is_file() for place in places)]


def broken_links(path: Path, said: str) -> list[str]:
    broken = []
    for link in LINK.findall(said):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not URL.match(link) and (not target.exists() or (anchor and anchor not in anchors(target.resolve()))):
            broken.append(link)
    return broken


def test_the_index_lists_each_page_once_and_in_order_of_numbers() -> None:
    assert re.findall(r"(?m)^- \[\d+\]\(([^)]+)\) \S", text(INDEX)) == [page.name for page in PAGES]
    assert re.findall(r"(?m)^- \[(\d+)\]", text(INDEX)) == [page.name.split("-")[0] for page in PAGES]


def test_pages_are_numbered_without_a_gap() -> None:
    assert [page.name.split("-")[0] for page in PAGES] == [f"{number:04}" for number in range(1, len(PAGES) + 1)]


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_a_page_has_its_number_and_all_sections_with_something_in_each(page: Path) -> None:
    title, *sections = re.split(r"(?m)^## ", text(page))
    assert title.startswith(f"# {page.name.split('-')[0]}. ")
    assert [section.splitlines()[0] for section in sections] == SECTIONS
    assert all(section.partition("\n")[2].strip() for section in sections)
    assert len(text(page).splitlines()) <= LINES_MAX


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_what_a_page_names_is_there(page: Path) -> None:
    assert missing_files(page) == []
    assert unknown_names(page) == []
    assert unknown_options(page) == []
    assert any(token.startswith("dynazmq/") for token in quoted(page)), "it says nowhere where it is in the code"


def test_each_word_of_the_glossary_says_where_it_is_and_that_is_there() -> None:
    page = DOCS / "glossary.md"
    rows = [line.split(" | ") for line in text(page).splitlines() if line.startswith("| ") and not line.startswith("| word |")]
    assert len(rows) > 40
    assert [row[0] for row in rows if not QUOTED.search(row[-1])] == []
    assert missing_files(page) == []
    assert unknown_names(page) == []
    words_of = [word for row in rows for word in row[0].removeprefix("| ").split(", ")]
    assert len(set(words_of)) == len(words_of), "a word is explained once"


def test_every_citation_of_a_decision_resolves() -> None:
    pages = [page.name for page in PAGES]
    broken = {where(path): missing for path in texts() if (missing := missing_decisions(text(path), pages))}
    assert broken == {}


def test_no_text_cites_a_document_that_is_not_here() -> None:
    broken = {where(path): missing for path in texts() if (missing := missing_documents(path, text(path)))}
    assert broken == {}
    assert [where(path) for path in texts() if ELSEWHERE.search(text(path))] == []


def test_links_of_documents_lead_to_files_and_headings() -> None:
    pages = [path for path in texts() if path.suffix == ".md"]
    assert {where(path): broken for path in pages if (broken := broken_links(path, text(path)))} == {}


@pytest.mark.parametrize(("said", "seen"), [(" 4.2)", True), (".md 1", True), (", section 3", True), (" of 7 nodes", False)])
def test_the_look_for_sections_of_no_document_sees_what_it_should(said: str, seen: bool) -> None:
    assert bool(ELSEWHERE.search("(Design" + said)) == seen


def test_the_look_for_links_and_documents_sees_what_it_should() -> None:
    page = DOCS / "architecture.md"
    good = "[a](claim.md) [b](architecture.md#a-put) [c](#a-get) [d](decisions/index.md) https://example.org/no.md docs/claim.md"
    assert broken_links(page, good) == missing_documents(page, good) == []
    broken = ["nothing" + ".md", "claim.md#no-such-heading", "#nor-this"]
    assert broken_links(page, "".join(f"[x]({link})" for link in broken)) == broken
    assert missing_documents(page, "see " + broken[0]) == broken[:1]
    assert missing_decisions("decisions/" + "0001 and decisions/" + "9999", ["0001-the-core-is-pure.md"]) == ["9999"]

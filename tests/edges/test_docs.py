"""The documents against the repository: every page can be found, every link leads somewhere, every command can be typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_lines import check, commands_of

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs/index.md"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_IN_CODE = re.compile(r"^(?: {4}|```).*$", re.MULTILINE)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[str]:
    """Where a page leads to within the repository; what stands in an indented block is no link."""
    found = _LINK.findall(_IN_CODE.sub("", page.read_text()))
    return [link for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """A heading's anchor, as GitHub makes it: lower case, words joined by hyphens, nothing else left."""
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(page.read_text())]
    return {heading.replace(" ", "-") for heading in plain}


def commands(page: Path) -> list[list[str]]:
    """Those in blocks, after a prompt or alone. Behind three spaces it is said what the command is for."""
    lines = re.findall(r"^    (?:\$ )?((?:bin/)?dynazmq .*)$", page.read_text(), re.MULTILINE)
    spoken = [line.split("   ")[0] for line in lines if "VERB" not in line]
    return [words for line in spoken for words in commands_of(line)]


def test_each_page_is_linked_from_the_index_or_from_that_of_its_folder() -> None:
    indexes = [INDEX, *(page for page in PAGES if page.name == "index.md" and page != INDEX)]
    linked = {(index.parent / link.partition("#")[0]).resolve() for index in indexes for link in links(index)}
    assert [named(page) for page in PAGES if page != INDEX and page not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_link_leads_to_a_file_and_to_a_heading_in_it(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_sets_up_in_two_commands_in_this_order() -> None:
    section = (ROOT / "README.md").read_text().split("## Set up\n")[1].split("\n## ")[0]
    typed = [line.split("    #")[0].strip() for line in section.splitlines() if line.startswith("    ")]
    assert typed == ["bin/dynazmq cluster up -n 5", "make test"]


WITH_COMMANDS = [page for page in PAGES if page.name != "commands.md" and commands(page)]
"""commands.md is made of the help of commands, whose examples are tested there (tests/faces/test_cli.py)."""


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=named)
def test_each_command_in_a_document_can_be_typed(page: Path) -> None:
    for words in commands(page):
        check(words)

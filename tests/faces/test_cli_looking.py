"""`explain` and `trace` as text, compared with golden/. After a change that is meant:

GOLDEN=write python -m pytest tests/faces/test_cli_looking.py        and look at the difference before it is committed
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from drawn import a_hedged_get, a_put, drawn, passed_on, with_a_stand_in
from rich.text import Text
from seen_key import SeenKey, wrote

from dynazmq.cli import explained, traced
from dynazmq.client.inspect.explained import Explanation
from dynazmq.client.inspect.traced import Trace
from dynazmq.dynamo.values.ring import Ring
from dynazmq.dynamo.values.versions import sync
from dynazmq.errors import WriteTimeout

GOLDEN = Path(__file__).parent / "golden"
MILK = wrote("n1", b'{"milk":1}', at_ms=1_700_000_000_250)
BREAD = wrote("n4", b'{"milk":1,"bread":2}', MILK, at_ms=1_700_000_060_500)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def equal() -> Explanation:
    seen = SeenKey()
    seen.hold(BREAD, "n1", "n2", "n3")
    return seen.explain()


def killed() -> Explanation:
    seen = SeenKey()
    seen.hold(BREAD, "n1", "n2")
    seen.hint("n4", "n3", BREAD)
    seen.hint("n5", "n3", MILK, -1)
    seen.kill("n3")
    found = seen.explain()
    return replace(found, copies=tuple(replace(c, process="" if c.known else "killed (9)") for c in found.copies))


def differing() -> Explanation:
    """Siblings from two sides of a partition, a deletion, a stray copy, a damaged one, somebody who doubts."""
    seen = SeenKey(r=1)
    seen.hold(sync(BREAD, wrote("n2", b"\xff\x00 no text", MILK, at_ms=1_700_000_061_000)), "n1")
    seen.hold(wrote("n2", None, MILK, at_ms=1_700_000_062_000), "n2")
    seen.damaged.add("n3")
    seen.hold(MILK, "n5")
    seen.sees["n2"]["n1"] = "suspect"
    return seen.explain()


def changing() -> Explanation:
    seen = SeenKey()
    seen.ring = Ring(6, seen.ring.owners, tuple("n5" if owner == "n3" else owner for owner in seen.ring.owners), True)
    seen.hold(MILK, "n1", "n2", "n3")
    return seen.explain()


def absent() -> Explanation:
    return SeenKey().explain()


def unavailable() -> Explanation:
    seen = SeenKey()
    seen.hold(MILK, "n1", "n2", "n3")
    for name in ("n2", "n3", "n4", "n5"):
        seen.kill(name, why="no answer in 0.4 s" if name == "n2" else "no connection")
    return seen.explain()


def failed() -> Trace:
    return drawn(
        "put", (0, "n1"), ended=2_000_000, error=WriteTimeout("put 'cart:42': the deadline passed before W copies", 2, 1),
        silent={"n2": "no connection"},
        n1="""
            200     heard  me Put     9 1 -            5 10 180
            300     done   -  -       0 1
            700     committed - -     0 1 -            1 320
            800     unsent n2 Write   7 1 -            70
            820     unsent n3 Write   7 1 -            70
            1999000 sent   me Failure 9 1 the+deadline 0
        """,
    )  # fmt: skip


def check(name: str, lines: list[Text]) -> None:
    text = "\n".join(line.plain.rstrip() for line in lines) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("state", [equal, killed, differing, changing, absent, unavailable], ids=lambda each: each.__name__)
def test_explain_looks_as_it_did(state: Callable[[], Explanation]) -> None:
    check(f"explain-{state.__name__}", explained.lines(state(), 80))


@pytest.mark.parametrize("state", [a_put, with_a_stand_in, a_hedged_get, passed_on, failed], ids=lambda each: each.__name__)
def test_trace_looks_as_it_did(state: Callable[[], Trace]) -> None:
    check(f"trace-{state.__name__}", traced.lines(state(), 80))


@pytest.mark.parametrize("state", [a_put, with_a_stand_in, a_hedged_get, passed_on, failed], ids=lambda each: each.__name__)
@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_waterfall_fits_the_terminal(state: Callable[[], Trace], width: int) -> None:
    lines = traced.lines(state(), width)
    drawing = lines[2 : 3 + len(state().rows)]
    assert all(line.cell_len <= max(width, 62) for line in drawing)


def test_the_axis_is_even_where_something_happens_and_cut_short_where_nothing_does() -> None:
    axis = traced.Axis([0, 1_000, 2_000, 400_000, 401_000], 40)
    assert axis.column(0) == 0
    assert axis.column(2_000) - axis.column(1_000) == axis.column(1_000)
    assert axis.column(400_000) - axis.column(2_000) == 3
    assert axis.column(401_000) == axis.column(500_000) == 39
    assert len(axis.cuts) == 1
    assert traced.Axis([0, 0], 40).column(0) == 0


def test_control_characters_and_long_keys_do_not_reach_the_terminal() -> None:
    key = b"k\x1b[2J" + b"x" * 1_000
    found = replace(equal(), key=key)
    assert "\x1b" not in "".join(line.plain for line in explained.lines(found))
    assert "\x1b" not in "".join(line.plain for line in traced.lines(replace(a_put(), key=key)))

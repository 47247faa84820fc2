"""Whoever plans by what buckets need counts what is wanted already: nodes that have heard of it wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from client_bench import topology

import dynazmq
from dynazmq.client.values.view import View
from dynazmq.cluster.operations import members, rolling

NAMES = ["n1", "n2", "n3", "n4", "n5"]


def told(wanted: tuple[int, ...]) -> Any:
    """In force are R=W=2 in all buckets. wanted: N, R and W of bucket "b", if they shall be others."""
    return topology(NAMES, buckets=(("b", 3, 2, 2, "siblings", *wanted),))


@pytest.mark.parametrize(("wanted", "needed"), [((3, 2, 3), 3), ((5, 4, 2), 4), ((3, 2, 1), 2), ((), 2)])
def test_a_plan_for_members_and_a_rolling_restart_count_the_larger_quorum(
    wanted: tuple[int, ...], needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [SimpleNamespace(name=name, answers=True, keys=0) for name in NAMES]
    observer: Any = SimpleNamespace(question=lambda _asked, _s: [told(wanted)], cluster=SimpleNamespace(anti_entropy="on"))
    snapshot: Any = SimpleNamespace(nodes=nodes)
    known = members.ask(observer, snapshot)
    assert (known.quorum, known.bucket) == (needed, "b")

    @contextmanager
    def connect(**_options: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(view=View.of(told(wanted)))

    monkeypatch.setattr(dynazmq, "connect", connect)
    largest = rolling._largest_quorum(Path())
    assert max(largest.r, largest.w) == needed

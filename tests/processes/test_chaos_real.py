"""`verify --chaos` against real processes: the product is valid, and a bug that is built in is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from supervised import run

from tools.planted import path_with

_SHORT = ("verify", "--chaos", "8s", "--fresh", "-n", "5", "--faults", "kill,pause,partition", "--json")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where clusters to be thrown away are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_the_product_keeps_its_promises_and_nothing_of_the_cluster_is_left(temporary: Path) -> None:
    ran = run(*_SHORT, "--seed", "1", "--report", str(temporary / "report.txt"))
    assert ran.code == 0, (ran.out, ran.err)
    document = ran.document
    assert (document["lost"], document["resurrected"], document["diverged"], document["verdict"]) == (0, 0, 0, "valid")
    assert document["acked"] > 0
    assert set(document["faults"]) <= {"kill", "pause", "partition"}
    assert (temporary / "report.txt").read_text().startswith("seed 1, 8 s\n")
    assert [path.name for path in temporary.iterdir()] == ["report.txt"]


def test_a_bug_that_is_built_into_the_nodes_is_found_and_the_cluster_is_kept(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = path_with("last_write_wins_in_puts", temporary / "planted")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep))
    ran = run(*_SHORT, "--seed", "1", "--faults", "kill")
    assert ran.code == 10, (ran.out, ran.err)
    assert ran.document["verdict"] == "invalid"
    assert ran.document["lost"] > 0
    (kept,) = temporary.glob("dynazmq-chaos-*/chaos")
    assert run("down", "--purge", "--yes", "--dir", str(kept)).code == 0

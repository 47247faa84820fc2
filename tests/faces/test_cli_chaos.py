"""What `verify --chaos` refuses before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynazmq.cli import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--chaos", "0s"], "--chaos lasts 1s to 1d"),
        (["--chaos", "soon"], "not a duration"),
        (["--chaos", "1m", "--faults", "flood"], "no fault 'flood'"),
        (["--chaos", "1m", "--faults", "expel"], "only with --fresh"),
        (["--chaos", "1m", "--fresh", "-n", "2"], "-n is 3 to 16 nodes, not 2"),
        (["--fresh"], "they go with --chaos TIME"),
        (["--seed", "3"], "they go with --chaos TIME"),
    ],
)
def test_bad_input_is_refused_with_what_may_be(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_report_that_exists_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.txt"
    file.write_text("mine")
    assert main(["verify", "--chaos", "1m", "--fresh", "--report", str(file)]) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_a_report_that_could_not_be_written_is_refused_at_once(tmp_path: Path) -> None:
    assert main(["verify", "--chaos", "1m", "--fresh", "--report", str(tmp_path / "no" / "report.txt")]) == 2

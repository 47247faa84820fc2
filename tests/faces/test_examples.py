"""Each example runs whole, from its own directory or another, and shows what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("example", "shows"),
    [
        ("01_first_steps.py", ["1000 written, 0 failed", "After a delete: False and 1000 keys are left"]),
        ("02_shopping_cart.py", ["{'bread': 2, 'eggs': 6, 'milk': 1}", "has 2 concurrent values", "'cake': 3"]),
        ("03_kill_and_recover.py", ["none refused", "1500 keys, 0 lost"]),
        ("04_last_write_wins.py", ["240 writes acknowledged, 0 lost: 0%", "last-write-wins  240 writes", "let go of"]),
        ("05_members_come_and_go.py", ["5 → 7", "n8 takes the place of n3", "3000 keys read again with R=all", ": 0 lost"]),
    ],
)
def test_an_example_runs_whole_and_leaves_nothing_behind(example: str, shows: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / example)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for text in shows:
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_there_are_no_examples_that_are_not_run() -> None:
    assert sorted(path.name for path in (ROOT / "examples").glob("0*.py")) == [
        "01_first_steps.py", "02_shopping_cart.py", "03_kill_and_recover.py", "04_last_write_wins.py",
        "05_members_come_and_go.py",
    ]  # fmt: skip

"""bin/environment chooses an interpreter: by looking at what runs, not at what is on PATH."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bin" / "environment"


def python(directory: Path, answer: str, status: int = 0, name: str = "python3.11") -> str:
    """A stand-in for an interpreter on PATH that answers the probe: microseconds, version, path."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
    (directory / name).chmod(0o755)
    return str(directory)


def found(*directories: str) -> str:
    """What find_python says; "" when it finds none."""
    # Without the system's directories, or its own Pythons would be found. sh itself needs none of them.
    ran = subprocess.run(
        ["/bin/sh", "-c", f". '{SCRIPT}'; find_python"],
        env={"PATH": os.pathsep.join(directories)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    return ran.stdout.strip()


def test_of_several_of_one_version_the_fastest_is_taken(tmp_path: Path) -> None:
    slow = python(tmp_path / "a", "1800 3.11 /a/python3.11")
    fast = python(tmp_path / "b", "1250 3.11 /b/python3.11")
    assert found(slow, fast) == "/b/python3.11"
    assert found(fast, slow) == "/b/python3.11"


def test_one_that_is_hardly_faster_does_not_displace_the_first_on_path(tmp_path: Path) -> None:
    first = python(tmp_path / "a", "1300 3.11 /a/python3.11")
    other = python(tmp_path / "b", "1250 3.11 /b/python3.11")
    assert found(first, other) == "/a/python3.11"


def test_one_that_does_not_run_or_is_another_version_is_passed_over(tmp_path: Path) -> None:
    shim = python(tmp_path / "a", "", status=127)
    good = python(tmp_path / "b", "1300 3.11 /b/python3.11")
    newer = python(tmp_path / "c", "100 3.13 /c/python3.13", name="python3.13")
    assert found(shim, good, newer) == "/b/python3.11"
    assert found(newer) == "/c/python3.13"


def test_nothing_that_runs_is_nothing(tmp_path: Path) -> None:
    assert found(python(tmp_path / "a", "", status=1)) == ""

"""A cluster for one example: started in a directory of its own, removed afterwards. Not an example itself."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def dynazmq(*arguments: str, directory: str) -> None:
    """Run the command line as you would at a shell: `dynazmq node kill n3`."""
    print(f"$ dynazmq {' '.join(arguments)}", flush=True)
    environment = {**os.environ, "DYNAZMQ_DIR": directory, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "dynazmq", *arguments], env=environment, check=True, stdin=subprocess.DEVNULL)


@contextmanager
def five_nodes() -> Iterator[str]:
    """Yields the cluster's directory."""
    with tempfile.TemporaryDirectory(prefix="dynazmq-example-") as directory:
        dynazmq("cluster", "up", "-n", "5", directory=directory)
        try:
            yield directory
        finally:
            dynazmq("cluster", "down", "--purge", "--yes", directory=directory)

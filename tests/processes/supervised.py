"""A local cluster for tests, driven by the command line in this process: no interpreter to start for each command."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from patience import PATIENCE_S

from dynazmq.cli import main
from dynazmq.cluster.processes import find_nodes, identify
from dynazmq.paths import runtime_dir

POLL_S = 0.1  # each look at a cluster asks every node


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


def run(*arguments: str) -> Ran:
    """One command, as it would be typed."""
    before = sys.stdout, sys.stderr
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    sys.stdout, sys.stderr = out, err
    try:
        code = main(list(arguments))
    finally:
        sys.stdout, sys.stderr = before
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Ran(code, *texts)


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Its first true value; fails when there is none in time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(POLL_S)


def processes_below(directory: Path) -> list[list[str]]:
    """Command lines of processes that name anything in a directory, but for those of the tests themselves."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if any(str(directory) in part for part in line) and "pytest" not in " ".join(line)]


class Cluster:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *arguments: str) -> Ran:
        return run(*arguments, "--dir", str(self.directory))

    def up(self, *options: str) -> dict[str, Any]:
        ran = self.run("up", "--json", *options)
        assert ran.code == 0, ran
        return ran.document

    def down(self) -> Ran:
        return self.run("down")

    def status(self) -> dict[str, Any]:
        return self.run("status", "--json").document

    def node(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(node for node in self.status()["nodes"] if node["name"] == name)
        return found

    def pids(self) -> dict[str, int]:
        return {node["name"]: node["pid"] for node in self.status()["nodes"]}

    def whole(self) -> bool:
        document = self.status()
        return bool(document["converged"]) and all(node["state"] == "up" for node in document["nodes"])

    def kill_supervisor(self) -> int:
        pid: int = self.status()["supervisor_pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: identify(pid) is None, "the supervisor is gone")
        return pid

    def leftovers(self) -> list[str]:
        """What must not be there when it is down: processes, sockets, the directory they were in."""
        names = [entry.name for entry in (self.directory / "nodes").iterdir()] if (self.directory / "nodes").exists() else []
        found = [f"process {identity.pid} of {name}" for name, identity in find_nodes(self.directory, names).items()]
        found += [str(path) for path in self.directory.rglob("*") if path.is_socket()]
        left = [self.directory / "supervisor.json", runtime_dir(self.directory)]
        return found + [str(path) for path in left if path.exists()]

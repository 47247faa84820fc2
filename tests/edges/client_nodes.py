"""Real nodes for the tests of the client: one process each, in a short directory, and nothing left of them afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from patience import PATIENCE_S

import dynazmq
from dynazmq.config import NodeConfig
from dynazmq.errors import DynazmqError
from dynazmq.paths import ClusterFile, config_path, ipc_endpoint, make_private, node_dir, node_log, runtime_dir, save_node_config

SECRET = bytes(range(32))


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Its first true value; fails when there is none in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.005)
    return found


class Nodes:
    """A cluster of node processes without a supervisor: `dir` is what `connect(dir)` takes."""

    def __init__(self, *names: str, cluster_id: int = 0xC1) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="dz", dir="/tmp"))  # short: a socket's path has 107 bytes
        self.names = names
        self.endpoints = {name: ipc_endpoint(self.dir, name) for name in names}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started: dict[str, float] = {}
        make_private(runtime_dir(self.dir))
        shared = {"cluster_id": cluster_id, "secret": SECRET, "sync": "normal", "members": self.endpoints}
        ClusterFile(name="tested", home=str(self.dir), **shared).save(self.dir)  # type: ignore[arg-type]
        for name in names:
            node_dir(self.dir, name).mkdir(parents=True)
            config = NodeConfig(
                name=name, cluster="tested", data_dir=str(node_dir(self.dir, name)), endpoint=self.endpoints[name], **shared
            )  # type: ignore[arg-type]
            save_node_config(config_path(self.dir, name), config)

    def start(self, *names: str, before_exec: Callable[[], None] | None = None) -> None:
        """before_exec: done in each new process."""
        for name in names or self.names:
            with open(node_log(self.dir, name), "ab") as log:
                command = [sys.executable, "-P", "-m", "dynazmq.server", str(config_path(self.dir, name))]
                self.started[name] = time.monotonic()
                self.processes[name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=before_exec
                )

    def wait_ready(self) -> None:
        """All primaries of a key take part in a write: every node is up and sees the others."""
        with dynazmq.connect(self.dir, timeout=60.0) as client:
            for _ in self.names:  # each node coordinates some of them
                eventually(lambda: self._canary(client), "a write at all replicas")

    def _canary(self, client: dynazmq.Client) -> bool:
        try:
            outcomes = client.bucket("canary").put_many({f"k{i}": b"" for i in range(20)}, w="all", timeout=1.0)
        except DynazmqError:
            return False
        return not outcomes.failed and not any(outcome.stand_ins for outcome in outcomes.ok.values())

    def wait_grown(self) -> None:
        """A node that has just started cannot say of a retried put that it never had it."""
        eventually(lambda: time.monotonic() - max(self.started.values()) > 2.0, "the nodes remember long enough")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def pause(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()
        shutil.rmtree(self.dir)
        assert not os.path.exists(self.dir)

"""A run of the tests is alone on its host, whatever else its user runs there (conftest.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from dynazmq.cli import main
from dynazmq.cluster import processes
from dynazmq.paths import ClusterFile, cluster_dir


@pytest.fixture
def users_own(tmp_path: Path) -> Iterator[Path]:
    """A cluster of the same user that runs on this host, as a shell of theirs has started it: a process of its name at least."""
    directory = tmp_path / "default"
    config = directory / "nodes/n1/config.json"
    config.parent.mkdir(parents=True)
    ClusterFile(name="default", cluster_id=7, secret=b"s" * 32, members={"n1": "ipc://x"}).save(directory)
    config.write_text("{}")
    outside = {name: value for name, value in os.environ.items() if name != "DYNAZMQ_TEST_RUN"}
    command = [sys.executable, "-c", "import signal; signal.pause()", "-m", "dynazmq.server", str(config)]
    process = subprocess.Popen(command, env=outside)
    yield directory
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_running_cluster_of_the_user_is_neither_listed_nor_found(users_own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert users_own not in list(processes.running_clusters())
    assert processes.find_nodes(users_own, ["n1"]) == {}
    assert main(["cluster", "list", "--json"]) == 0
    assert str(users_own) not in [each["dir"] for each in json.loads(capsys.readouterr().out)["clusters"]]


def test_every_directory_of_the_user_is_the_run_s_own(home_of_its_own: Path) -> None:
    for path in (
        cluster_dir(), Path.home(), platformdirs.user_state_path("x"), platformdirs.user_config_path("x"),
        platformdirs.user_cache_path("x"), platformdirs.user_data_path("x"), platformdirs.user_runtime_path("x"),
    ):  # fmt: skip
        assert path.is_relative_to(home_of_its_own)
    assert "DYNAZMQ_DIR" not in os.environ


def test_what_a_test_starts_is_seen(home_of_its_own: Path, tmp_path: Path) -> None:
    """Otherwise nothing would be shown by what is not."""
    config = tmp_path / "c/nodes/n1/config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{}")
    command = [sys.executable, "-c", "import signal; signal.pause()", "-m", "dynazmq.server", str(config)]
    process = subprocess.Popen(command)
    try:
        while tmp_path / "c" not in list(processes.running_clusters()):
            assert process.poll() is None
            time.sleep(0.01)  # the kernel shows the arguments of a new program a moment after it has begun
    finally:
        process.kill()
        process.wait()

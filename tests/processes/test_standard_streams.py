"""Standard streams that are closed, full, or read by nobody: every command, a supervisor and its nodes, as real processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import termios
from array import array
from collections.abc import Iterable, Iterator
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import pytest
import typer
from supervised import Cluster, eventually

from dynazmq.cli import ABSENT, OK, USAGE
from dynazmq.cli.commands import app
from dynazmq.cluster.directory import state
from dynazmq.cluster.operations import launch
from dynazmq.cluster.processes import environment, identify
from dynazmq.paths import config_path

ALL = [closed for size in (1, 2, 3) for closed in combinations(range(3), size)]

_TO_CLOSE = ("<&-", ">&-", "2>&-")


def python(redirections: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-P", "-m", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment(), timeout=240, check=False)


def closing(closed: tuple[int, ...]) -> str:
    return " ".join(_TO_CLOSE[number] for number in closed)


class Typed(Cluster):
    """Each command is a process of its own."""

    def type(self, redirections: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        ran = python(redirections, "dynazmq", *arguments, "--dir", str(self.directory))
        assert b"Traceback" not in ran.stderr
        assert b"is a bug" not in ran.stderr
        assert b"Exception ignored" not in ran.stderr
        return ran


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typed]:
    cluster = Typed(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "3", "--sync", "normal")
    cluster.run("put", "a", "b")
    (cluster.directory / "schedule").write_text("0s partition n1/n2\n100ms heal\n")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


COMMANDS: list[tuple[str, int]] = [
    ("up", OK),
    ("cluster up", OK),
    ("cluster wait --for ready", OK),
    ("status", OK),
    ("cluster status --json", OK),
    ("cluster endpoints", OK),
    ("cluster events", OK),
    ("cluster plan", OK),
    ("cluster clear", OK),
    ("cluster commit", OK),
    ("put a b", OK),
    ("put a -", USAGE),
    ("get a", OK),
    ("exists a", OK),
    ("edit a", USAGE),
    ("resolve a --take 1", OK),
    ("keys", OK),
    ("count", OK),
    ("mget a", OK),
    ("mget -", USAGE),
    ("export -", OK),
    ("import -", USAGE),
    ("delete never", ABSENT),
    ("explain a", OK),
    ("trace get a", OK),
    ("trace put t v", OK),
    ("trace delete t", OK),
    ("ring", OK),
    ("logs", OK),
    ("top --once", OK),
    ("tui", OK),
    ("doctor", OK),
    ("support-bundle --force {dir}/bundle.tar.gz", OK),
    ("inspect n1", OK),
    ("bench --ops put --seconds 1s", OK),
    ("verify", OK),
    ("metrics", OK),
    ("bucket set b -w 1", OK),
    ("bucket list", OK),
    ("aae pause", OK),
    ("aae resume", OK),
    ("aae status", OK),
    ("hints list", OK),
    ("hints drain", OK),
    ("config show", OK),
    ("node show n1", OK),
    ("pause n3", OK),
    ("resume n3", OK),
    ("node pause n3", OK),
    ("node resume n3", OK),
    ("partition n1/n2", OK),
    ("heal", OK),
    ("fault one-way n1 n2", OK),
    ("fault isolate n1", OK),
    ("fault slow n1 --delay 1ms", OK),
    ("fault drop n1/n2 --rate 0.1", OK),
    ("fault skew n1 --by 1s", OK),
    ("fault partition n1/n2", OK),
    ("fault disk-full n3", OK),
    ("fault list", OK),
    ("fault heal", OK),
    ("fault schedule {dir}/schedule", OK),
    ("fault schedule -", USAGE),
    ("kill n3", OK),
    ("node start n3", OK),
    ("node kill n3", OK),
    ("node restart n1", OK),
    ("node stop n3", OK),
    ("node start n3", OK),
    ("node wipe n3", USAGE),
    ("cluster restart", OK),
    ("cluster down --purge", USAGE),
]
"""As they would be typed one after the other: what one changes, another takes back."""

ELSEWHERE = {
    "down": "in a test of its own, as up",
    "cluster add": "members, which come and go in their own tests, and say what they say as restart does",
    "cluster remove": "as add",
    "cluster acknowledge": "as commit",
    "node add": "as add",
    "node leave": "as add",
    "cluster list": "looks at no cluster of its own",
    "cluster use": "writes into the home of the user",
    "completion install": "as use",
    "completion show": "as version",
    "config path": "as version",
    "metrics serve": "as metrics",
    "version": "as --help, below",
    "demo": "the others, one after the other",
    "simulate": "starts nothing and reads nothing",
}


def waiting(pipe: int) -> int:
    """Bytes that nobody has read yet."""
    found = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    return found[0]


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if commands := getattr(command, "commands", None):
        for name, each in commands.items():
            yield from leaves(each, (*path, name))
    else:
        yield " ".join(path)


def test_every_command_is_tried_here() -> None:
    known = set(leaves(typer.main.get_command(app)))
    tried = {name for name in known for text, _ in COMMANDS if f"{text} ".startswith(f"{name} ")}
    assert known - tried == set(ELSEWHERE)


def test_a_command_does_what_it_does_whichever_stream_is_closed(cluster: Typed) -> None:
    for (text, code), closed in zip(COMMANDS, cycle([(0, 1), (0, 2), (0, 1, 2)]), strict=False):
        ran = cluster.type(closing(closed), *text.format(dir=cluster.directory).split())
        assert (text, ran.returncode) == (text, code), ran
        if code == USAGE and 2 not in closed:
            assert ran.stderr.startswith(b"error:"), text


@pytest.mark.parametrize("closed", ALL, ids=str)
def test_a_cluster_started_and_ended_with_closed_streams_has_one_supervisor(tmp_path: Path, closed: tuple[int, ...]) -> None:
    cluster = Typed(tmp_path)
    assert cluster.type(closing(closed), "up", "-n", "1", "--sync", "normal").returncode == OK
    try:
        assert state.take_lock(tmp_path) is None
        before = cluster.status()
        assert cluster.type(closing(closed), "up").returncode == OK
        assert cluster.status()["supervisor_pid"] == before["supervisor_pid"]
        assert cluster.type(closing(closed), "put", "k", "v").returncode == OK
        assert cluster.type(closing(closed), "put", "k2", "-").returncode == (USAGE if 0 in closed else OK)
        assert cluster.run("get", "k").out.strip() == "v"
    finally:
        assert cluster.type(closing(closed), "down").returncode == OK
    assert cluster.leftovers() == []
    assert identify(before["supervisor_pid"]) is None


def streams_of(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


def without_streams(module: str, *arguments: str, pass_fds: Iterable[int] = ()) -> subprocess.Popen[bytes]:
    """Started by hand with none, as an init system may do it."""
    command = ["sh", "-c", f'exec "$@" {closing((0, 1, 2))}', "sh", sys.executable, "-P", "-m", module, *arguments]
    return subprocess.Popen(command, env=environment(), pass_fds=tuple(pass_fds))


def test_nothing_of_a_node_is_a_standard_stream(cluster: Typed) -> None:
    cluster.run("node", "stop", "n3")
    node = without_streams("dynazmq.server", str(config_path(cluster.directory, "n3")))
    try:
        eventually(lambda: "up" in cluster.node("n3")["seen_by"].values(), "n3 serves")
        assert streams_of(node.pid) == [os.devnull] * 3
    finally:
        node.terminate()
        node.wait()
        cluster.run("node", "start", "n3")


def test_nothing_of_a_supervisor_is_a_standard_stream(tmp_path: Path) -> None:
    cluster = Typed(tmp_path)
    cluster.up("-n", "1", "--sync", "normal")
    cluster.down()
    held = launch.lock(tmp_path)
    assert held is not None
    supervisor = without_streams("dynazmq.cluster.supervisor.supervisor", str(tmp_path), "", "", str(held), pass_fds=[held])
    os.close(held)
    try:
        eventually(lambda: cluster.node("n1")["state"] == "up", "n1 serves")
        assert streams_of(supervisor.pid) == [os.devnull] * 3
    finally:
        cluster.down()
        supervisor.wait()


def test_a_program_without_a_standard_input_of_its_own_hands_on_the_lock(tmp_path: Path) -> None:
    """Not a process of ours: it keeps its streams as they are."""
    code = (
        "import os, pathlib; from dynazmq.cluster.directory import state\n"
        f"os.close(0); assert state.take_lock(pathlib.Path({str(tmp_path)!r})) > 2; os.fstat(0)"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", code], env=environment(), capture_output=True, check=False)
    assert ran.stderr.endswith(b"OSError: [Errno 9] Bad file descriptor\n")


FULL: list[tuple[str, int]] = [
    ("get a", 1),
    ("status", 1),
    ("keys", 1),
    ("export -", 1),
    ("put a c", 1),
    ("node restart n1", 1),
    ("cluster restart", 1),
    ("--help", 1),
]


@pytest.mark.parametrize(("text", "code"), FULL, ids=[text for text, _ in FULL])
def test_what_cannot_be_written_is_said_once_and_what_was_asked_is_done(cluster: Typed, text: str, code: int) -> None:
    if text == "--help":
        ran = python("> /dev/full", "dynazmq", text)
    else:
        ran = cluster.type("> /dev/full", *text.split())
    assert (ran.returncode, ran.stderr) == (code, b"error: No space left on device: standard output\n")
    assert all(node["state"] == "up" for node in cluster.status()["nodes"])
    if text.startswith("put"):
        assert cluster.run("get", "a").out.strip() == "c"


def test_talk_that_nobody_can_hear_ends_nothing(cluster: Typed) -> None:
    assert cluster.type("2> /dev/full", "get", "never").returncode == ABSENT
    assert cluster.type("> /dev/full 2>&1", "get", "a").returncode == 1
    assert cluster.type("2> /dev/full", "cluster", "restart").returncode == OK


@pytest.mark.parametrize("text", ["keys", "status", "put a b", "node restart n1", "cluster restart"])
def test_a_pipe_that_nobody_reads_is_no_error_and_no_reason_to_stop_half_way(cluster: Typed, text: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-P", "-m", "dynazmq", *text.split(), "--dir", str(cluster.directory)]
    with os.fdopen(writing, "wb") as out:
        ran = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment(), timeout=240, check=False)
    assert (ran.returncode, ran.stderr) == (OK, b"")
    assert all(node["state"] == "up" for node in cluster.status()["nodes"])


def test_a_value_comes_whole_through_a_pipe_that_does_not_wait(cluster: Typed) -> None:
    """Whoever shares it with us may have set O_NONBLOCK: what has not come yet is not the end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [sys.executable, "-P", "-m", "dynazmq", "put", "slow", "-", "--dir", str(cluster.directory)]
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL, env=environment()) as process:
        for _ in range(2):
            os.write(writing, b"x" * 1000)
            eventually(lambda: not waiting(reading), "it has read what is there")
        os.close(writing)
        os.close(reading)
    assert process.returncode == OK
    assert len(cluster.run("get", "slow").out.strip()) == 2_000


def typed(cluster: Typed, *arguments: str, stdin: int, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    around = {**environment(), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-P", "-m", "dynazmq", *arguments, "--dir", str(cluster.directory)]
    return subprocess.run(command, stdin=stdin, capture_output=True, env=around, timeout=240, check=False)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:surrogateescape"])
@pytest.mark.parametrize("text", ["up", "status", "node restart n1", "get nö --timeout 60s", "heal"])
def test_no_command_fails_for_a_sign_that_the_outputs_encoding_lacks(cluster: Typed, text: str, encoding: str) -> None:
    ran = typed(cluster, *text.split(), stdin=subprocess.DEVNULL, encoding=encoding)
    assert b"is a bug" not in ran.stderr
    assert ran.returncode == (ABSENT if text.startswith("get") else OK), ran.stderr
    assert "✓".encode() not in ran.stdout


def test_a_list_of_keys_that_never_ends_a_key_is_refused_and_not_read_for_ever(cluster: Typed) -> None:
    for options in ((), ("-0",)):
        reading, writing = os.pipe()
        feeder = subprocess.Popen(["sh", "-c", "while echo -n xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; do :; done"],
                                  stdout=writing, stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(writing)
        with feeder:
            ran = typed(cluster, "mget", *options, "-", stdin=reading)
            os.close(reading)
            feeder.terminate()
        assert ran.returncode == USAGE
        assert b"longer than any key: the limit is 1,024 bytes" in ran.stderr


def test_an_import_from_a_closed_stream_says_that_it_is_closed(cluster: Typed) -> None:
    ran = cluster.type("<&-", "import", "-")
    assert (ran.returncode, b"standard input is closed" in ran.stderr) == (USAGE, True)


@pytest.mark.parametrize("text", ["cluster events -f", "logs -f"])
def test_who_waits_for_something_to_print_ends_when_nobody_reads_any_more(cluster: Typed, text: str) -> None:
    """`events -f | head -1`: a cluster that is well may say nothing for hours."""
    command = [sys.executable, "-P", "-m", "dynazmq", *text.split(), "--dir", str(cluster.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert (process.wait(240), process.stderr.read()) == (OK, b"")


def test_what_is_offered_to_a_shell_and_cannot_be_written_is_an_error_like_any_other() -> None:
    with open("/dev/full", "wb") as full:
        around = {**environment(), "_DYNAZMQ_COMPLETE": "bash"}
        command = [sys.executable, "-P", "-m", "dynazmq", ""]
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=around, timeout=240, check=False)
    assert (ran.returncode, ran.stderr) == (1, b"error: No space left on device: standard output\n")

"""The command line by itself: help, what is typed wrongly, exit codes, and how little it loads. No cluster runs here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dynazmq.cli import code_of, main
from dynazmq.cluster.processes import environment
from dynazmq.dynamo.ring import Ring
from dynazmq.errors import (
    ClusterError,
    ClusterUnreachable,
    InvalidRequest,
    KeyNotFound,
    NoSuchCluster,
    Overloaded,
    ReadTimeout,
    StorageError,
    Unavailable,
    ValueTooLarge,
    WriteTimeout,
)
from dynazmq.paths import ClusterFile

COMMANDS = [
    *("cluster up", "cluster down", "cluster restart", "cluster status", "cluster wait", "cluster list", "cluster endpoints"),
    *("cluster events", "top", "metrics", "metrics serve"),
    *("cluster add", "cluster remove", "cluster plan", "cluster commit", "cluster clear", "node add", "node leave"),
    *("node kill", "node stop", "node start", "node restart", "node pause", "node resume", "node wipe", "node show"),
    *("aae status", "aae pause", "aae resume"),
    *("bucket set", "bucket list"),
    *("fault partition", "fault one-way", "fault isolate", "fault slow", "fault drop", "fault skew", "fault disk-full"),
    *("fault list", "fault heal", "fault schedule"),
    *("put", "get", "delete", "exists", "keys", "ring", "logs", "tui", "bench", "verify", "simulate", "version"),
    *("up", "down", "status", "kill", "pause", "resume", "partition", "heal"),
]
NOT_BUILT = re.compile(r"\b(doctor|explain|resolve|repair|trace|chaos)\b")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No cluster is found but one that a test makes itself."""
    directory = tmp_path / "c"
    monkeypatch.setenv("DYNAZMQ_DIR", str(directory))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    return directory


def a_cluster(directory: Path) -> None:
    """A cluster that does not run."""
    directory.mkdir()
    members = {f"n{i}": f"ipc://{directory}/run/n{i}.sock" for i in (1, 2, 3, 12)}
    ClusterFile(name="c", cluster_id=7, secret=b"s" * 32, members=members).save(directory)


def loaded(arguments: str) -> set[str]:
    """The modules that a command has loaded in the end, in a process of its own."""
    code = f"import sys; from dynazmq.cli import main; main({arguments.split()!r}); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=20)
    return set(ran.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_names_nothing_that_is_not_there(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert "Example:  dynazmq " in said
    assert NOT_BUILT.findall(said) == []
    assert ("--dir" in said) == (command not in ("simulate", "version"))
    assert ("--json" in said) == (command not in ("tui", "metrics", "metrics serve"))
    assert max(map(len, said.splitlines())) <= 80


def test_the_help_lists_every_command_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    listed = set()
    for group in ("", "cluster", "node", "bucket", "fault", "aae", "metrics"):
        assert main([*group.split(), "--help"]) == 0
        rows = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
        listed |= {f"{group} {row.split()[0]}".strip() for row in rows}
    assert listed == {*COMMANDS, "cluster", "node", "bucket", "fault", "aae"}


@pytest.mark.parametrize("command", ["version", "--help", "cluster list --json", "status", "get x", "kill"])
def test_little_is_loaded_before_it_is_needed(command: str) -> None:
    heavy = {"zmq", "msgpack", "sqlite3", "sqlite_utils", "textual", "rich", "psutil", "asyncio", "platformdirs"}
    if command == "cluster list --json":
        heavy -= {"platformdirs"}
    if command in ("status", "kill", "get x"):  # these look for the cluster only when they have what they need to speak to it
        heavy -= {"zmq", "msgpack"}
    assert loaded(command) & heavy == set()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("frob", "No such command 'frob'"),
        ("statsu", "Did you mean 'status'"),
        ("get", "Missing argument"),
        ("get k --nonsense", "No such option: --nonsense"),
        ("put k", "which value?"),
        ("put k v --blind --context abcd", "contradict each other"),
        ("put k v --context ga~rbled", "not a context: 'ga~rbled'"),
        ("put k v --timeout soon", "not a duration: 'soon'"),
        ("get k -r some", "not a quorum: 'some'"),
        ("kill", "which nodes?"),
        ("kill n1 --all", "which nodes?"),
        ("kill n4", "no node 'n4'; there are n1 n2 n3 n12"),
        ("kill n[1-99999999]", "too wide"),
        ("node wipe n1", "say --yes"),
        ("down --purge", "say --yes"),
        ("logs n9", "no node 'n9'"),
        ("logs -f --json", "choose one"),
        ("status --watch 2s --json", "choose one"),
        ("cluster wait --for quiet", "--for is ready, converged or hints=0, not 'quiet'"),
        ("bench --ops put,scan", "--ops is put, get or both, not 'scan'"),
        ("bench --in-flight 0", "--in-flight takes numbers from 1 on"),
        ("bench --value-bytes tiny", "not a size: 'tiny'"),
        ("bench --value-bytes 2MiB", "2,097,152 bytes is over the limit of 1,048,576"),
        ("simulate --seeds 0", "--seeds is 1 to 1,000,000, not 0"),
        ("simulate --seed -1", "--seed is a number from 0 on, not -1"),
        ("bench --seconds 0", "--seconds is more than 0, not '0'"),
        ("--color sometimes status", "--color is auto, always or never"),
        ("up --foreground --tui", "choose one"),
        ("up --anti-entropy perhaps", "--anti-entropy is on or off, not 'perhaps'"),
        ("up -n 5 --sync normal", "-n is 4 and not 5, --sync is full and not normal"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_code_2_and_one_line(
    command: str, words: str, nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_cluster(nowhere)
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert words in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "command",
    [
        *("status", "get k", "put k v", "delete k", "exists k", "keys", "ring", "kill n1", "logs", "cluster restart", "down"),
        *("aae status", "aae pause", "aae resume", "verify", "verify --deep"),
    ],
)
def test_where_no_cluster_is_the_code_is_7_and_the_directory_is_named(
    command: str, nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 7
    said = capsys.readouterr()
    assert said.out == ""
    assert str(nowhere) in said.err
    assert not nowhere.exists()


@pytest.mark.parametrize(
    "command",
    ["status", "get k", "put k v", "ring", "kill n1", "bench", "verify", "aae pause", "cluster wait --for ready --timeout 0"],
)
def test_a_cluster_that_does_not_run_is_said_to_and_how_to_start_it(
    command: str, nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_cluster(nowhere)
    assert main([*command.split()]) == (6 if command.startswith("cluster wait") else 7)
    said = capsys.readouterr()
    assert "running" in (said.out + said.err).lower()
    if not command.startswith("cluster wait"):
        assert "dynazmq up" in said.out + said.err


def test_the_command_to_type_next_names_the_directory_only_where_it_must(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_cluster(nowhere)
    main(["status"])
    assert capsys.readouterr().out.endswith("next  dynazmq up\n")
    monkeypatch.delenv("DYNAZMQ_DIR")
    main(["status", "--dir", str(nowhere)])
    assert capsys.readouterr().out.endswith(f"next  dynazmq up --dir {nowhere}\n")


def test_the_version_is_an_option_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    as_command = capsys.readouterr().out
    assert as_command.startswith("dynazmq 0.")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == as_command


def test_each_error_has_its_exit_code() -> None:
    codes = {
        InvalidRequest("x"): 2,
        ValueTooLarge(1, 2): 2,
        KeyNotFound("x"): 3,
        Unavailable("x"): 5,
        Overloaded("x"): 5,
        ReadTimeout("x"): 6,
        WriteTimeout("x"): 6,
        NoSuchCluster("x"): 7,
        ClusterUnreachable("x"): 7,
        ClusterError("x"): 1,
        StorageError("x"): 1,
    }
    assert {error: code_of(error) for error in codes} == codes


def test_a_bug_is_one_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_arguments: list[str]) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("dynazmq.cli.commands.run", broken)
    assert main(["status"]) == 1
    assert capsys.readouterr().err.startswith("error: this is a bug in dynazmq: ZeroDivisionError: oh")


def test_ctrl_c_ends_a_watch_with_code_130(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    a_cluster(nowhere)
    monkeypatch.setattr("dynazmq.cli.status.time.sleep", interrupted)
    assert main(["status", "--watch", "2s"]) == 130
    assert "NOT RUNNING" in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_error(nowhere: Path) -> None:
    a_cluster(nowhere)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-P", "-m", "dynazmq", "cluster", "endpoints"]
    ran = subprocess.run(command, env=environment(), stdout=writer, stderr=subprocess.PIPE, timeout=20)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_json_is_one_document_with_a_schema(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_cluster(nowhere)
    for command, code, keys in (
        ("version", 0, {"version", "parts"}),
        ("cluster endpoints", 0, {"endpoints"}),
        ("cluster list", 0, {"clusters"}),
        ("status", 7, {"name", "dir", "converged", "supervisor_pid", "ring", "nodes"}),
        ("logs", 0, {"lines"}),
        ("down", 0, {"was_running", "stopped"}),
    ):
        assert main([*command.split(), "--json"]) == code, command
        document = json.loads(capsys.readouterr().out)
        assert document["schema"] == f"dynazmq.{command.split()[-1]}/1"
        assert document.keys() >= keys


def test_colours_are_for_terminals_and_for_who_asks(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_cluster(nowhere)

    def colored(*options: str) -> bool:
        main([*options, "status"])
        return "\x1b[" in capsys.readouterr().out

    assert not colored()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert colored()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colored()
    assert colored("--color", "always")
    assert not colored("--color", "never")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("dynazmq kill n1", ["n1", "n12"]),
        ("dynazmq kill n1,n2,n3", ["n1,n2,n3"]),
        ("dynazmq cluster r", ["remove", "restart"]),
        ("dynazmq cluster remove n1", ["n1", "n12"]),
        ("dynazmq node re", ["resume", "restart"]),
    ],
)
def test_the_shell_completes_commands_and_nodes(typed: str, offered: list[str], nowhere: Path) -> None:
    a_cluster(nowhere)
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_DYNAZMQ_COMPLETE": "complete_bash"}
    command = [sys.executable, "-P", "-m", "dynazmq"]
    ran = subprocess.run(command, env={**environment(), **words}, capture_output=True, text=True, timeout=20)
    assert sorted(ran.stdout.split()) == sorted(offered), ran.stderr


def test_the_ring_fits_the_width_in_rows_of_one_length(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dynazmq.cli.ring import strip
    from dynazmq.cluster.snapshot import NodeView, Snapshot

    owners = tuple(f"n{1 + i % 5}" for i in range(120))
    nodes = [NodeView(name=f"n{i}", endpoint="", state="up", answers=i != 3) for i in range(1, 6)]
    snapshot = Snapshot(
        name="c", directory="", taken_at=0.0, supervisor_pid=1, ring_version=1, owners=owners,
        n=3, r=2, w=2, sync="full", transport="ipc", nodes=nodes,
    )  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    head, first, second = strip(Ring(1, owners), snapshot, None)
    assert head == "120 partitions  5 nodes  N=3  ring v1      no answer: n3 (✗)"
    assert first == "   0  " + "12✗45" * 12
    assert second == "  60  " + "12✗45" * 12

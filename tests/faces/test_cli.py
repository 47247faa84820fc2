"""The command line by itself: help, what is typed wrongly, exit codes, and how little it loads. No cluster runs here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_lines import check, commands_of

from dynazmq.cli import code_of, main
from dynazmq.cli.tree import build, children, leaves
from dynazmq.cluster.processes import environment
from dynazmq.dynamo.values.ring import Ring
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
from dynazmq.vocabulary import WORDS

COMMANDS = [" ".join(path) for path in leaves()]
NO_JSON = {"tui", "demo", "completion install", "completion show", "metrics", "metrics serve"}
"""A screen, a tour, a script for a shell, and what has a form of its own that programs read: that of Prometheus."""
NO_CLUSTER = {"simulate", "version", "demo", "completion install", "completion show"}
NOT_BUILT = re.compile(r"\b(backup|watch PREFIX)\b")


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
    assert ("--dir" in said) == (command not in NO_CLUSTER)
    assert ("--json" in said) == (command not in NO_JSON)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_can_be_typed(command: str) -> None:
    """Its command is there, and takes the options and arguments that it shows."""
    examples = list(examples_of(command))
    assert examples
    for words in examples:
        check(words)
    names = {name for word in WORDS for name in (word.command, word.short) if command in (word.command, word.short)}
    assert any(" ".join(words).startswith(name) for words in examples for name in names if name)


def examples_of(command: str) -> Iterator[list[str]]:
    """The words behind "dynazmq" of each command line in an example."""
    text = str(build(command.split()).help).partition("Example:")[2]
    for line in text.strip().splitlines():
        yield from commands_of(line)


def test_the_help_lists_every_command_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    for group in ("", *(name for name in children([]) if children([name]))):
        assert main([*group.split(), "--help"]) == 0
        rows = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
        assert sorted(row.split()[0] for row in rows if not row.startswith("   ")) == sorted(children(group.split()))


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
        ("trace put k", "which value?"),
        ("trace put k v --blind --context abcd", "contradict each other"),
        ("trace delete k --context ga~rbled", "not a context: 'ga~rbled'"),
        ("trace get k -r some", "not a quorum: 'some'"),
        ("explain k --timeout soon", "not a duration: 'soon'"),
        ("explain", "Missing argument"),
        ("put k v --timeout soon", "not a duration: 'soon'"),
        ("get k -r some", "not a quorum: 'some'"),
        ("kill", "which nodes?"),
        ("kill n1 --all", "which nodes?"),
        ("kill n4", "no node 'n4'; there are n1 n2 n3 n12"),
        ("kill ,", "no node in ','; there are n1 n2 n3 n12"),
        ("kill x*", "no node 'x*'; there are n1 n2 n3 n12"),
        ("kill n1 --random", "which nodes?"),
        ("node show n[4-9]", "no node 'n[4-9]'; there are n1 n2 n3 n12"),
        ("node leave n9", "no node 'n9'; there are n1 n2 n3 n12"),
        ("node leave", "which nodes?"),
        ("cluster remove n1,n9", "no node 'n9'"),
        ("aae pause n9", "no node 'n9'; there are n1 n2 n3 n12"),
        ("aae status n1 --all", "which nodes?"),
        ("hints list n9", "no node 'n9'; there are n1 n2 n3 n12"),
        ("hints drain n9", "no node 'n9'"),
        ("hints drain --timeout soon", "not a duration: 'soon'"),
        ("config show n9", "no node 'n9'; there are n1 n2 n3 n12"),
        ("config path n9", "no node 'n9'"),
        ("inspect", "which nodes?"),
        ("inspect n9", "no node 'n9'; there are n1 n2 n3 n12"),
        ("inspect n1 --key k --table data", "choose one"),
        ("inspect n1 --table rows", "--table is one of data hints meta journal, not 'rows'"),
        ("inspect n1 --limit 0", "0 is not in the range"),
        ("completion show tcsh", "which shell? bash, zsh or fish, not 'tcsh'"),
        ("completion install ''", "which shell?"),
        ("resolve k", "say one of --take N, --merge"),
        ("resolve k --take 1 --value v", "say one of"),
        ("resolve k --merge both", "--merge is union, largest or latest, not 'both'"),
        ("import nowhere.jsonl --missing --contexts", "contradict each other"),
        ("import x --timeout soon", "not a duration: 'soon'"),
        ("export - --json", "choose one"),
        ("mget", "Missing argument"),
        ("count --timeout x", "not a duration: 'x'"),
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
        ("down --dir=", "Invalid value for '--dir'"),
        ("cluster use --dir=", "Invalid value for '--dir'"),
        ("export --dir=", "Invalid value for '--dir'"),
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
        *("hints list", "hints drain", "inspect n1", "config show", "config path", "count", "mget k", "resolve k --take 1"),
        *("support-bundle", "export x", "import x"),
        *("explain k", "trace get k", "trace put k v", "trace delete k", "edit k"),
    ],
)
def test_where_no_cluster_is_the_code_is_7_and_the_directory_is_named(
    command: str, nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISUAL", "true")
    assert main(command.split()) == 7
    said = capsys.readouterr()
    assert said.out == ""
    assert str(nowhere) in said.err
    assert not nowhere.exists()


@pytest.mark.parametrize(
    "command",
    [
        *("status", "get k", "put k v", "ring", "kill n1", "explain k", "trace get k", "bench", "verify", "aae pause"),
        *("cluster wait --for ready --timeout 0", "count", "mget k", "resolve k --take 1", "export x"),
        *("hints drain", "hints list"),
    ],
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


def test_an_interrupt_that_was_handled_does_not_end_the_process_by_a_signal(tmp_path: Path) -> None:
    handled = "try:\n    exec('raise KeyboardInterrupt')\nexcept KeyboardInterrupt:\n    leave(130)\n"
    (tmp_path / "handled.py").write_text(f"from dynazmq.cli import leave\n{handled}")
    around = environment() | {"PYTHONPATH": os.pathsep.join([environment()["PYTHONPATH"], str(tmp_path)])}
    assert subprocess.call([sys.executable, "-m", "handled"], env=around) == 130


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


def test_the_ring_fits_the_width_in_rows_of_one_length(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dynazmq.cli.ring import strip
    from dynazmq.cluster.observe.snapshot import NodeView, Snapshot

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

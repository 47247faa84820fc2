"""What a shell offers at TAB: read from files, in a process that loads little, and by a real bash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynazmq.cli import main
from dynazmq.cli.completion import SHELLS, VARIABLE, offers
from dynazmq.cluster.processes import environment
from dynazmq.paths import ClusterFile, ipc_endpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cluster that does not run."""
    directory = tmp_path / "state/dynazmq/c"
    directory.mkdir(parents=True)
    members = {name: ipc_endpoint(directory, name) for name in ("n1", "n2", "n3", "n12")}
    ClusterFile(name="c", cluster_id=7, secret=b"s" * 32, members=members, home=str(directory)).save(directory)
    monkeypatch.setenv("DYNAZMQ_DIR", str(directory))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return directory


def offered(typed: str) -> list[str]:
    """typed: up to the cursor, which stands behind its last character."""
    *before, begun = typed.split(" ")[1:]
    return [offer.word for offer in offers([word for word in before if word], begun)]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("dynazmq kill n1", ["n1", "n12"]),
        ("dynazmq kill ", ["n1", "n2", "n3", "n12"]),
        ("dynazmq kill n1,n2,", ["n1,n2,n3", "n1,n2,n12"]),
        ("dynazmq kill n1,n", ["n1,n2", "n1,n3", "n1,n12"]),
        ("dynazmq kill n1 n3", ["n3"]),
        ("dynazmq inspect n3", ["n3"]),
        ("dynazmq hints drain n3", ["n3"]),
        ("dynazmq aae pause n3", ["n3"]),
        ("dynazmq cluster r", ["remove", "restart"]),
        ("dynazmq cluster remove n1", ["n1", "n12"]),
        ("dynazmq cluster add --replace n1", ["n1", "n12"]),
        ("dynazmq node re", ["restart", "resume"]),
        ("dynazmq up --sy", ["--sync"]),
        ("dynazmq up --sync ", ["full", "normal"]),
        ("dynazmq up --sync=n", ["--sync=normal"]),
        ("dynazmq up --sync = n", ["normal"]),
        ("dynazmq up --name ", ["c"]),
        ("dynazmq up --transport ipc --anti-entropy o", ["on", "off"]),
        ("dynazmq cluster wait --for c", ["converged"]),
        ("dynazmq get k -r q", ["quorum"]),
        ("dynazmq resolve k --merge u", ["union"]),
        ("dynazmq completion show z", ["zsh"]),
        ("dynazmq inspect n1 --table h", ["hints"]),
        ("dynazmq --color a", ["auto", "always"]),
        ("dynazmq --color always verif", ["verify"]),
        ("dynazmq status --js", ["--json"]),
        ("dynazmq status --json --js", []),
        ("dynazmq put k v ", []),
        ("dynazmq frob ", []),
    ],
)
def test_what_fits_is_offered(typed: str, found: list[str]) -> None:
    assert offered(typed) == found


def test_commands_are_offered_with_what_they_do() -> None:
    found = {offer.word: offer.text for offer in offers([], "")}
    assert found["kill"].startswith("Kill nodes with SIGKILL")
    assert {"cluster", "node", "put", "get", "doctor", "completion"} <= found.keys()


def test_another_directory_on_the_line_is_the_one_that_counts(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    ClusterFile(name="o", cluster_id=8, secret=b"s" * 32, members={"m1": "ipc://x"}).save(other)
    assert offered(f"dynazmq kill --dir {other} ") == ["m1"]


@pytest.mark.parametrize("damage", ["", "{", '{"name": 1}'])
def test_a_damaged_cluster_offers_nothing_and_says_nothing(
    damage: str, cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (cluster / "cluster.json").write_text(damage)
    monkeypatch.setenv(VARIABLE, "bash")
    assert main(["kill", "n"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("shell", "line"), [("bash", "pause"), ("zsh", "pause:Freeze nodes"), ("fish", "pause\tFreeze nodes")])
def test_each_shell_gets_the_form_that_it_reads(
    shell: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, shell)
    assert main(["pau"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_completion_asks_no_node_and_loads_no_more_than_typer() -> None:
    code = "import sys; from dynazmq.cli import main; main(['kill', 'n']); print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**environment(), VARIABLE: "zsh"}, capture_output=True, text=True, timeout=20
    )
    assert ran.stdout.split()[:4] == ["n1", "n2", "n3", "n12"], ran.stderr
    heavy = {
        "zmq",
        "msgpack",
        "sqlite3",
        "sqlite_utils",
        "textual",
        "rich",
        "psutil",
        "asyncio",
        "socket",
        "hashlib",
        "platformdirs",
    }
    assert set(ran.stdout.split()) & heavy == set()


@pytest.mark.parametrize(
    ("typed", "found"),
    [("dynazmq kill n1", ["n1", "n12"]), ("dynazmq up --sync=f", ["full"]), ("dynazmq cluster rest", ["restart"])],
)
def test_bash_itself_gets_them(typed: str, found: list[str], tmp_path: Path) -> None:
    """The script is read by bash, and its function called as readline would: with words cut at "="."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/dynazmq"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m dynazmq "$@"\n')
    program.chmod(0o755)
    words = typed.replace("=", " = ").split()
    script = f"""
        eval "$(dynazmq completion show bash)"
        COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
        _dynazmq dynazmq; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    ran = subprocess.run(["bash", "-c", script], env={**environment(), "PATH": path}, capture_output=True, text=True, timeout=20)
    assert ran.stdout.split() == found, ran.stderr


# --- installing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_installing_twice_leaves_one_line_and_what_was_there(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    start = home / {"bash": ".bashrc", "zsh": ".zshrc", "fish": "none"}[shell]
    start.write_text("alias ll='ls -l'")  # without an end of line
    for _ in range(2):
        assert main(["completion", "install", shell]) == 0
    text = start.read_text()
    assert text.startswith("alias ll='ls -l'")
    assert text.count("# dynazmq completion") == (0 if shell == "fish" else 1)
    script = next(path for path in home.rglob("*dynazmq*") if path.is_file()) if shell == "fish" else Path(text.split('"')[1])
    assert "_DYNAZMQ_COMPLETE=" in script.read_text()
    assert capsys.readouterr().out.count("changed") == (0 if shell == "fish" else 1)


def test_a_start_file_that_is_a_link_stays_one_and_keeps_its_mode(tmp_path: Path) -> None:
    home, kept = tmp_path / "home", tmp_path / "dotfiles-bashrc"
    home.mkdir()
    kept.write_text("alias ll='ls -l'\n")
    kept.chmod(0o640)
    (home / ".bashrc").symlink_to(kept)
    assert main(["completion", "install", "bash"]) == 0
    assert (home / ".bashrc").is_symlink()
    assert "# dynazmq completion" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o640


def test_what_is_not_ours_in_a_start_file_stays_as_it_is_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mine = b"PS1='\xe9\x0c\x1c>'\r\n\xe2\x80\xa8 # caf\xc3\xa9\n"
    (home / ".bashrc").write_bytes(mine)
    for _ in range(2):
        assert main(["completion", "install", "bash"]) == 0
        assert (home / ".bashrc").read_bytes().startswith(mine + b"source ")
        assert (home / ".bashrc").read_bytes().count(b"# dynazmq completion") == 1


def test_the_shell_is_that_of_the_user_if_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert main(["completion", "show"]) == 0
    assert "complete -c dynazmq" in capsys.readouterr().out
    monkeypatch.delenv("SHELL")
    assert main(["completion", "show"]) == 2
    assert "which shell? bash, zsh or fish, and SHELL is not set" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert main(["completion", "install", "bash"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1

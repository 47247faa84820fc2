"""Which cluster is meant where none is named: by DYNAZMQ_DIR, as `cluster use` chose, or the default one. None runs here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynazmq import connect, paths
from dynazmq.cli import main
from dynazmq.cli.completion import offers
from dynazmq.errors import ClusterError, NoSuchCluster
from dynazmq.paths import ClusterFile, cluster_dir

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state directory, with two clusters."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DYNAZMQ_DIR", raising=False)
    state = cluster_dir(name="default").parent
    for name in ("default", "other-one"):
        a_cluster(state / name, name)
    return state


def a_cluster(directory: Path, name: str) -> Path:
    directory.mkdir(parents=True)
    members = {"n1": f"ipc://{directory}/run/n1.sock"}
    ClusterFile(name=name, cluster_id=7, secret=b"s" * 32, members=members).save(directory)
    return directory


def used(capsys: Said, *arguments: str) -> dict[str, str]:
    capsys.readouterr()
    assert main(["cluster", "use", *arguments, "--json"]) == 0
    found: dict[str, str] = json.loads(capsys.readouterr().out)
    return found


def test_a_chosen_cluster_is_meant_until_the_default_one_is_again(home: Path, capsys: Said) -> None:
    assert used(capsys) == {"schema": "dynazmq.use/1", "name": "default", "dir": str(home / "default"), "by": "default"}

    assert used(capsys, "other-one")["by"] == "chosen"
    assert cluster_dir() == home / "other-one"
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{home}/other-one/cluster.json\n"

    assert used(capsys, "--default")["name"] == "default"
    assert cluster_dir() == home / "default"


def test_to_choose_the_default_one_is_to_choose_none(home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    assert used(capsys, "default")["by"] == "default"
    assert paths.chosen() is None


def test_dir_goes_first_then_the_environment_then_what_was_chosen(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    used(capsys, "other-one")
    monkeypatch.setenv("DYNAZMQ_DIR", str(a_cluster(tmp_path / "e", "in-the-environment")))

    assert used(capsys)["by"] == "DYNAZMQ_DIR"
    assert main(["config", "path"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/e/cluster.json\n"
    assert main(["config", "path", "--dir", str(home / "default")]) == 0
    assert capsys.readouterr().out == f"{home}/default/cluster.json\n"
    assert main(["cluster", "use", "default"]) == 0
    assert "unset DYNAZMQ_DIR" in capsys.readouterr().err


def test_what_was_chosen_says_nothing_about_a_name(home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    assert cluster_dir(name="default") == home / "default"


def test_a_cluster_that_is_elsewhere_is_chosen_by_its_directory_and_stays_known(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    a_cluster(tmp_path / "e", "else-where")
    assert main(["cluster", "use", "else-where"]) == 7
    monkeypatch.chdir(tmp_path)
    assert used(capsys, "--dir", "e")["dir"] == str(tmp_path / "e")
    assert used(capsys, "else-where")["dir"] == str(tmp_path / "e")


def test_the_list_marks_the_one_that_is_meant(home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    assert main(["cluster", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["clusters"]
    assert [each["name"] for each in listed if each["current"]] == ["other-one"]
    assert main(["cluster", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.split()[1] == "*"] == ["other-one"]


def test_the_command_to_type_next_names_every_cluster_but_the_chosen_one(home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    assert main(["status"]) == 7
    assert capsys.readouterr().out.endswith("next  dynazmq up\n")
    assert main(["status", "--dir", str(home / "default")]) == 7
    assert capsys.readouterr().out.endswith(f"next  dynazmq up --dir {home}/default\n")


@pytest.mark.parametrize("command", ["get k", "status", "down", "kill n1", "cluster use", "config show"])
def test_a_chosen_cluster_that_is_gone_is_said_to_be_and_no_other_is_taken(command: str, home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    (home / "other-one/cluster.json").unlink()

    assert main(command.split()) == 7

    said = capsys.readouterr()
    assert said.out == ""
    assert str(home / "other-one") in said.err
    assert "dynazmq cluster use --default" in said.err


def test_the_doctor_says_that_the_chosen_cluster_is_gone(home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    (home / "other-one/cluster.json").unlink()

    assert main(["doctor"]) == 10

    said = capsys.readouterr().out
    assert f"✗ the chosen cluster is gone: there is none in {home}/other-one" in said
    assert "fix  dynazmq cluster use --default" in said


def test_a_program_means_the_same_cluster(home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    (home / "other-one/cluster.json").unlink()
    with pytest.raises(NoSuchCluster, match="other-one"):
        connect()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"dir": 7}', '{"dir": "relative"}', '{"name": "x"}'])
def test_a_choice_that_cannot_be_read_is_no_reason_to_take_another_cluster(text: str, home: Path, capsys: Said) -> None:
    (home / ".chosen.json").write_text(text)

    with pytest.raises(ClusterError, match="cluster use --default"):
        cluster_dir()
    assert main(["status"]) == 1
    assert "cluster use --default" in capsys.readouterr().err
    assert main(["status", "--dir", str(home / "default")]) == 7  # which one is meant was said
    assert f"dynazmq up --dir {home}/default" in capsys.readouterr().out
    assert used(capsys, "other-one")["name"] == "other-one"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-cluster"], 7, "no cluster 'no-such-cluster' is known, there are"),
        (["--dir", "/nowhere/at/all"], 7, "no cluster in /nowhere/at/all"),
        (["other-one", "--default"], 2, "choose one"),
        (["other-one", "--dir", "x"], 2, "choose one"),
    ],
)
def test_what_is_no_cluster_is_not_chosen(arguments: list[str], code: int, words: str, capsys: Said) -> None:
    assert main(["cluster", "use", *arguments]) == code
    assert words in capsys.readouterr().err
    assert paths.chosen() is None


def test_two_of_one_name_are_told_apart_by_their_directories(home: Path, tmp_path: Path, capsys: Said) -> None:
    used(capsys, "--dir", str(a_cluster(tmp_path / "e", "other-one")))
    assert main(["cluster", "use", "other-one"]) == 2
    assert f"--dir {home}/other-one or --dir {tmp_path}/e" in capsys.readouterr().err


def test_to_go_back_to_a_default_one_that_is_not_there_is_no_error(home: Path, capsys: Said) -> None:
    used(capsys, "other-one")
    (home / "default/cluster.json").unlink()
    assert used(capsys, "--default")["name"] == "default"


def test_names_are_offered() -> None:
    assert [offer.word for offer in offers(["cluster", "use"], "")] == ["default", "other-one"]

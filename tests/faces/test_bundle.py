"""`support-bundle`: what is in it, and what never is."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import threading
from pathlib import Path

import pytest
from devices import device

from dynazmq import paths
from dynazmq.cli import main
from dynazmq.cli.bundle import LOG_BYTES_MAX, Redaction
from dynazmq.config import NodeConfig
from dynazmq.paths import ClusterFile, save_node_config

SECRET = bytes(range(7, 39))


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cluster that does not run, whose files say more than they should."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DYNAZMQ_DIR", str(tmp_path / "c"))
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "c"
    directory.mkdir()
    members = {name: f"ipc://{directory}/run/{name}.sock" for name in ("n1", "n2")}
    ClusterFile(name="c", cluster_id=7, secret=SECRET, members=members).save(directory)
    for name, endpoint in members.items():
        paths.node_dir(directory, name).mkdir(parents=True)
        config = NodeConfig(name=name, cluster="c", cluster_id=7, secret=SECRET, data_dir="", endpoint=endpoint)
        save_node_config(paths.config_path(directory, name), config)
        paths.node_log(directory, name).write_bytes(b"04:11:09.120 INFO it starts\n")
    return directory


def forms() -> list[bytes]:
    return [
        SECRET,
        SECRET.hex().encode(),
        SECRET.hex().upper().encode(),
        base64.b64encode(SECRET),
        base64.urlsafe_b64encode(SECRET),
    ]


def unpacked(path: Path) -> dict[str, bytes]:
    """Name without the leading directory → content."""
    with tarfile.open(path) as tar:
        found = {}
        for entry in tar.getmembers():
            file = tar.extractfile(entry)
            assert file is not None
            found[entry.name.partition("/")[2]] = file.read()
        return found


def test_it_has_what_somebody_else_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["support-bundle", "b.tar.gz", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    files = unpacked(tmp_path / "b.tar.gz")
    assert document["schema"] == "dynazmq.support-bundle/1"
    assert sorted(document["files"]) == sorted(files)
    assert files.keys() >= {
        *("about.json", "cluster.json", "nodes/n1/config.json", "status.json", "status.txt", "doctor.json", "inspect.json"),
        *("files.txt", "logs/n1.log"),
    }
    assert json.loads(files["cluster.json"])["secret"] == "(removed)"
    assert json.loads(files["about.json"])["parts"].keys() >= {"python", "sqlite", "pyzmq"}
    assert b"supervisor.log" in files["errors.txt"]  # there is none: said, and no reason to stop


def test_the_secret_is_in_no_form_in_it_wherever_it_was(directory: Path, tmp_path: Path) -> None:
    paths.node_log(directory, "n1").write_bytes(b"\n".join([b"a secret:", *forms(), b"end\n"]))
    paths.supervisor_log(directory).write_bytes(b"secret " + SECRET.hex().encode() + b"\n")
    (directory / "events.jsonl").write_bytes(b'{"text": "' + base64.b64encode(SECRET) + b'"}\n')
    (directory / "supervisor.json").write_text(json.dumps({"x": SECRET.hex()}))
    assert main(["support-bundle", "b.tar.gz"]) == 0
    everything = b"".join(unpacked(tmp_path / "b.tar.gz").values())
    assert b"a secret:" in everything
    for form in forms():
        assert form not in everything
        assert form.rstrip(b"=") not in everything


@pytest.mark.parametrize("cut", [80, 200, 10_000])
def test_nor_that_of_a_cluster_whose_files_are_damaged(cut: int, directory: Path, tmp_path: Path) -> None:
    for path in (directory / "cluster.json", paths.config_path(directory, "n1")):
        path.write_text(path.read_text()[:cut] + "\n")
    (directory / "cluster.json").write_text((directory / "cluster.json").read_text() + "garbage")
    assert main(["support-bundle", "b.tar.gz"]) == 0
    everything = b"".join(unpacked(tmp_path / "b.tar.gz").values())
    assert SECRET.hex()[:24].encode() not in everything
    assert b'"name": "c"' in everything


def test_what_a_secret_may_look_like_is_taken_out_also_when_it_is_another_one() -> None:
    redact = Redaction([])
    other = bytes(32).hex().encode()
    assert redact(b"key " + other + b" end") == b"key (removed) end"
    assert redact(b"digest cc76627252974d0c") == b"digest cc76627252974d0c"
    assert redact.count == 1


def test_of_a_long_log_the_newest_lines_are_in_it(directory: Path, tmp_path: Path) -> None:
    lines = [b"line %07d\n" % i for i in range(100_000)]
    paths.node_log(directory, "n1").write_bytes(b"".join(lines))
    assert main(["support-bundle", "b.tar.gz"]) == 0
    kept = unpacked(tmp_path / "b.tar.gz")["logs/n1.log"]
    assert len(kept) <= LOG_BYTES_MAX
    assert kept.startswith(b"line ")
    assert kept.endswith(lines[-1])


def test_a_file_that_is_there_is_kept_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.tar.gz").write_text("mine")
    (tmp_path / "b.tar.gz").chmod(0o640)
    assert main(["support-bundle", "b.tar.gz"]) == 2
    assert "b.tar.gz exists; replace it with --force" in capsys.readouterr().err
    assert (tmp_path / "b.tar.gz").read_text() == "mine"
    assert main(["support-bundle", "b.tar.gz", "--force"]) == 0
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o640, "--force overwrites what is in it"


def test_one_that_goes_into_a_pipe_or_a_device_is_whole_and_replaces_neither(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert main(["support-bundle", "pipe"]) == 0
    reader.join()
    with tarfile.open(fileobj=io.BytesIO(got[0])) as bundle:
        assert any(name.endswith("/about.json") for name in bundle.getnames())
    assert (tmp_path / "pipe").is_fifo()
    null = device("null", tmp_path)
    assert main(["support-bundle", str(null)]) == 0
    assert null.is_char_device()


def test_without_a_name_it_is_that_of_the_cluster_and_the_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["support-bundle"]) == 0
    (made,) = tmp_path.glob("dynazmq-support-c-*.tar.gz")
    said = capsys.readouterr()
    assert made.name in said.out
    assert "… doctor.json" in said.err


def test_an_empty_name_is_not_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.iterdir())
    assert main(["support-bundle", ""]) == 2
    assert capsys.readouterr().err == "error: the name of the file is empty\n"
    assert sorted(tmp_path.iterdir()) == before


def test_where_it_cannot_be_written_is_one_line_and_nothing_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["support-bundle", "nowhere/b.tar.gz"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: No such file or directory")
    assert list(tmp_path.glob("**/*.part")) == []


def test_the_settings_are_shown_without_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("config show", "config show --json", "config show n1", "config show n1 --json", "config path --json"):
        assert main(command.split()) == 0
        said = capsys.readouterr().out
        assert "n1" in said
        assert SECRET.hex() not in said
        assert "secret" not in said

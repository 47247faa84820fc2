"""resolve, export and import, as far as no cluster is needed: merging values, reading lines, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynazmq.cli import main
from dynazmq.cli.bulk import SCHEMA, Line
from dynazmq.cli.resolve import merged
from dynazmq.errors import InvalidRequest
from dynazmq.paths import ClusterFile


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    directory = tmp_path / "c"
    directory.mkdir()
    ClusterFile(name="c", cluster_id=7, secret=b"s" * 32, members={"n1": f"ipc://{directory}/run/n1.sock"}).save(directory)
    monkeypatch.setenv("DYNAZMQ_DIR", str(directory))
    monkeypatch.chdir(tmp_path)
    return directory


@pytest.mark.parametrize(
    ("values", "how", "found"),
    [
        ([b'{"milk":1,"eggs":6}', b'{"milk":1,"bread":2}'], "union", b'{"bread":2,"eggs":6,"milk":1}'),
        ([b'["a"]', b'["b","a"]'], "union", b'["a","b"]'),
        ([b"3", b"20"], "largest", b"20"),
        ([b"abc", b"abd"], "largest", b"abd"),
        (['{"é":"ü"}'.encode(), b"{}"], "union", '{"é":"ü"}'.encode()),
    ],
)
def test_siblings_are_merged(values: list[bytes], how: str, found: bytes) -> None:
    assert merged(values, how) == found
    assert merged(values[::-1], how) == found


@pytest.mark.parametrize(
    ("values", "how", "words"),
    [
        ([b"{}", b"milk"], "union", "value 2 is none"),
        ([b"{}", b"[]"], "union", "union merges dicts or lists"),
        ([b'"a"', b"1"], "largest", "cannot"),
        ([b"[" * 100_000, b"{}"], "union", "value 1 is none"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_what_goes(values: list[bytes], how: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match="choose with --take or --value") as caught:
        merged(values, how)
    assert words in str(caught.value)


def test_a_line_is_read_as_it_was_written() -> None:
    assert Line({"key": "k", "values": ["é"]}).values == ["é".encode()]
    line = Line({"key": "gA==", "values": ["AAE="], "encoding": "base64", "context": "AZ"})
    assert (line.key, line.values, line.context) == (b"\x80", [b"\0\1"], "AZ")


@pytest.mark.parametrize(
    "raw",
    [
        *([], {}, {"key": 1, "values": ["v"]}, {"key": "k"}, {"key": "k", "values": []}, {"key": "k", "values": [1]}),
        *({"key": "k", "values": ["v"], "encoding": "rot13"}, {"key": "?", "values": ["v"], "encoding": "base64"}),
        {"key": "k", "values": ["\ud800"]},
    ],
)
def test_a_line_that_is_none_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Line(raw)


@pytest.mark.parametrize("first", ["", "{}", "no json", '{"schema": "other.export/1", "bucket": "b"}', "[" * 100_000])
def test_a_file_that_is_no_export_is_refused_before_anything_is_asked(
    first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text(first)
    assert main(["import", "x"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f'error: x:1: not an export: the first line must have "schema": "{SCHEMA}"')


def test_an_export_of_another_release_is_called_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text('{"schema": "dynazmq.export/2"}\n')
    assert main(["import", "x"]) == 2
    assert capsys.readouterr().err == f"error: x:1: an export of another release, 'dynazmq.export/2'; this one reads {SCHEMA}\n"


def test_contexts_are_for_the_cluster_and_the_bucket_that_they_are_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = {"schema": SCHEMA, "cluster": "other", "cluster_id": "00000000000000ff", "bucket": "b", "at": 0}
    (tmp_path / "x").write_text(json.dumps(header) + "\n")
    assert main(["import", "x", "--contexts"]) == 2
    assert "other (00000000000000ff), and this is c (0000000000000007)" in capsys.readouterr().err
    (tmp_path / "x").write_text(json.dumps({**header, "cluster_id": "0000000000000007"}) + "\n")
    assert main(["import", "x", "--contexts", "--bucket", "c"]) == 2
    assert "for the bucket that the export is of: b" in capsys.readouterr().err


def test_a_file_that_is_missing_or_there_already_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "nowhere"]) == 1
    assert capsys.readouterr().err == "error: No such file or directory: nowhere\n"
    assert main(["export", "x"]) == 7  # it does not run
    assert list(tmp_path.glob("*x*")) == []

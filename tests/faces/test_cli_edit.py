"""`edit` without a cluster: which editor, what it leaves, and which of its line ends are the person's."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynazmq.cli import main
from dynazmq.cli.data import Access
from dynazmq.cli.edit import run, without_added_end
from dynazmq.client.values.context import EMPTY, Context
from dynazmq.client.values.results import PutResult, Result
from dynazmq.errors import Unavailable
from dynazmq.paths import ClusterFile

LIMIT = 100
SEEN = Context(b"\x01" + b"s" * 20)

Edits = Callable[[str], None]


class Bucket:
    """One key. Remembers what was put."""

    def __init__(self, *values: bytes) -> None:
        self.values = list(values)
        self.puts: list[tuple[bytes, Context]] = []
        self.fails: Exception | None = None

    def get(self, key: str | bytes, *, best_effort: bool) -> Result:
        origins: list[Any] = [[value, "n1", number, 0] for number, value in enumerate(self.values, 1)]
        return Result(key, self.values, SEEN if self.values else EMPTY, ("n1", "n2"), origins)

    def put(self, _key: str | bytes, value: bytes, context: Context) -> PutResult:
        if self.fails is not None:
            raise self.fails
        self.puts.append((value, context))
        self.values = [value]
        return PutResult(SEEN, ("n1", "n2"), ())


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def access(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Access:
    """To a cluster that is nothing but this bucket; edited files lie below tmp_path/tmp."""
    directory, tmp = tmp_path / "c", tmp_path / "tmp"
    directory.mkdir()
    tmp.mkdir()
    ClusterFile(name="c", cluster_id=7, secret=b"s" * 32, max_value_bytes=LIMIT, members={"n1": "ipc://x"}).save(directory)
    monkeypatch.setenv("DYNAZMQ_DIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(tmp))
    monkeypatch.delenv("VISUAL", raising=False)

    @contextmanager
    def opened(_self: Access) -> Iterator[Bucket]:
        yield bucket

    monkeypatch.setattr(Access, "open", opened)
    return Access("edit", directory, "default", "2s", False)


@pytest.fixture
def edits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Edits:
    """Makes EDITOR a command of two words: a program that does this, in Python, with `path` as the file."""

    def be(code: str) -> None:
        script = tmp_path / "an editor.py"
        script.write_text(f"import os, pathlib, sys\npath = pathlib.Path(sys.argv[1])\n{code}\n")
        monkeypatch.setenv("EDITOR", f"{sys.executable} '{script}'")

    return be


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("before", "saved", "value"),
    [
        (b"word", b"word\n", b"word"),
        (b"word", b"other\n", b"other"),
        (b"word", b"other", b"other"),
        (b"word", b"other\n\n", b"other\n"),
        (b"", b"\n", b""),
        (b"one\ntwo", b"one\n2\n", b"one\n2"),
        (b"line\n", b"other\n", b"other\n"),
        (b"line\n", b"other", b"other"),
        (b"a\r\nb", b"a\r\nc\r\n", b"a\r\nc"),
    ],
)
def test_a_line_end_is_the_persons_only_where_there_was_one_before(before: bytes, saved: bytes, value: bytes) -> None:
    assert without_added_end(before, saved) == value


def test_what_was_changed_is_put_with_the_context_that_was_read(
    access: Access, bucket: Bucket, edits: Edits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.values = [b"hello"]
    edits("path.write_text(path.read_text() + ' world\\n')")

    assert run(access, "greeting") == 0

    assert bucket.puts == [(b"hello world", SEEN)]
    assert capsys.readouterr().out.startswith("ok   held by n1 n2")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_nobody_else_can_read_the_file_and_json_is_named_so(access: Access, bucket: Bucket, edits: Edits, tmp_path: Path) -> None:
    bucket.values = [b'{"milk":1}']
    told = tmp_path / "told"
    edits(f"pathlib.Path({str(told)!r}).write_text(f'{{path.stat().st_mode}} {{path.parent.stat().st_mode}} {{path.name}}')")

    assert run(access, "cart/42") == 0

    mode, around, name = told.read_text().split()
    assert (stat.S_IMODE(int(mode)), stat.S_IMODE(int(around)), name) == (0o600, 0o700, "cart_42.json")


@pytest.mark.parametrize("value", [[b"hello"], [b"hello\n"], [b""], []])
def test_an_editor_that_changes_nothing_writes_nothing(
    value: list[bytes], access: Access, bucket: Bucket, edits: Edits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.values = value
    edits("path.write_text(path.read_text().removesuffix('\\n') + '\\n')")  # as vi saves what was not touched

    assert run(access, "k") == 0

    assert bucket.puts == []
    assert "nothing has changed" in capsys.readouterr().err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_key_without_a_value_begins_empty(access: Access, bucket: Bucket, edits: Edits) -> None:
    edits("assert path.read_bytes() == b''; path.write_text('first\\n')")

    assert run(access, "k") == 0

    assert bucket.puts == [(b"first", EMPTY)]


def test_an_editor_that_fails_writes_nothing(
    access: Access, bucket: Bucket, edits: Edits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.values = [b"hello"]
    edits("sys.exit(3)")

    assert run(access, "k") == 1

    assert bucket.puts == []
    said = capsys.readouterr().err
    assert "exit code 3: nothing was written" in said
    assert "kept" not in said
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("code", "fails", "exit_code", "words", "text"),
    [
        ("path.write_text('x' * 101)", None, 2, "101 bytes is over the limit of 100", b"x" * 101),
        ("path.write_text('x' * 5000)", None, 2, "5,000 bytes is over the limit of 100", b"x" * 5000),
        ("path.write_bytes(b'caf\\xe9\\n')", None, 2, "byte 4 of 4 is no UTF-8", b"caf\xe9"),
        ("path.write_text('mine\\n'); sys.exit(1)", None, 1, "exit code 1", b"mine"),
        ("path.write_text('mine\\n')", Unavailable("2 replicas are needed"), 5, "2 replicas are needed", b"mine"),
        ("other = path.with_name('o'); other.write_text('me'); os.replace(other, path)", OSError(28, "Full"), 1, "Full", b"me"),
    ],
)  # fmt: skip
def test_text_that_cannot_be_stored_is_kept_and_the_command_that_stores_it_is_named(
    code: str, fails: Exception | None, exit_code: int, words: str, text: bytes,
    access: Access, bucket: Bucket, edits: Edits, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    bucket.values, bucket.fails = [b"hello"], fails
    edits(code)

    assert run(access, "k k") == exit_code

    assert bucket.puts == []
    said = capsys.readouterr().err
    (file,) = kept(tmp_path)
    assert words in said
    assert f"dynazmq put 'k k' - --context {SEEN} < {file}" in said
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (text, 0o600)


def test_a_text_is_kept_when_storing_it_is_interrupted(access: Access, bucket: Bucket, edits: Edits, tmp_path: Path) -> None:
    bucket.fails = KeyboardInterrupt()  # type: ignore[assignment]
    edits("path.write_text('mine')")

    with pytest.raises(KeyboardInterrupt):
        run(access, "k")

    assert [file.read_bytes() for file in kept(tmp_path)] == [b"mine"]


def test_a_value_that_is_no_text_is_not_opened(access: Access, bucket: Bucket, edits: Edits, tmp_path: Path) -> None:
    bucket.values = [b"a\xff"]
    edits(f"pathlib.Path({str(tmp_path / 'opened')!r}).touch()")

    assert main(["edit", "k"]) == 2

    assert not (tmp_path / "opened").exists()


def test_siblings_are_for_resolve(
    access: Access, bucket: Bucket, edits: Edits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.values = [b"one", b"two"]
    edits(f"pathlib.Path({str(tmp_path / 'opened')!r}).touch()")

    assert run(access, "k") == 4

    assert "dynazmq resolve k --take 2" in capsys.readouterr().err
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("visual", "editor", "words"),
    [
        ("", "", "set VISUAL or EDITOR"),
        (" ", "no-such-editor -w", "EDITOR is 'no-such-editor -w', and there is no program 'no-such-editor'"),
        ("a 'b", "true", 'VISUAL is "a \'b", which is no command'),
        ("''", "true", "there is no program ''"),
    ],
)
def test_an_editor_that_is_none_is_said_before_anything_is_read(
    visual: str, editor: str, words: str, access: Access, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISUAL", visual)
    monkeypatch.setenv("EDITOR", editor)
    if not editor:
        monkeypatch.setenv("PATH", os.devnull)

    assert main(["edit", "k"]) == 2

    assert words in capsys.readouterr().err

"""What a command prints of keys and values can be given to a command again: over all bytes, in any encoding of the output."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from devices import device
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dynazmq.cli import main
from dynazmq.cli.data import Access
from dynazmq.cli.escaping import as_argument, escaped, typed, unescaped
from dynazmq.client.values.context import EMPTY, Context
from dynazmq.client.values.results import Batch, PutResult, Result
from dynazmq.errors import InvalidRequest
from dynazmq.paths import ClusterFile

SEEN = Context(b"\x01" + b"s" * 20)
KEYS = st.binary(min_size=1, max_size=40) | st.text(min_size=1, max_size=20).map(lambda text: text.encode("utf-8", "replace"))
ITEMS = st.dictionaries(KEYS, st.binary(max_size=40), min_size=1, max_size=12)
AWKWARD = {
    b"a\nb": b"v",
    b"a\\nb": b"w",
    b"cr\r": b"",
    b"tab\t": b"\0",
    b"\xff\xfe": b"\\",
    b"-": b"-",
    b"\0": b"\n",
    "é".encode(): b"x",
}


class Bucket:
    """A dict, asked as the commands ask a bucket."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    def with_options(self, **_: Any) -> Bucket:
        return self

    def get(self, key: str | bytes, **_: Any) -> Result:
        raw = key.encode() if isinstance(key, str) else key
        values = [self.held[raw]] if raw in self.held else []
        origins: list[Any] = [[value, "n1", 1, 0] for value in values]
        return Result(key, list(values), SEEN if values else EMPTY, ("n1", "n2"), origins)

    def put(self, key: str | bytes, value: bytes, **_: Any) -> PutResult:
        self.held[key.encode() if isinstance(key, str) else key] = value
        return PutResult(SEEN, ("n1", "n2"), ())

    def delete(self, key: str | bytes, **_: Any) -> PutResult:
        del self.held[key.encode() if isinstance(key, str) else key]
        return PutResult(SEEN, ("n1", "n2"), ())

    def keys(self) -> list[str | bytes]:
        return list(self.held)

    def get_many(self, keys: Sequence[str | bytes], **_: Any) -> Batch[Any, Any]:
        return Batch({key: self.get(key) for key in keys})

    def get_iter(self, keys: Sequence[str | bytes], **_: Any) -> Iterator[tuple[str | bytes, Result]]:
        return ((key, self.get(key)) for key in list(keys))

    def put_many(self, items: Mapping[Any, bytes], **_: Any) -> Batch[Any, Any]:
        return Batch({key: self.put(key, value) for key, value in items.items()})


class Store:
    def __init__(self) -> None:
        self._bucket = Bucket()

    def bucket(self, _name: str) -> Bucket:
        return self._bucket


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    directory = tmp_path / "c"
    directory.mkdir()
    ClusterFile(name="c", cluster_id=7, secret=b"s" * 32, members={"n1": "ipc://x"}).save(directory)
    monkeypatch.setenv("DYNAZMQ_DIR", str(directory))
    monkeypatch.chdir(tmp_path)
    store = Store()

    @contextmanager
    def connected(_self: Access) -> Iterator[Store]:
        yield store

    monkeypatch.setattr(Access, "connected", connected)
    return store.bucket("default")


def run(*arguments: str, given: bytes = b"", encoding: str = "utf-8") -> bytes:
    """What a command that ends well writes, as bytes."""
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(given)), encoding)  # type: ignore[arg-type]
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding, newline="\n")
    sys.stderr = io.TextIOWrapper(io.BytesIO(), encoding, "backslashreplace")
    try:
        code = main(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
        assert code == 0, sys.stderr.buffer.getvalue()  # type: ignore[attr-defined]
        return sys.stdout.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


@given(st.binary(), st.booleans())
def test_escaping_is_read_back_and_never_breaks_a_line(raw: bytes, ascii_only: bool) -> None:
    text = escaped(raw, ascii_only=ascii_only)
    assert unescaped(text.encode()) == raw
    assert text.isprintable()
    assert text.isascii() or not ascii_only


@given(st.lists(st.binary(), unique=True))
def test_two_keys_never_look_alike(keys: list[bytes]) -> None:
    assert len({escaped(key) for key in keys}) == len(keys)


@given(KEYS)
def test_a_key_in_a_command_to_type_next_is_that_key(raw: bytes) -> None:
    *options, word = shlex.split(as_argument(raw))
    assert options in ([], ["--escaped"])
    assert not word.startswith("-")
    assert os.fsencode(typed(word, bool(options))) == raw


@pytest.mark.parametrize("text", ["\\", "a\\q", "\\x", "\\x1", "\\xg0", "\\u0041", "\\\\\\"])
def test_a_backslash_that_begins_no_escape_is_refused_and_not_guessed_at(text: str) -> None:
    with pytest.raises(InvalidRequest, match="a backslash itself is written"):
        typed(text, True)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(items=ITEMS)
@example(items=AWKWARD)
def test_whatever_is_stored_comes_through_every_command_that_prints_and_reads(
    bucket: Bucket, encoding: str, items: dict[bytes, bytes]
) -> None:
    bucket.held = dict(items)
    listed = run("keys", encoding=encoding)
    assert len(listed.splitlines()) == len(items)
    rows = [line.split(b"\t") for line in run("mget", "-", given=listed, encoding=encoding).split(b"\n")[:-1]]
    assert {unescaped(key): unescaped(value) for key, value in rows} == items
    if not any(b"\0" in key for key in items):
        assert run("mget", "-0", "-", given=run("keys", "-0"), encoding=encoding).split(b"\n")[:-1] == [
            b"\t".join(row) for row in rows
        ]

    run("export", "all", "--force", encoding=encoding)
    for key, value in rows:
        assert run("get", "-e", "--", key.decode(), encoding=encoding) == items[unescaped(key)]
        run("delete", "-e", "--", key.decode(), encoding=encoding)
        assert unescaped(key) not in bucket.held
        if value != b"-":  # which is standard input
            run("put", "-e", "--", key.decode(), value.decode(), encoding=encoding)
            assert bucket.held.pop(unescaped(key)) == items[unescaped(key)]
    assert bucket.held == {}
    run("import", "all", encoding=encoding)
    assert bucket.held == items

    shown = json.loads(run("mget", "-", "--json", given=listed, encoding=encoding))["results"]
    assert len(shown) == len(items)


def test_lists_of_another_system_begin_with_a_mark_and_end_lines_their_way(bucket: Bucket) -> None:
    bucket.held = {b"a": b"1", b"b": b"2"}
    assert run("mget", "-", given=b"\xef\xbb\xbfa\r\nb\r\n") == b"a\t1\nb\t2\n"


def test_a_line_that_nobody_has_escaped_is_refused_with_the_option_that_reads_it(
    bucket: Bucket, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.held = {b"C:\\dir": b"1"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x\nC:\\dir\n")))
    assert main(["mget", "-"]) == 2
    assert b"standard input:2: \\d is none of" in (err := capfdbinary.readouterr().err)
    assert b"with -0 keys are read as they are" in err
    assert run("mget", "-0", "-", given=b"C:\\dir") == b"C:\\\\dir\t1\n"


def test_an_export_goes_into_a_device_and_a_pipe_and_replaces_neither(bucket: Bucket, tmp_path: Path) -> None:
    bucket.held = {b"a": b"1"}
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    run("export", "pipe", "--force")
    reader.join()
    assert json.loads(got[0].splitlines()[1])["key"] == "a"
    null = device("null", tmp_path)
    run("export", str(null), "--force")
    run("export", str(null))
    assert (tmp_path / "pipe").is_fifo()
    assert null.is_char_device()


def test_a_key_with_a_nul_byte_is_left_out_of_what_nul_bytes_part_and_it_is_said(
    bucket: Bucket, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    bucket.held = {b"a\0b": b"", b"c\n": b""}
    assert main(["keys", "-0"]) == 1
    out, err = capfdbinary.readouterr()
    assert out == b"c\n\0"
    assert b"a\\x00b" in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_json_is_the_same_document_where_the_output_is_not_in_utf_8(bucket: Bucket, encoding: str) -> None:
    bucket.held = {"é".encode(): b""}
    assert json.loads(run("keys", "--json", encoding=encoding))["keys"] == ["é"]
    assert json.loads(run("count", "é", "--json", encoding=encoding))["prefix"] == "é"

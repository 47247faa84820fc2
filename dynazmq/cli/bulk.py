"""mget, export, import: many keys at a time, in batches that fit into memory.

An export is a file of JSON lines. The first says what it is; each other one is a key:

    {"schema": "dynazmq.export/1", "cluster": NAME, "cluster_id": HEX, "bucket": NAME, "at": seconds since 1970}
    {"key": TEXT, "values": [TEXT, …], "context": TOKEN}     "encoding": "base64" when key or values are no UTF-8

Contexts are in it, since only they let an import tell what was there from what came later. They are tokens under the cluster's
secret, and do not give it away; another cluster refuses them, and so does `import --contexts` before it stores anything.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from dynazmq import output
from dynazmq.cli import ABSENT, OK, SIBLINGS, code_of
from dynazmq.cli.data import Access, document, key_document, key_of, scan, texts
from dynazmq.cli.escaping import printable, typed, unescaped
from dynazmq.cli.terminal import GREEN, emit, note, paint, say
from dynazmq.cli.words import many, quorum, seconds
from dynazmq.config import KEY_BYTES_MAX
from dynazmq.errors import DynazmqError, InvalidRequest, Unavailable
from dynazmq.paths import ClusterFile

if TYPE_CHECKING:
    from dynazmq import Bucket, Result

_SCHEMAS = "dynazmq.export/"
SCHEMA = f"{_SCHEMAS}1"
_KEYS = 128
_BATCH_BYTES = 4 << 20
_LINE_BYTES_MAX = 64 << 20  # a key with all siblings that it may have, as base64
_EVERY_S = 0.2
_CHUNK_BYTES = 64 << 10
_KEY_LINE_BYTES_MAX = 8 * KEY_BYTES_MAX  # a byte takes at most six signs, as \u0080 does


@contextmanager
def _bucket(access: Access, name: str) -> Iterator[Bucket]:
    """Its timeout is each batch's."""
    limit_s, r, w = seconds(access.timeout), quorum(access.r), quorum(access.w)
    with access.connected() as client:
        yield client.bucket(name).with_options(r=r, w=w, n=access.n, timeout=limit_s, operation=access.command)


def _batches(items: Iterable[Any], size: int = _KEYS) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


class _Counter:
    """A line that says how far it is, on a terminal."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._next = time.monotonic() + _EVERY_S
        self._shown = False

    def show(self, count: int) -> None:
        if sys.stderr.isatty() and time.monotonic() >= self._next:
            print(f"\r{self._word} {many(count, 'key')} ", end="", file=sys.stderr, flush=True)
            self._next, self._shown = time.monotonic() + _EVERY_S, True

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# --- mget -----------------------------------------------------------------------------------------------------------------


def mget(access: Access, names: Sequence[str], *, null: bool = False) -> int:
    wanted = list(dict.fromkeys(_named(access, names, null)))
    worst, rows = OK, []
    with _bucket(access, access.bucket) as bucket:
        for batch in _batches(wanted):
            for key, result in bucket.get_many(batch).items():
                raw = key.encode() if isinstance(key, str) else key
                if isinstance(result, DynazmqError):
                    worst = max(worst, code_of(result))
                    rows.append({**key_document(raw), "error": str(result), "code": code_of(result)})
                    if not access.as_json:
                        note(f"{printable(raw)}: {result}")
                    continue
                code = (ABSENT, OK, SIBLINGS)[min(len(result.values), 2)]
                worst = max(worst, code)
                rows.append({**key_document(raw), **document(result)})
                if access.as_json:
                    continue
                if code == OK:
                    say(f"{printable(raw)}\t{printable(result.values[0])}")
                else:
                    note(f"{printable(raw)}: {'no value' if code == ABSENT else f'{len(result.values)} siblings'}")
    if access.as_json:
        emit("mget", {"bucket": access.bucket, "results": rows})
    return worst


def _named(access: Access, names: Sequence[str], null: bool) -> Iterator[str | bytes]:
    for name in dict.fromkeys(names):
        if name != "-":
            yield key_of(typed(name, access.escaped))
        else:
            yield from (key_of(os.fsdecode(raw)) for raw in (_ended_by_nul if null else _unescaped_lines)(sys.stdin.buffer))


def _ended_by_nul(source: IO[bytes]) -> Iterator[bytes]:
    """Behind the last one it may be missing."""
    rest = b""
    while chunk := source.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]  # of a BufferedReader: what is there
        *whole, rest = (rest + chunk).split(b"\0")
        yield from filter(None, whole)
        if len(rest) > KEY_BYTES_MAX:
            raise InvalidRequest(f"standard input holds what is longer than any key: the limit is {KEY_BYTES_MAX:,} bytes")
    if rest:
        yield rest


def _unescaped_lines(source: IO[bytes]) -> Iterator[bytes]:
    """As `keys` prints them. A byte order mark, or a line end of another system, is no part of a key: those are escaped."""
    for number, line in enumerate(iter(lambda: source.readline(_KEY_LINE_BYTES_MAX), b""), 1):
        if len(line) == _KEY_LINE_BYTES_MAX:  # or it would be read for as long as there is memory
            raise InvalidRequest(f"standard input:{number}: longer than any key: the limit is {KEY_BYTES_MAX:,} bytes")
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        text = text.removeprefix(codecs.BOM_UTF8) if number == 1 else text
        try:
            if text:
                yield unescaped(text)
        except ValueError as error:
            raise InvalidRequest(
                f"standard input:{number}: {error}; with -0 keys are read as they are, a NUL byte behind each"
            ) from None


# --- export ---------------------------------------------------------------------------------------------------------------


def export(access: Access, file: str, *, prefix: str, force: bool) -> int:
    if file == "-" and access.as_json:
        raise InvalidRequest("--json and FILE - both want standard output: choose one")
    cluster = ClusterFile.load(access.directory)
    keys = values = skipped = 0
    counter = _Counter("exported")
    with _bucket(access, access.bucket) as bucket, _written(file, force) as out:
        header = {"schema": SCHEMA, "cluster": cluster.name, "cluster_id": f"{cluster.cluster_id:016x}"}
        _write(out, {**header, "bucket": access.bucket, "at": round(time.time(), 3)})
        for key, result in bucket.get_iter(scan(bucket, prefix), ordered=True):
            if isinstance(result, DynazmqError):
                raise result  # a file with holes would look whole
            if not result.found:  # deleted since it was seen
                skipped += 1
                continue
            shown, encoding = texts([key if isinstance(key, bytes) else key.encode(), *result.values])
            line = {"key": shown[0], "values": shown[1:], "context": str(result.context)}
            _write(out, line if encoding == "utf-8" else {**line, "encoding": encoding})
            keys, values = keys + 1, values + len(result.values)
            counter.show(keys)
        counter.end()
    summary = {"file": file, "bucket": access.bucket, "keys": keys, "values": values}
    if access.as_json:
        emit("export", summary)
    elif file != "-":
        more = f", {many(values, 'value')}" if values != keys else ""
        tell = note if output.is_standard_output(file) else say
        tell(f"{paint('ok', GREEN)}   {many(keys, 'key')}{more} of bucket {access.bucket} in {file}")
    return OK


def _write(out: IO[bytes], line: dict[str, Any]) -> None:
    out.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


@contextmanager
def _written(file: str, force: bool) -> Iterator[IO[bytes]]:
    """FILE, which is new when all is written; or standard output."""
    if file == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with output.written(file, overwrite=force) as out:
        yield out


# --- import ---------------------------------------------------------------------------------------------------------------


class Line:
    """One key of a file."""

    __slots__ = ("context", "key", "values")

    def __init__(self, raw: Any) -> None:
        """Raises ValueError with words for a person."""
        if not isinstance(raw, dict) or not isinstance(raw.get("key"), str) or not isinstance(raw.get("values"), list):
            raise ValueError('not an object with "key" and "values"')
        encoding = raw.get("encoding", "utf-8")
        if encoding not in ("utf-8", "base64"):
            raise ValueError(f"encoding is utf-8 or base64, not {encoding!r}")
        if not raw["values"] or not all(isinstance(value, str) for value in raw["values"]):
            raise ValueError("values are one string or more")
        try:
            self.key, *self.values = [
                each.encode() if encoding == "utf-8" else base64.b64decode(each, validate=True)
                for each in (raw["key"], *raw["values"])
            ]
        except (binascii.Error, UnicodeEncodeError) as error:
            raise ValueError(f"not {encoding}: {error}") from None
        self.context = str(raw.get("context") or "")

    @property
    def size(self) -> int:
        return sum(map(len, self.values))


class Import:
    """One run of `import`."""

    def __init__(self, access: Access, *, missing: bool, contexts: bool) -> None:
        if missing and contexts:
            raise InvalidRequest("--missing and --contexts contradict each other: choose one")
        self._access = access
        self._missing = missing
        self._contexts = contexts
        self._stored = self._skipped = self._failed = 0
        self._unseen = 0  # keys stored of which some copies could not be read before
        self._gave_up = False
        self._first_error: DynazmqError | None = None

    def run(self, file: str) -> int:
        cluster = ClusterFile.load(self._access.directory)
        seconds(self._access.timeout), quorum(self._access.w)  # what is typed wrongly is said before anything is read
        with _read(file) as source:
            header = self._header(file, source, cluster)
            name = self._access.bucket or header["bucket"]
            counter = _Counter("imported")
            with _bucket(self._access, name) as bucket:
                try:
                    for batch in self._lines(file, source):
                        self._store(bucket, batch)
                        counter.show(self._stored)
                        if self._gave_up:
                            break
                except InvalidRequest as error:
                    counter.end()
                    raise InvalidRequest(f"{error}; {many(self._stored, 'key')} before it stored") from None
            counter.end()
        return self._report(file, name)

    def _header(self, file: str, source: IO[bytes], cluster: ClusterFile) -> dict[str, Any]:
        try:
            header: dict[str, Any] = json.loads(source.readline(_LINE_BYTES_MAX))
            schema = str(header["schema"])
            if not schema.startswith(_SCHEMAS):
                raise ValueError
            if schema == SCHEMA:  # another one need not have all of these
                header = {name: str(header[name]) for name in ("bucket", "cluster_id", "cluster")}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if isinstance(error, InvalidRequest):  # of the stream, which gives nothing
                raise
            raise InvalidRequest(f'{file}:1: not an export: the first line must have "schema": "{SCHEMA}"') from None
        if schema != SCHEMA:
            raise InvalidRequest(f"{file}:1: an export of another release, {schema!r}; this one reads {SCHEMA}")
        if self._contexts and header["cluster_id"] != f"{cluster.cluster_id:016x}":
            raise InvalidRequest(
                f"--contexts is for the cluster that the export is of: {header['cluster']} ({header['cluster_id']}), and this is "
                f"{cluster.name} ({cluster.cluster_id:016x})"
            )
        if self._contexts and self._access.bucket not in ("", header["bucket"]):
            raise InvalidRequest(f"--contexts is for the bucket that the export is of: {header['bucket']}")
        return header

    def _lines(self, file: str, source: IO[bytes]) -> Iterator[list[Line]]:
        """In batches. What was read before a line that is none is stored first."""
        batch: list[Line] = []
        size, number = 0, 1
        while raw := source.readline(_LINE_BYTES_MAX):
            number += 1
            if not raw.strip():
                continue
            try:
                line = Line(json.loads(raw))
            except (ValueError, RecursionError) as error:
                yield batch
                why = "cut off or no JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else str(error)
                raise InvalidRequest(f"{file}:{number}: {why}") from None
            batch.append(line)
            size += line.size
            if len(batch) >= _KEYS or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        yield batch

    def _store(self, bucket: Bucket, batch: list[Line]) -> None:
        """Read, then write what is not there: so it can be done twice. All values of a key are written with the same context:
        they replace what that covers, and not each other.
        """
        if not batch:
            return
        lines: dict[Any, Line] = {line.key: line for line in batch}  # of a key that comes twice the last one
        found = bucket.get_many(list(lines), best_effort=True)
        if self._missing:
            found.update({key: _unknown(result) for key, result in found.ok.items() if result.unseen and not result.found})
        self._note(found.failed)
        seen: dict[Any, Any] = {}
        new: dict[Any, list[bytes]] = {}
        for key, result in found.ok.items():
            new[key] = [value for value in lines[key].values if value not in result.values]
            extra = [value for value in result.values if value not in lines[key].values]
            if (self._missing and result.found) or not (new[key] or (extra and not self._contexts)):
                self._skipped += 1
                continue
            new[key] = new[key] if self._contexts else lines[key].values
            seen[key] = lines[key].context if self._contexts else result.context
        failed: set[Any] = set()
        for turn in range(max((len(new[key]) for key in seen), default=0)):
            items = {key: new[key][turn] for key in seen if turn < len(new[key]) and key not in failed}
            done = bucket.put_many(items, contexts={key: seen[key] or None for key in items})
            self._note(done.failed)
            failed |= set(done.failed)
        self._stored += len(seen) - len(failed)
        self._unseen += sum(bool(found.ok[key].unseen) for key in seen if key not in failed)
        if len(found.failed) + len(failed) == len(lines):  # nothing goes: no sense in trying all the rest
            assert self._first_error is not None
            self._gave_up = True

    def _note(self, failed: Any) -> None:
        self._failed += len(failed)
        for error in failed.values():
            self._first_error = self._first_error or error

    def _report(self, file: str, name: str) -> int:
        error = self._first_error
        if self._access.as_json:
            counts = {"stored": self._stored, "skipped": self._skipped, "failed": self._failed, "unseen": self._unseen}
            emit("import", {"file": file, "bucket": name, **counts, "error": str(error) if error else None})
        else:
            skipped = f", {self._skipped:,} there already" if self._skipped else ""
            word = "part" if error else paint("ok", GREEN)
            say(f"{word}   {many(self._stored, 'key')} stored in bucket {name}{skipped}")
            if error:
                rest = "; the rest of the file was not tried" if self._gave_up else ""
                note(f"{many(self._failed, 'key')} not stored, the first since: {error}{rest}    next  the same command again")
        if self._unseen:
            note(f"of {many(self._unseen, 'key')} too few replicas could be read: what was not seen may still be there later")
        return code_of(error) if error else OK


def _unknown(result: Result) -> Unavailable:
    heard = len(result.responders)
    text = f"import {result.key!r}: unknown whether there is a value: {heard} of {result.required} replicas could be read"
    return Unavailable(text, result.required, heard)


@contextmanager
def _read(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with open(file, "rb") as source:
        yield source

"""put, get, delete, exists, keys, count: what a person does with data at a shell, through the client that programs use."""

from __future__ import annotations

import base64
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynazmq.cli import ABSENT, FAILED, OK, SIBLINGS
from dynazmq.cli.escaping import as_argument, printable, typed
from dynazmq.cli.terminal import BOLD, DIM, GREEN, YELLOW, emit, note, paint, say
from dynazmq.cli.words import many, moment, quorum, seconds
from dynazmq.cluster.directory.orphans import anybody_runs
from dynazmq.errors import ClusterUnreachable, DynazmqError, InvalidRequest, NoSuchCluster, Unavailable, ValueTooLarge
from dynazmq.paths import ClusterFile, where

if TYPE_CHECKING:
    from dynazmq import Bucket, Client, Context, PutResult, Result
    from dynazmq.client.values.results import Sibling

SHOWN_MAX = 400


@dataclass(frozen=True, slots=True)
class Access:
    """Which command asks which cluster and bucket, with which quorums, for how long, and how to answer."""

    command: str
    """As it was typed: what errors say has failed."""
    directory: Path
    bucket: str
    timeout: str
    as_json: bool
    r: str | None = None
    w: str | None = None
    n: int | None = None
    escaped: bool = False
    """Values, and lists of keys, are given as `mget` prints them."""

    def deadline(self) -> float:
        """On the monotonic clock, for a command that begins now and has several calls to do."""
        return time.monotonic() + seconds(self.timeout)

    @contextmanager
    def open(self) -> Iterator[Bucket]:
        """The bucket, each of whose calls takes no longer than what connecting has left of the timeout."""
        deadline, r, w = self.deadline(), quorum(self.r), quorum(self.w)
        with self.connected() as client:
            if (late_s := time.monotonic() - deadline) > 0:
                raise ClusterUnreachable(f"connecting alone has taken {seconds(self.timeout) + late_s:.2g} s: nothing was sent")
            bucket = client.bucket(self.bucket)
            yield bucket.with_options(r=r, w=w, n=self.n, timeout=left(deadline), operation=self.command)

    @contextmanager
    def connected(self) -> Iterator[Client]:
        limit_s = seconds(self.timeout)
        at = where(self.directory)
        cluster = ClusterFile.load(self.directory)  # says what to do when there is none
        if not anybody_runs(self.directory, cluster.members):  # known at once: nobody should wait for the timeout
            raise NoSuchCluster(f"the cluster in {self.directory} is not running; start it with: dynazmq up{at}")
        import dynazmq

        try:
            with dynazmq.connect(dir=self.directory, timeout=limit_s) as client:
                yield client
        except ClusterUnreachable as error:
            raise ClusterUnreachable(f"{error}    look  dynazmq status{at}", error.tried) from None


def left(deadline: float) -> float:
    """Seconds, and at least so many that it is not refused as no time at all."""
    return max(0.001, deadline - time.monotonic())


def put(access: Access, key: str, value: str | None, *, context: str | None, blind: bool) -> int:
    if blind and context is not None:
        raise InvalidRequest("--blind and --context contradict each other: choose one")
    seen = checked_context(context)
    data = checked_value(access, value)
    found, deadline = None, access.deadline()
    with access.open() as bucket:
        if seen is None and not blind:
            found = read_first(access, bucket, key)
            seen = found.context
        began = time.perf_counter()
        done = bucket.put(key_of(key), data, context=seen, timeout=left(deadline))
        _say_done("put", access, key, found, done, time.perf_counter() - began)
    return OK


def delete(access: Access, key: str, *, context: str | None) -> int:
    seen = checked_context(context)
    found, deadline = None, access.deadline()
    with access.open() as bucket:
        if seen is None:
            found = read_first(access, bucket, key)
            if not found.found:
                check_absent(access, key, found)
                return _absent("delete", access, key)
            seen = found.context
        began = time.perf_counter()
        done = bucket.delete(key_of(key), context=seen, timeout=left(deadline))
        _say_done("delete", access, key, found, done, time.perf_counter() - began)
    return OK


def get(access: Access, key: str) -> int:
    with access.open() as bucket:
        result = bucket.get(key_of(key))
    if access.as_json:
        _emit_result(result)
    elif not result.found:
        return _absent("get", access, key)
    elif len(result.values) > 1:
        say_siblings(access, key, result)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(result.values[0])
        if sys.stdout.isatty():
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
    return (ABSENT, OK, SIBLINGS)[min(len(result.values), 2)]


def exists(access: Access, key: str) -> int:
    with access.open() as bucket:
        found = bucket.get(key_of(key)).found
    if access.as_json:
        emit("exists", {"found": found})
    return OK if found else ABSENT


def keys(access: Access, prefix: str, limit: int | None, *, null: bool = False) -> int:
    if null and access.as_json:
        raise InvalidRequest("--null and --json are two ways of printing: choose one")
    found: list[bytes] = []
    code = OK
    with access.open() as bucket:
        for key in islice(scan(bucket, prefix), limit):
            if access.as_json:
                found.append(key)
            elif not null:
                say(printable(key))
            elif b"\0" in key:  # nobody could tell where it ends
                note(f"left out, since it has a NUL byte itself: {printable(key)}")
                code = FAILED
            else:
                sys.stdout.buffer.write(key + b"\0")
                sys.stdout.buffer.flush()
    if access.as_json:
        shown, encoding = texts(found)
        emit("keys", {"bucket": access.bucket, "keys": shown, "encoding": encoding})
    return code


def count(access: Access, prefix: str) -> int:
    with access.open() as bucket:
        found = sum(1 for _ in scan(bucket, prefix))
    if access.as_json:
        (shown,), encoding = texts([os.fsencode(prefix)])
        emit("count", {"bucket": access.bucket, "prefix": shown, "encoding": encoding, "count": found})
    else:
        say(str(found))
    return OK


def scan(bucket: Bucket, prefix: str) -> Iterator[bytes]:
    """Keys that begin so, in no order."""
    wanted = os.fsencode(prefix)
    for key in bucket.keys():  # noqa: SIM118  (a scan, no mapping)
        raw = key.encode() if isinstance(key, str) else key
        if raw.startswith(wanted):
            yield raw


# --- what a write replaces ------------------------------------------------------------------------------------------------


def read_first(access: Access, bucket: Bucket, key: str) -> Result:
    """What there is, for a command that writes next: all that can be seen, or with -r what so many replicas hold.

    A read that cannot be had must not keep a write away that can. What was not seen stays, as a sibling
    (client/core/best_effort.py).
    """
    return bucket.get(key_of(key), best_effort=access.r is None)


def check_absent(access: Access, key: str, found: Result) -> None:
    """Raises Unavailable where no value was seen, and that does not say that there is none."""
    if found.unseen:
        heard = len(found.responders)
        raise Unavailable(
            f"{access.command} {key_of(key)!r}: unknown whether there is a value: {heard} of {found.required} replicas could be "
            f"read, what {' '.join(found.unseen)} hold was not seen; nothing was written",
            found.required,
            heard,
        )


def note_unseen(key: str, found: Result) -> None:
    if found.unseen:
        read = f"only {' '.join(found.responders)} could be read, of" if found.responders else "none could be read of"
        what = f"what {' '.join(found.unseen)} hold of {printable(os.fsencode(key))}"
        note(f"{read} {many(found.required, 'replica')}: {what} was not seen, and may still be there when they are back")


def read_document(found: Result | None) -> dict[str, Any]:
    """What a write rests on, for --json: null when nothing was read before."""
    if found is None:
        return {"read": None}
    return {"read": {"responders": list(found.responders), "unseen": list(found.unseen)}}


def values_left(bucket: Bucket, key: str) -> int | None:
    """How many values a key has after a write; None: not known. The write stands, whatever comes of looking."""
    try:
        found = bucket.get(key_of(key), best_effort=True)
    except DynazmqError:
        return None
    return None if found.unseen else len(found.values)


# --- values ---------------------------------------------------------------------------------------------------------------


def checked_value(access: Access, text: str | None) -> bytes:
    """The argument, or all of standard input for "-". Reads no more of it than a value may have."""
    if text is None:  # not even from a pipe: in a script without standard input it would store an empty value
        raise InvalidRequest("which value? write it behind the key, or - to read standard input")
    if text != "-":
        return os.fsencode(typed(text, access.escaped))
    limit = ClusterFile.load(access.directory).max_value_bytes
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        status = os.fstat(sys.stdin.fileno())
        if stat.S_ISREG(status.st_mode):
            raise ValueTooLarge(limit, status.st_size)
        raise InvalidRequest(f"standard input holds more than a value may have: the limit is {limit:,} bytes")
    return data


def checked_context(text: str | None) -> Context | None:
    from dynazmq.client.values.context import Context

    return None if text is None else Context.parse(text)


def key_of(text: str) -> str | bytes:
    """Byte for byte as it was typed: text where it is some, for messages."""
    raw = os.fsencode(text)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def texts(raw: Sequence[bytes]) -> tuple[list[str], str]:
    """As JSON can hold them, and the encoding: one for all, base64 as soon as one of them is no text."""
    try:
        return [each.decode() for each in raw], "utf-8"
    except UnicodeDecodeError:
        return [base64.b64encode(each).decode() for each in raw], "base64"


def key_document(raw: bytes) -> dict[str, str]:
    """A key as JSON can hold it."""
    try:
        return {"key": raw.decode()}
    except UnicodeDecodeError:
        return {"key": base64.b64encode(raw).decode(), "key_encoding": "base64"}


# --- answers --------------------------------------------------------------------------------------------------------------


def _absent(verb: str, access: Access, key: str) -> int:
    if access.as_json:
        emit(verb, {"found": False})
    else:
        note(f"no value for {printable(os.fsencode(key))}")
    return ABSENT


def _emit_result(result: Result) -> None:
    """`get --json` (docs/commands.md)."""
    emit("get", document(result))


def document(result: Result) -> dict[str, Any]:
    """What a get found."""
    values, encoding = texts(result.values)
    origins = [{"node": each.node, "counter": each.counter, "written_at": each.written_at} for each in result.siblings]
    return {
        "found": result.found,
        "values": values,
        "encoding": encoding,
        "context": str(result.context),
        "siblings": [{"value": value, **origin} for value, origin in zip(values, origins, strict=False)],
        "responders": list(result.responders),
    }


def in_order(result: Result) -> list[Sibling]:
    """As they were written, by the clocks of their coordinators: so they are numbered for people."""
    return sorted(result.siblings, key=lambda sibling: (sibling.written_at, sibling.node, sibling.counter))


def say_siblings(access: Access, key: str, result: Result) -> None:
    """One value was asked for: nothing goes to standard output."""
    counted = paint(f"{len(result.values)} siblings", YELLOW, BOLD, out=sys.stderr)
    note(f"{counted} of {printable(os.fsencode(key))}: written without knowing of each other")
    for index, origin in enumerate(in_order(result)):
        value = origin.value
        at = moment(origin.written_at)
        text = printable(value[:SHOWN_MAX]) + (f" … {len(value):,} bytes" if len(value) > SHOWN_MAX else "")
        note(f"  [{index + 1}]  {text}     {paint(f'{origin.node}:{origin.counter}    {at}', DIM, out=sys.stderr)}")
    bucket = "" if access.bucket == "default" else f" --bucket {access.bucket}"
    at_ = where(access.directory)
    typed_key = as_argument(os.fsencode(key))
    note(f"resolve    dynazmq resolve {typed_key} --take 2{bucket}{at_}      or --merge union, or --value VALUE")
    note(f"all        dynazmq get {typed_key} --json{bucket}{at_}")


def _say_done(verb: str, access: Access, key: str, found: Result | None, done: PutResult, elapsed_s: float) -> None:
    if access.as_json:
        emit(verb, {**({"found": True} if verb == "delete" else {}), **outcome(done, elapsed_s), **read_document(found)})
    else:
        say_done(done, elapsed_s)
    if found is not None:
        note_unseen(key, found)


def outcome(done: PutResult, elapsed_s: float) -> dict[str, Any]:
    """What a put did."""
    document = {"context": str(done.context), "acked": list(done.acked), "stand_ins": dict(done.stand_ins)}
    return {**document, "elapsed_ms": round(elapsed_s * 1000, 3)}


def say_done(done: PutResult, elapsed_s: float) -> None:
    stand_ins = ", ".join(f"{holder} keeps it for {primary}" for holder, primary in done.stand_ins)
    held_by = " ".join(done.acked) + (f" ({stand_ins})" if stand_ins else "")
    say(f"{paint('ok', GREEN)}   held by {held_by}   {elapsed_s * 1000:.1f} ms")

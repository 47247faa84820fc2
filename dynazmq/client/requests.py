"""One request under way, and what it may be: validation before anything is sent, and the outcome in the caller's terms."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dynazmq.client.codecs import CODECS, Codec, codec_of
from dynazmq.client.context import Context
from dynazmq.client.results import PutResult, Result
from dynazmq.client.view import Link, View
from dynazmq.config import BUCKET_BYTES_MAX, BUDGET_MS_MAX, DEFAULT_BUCKET, KEY_BYTES_MAX
from dynazmq.dynamo.messages import Get, GetReply, Put, PutReply
from dynazmq.dynamo.ring import place
from dynazmq.errors import DynazmqError, InvalidRequest, ValueTooLarge

Key = str | bytes
Level = int | str | None
"""How many replicas: a number, or "one", "quorum", "all". None: as the bucket says."""

Resolver = Callable[[list[Any]], Any]

WRITE_ID_BYTES = 16
_TIMEOUT_MAX_S = BUDGET_MS_MAX / 1000


class Request:
    """One message that wants an answer. `reply` or `error` is set when `notify` is called."""

    __slots__ = (
        "attempt", "backoffs", "deadline", "error", "key", "link", "maybe", "message", "notify", "only", "partition", "refusal",
        "reply", "sent", "started", "timeout", "tried", "unavailable",
    )  # fmt: skip

    def __init__(self, message: Any, key: Key, at: int, timeout: float) -> None:
        self.message = message
        self.key = key  # as the caller gave it, for texts
        self.partition = at  # a place; the core makes it a partition
        self.timeout = timeout
        self.notify: Callable[[Request], None] = _nobody  # called once, when there is a reply or an error
        self.only: Link | None = None  # a request that means one node and no other
        self.started = self.deadline = 0.0
        self.attempt = 0
        self.link: Link | None = None  # who has it now
        self.tried: list[Link] = []  # in this round
        self.backoffs = 0
        self.unavailable = 0
        self.sent = 0  # attempts that have left
        self.maybe = False  # whether an attempt that left may have been done, its answer being lost or late
        self.refusal: Any = None  # the last Failure
        self.reply: Any = None
        self.error: DynazmqError | None = None


def _nobody(_request: Request) -> None:
    raise AssertionError("a request was started for nobody")


@dataclass(frozen=True, slots=True)
class Options:
    """A bucket's name and what its calls use unless they say otherwise."""

    bucket: str = DEFAULT_BUCKET
    timeout: float = 2.0
    codec: Codec = CODECS["raw"]
    resolver: Resolver | None = None
    n: int = 0
    r: Level = None
    w: Level = None
    pr: Level = 0
    pw: Level = 0

    def with_(self, **changes: Any) -> Options:
        """Others in the place of those that are given (None: as before). Raises InvalidRequest."""
        unknown = set(changes) - set(self.__slots__)
        if unknown:
            raise InvalidRequest(f"no option {sorted(unknown)[0]!r}; there are {' '.join(self.__slots__)}")
        given = {name: value for name, value in changes.items() if value is not None}
        if "codec" in given:
            given["codec"] = codec_of(given["codec"])
        options = replace(self, **given)
        check_bucket(options.bucket)
        check_timeout(options.timeout)
        resolver: object = options.resolver  # who calls without a type checker may give anything
        if resolver is not None and not callable(resolver):
            kind = type(resolver).__name__
            raise InvalidRequest(f"a resolver is called with the list of values; {kind} cannot be called")
        return options


# --- what may be asked ----------------------------------------------------------------------------------------------------


def check_bucket(bucket: object) -> None:
    if not isinstance(bucket, str):
        raise InvalidRequest(f"a bucket's name is str, not {type(bucket).__name__}")
    size = len(bucket.encode(errors="surrogatepass"))
    if not 1 <= size <= BUCKET_BYTES_MAX:
        raise InvalidRequest(f"a bucket's name has 1 to {BUCKET_BYTES_MAX} bytes, this one {size}")
    if any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000 for character in bucket):
        raise InvalidRequest(f"a bucket's name has no control characters: {bucket!r}")


def check_timeout(timeout: object) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= _TIMEOUT_MAX_S:
        raise InvalidRequest(f"timeout is in seconds, above 0 and up to {_TIMEOUT_MAX_S:.0f}, not {timeout!r}")
    return timeout


def key_bytes(key: Key) -> bytes:
    if key.__class__ is str:
        try:
            raw = key.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"key {key!r} is no UTF-8: {error.reason}") from None
    elif isinstance(key, bytes):
        raw = key
    else:
        raise InvalidRequest(f"a key is str or bytes, not {type(key).__name__}")
    if not 1 <= len(raw) <= KEY_BYTES_MAX:
        raise InvalidRequest(f"a key has 1 to {KEY_BYTES_MAX:,} bytes, this one {len(raw):,}")
    return raw


_WORDS = {"one": 1, "all": -1}


def _level(what: str, given: Level, n: int, low: int) -> int:
    """A number as it travels: 0 means the bucket's own, -1 all."""
    if given is None:
        return 0
    if isinstance(given, str):
        if given == "quorum":
            return n // 2 + 1
        if given not in _WORDS:
            raise InvalidRequest(f"{what} is a number, 'one', 'quorum' or 'all', not {given!r}")
        return _WORDS[given]
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidRequest(f"{what} is a number, 'one', 'quorum' or 'all', not {type(given).__name__}")
    if not low <= given <= n:
        raise InvalidRequest(f"{what}={given} is not in {low}..{n} (n={n})")
    return given


def _replicas(options: Options, view: View) -> int:
    """N of a request."""
    limit = view.policy(options.bucket).n
    n = options.n or limit
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= limit:
        raise InvalidRequest(f"n={n!r} is not in 1..{limit}, the n of bucket {options.bucket!r}")
    return n


# --- requests and their outcomes ------------------------------------------------------------------------------------------


def get_request(options: Options, view: View, key: Key) -> Request:
    raw, bucket = key_bytes(key), options.bucket
    n = r = pr = 0
    if options.n or options.r is not None or options.pr:
        n = _replicas(options, view)
        r, pr = _level("r", options.r, n, 1), _level("pr", options.pr, n, 0)
        pr = n if pr < 0 else pr
        n = options.n
    return Request(Get(0, bucket, raw, n, r, pr, 0), key, place(bucket, raw), options.timeout)


def put_request(options: Options, view: View, key: Key, value: bytes | None, context: Context | str | None) -> Request:
    """value: as the codec encoded it; None deletes."""
    raw, bucket = key_bytes(key), options.bucket
    if value is not None and len(value) > view.max_value_bytes:
        raise ValueTooLarge(view.max_value_bytes, len(value))
    n = w = pw = 0
    if options.n or options.w is not None or options.pw:
        n = _replicas(options, view)
        w, pw = _level("w", options.w, n, 1), _level("pw", options.pw, n, 0)
        pw = n if pw < 0 else pw
        n = options.n
    token = Context.of(context).token
    message = Put(0, bucket, raw, value, token, os.urandom(WRITE_ID_BYTES), 0, 0, n, w, pw, 0)
    return Request(message, key, place(bucket, raw), options.timeout)


def get_result(options: Options, request: Request) -> Result:
    """Raises the request's error, or InvalidRequest for bytes that the codec did not write."""
    if request.error is not None:
        raise request.error
    reply: GetReply = request.reply
    decode = options.codec.decode
    try:
        values = [decode(value) for value in reply.values]
    except Exception as error:  # a codec may be anybody's
        text = f"key {request.key!r}: not written by codec {options.codec.name!r}: {error}"
        raise InvalidRequest(text) from error
    origins = [[value, *origin] for value, origin in zip(values, reply.siblings, strict=False)]
    return Result(request.key, values, Context(reply.context), tuple(reply.responders), origins)


def put_result(request: Request) -> PutResult:
    """Raises the request's error."""
    if request.error is not None:
        raise request.error
    reply: PutReply = request.reply
    stand_ins = tuple([(holder, primary) for holder, primary in reply.stand_ins]) if reply.stand_ins else ()
    return PutResult(Context(reply.context), tuple(reply.acked), stand_ins)

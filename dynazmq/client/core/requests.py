"""One request under way, and what it may be: validation before anything is sent, and the outcome in the caller's terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dynazmq.client.values.codecs import CODECS, Codec, codec_of
from dynazmq.client.values.context import Context
from dynazmq.client.values.results import PutResult, Result
from dynazmq.client.values.view import Link, View
from dynazmq.client.values.write_ids import new_write_id
from dynazmq.config import BUCKET_BYTES_MAX, BUDGET_MS_MAX, DEFAULT_BUCKET, KEY_BYTES_MAX
from dynazmq.dynamo.messages import Get, GetReply, Put, PutAsk, PutReply
from dynazmq.dynamo.values.ring import place
from dynazmq.errors import DynazmqError, InvalidRequest, ProtocolError, ValueTooLarge
from dynazmq.signals import raised_by_handler

Key = str | bytes
Level = int | str | None
"""How many replicas: a number, or "one", "quorum", "all". None: as the bucket says."""

Resolver = Callable[[list[Any]], Any]

BATCH_IN_FLIGHT = 512
"""Requests of one call that are under way at a time: many enough to fill frames, few enough not to be refused."""

_TIMEOUT_MAX_S = BUDGET_MS_MAX / 1000


class Request:
    """One message that wants an answer. `reply` or `error` is set when `notify` is called."""

    __slots__ = (
        "asked", "asking", "attempt", "backoffs", "deadline", "early", "error", "first", "future", "key", "link", "maybe",
        "message", "notify", "only", "operation", "overloads", "partition", "patience", "place", "refusal", "reply", "room",
        "rounds", "sent", "size", "started", "timeout", "tried", "unavailable", "waiting",
    )  # fmt: skip

    def __init__(self, message: Any, key: Key, at: int, timeout: float, operation: str) -> None:
        self.message = message
        self.key = key  # as the caller gave it, for texts
        self.operation = operation  # what the caller has asked for, for texts: it may need several messages
        self.place = at
        self.partition = 0
        self.timeout = timeout
        self.notify: Callable[[Request], None] = _nobody  # called once, when there is a reply or an error
        self.future: Any = None  # whom an event loop wakes then, if it is one request's
        self.only: Link | None = None  # a request that means one node and no other
        self.started = self.asked = self.deadline = 0.0  # since it was let in: waiting for a window is not its time
        self.asking = False  # whether this attempt has only asked so far: its value has not left (PutAsk)
        self.patience = 0.0  # with this attempt, beyond the usual
        self.size = 0  # in its window
        self.room: Link | None = None  # in whose window it is
        self.waiting = False  # for one
        self.overloads = 0  # how often it was refused for that
        self.attempt = 0
        self.link: Link | None = None  # who has it now
        self.tried: list[Link] = []  # in this round
        self.backoffs = 0
        self.rounds = 0  # in which some attempt was met with silence
        self.unavailable = 0
        self.sent = 0  # attempts that have left
        self.maybe = False  # whether an attempt that left may have been done, its answer being lost or late
        self.first: Link | None = None  # who was silent when it was asked as if there were no other try
        self.early: Any = None  # what it has answered after all, while a later try is under way
        self.refusal: Any = None  # the last Failure
        self.reply: Any = None
        self.error: DynazmqError | None = None

    @property
    def done(self) -> bool:
        return self.reply is not None or self.error is not None


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
    operation: str = ""
    """What errors say has failed; "": the call."""

    def part_of(self, operation: str) -> Options:
        """For a request that is a part of this operation, unless the caller has named a larger one."""
        return self if self.operation else replace(self, operation=operation)

    def with_(self, **changes: Any) -> Options:
        """Others in the place of those that are given (None: as before). Raises InvalidRequest."""
        unknown = set(changes) - set(self.__slots__)
        if unknown:
            raise InvalidRequest(f"no option {sorted(unknown)[0]!r}; there are {' '.join(self.__slots__)}")
        given = {name: value for name, value in changes.items() if value is not None}
        if "codec" in given:
            given["codec"] = codec_of(given["codec"])
        for name, value in given.items():
            _CHECKS.get(name, _check_level)(name, value)
        return replace(self, **given)


# --- what may be asked ----------------------------------------------------------------------------------------------------


def _check_bucket(_: str, bucket: object) -> None:
    if not isinstance(bucket, str):
        raise InvalidRequest(f"a bucket's name is str, not {type(bucket).__name__}")
    size = len(bucket.encode(errors="surrogatepass"))
    if not 1 <= size <= BUCKET_BYTES_MAX:
        raise InvalidRequest(f"a bucket's name has 1 to {BUCKET_BYTES_MAX} bytes, this one {size:,}")
    if not bucket.isprintable():
        raise InvalidRequest(f"a bucket's name is printable, without control characters: not {bucket!r}")


def _check_timeout(_: str, timeout: object) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= _TIMEOUT_MAX_S:
        raise InvalidRequest(f"timeout is in seconds, above 0 and up to {_TIMEOUT_MAX_S:.0f}, not {timeout!r}")


def _check_resolver(_: str, resolver: object) -> None:
    if not callable(resolver):
        kind = type(resolver).__name__
        raise InvalidRequest(f"a resolver is called with the list of values; {kind} cannot be called")


def _check_level(what: str, given: object) -> None:
    """As far as it can be judged before N is known."""
    if isinstance(given, str):
        if what == "n" or given not in _WORDS:
            raise InvalidRequest(f"{what} is {_LEVELS if what != 'n' else 'a number'}, not {given!r}")
    elif isinstance(given, bool) or not isinstance(given, int):
        raise InvalidRequest(f"{what} is {_LEVELS if what != 'n' else 'a number'}, not {type(given).__name__}")
    elif given < (0 if what in ("pr", "pw") else 1):
        raise InvalidRequest(f"{what}={given} is too few: at least {0 if what in ('pr', 'pw') else 1}")


_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "bucket": _check_bucket,
    "timeout": _check_timeout,
    "resolver": _check_resolver,
    "codec": lambda _, __: None,  # codec_of has
    "operation": lambda _, __: None,  # any words
}
_WORDS = ("one", "quorum", "all")
_LEVELS = "a number, 'one', 'quorum' or 'all'"


def _not_a_key(given: object) -> InvalidRequest:
    return InvalidRequest(f"a key is str or bytes, not {type(given).__name__}")


def check_key(given: object) -> None:
    """Only its type, which is what a batch needs to name its outcome."""
    if not isinstance(given, (str, bytes)):
        raise _not_a_key(given)


def key_bytes(key: Key) -> bytes:
    if isinstance(key, str):
        try:
            raw = key.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"key {key!r} is no UTF-8: {error.reason}") from None
    elif isinstance(key, bytes):
        raw = key
    else:
        raise _not_a_key(key)
    if not 1 <= len(raw) <= KEY_BYTES_MAX:
        raise InvalidRequest(f"a key has 1 to {KEY_BYTES_MAX:,} bytes, this one {len(raw):,}")
    return raw


def _level(what: str, given: Level, n: int) -> int:
    """A number as it travels: 0 means the bucket's own, -1 all. What it is was checked with the options."""
    if given is None:
        return 0
    if isinstance(given, str):
        return {"one": 1, "quorum": n // 2 + 1, "all": -1}[given]
    if given > n:
        raise InvalidRequest(f"{what}={given} is more than n={n}")
    return given


def _replicas(options: Options, view: View) -> int:
    """N of a request."""
    limit = view.policy(options.bucket).n
    if options.n > limit:
        raise InvalidRequest(f"n={options.n} is not in 1..{limit}, the n of bucket {options.bucket!r}")
    return options.n or limit


# --- requests and their outcomes ------------------------------------------------------------------------------------------


def about(request: Request) -> str:
    """How its error texts begin: with what the caller has asked for, whichever message of it has failed."""
    return f"{request.operation} {request.key!r}" if request.key else request.operation


def get_request(options: Options, view: View, key: Key) -> Request:
    raw, bucket = key_bytes(key), options.bucket
    n = r = pr = 0
    if options.n or options.r is not None or options.pr:
        n = _replicas(options, view)
        r, pr = _level("r", options.r, n), _level("pr", options.pr, n)
        pr = n if pr < 0 else pr
        n = options.n
    operation = options.operation or "get"
    return Request(Get(0, bucket, raw, n, r, pr, 0), key, place(bucket, raw), options.timeout, operation)


def put_request(options: Options, view: View, key: Key, value: bytes | None, context: Context | str | None) -> Request:
    """value: as the codec encoded it; None deletes."""
    raw, bucket = key_bytes(key), options.bucket
    if value is not None:
        if value.__class__ is not bytes:
            raise InvalidRequest(f"codec {options.codec.name!r} made {type(value).__name__} of the value, not bytes")
        if len(value) > view.max_value_bytes:
            raise ValueTooLarge(view.max_value_bytes, len(value))
    n = w = pw = 0
    if options.n or options.w is not None or options.pw:
        n = _replicas(options, view)
        w, pw = _level("w", options.w, n), _level("pw", options.pw, n)
        pw = n if pw < 0 else pw
        n = options.n
    token = Context.of(context).token
    message = Put(0, bucket, raw, value, token, new_write_id(), 0, 0, n, w, pw, 0)
    operation = options.operation or ("put" if value is not None else "delete")
    return Request(message, key, place(bucket, raw), options.timeout, operation)


def question_of(put: Put) -> PutAsk:
    """Whether this put has been done, without its value."""
    return PutAsk(
        put.request_id, put.bucket, put.key, put.context, put.write_id, put.age_ms, put.n, put.w, put.pw, put.budget_ms
    )  # fmt: skip


def get_result(options: Options, request: Request) -> Result:
    """Raises the request's error, or InvalidRequest for bytes that the codec did not write."""
    if request.error is not None:
        raise request.error
    reply: GetReply = request.reply
    decode = options.codec.decode
    try:
        values = [decode(value) for value in reply.values]
    except Exception as error:  # a codec may be anybody's
        if raised_by_handler(error):
            raise
        text = f"key {request.key!r}: not written by codec {options.codec.name!r}: {error}"
        raise InvalidRequest(text) from error
    try:
        origins = [[value, *origin] for value, origin in zip(values, reply.siblings, strict=True)]
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"{about(request)}: an answer that makes no sense: {error}") from None
    return Result(request.key, values, Context(reply.context), tuple(reply.responders), origins)


def put_result(request: Request) -> PutResult:
    """Raises the request's error."""
    if request.error is not None:
        raise request.error
    reply: PutReply = request.reply
    try:
        stand_ins = tuple([(holder, primary) for holder, primary in reply.stand_ins]) if reply.stand_ins else ()
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"{about(request)}: done, but the answer makes no sense: {error}") from None
    return PutResult(Context(reply.context), tuple(reply.acked), stand_ins)

"""The causal token that a client carries from a read to the write that replaces what was read."""

from __future__ import annotations

import base64
import binascii

from dynazmq.config import CONTEXT_BYTES_MAX
from dynazmq.errors import InvalidRequest

_VERSION = 1
_HEAD_AND_HASH = 1 + 16


class Context:
    """What its holder has seen of one key. Opaque; bound to that key by a keyed hash which the nodes check.

    `str(context)` is URL-safe base64 and can go into a cookie, an ETag or JSON; `Context.parse` reads it again. Empty (false)
    when nothing has been seen. Equal when the same was seen; pickles; outlives the process.
    """

    __slots__ = ("token",)

    def __init__(self, token: bytes = b"") -> None:
        self.token = token

    @classmethod
    def parse(cls, text: str) -> Context:
        """The context that `str` wrote. Raises InvalidRequest for anything that cannot be one."""
        limit = CONTEXT_BYTES_MAX * 4 // 3 + 4
        if len(text) > limit:
            raise InvalidRequest(f"a context has at most {limit:,} characters, this one {len(text):,}")
        try:
            token = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise InvalidRequest(f"not a context: {text[:40]!r} is not base64 as a get or put returned it") from None
        _check(token)
        return cls(token)

    @classmethod
    def of(cls, given: Context | str | None) -> Context:
        """What a caller may pass as context=. Raises InvalidRequest."""
        if given is None:
            return EMPTY
        if isinstance(given, Context):
            _check(given.token)
            return given
        if isinstance(given, str):
            return cls.parse(given)
        raise InvalidRequest(f"context must be what a get or put returned, or its str(); not {type(given).__name__}")

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(self.token).decode()

    def __repr__(self) -> str:
        return f"Context({str(self)!r})"

    def __bool__(self) -> bool:
        return bool(self.token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __reduce__(self) -> tuple[type[Context], tuple[bytes]]:
        return Context, (self.token,)


def _check(token: object) -> None:
    """Whether it may be sent; only a node can say whether it is genuine."""
    if not isinstance(token, bytes):
        raise InvalidRequest(f"a context holds bytes as a get or put returned them, not {type(token).__name__}")
    if len(token) > CONTEXT_BYTES_MAX:
        raise InvalidRequest(f"a context holds at most {CONTEXT_BYTES_MAX:,} bytes, this one {len(token):,}")
    if token and (token[0] != _VERSION or len(token) <= _HEAD_AND_HASH):
        raise InvalidRequest(f"not a context that a get or put returned: {token[:40]!r}")


EMPTY = Context()

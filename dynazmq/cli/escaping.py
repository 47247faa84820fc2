r"""Keys and values as text that can be read back: one way of writing them, in each line that a command prints or reads.

    \\  \n  \r  \t      a backslash, and the control characters that have a name
    \xHH                any other byte that is no printable text in UTF-8

Two keys never look alike, and none breaks a line, a column or a terminal. `keys` prints them so, `mget -` reads them so, and any
command takes them so as an argument with --escaped: without it an argument is the key byte for byte, as a shell gives it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys

_NAMED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPE = re.compile(rb"\\(?:([\\nrt])|x([0-9A-Fa-f]{2})|)")
_MEANT = {b"\\": b"\\", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def escaped(raw: bytes, *, ascii_only: bool = False) -> str:
    """ascii_only: for a stream of another encoding than UTF-8, whose bytes would be read back as another key."""
    text = raw.decode("utf-8", "surrogateescape")
    if "\\" not in text and text.isprintable() and not (ascii_only and not text.isascii()):
        return text
    return "".join(_shown(char, ascii_only) for char in text)


def _shown(char: str, ascii_only: bool) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if char.isprintable() and (char.isascii() or not ascii_only):
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def unescaped(text: bytes) -> bytes:
    """What `escaped` was given. Raises ValueError for a backslash that begins no escape: a guess might be another key."""

    def meant(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return _MEANT[found[1]]
        if found[2]:
            return bytes([int(found[2], 16)])
        shown = text[found.start() : found.start() + 2].decode("utf-8", "replace")
        raise ValueError(f"{shown} is none of \\\\ \\n \\r \\t \\xHH; a backslash itself is written \\\\")

    return _ESCAPE.sub(meant, text)


def printable(raw: bytes) -> str:
    """For a line on standard output or standard error."""
    return escaped(raw, ascii_only=not _prints_utf8())


def as_json(document: object) -> str:
    """In one line. Where standard output has another encoding JSON's own escapes stand for what it could not print."""
    return json.dumps(document, ensure_ascii=not _prints_utf8())


def _prints_utf8() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").replace("_", "") == "utf8"


def as_argument(raw: bytes) -> str:
    """A key as it is typed at a shell, for the command to type next: with the option that reads it back where it needs one."""
    text = printable(raw)
    if text.startswith("-"):
        text = f"\\x2d{text[1:]}"
    return shlex.quote(text) if text.encode("utf-8") == raw else f"--escaped {shlex.quote(text)}"


def typed(text: str, is_escaped: bool) -> str:
    """The argument that was meant, as the shell would have given it. Raises InvalidRequest."""
    from dynazmq.errors import InvalidRequest

    if not is_escaped:
        return text
    try:
        return os.fsdecode(unescaped(os.fsencode(text)))
    except ValueError as error:
        raise InvalidRequest(f"{text!r} cannot be read with --escaped: {error}") from None

"""`edit`: a value in a person's editor, and back with the context that was read.

No connection is held while somebody types. What is written meanwhile is not covered by that context: it stays, as a sibling
(§4.4). A text that was changed and could not be stored is never removed: it is kept in its file, and the file is named.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dynazmq.cli import FAILED, OK, SIBLINGS, code_of
from dynazmq.cli.data import (
    Access,
    check_absent,
    key_of,
    note_unseen,
    outcome,
    read_document,
    read_first,
    say_done,
    say_siblings,
    values_left,
)
from dynazmq.cli.escaping import as_argument, printable
from dynazmq.cli.terminal import emit, error, note
from dynazmq.cli.words import many
from dynazmq.errors import ClusterError, DynazmqError, InvalidRequest, ValueTooLarge
from dynazmq.paths import ClusterFile, where

if TYPE_CHECKING:
    from dynazmq import Context, PutResult, Result

_NAME_CHARS_MAX = 60


def run(access: Access, key: str) -> int:
    editor = _editor()
    limit = ClusterFile.load(access.directory).max_value_bytes
    with access.open() as bucket:
        found = read_first(access, bucket, key)
    if not found.found:
        check_absent(access, key, found)
    note_unseen(key, found)  # what was on the screen is there again when the editor ends
    if len(found.values) > 1:
        return _siblings(access, key, found)
    before: bytes = found.values[0] if found.found else b""
    if (at := _no_text(before)) is not None:
        raise InvalidRequest(
            f"the value of {printable(os.fsencode(key))} is no text: byte {at + 1:,} of {len(before):,} is no UTF-8; "
            "read it with `dynazmq get`, write it with `dynazmq put KEY -`"
        )
    file = _file(key, before)
    try:
        after = _edited(editor, file, before, limit)
        stored = _store(access, key, after, found.context) if after != before else None
    except (DynazmqError, OSError) as failed:
        error(str(failed) if isinstance(failed, DynazmqError) else f"{failed.strerror or failed}: {failed.filename or file}")
        _keep(access, key, file, before, found.context)
        return code_of(failed) if isinstance(failed, DynazmqError) else FAILED
    except BaseException:
        _keep(access, key, file, before, found.context)
        raise
    _remove(file)
    if stored is not None:
        _say(access, key, found, stored)
        if before and _is_json(before) and not _is_json(after):
            note("it was JSON, and is none any more")
    elif access.as_json:
        emit("edit", {"found": found.found, "changed": False, "values_left": len(found.values), **read_document(found)})
    else:
        note("nothing has changed, and nothing was written")
    return OK


class _Stored(NamedTuple):
    done: PutResult
    elapsed_s: float
    left: int | None  # values that the key has then; None: not known


def _store(access: Access, key: str, value: bytes, context: Context) -> _Stored:
    with access.open() as bucket:
        began = time.perf_counter()
        done = bucket.put(key_of(key), value, context=context)
        elapsed_s = time.perf_counter() - began
        return _Stored(done, elapsed_s, values_left(bucket, key))


def _say(access: Access, key: str, found: Result, stored: _Stored) -> None:
    if access.as_json:
        done = outcome(stored.done, stored.elapsed_s)
        emit("edit", {"found": found.found, "changed": True, **done, "values_left": stored.left, **read_document(found)})
    else:
        say_done(stored.done, stored.elapsed_s)
    if stored.left is not None and stored.left > 1:
        note(f"{many(stored.left - 1, 'value')} came in meanwhile: nothing was overwritten, all stay as siblings")
        note(f"look     dynazmq get {as_argument(os.fsencode(key))}{_place(access)}")


def _siblings(access: Access, key: str, found: Result) -> int:
    """Which of them? That is `resolve`'s question: an answer to it that happens in an editor would be one by accident."""
    if access.as_json:
        emit("edit", {"found": True, "changed": False, "values_left": len(found.values), **read_document(found)})
    else:
        say_siblings(access, key, found)
    return SIBLINGS


# --- the editor -----------------------------------------------------------------------------------------------------------


def _editor() -> list[str]:
    """The words that start it. Raises InvalidRequest, before anything is read."""
    for variable in ("VISUAL", "EDITOR"):
        said = os.environ.get(variable, "").strip()
        if not said:
            continue
        try:
            program, *arguments = shlex.split(said)
        except ValueError as unclear:
            raise InvalidRequest(f"{variable} is {said!r}, which is no command: {unclear}") from None
        if shutil.which(program := os.path.expanduser(program)) is None:
            raise InvalidRequest(f"{variable} is {said!r}, and there is no program {program!r}: set it to your editor")
        return [program, *arguments]
    found = next((name for name in ("vi", "nano") if shutil.which(name)), None)
    if found is None:
        raise InvalidRequest("which editor? set VISUAL or EDITOR: neither vi nor nano is here")
    if not sys.stdin.isatty():
        raise InvalidRequest(f"there is no terminal here for {found}: set VISUAL or EDITOR to what edits without one")
    return [found]


def _edited(editor: list[str], file: Path, before: bytes, limit: int) -> bytes:
    """What it left. Raises ClusterError when it failed, InvalidRequest when that cannot be a value."""
    code = _open(editor, file)
    if code:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise ClusterError(f"the editor ({shlex.join(editor)}) ended with {how}: nothing was written")
    if not file.exists():
        raise ClusterError("the editor has removed its file: nothing was written")
    if (size := file.stat().st_size) > limit + len(b"\r\n"):
        raise ValueTooLarge(limit, size)
    after = without_added_end(before, file.read_bytes())
    if len(after) > limit:
        raise ValueTooLarge(limit, len(after))
    if (at := _no_text(after)) is not None:
        raise InvalidRequest(f"what was saved is no text: byte {at + 1:,} of {len(after):,} is no UTF-8; nothing was written")
    return after


def _open(editor: list[str], file: Path) -> int:
    """Its exit code, or minus the signal that ended it. Draws on the terminal, also when standard output goes elsewhere."""
    theirs: dict[int, object] = {}
    if threading.current_thread() is threading.main_thread():  # Ctrl-C is the editor's now. Not SIG_IGN: it would inherit that
        theirs = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGQUIT)}
    try:
        return subprocess.call([*editor, str(file)], stdout=None if sys.stdout.isatty() else 2)
    finally:
        for number, handler in theirs.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as it was returned


def without_added_end(before: bytes, after: bytes) -> bytes:
    """Editors end the last line of a file. Where the value had no such end, the one that is there now is not the person's.

    So a value that is a word stays one. Who wants an end where none was leaves an empty line behind it.
    """
    if before.endswith(b"\n"):
        return after
    return after.removesuffix(b"\r\n") if after.endswith(b"\r\n") else after.removesuffix(b"\n")


# --- its file -------------------------------------------------------------------------------------------------------------


def _file(key: str, value: bytes) -> Path:
    """In a directory that only this user can enter: what editors put beside it, backups and all, is as private, and goes too."""
    name = re.sub(r"[^\w.-]+", "_", key, flags=re.ASCII)[:_NAME_CHARS_MAX].strip(".")
    suffix = ".json" if _is_json(value) and not name.endswith(".json") else ""
    file = Path(tempfile.mkdtemp(prefix="dynazmq-edit-")) / f"{name or 'value'}{suffix}"
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(value)
    except BaseException:
        _remove(file)
        raise
    return file


def _remove(file: Path) -> None:
    shutil.rmtree(file.parent, ignore_errors=True)


def _keep(access: Access, key: str, file: Path, before: bytes, context: Context) -> None:
    """Say where the text is, and how to store it. A file in which there is none but the one that was read is removed."""
    text = without_added_end(before, file.read_bytes()) if file.exists() else before
    if text == before:
        _remove(file)
        return
    os.truncate(file, len(text))  # as it would have been stored
    file.chmod(0o600)  # an editor may have put another file in its place
    seen = f"--context {context}" if context else "--blind"
    note(f"kept     what you wrote, in {file}")
    note(f"store    dynazmq put {as_argument(os.fsencode(key))} - {seen}{_place(access)} < {shlex.quote(str(file))}")


def _place(access: Access) -> str:
    """What names bucket and cluster in a command to type next."""
    return ("" if access.bucket == "default" else f" --bucket {shlex.quote(access.bucket)}") + where(access.directory)


def _no_text(value: bytes) -> int | None:
    """Where it is no UTF-8."""
    try:
        value.decode()
    except UnicodeDecodeError as unreadable:
        return unreadable.start
    return None


def _is_json(value: bytes) -> bool:
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True

"""`support-bundle`: what somebody else needs to see, in one file: never a value, never the secret.

    about.json      version, parts, machine           status.json, status.txt   as `status` shows it
    doctor.json     as `doctor` finds it              inspect.json              rows and pages of each database, no keys
    cluster.json    nodes/NAME/config.json            without the secret
    supervisor.json staged.json faults.json           as they are
    events.jsonl    logs/NAME.log                     the newest part of each
    files.txt       names, sizes, modes               errors.txt                what could not be had, and why

**The secret.** It is taken out of the configurations, and then out of everything: each file is searched for it, as bytes, in hex
and in base64, and for any 64 hex digits in a row, whatever they are. Logs may name keys; keys are in it nowhere else.
"""

from __future__ import annotations

import base64
import io
import json
import os
import platform
import re
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dynazmq import output, paths
from dynazmq.cli import OK
from dynazmq.cli.settings import redacted
from dynazmq.cli.terminal import GREEN, emit, note, paint, say
from dynazmq.cli.words import many, size
from dynazmq.errors import DynazmqError
from dynazmq.paths import ClusterFile, where

LOG_BYTES_MAX = 512 << 10
LOGS_BYTES_MAX = 16 << 20
EVENTS_BYTES_MAX = 1 << 20
_FILES_MAX = 2_000
_REMOVED = b"(removed)"


class Redaction:
    """Takes secrets out of whatever is written."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._forms = sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True)
        self.count = 0

    def __call__(self, raw: bytes) -> bytes:
        for form in self._forms:
            if form in raw:
                self.count += raw.count(form)
                raw = raw.replace(form, _REMOVED)
        raw, found = _LONG_HEX.subn(_REMOVED, raw)
        self.count += found
        return raw


_LONG_HEX = re.compile(rb"(?<![0-9A-Fa-f])[0-9A-Fa-f]{64}(?![0-9A-Fa-f])")


def _forms(secret: bytes) -> list[bytes]:
    """As somebody may have written it. Of base64 what does not depend on how it is cut."""
    encoded = [base64.b64encode(secret), base64.urlsafe_b64encode(secret)]
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), *(each.rstrip(b"=") for each in encoded)]


class Bundle:
    """A tar file in the making. What cannot be had is noted, and does not stop it."""

    def __init__(self, out: io.BytesIO, name: str, redact: Redaction, step: Callable[[str], None]) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w:gz", compresslevel=6)  # noqa: SIM115  (`close` does)
        self._name = name
        self._redact = redact
        self._step = step
        self.files: list[str] = []
        self.errors: list[str] = []

    def add(self, name: str, make: Callable[[], bytes | str | dict[str, Any]]) -> None:
        self._step(name)
        try:
            made = make()
        except (DynazmqError, OSError, ValueError) as error:
            self.errors.append(f"{name}: {error}")
            return
        raw = json.dumps(made, indent=1, ensure_ascii=False).encode() if isinstance(made, dict) else made
        self._write(name, raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else raw)

    def _write(self, name: str, raw: bytes) -> None:
        raw = self._redact(raw)
        entry = tarfile.TarInfo(f"{self._name}/{name}")
        entry.size, entry.mtime, entry.mode = len(raw), int(time.time()), 0o600
        self._tar.addfile(entry, io.BytesIO(raw))
        self.files.append(name)

    def close(self) -> None:
        if self.errors:
            self._write("errors.txt", "\n".join(self.errors).encode() + b"\n")
        self._tar.close()


def run(directory: Path, file: str | None, *, force: bool, as_json: bool) -> int:
    """0, also when a part could not be had: errors.txt says which."""
    names = _names(directory)
    name = f"dynazmq-support-{_cluster_name(directory)}-{time.strftime('%Y%m%d-%H%M%S')}"
    file = f"{name}.tar.gz" if file is None else file
    output.check(file, overwrite=force)  # before it takes its time
    path = Path(file)
    redact = Redaction(_secrets(directory, names))
    content = io.BytesIO()
    bundle = Bundle(content, name, redact, (lambda _: None) if as_json else _progress)
    _fill(bundle, directory, names)
    bundle.close()
    output.write(path, content.getvalue(), overwrite=force)
    length = len(content.getvalue())
    if as_json:
        counts = {"bytes": length, "files": bundle.files, "errors": bundle.errors, "redacted": redact.count}
        emit("support-bundle", {"file": str(path.absolute()), **counts})
    else:
        tell = note if output.is_standard_output(path) else say
        tell(f"{paint('ok', GREEN)}   {path}   {many(len(bundle.files), 'file')}, {size(length)}")
        for error in bundle.errors:
            note(f"missing  {error}")
        note("it holds no values and no secret; logs may name keys, and paths this machine's users")
    return OK


def _progress(name: str) -> None:
    note(f"  … {name}")


def _names(directory: Path) -> list[str]:
    """Of the nodes, also when cluster.json cannot be read. Raises NoSuchCluster."""
    from dynazmq.errors import ClusterError, NoSuchCluster

    try:
        return list(ClusterFile.load(directory).members)
    except NoSuchCluster:
        raise
    except ClusterError:
        nodes = directory / "nodes"
        return sorted(entry.name for entry in nodes.iterdir()) if nodes.is_dir() else []


def _cluster_name(directory: Path) -> str:
    try:
        return ClusterFile.load(directory).name
    except DynazmqError:
        return "unreadable"


def _secrets(directory: Path, names: list[str]) -> list[bytes]:
    """All that are written anywhere, also in files that are damaged."""
    found = []
    for path in (directory / "cluster.json", *(paths.config_path(directory, name) for name in names)):
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        for match in re.finditer(r'"secret"\s*:\s*"([0-9A-Fa-f]+)', text):
            found.append(bytes.fromhex(match[1][: len(match[1]) // 2 * 2]))
    return [secret for secret in found if len(secret) >= 8]


# --- what goes into it ----------------------------------------------------------------------------------------------------


def _fill(bundle: Bundle, directory: Path, names: list[str]) -> None:
    bundle.add("about.json", _about)
    bundle.add("cluster.json", lambda: redacted(_text(directory / "cluster.json")))
    for name in names:
        bundle.add(f"nodes/{name}/config.json", lambda name=name: redacted(_text(paths.config_path(directory, name))))  # type: ignore[misc]
    for name in ("supervisor.json", "staged.json", "faults.json"):
        if (directory / name).exists():
            bundle.add(name, lambda name=name: _text(directory / name))  # type: ignore[misc]
    _looks(bundle, directory)
    bundle.add("inspect.json", lambda: _inspected(directory, names))
    bundle.add("files.txt", lambda: _listing(directory))
    if (directory / "events.jsonl").exists():
        bundle.add("events.jsonl", lambda: _end(directory / "events.jsonl", EVENTS_BYTES_MAX))
    most = min(LOG_BYTES_MAX, LOGS_BYTES_MAX // max(1, len(names) + 1))
    logs = {"supervisor": paths.supervisor_log(directory), **{name: paths.node_log(directory, name) for name in names}}
    for name, path in logs.items():
        bundle.add(f"logs/{name}.log", lambda path=path: _end(path, most))  # type: ignore[misc]


def _about() -> dict[str, Any]:
    from dynazmq.cli.version import document

    machine = {"system": platform.system(), "release": platform.release(), "machine": platform.machine(), "cpus": os.cpu_count()}
    return {**document(), "machine": machine, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def _looks(bundle: Bundle, directory: Path) -> None:
    """What is seen of it just now."""
    from dynazmq.cli import doctor, shown, status
    from dynazmq.cluster.observe.observe import PATIENT_S, Observer
    from dynazmq.cluster.observe.snapshot import Snapshot
    from dynazmq.cluster.operations import checkup

    seen: list[tuple[Snapshot, list[str]]] = []

    def look() -> dict[str, Any]:
        with Observer(directory) as observer:
            snapshot = observer.look(status.PATIENCE_S, facts_timeout=PATIENT_S)
            seen.append((snapshot, shown.report(snapshot, observer.last_facts, where(directory))))
        return {"schema": "dynazmq.status/1", **status.document(snapshot)}

    bundle.add("status.json", look)
    for _, lines in seen:
        bundle.add("status.txt", lambda lines=lines: re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines)) + "\n")  # type: ignore[misc]
    bundle.add("doctor.json", lambda: doctor.document(checkup.examine(directory, where(directory)), {}))


def _inspected(directory: Path, names: list[str]) -> dict[str, Any]:
    """Counts alone: rows and keys are the users'."""
    from dynazmq.errors import ClusterError
    from dynazmq.storage.inspection import Inspection

    found: dict[str, Any] = {}
    for name in names:
        try:
            with Inspection(paths.node_dir(directory, name) / "data.db") as inspection:
                seen = inspection.overview()
            found[name] = {"bytes": seen.bytes, "log_bytes": seen.log_bytes, "schema": seen.schema, "tables": seen.rows}
            found[name] |= {"journal_rows_unfolded": seen.unfolded, "journal_damage": seen.lost, "hints": seen.hints}
        except ClusterError as error:
            found[name] = {"error": str(error)}
    return {"nodes": found}


def _listing(directory: Path) -> str:
    lines = []
    for path in sorted(directory.rglob("*"))[:_FILES_MAX]:
        try:
            found = path.lstat()
        except OSError:
            continue
        lines.append(f"{found.st_mode:06o} {found.st_size:>12,} {path.relative_to(directory)}")
    return "\n".join(lines) + "\n"


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


def _end(path: Path, most: int) -> bytes:
    """The last bytes, from the beginning of a line."""
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        file.seek(max(0, length - most))
        raw = file.read(most)
    return raw if length <= most else raw[raw.find(b"\n") + 1 :]

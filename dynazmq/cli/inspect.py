"""`inspect`: what lies on a node's disk, decoded; read-only, also while the node runs."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynazmq.cli import ABSENT, FAILED, OK
from dynazmq.cli.data import texts
from dynazmq.cli.escaping import printable
from dynazmq.cli.terminal import BOLD, DIM, RED, YELLOW, emit, error, note, paint, say
from dynazmq.cli.words import choose, many, moment, size
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.paths import ClusterFile, node_dir
from dynazmq.storage.inspection import TABLES, Inspection, Overview, Row, shown

_VALUE_SHOWN = 200


def run(
    directory: Path,
    patterns: Sequence[str],
    *,
    all_: bool,
    at_random: bool,
    sql: str | None,
    key: str | None,
    bucket: str,
    table: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """0; 1 when a node's database cannot be read; 3 when no node has the key."""
    if sum(each is not None for each in (sql, key, table)) > 1:
        raise InvalidRequest("--sql, --key and --table ask for different things: choose one")
    if table is not None and table not in TABLES:
        raise InvalidRequest(f"--table is one of {' '.join(TABLES)}, not {table!r}")
    names = choose(patterns, list(ClusterFile.load(directory).members), all_=all_, at_random=at_random)
    code, found_key = OK, False
    documents: list[dict[str, Any]] = []
    for name in names:
        path = node_dir(directory, name) / "data.db"
        if len(names) > 1 and not as_json:
            say(paint(name, BOLD))
        try:
            with Inspection(path) as inspection:
                look = _look(inspection, sql, key, bucket, table, limit)
        except ClusterError as failure:
            code = FAILED
            documents.append({"name": name, "path": str(path), "error": str(failure)})
            if not as_json:
                error(str(failure))
            continue
        found_key |= bool(look.document.get("rows"))
        documents.append({"name": name, "path": str(path), **look.document})
        if not as_json:
            for line in look.lines:
                say(line)
            for line in look.notes:
                note(line)
    if as_json:
        emit("inspect", {"nodes": documents})
    return code or (ABSENT if key is not None and not found_key else OK)


class _Found:
    """The same for programs and for people."""

    def __init__(self, document: dict[str, Any], lines: list[str], notes: list[str] | None = None) -> None:
        self.document = document
        self.lines = lines
        self.notes = notes or []


def _look(inspection: Inspection, sql: str | None, key: str | None, bucket: str, table: str | None, limit: int) -> _Found:
    if sql is not None:
        return _of_query(*inspection.query(sql, limit), limit)
    if key is not None:
        rows = inspection.key(bucket, os.fsencode(key))
        return _Found(
            {"rows": [_row_document(row) for row in rows]}, _row_lines(rows) or [f"  nothing of {printable(os.fsencode(key))}"]
        )
    if table == "meta":
        values = inspection.meta()
        lines = [
            f"  {name:<16} {size(len(value)):>8}{'' if sound else paint('   damaged', RED)}" for name, value, sound in values
        ]
        return _Found({"meta": [{"name": name, "bytes": len(value), "intact": sound} for name, value, sound in values]}, lines)
    if table is not None:
        rows = inspection.table(table, limit)
        more = [f"the first {limit}; --limit shows more"] if len(rows) == limit else []
        return _Found({"rows": [_row_document(row) for row in rows]}, _row_lines(rows) or [f"  no rows in {table}"], more)
    return _of_all(inspection.overview())


def _of_all(found: Overview) -> _Found:
    document = {
        "bytes": found.bytes,
        "log_bytes": found.log_bytes,
        "schema_version": found.schema,
        "owner": found.owner,
        "tables": found.rows,
        "journal_rows_unfolded": found.unfolded,
        "journal_damage": found.lost or None,
        "hints": found.hints,
    }
    waiting = f"{many(found.unfolded, 'row')} that data does not show yet" if found.unfolded else "all of it is in data"
    hints = "  ".join(f"{count:,} for {target}" for target, count in found.hints.items()) or "none"
    rows = [
        ("file", f"{found.path}   {size(found.bytes)}, log {size(found.log_bytes)}, schema {found.schema}, {found.owner}"),
        ("data", f"{found.rows.get('data', 0):,} rows"),
        ("journal", f"{found.rows.get('journal', 0):,} pages: {waiting}"),
        ("hints", hints),
        ("meta", f"{found.rows.get('meta', 0):,} records"),
    ]
    lines = [f"  {paint(head.ljust(8), DIM)} {text}" for head, text in rows]
    return _Found(document, [*lines, *([paint(f"  {found.lost}", RED)] if found.lost else [])])


def _of_query(rows: list[dict[str, Any]], more: bool, limit: int) -> _Found:
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    heads = list(rows[0]) if rows else []
    lines = ["\t".join(map(_cell, heads))] if heads else []
    lines += ["\t".join(_cell(row[head]) for head in heads) for row in rows]
    notes = [f"the first {limit}; --limit shows more"] if more else []
    return _Found({"result": plain, "more": more}, lines, notes)


def _plain(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return printable(value) if isinstance(value, bytes) else printable(str(value).encode("utf-8", "surrogateescape"))


# --- rows -----------------------------------------------------------------------------------------------------------------


def _row_document(row: Row) -> dict[str, Any]:
    siblings = row.siblings()
    live = shown(siblings) if siblings else []
    (key, *values), encoding = texts([row.key, *(each["value"] or b"" for each in live)])
    decoded = [
        {**each, "value": None if each["value"] is None else value, "tombstone": each["value"] is None}
        for each, value in zip(live, values, strict=True)
    ]
    return {
        "table": row.table,
        **({"target": row.target} if row.target else {}),
        "place": f"{row.place:016x}",
        "bucket": row.bucket,
        "key": key,
        "encoding": encoding,
        "bytes": len(row.state),
        "intact": row.intact and siblings is not None,
        "siblings": decoded,
        "context": repr(siblings.context) if siblings else None,
    }


def _row_lines(rows: Sequence[Row]) -> list[str]:
    lines = []
    for row in rows:
        name = f"{row.bucket}/{printable(row.key)}"
        what = {"journal": "journal, not in data yet: this is what the node serves", "hints": f"hint for {row.target}"}
        lines.append(f"  {paint(name, BOLD)}   {what.get(row.table, 'data')}   {size(len(row.state))}   place {row.place:016x}")
        siblings = row.siblings()
        if not row.intact or siblings is None:
            lines.append(paint("    damaged: it is not what was written", RED))
        for each in shown(siblings) if siblings else []:
            origin = f"{each['actor']}:{each['counter']}    {moment(each['written_at'])}"
            lines.append(f"    {_value(each['value'])}     {paint(origin, DIM)}")
        if siblings is not None and siblings.context:
            lines.append(paint(f"    seen {siblings.context!r}", DIM))
    return lines


def _value(value: bytes | None) -> str:
    if value is None:
        return paint("deleted", YELLOW)
    return printable(value[:_VALUE_SHOWN]) + (f" … {len(value):,} bytes" if len(value) > _VALUE_SHOWN else "")

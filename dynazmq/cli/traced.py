"""`trace` as text: a waterfall, and what happened when. Pure: a value in, lines out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

from dynazmq.cli.escaping import printable
from dynazmq.cli.words import many, size
from dynazmq.client.inspect.explained import cut
from dynazmq.client.inspect.traced import CLIENT, Point, Row, Trace

_GLYPHS = {"way": ("·", "dim"), "back": ("·", "dim"), "queue": ("░", "yellow"), "work": ("▒", "cyan"), "commit": ("█", "magenta")}
_ORDER = ("way", "back", "queue", "work", "commit")
_LABEL, _RIGHT = 22, 19
_LONG, _LONG_US = 0.3, 2_000  # a time in which nothing happens is cut short, if it is this part of the whole and so long
_CUT_COLUMNS = 3
_POINTS_SHOWN = 120
_ROLES = {"coordinator": "coordinates", "forwards": "passes it on", "repaired": "read repair", "asked about a retry": "recalls"}


def lines(found: Trace, width: int = 80) -> list[Text]:
    axis = Axis(sorted({us for row in found.rows for us in _edges(row)}), max(20, width - _LABEL - _RIGHT))
    shown = [_head(found), Text(), Text(" " * _LABEL + axis.labels(), "dim")]
    shown += [_row(row, axis, found) for row in found.rows]
    shown.append(_legend())
    shown += [Text(), *_remarks(found), *points(found)]
    return shown


def _edges(row: Row) -> list[int]:
    return [row.begin_us, row.end_us, *(us for span in row.spans for us in (span.begin_us, span.end_us))]


def _head(found: Trace) -> Text:
    key = printable(cut(found.key))
    head = Text(f"trace {found.operation} ").append(key if found.bucket == "default" else f"{found.bucket}/{key}", "bold")
    letter = "R" if found.operation == "get" else "W"
    if found.quorum_us is not None:
        of = f" ({' '.join(found.quorum_of)})" if found.quorum_of else ""
        head.append(f"   {letter}={found.needed} reached after {ms(found.quorum_us)}{of}")
    if found.error is not None:
        return head.append(f"   failed after {ms(found.elapsed_us)}", "bold red")
    return head.append(f"   answered after {ms(found.elapsed_us)}")


def ms(us: int) -> str:
    return f"{us / 1000:.2f} ms" if abs(us) < 100_000 else f"{us / 1000:.0f} ms"


# --- the waterfall --------------------------------------------------------------------------------------------------------


class Axis:
    """Times to columns: evenly, but long times in which nothing happens are cut to a few columns."""

    def __init__(self, times: Sequence[int], columns: int) -> None:
        """times: ascending microseconds at which something begins or ends."""
        self.columns = columns
        whole = max(times[-1] - times[0], 1)
        long = {(a, b) for a, b in pairwise(times) if b - a > max(_LONG * whole, _LONG_US)}
        room = columns - _CUT_COLUMNS * len(long)
        busy = max(whole - sum(b - a for a, b in long), 1)
        self._marks = [(times[0], 0.0)]  # ascending (time, column); straight between two of them
        for a, b in pairwise(times):
            wide = _CUT_COLUMNS if (a, b) in long else (b - a) / busy * room
            self._marks.append((b, self._marks[-1][1] + wide))
        self.cuts = [self.column((a + b) // 2) for a, b in sorted(long)]

    def column(self, us: int) -> int:
        for (a, left), (b, right) in pairwise(self._marks):
            if us <= b:
                at = left + (right - left) * max(us - a, 0) / max(b - a, 1)
                return min(int(at), self.columns - 1)
        return self.columns - 1

    def labels(self) -> str:
        """Milliseconds above the columns to which they belong."""
        line = ""
        for column in range(0, self.columns - 5, 10):
            us = next((a + (b - a) * (column - left) / max(right - left, 1e-9)
                       for (a, left), (b, right) in pairwise(self._marks) if left <= column <= right), 0.0)  # fmt: skip
            line = line.ljust(column) + f"{us / 1000:.{2 if us < 9_950 else 1 if us < 99_500 else 0}f}"
        return line.ljust(self.columns) + " ms"


def _row(row: Row, axis: Axis, found: Trace) -> Text:
    cells: list[tuple[str, str]] = [(" ", "")] * axis.columns
    if row.node == CLIENT:
        for column in range(axis.column(row.end_us) + 1):
            cells[column] = ("─", "dim")
    for kind in _ORDER:
        for each in row.spans:
            if each.kind == kind and each.end_us > each.begin_us:
                for column in range(axis.column(each.begin_us), axis.column(each.end_us) + (kind not in ("way", "back"))):
                    cells[column] = _GLYPHS[kind]
    for column in axis.cuts:
        cells[column] = ("┊", "dim")
    if row.role == "coordinator" and found.quorum_us is not None and row.node == found.coordinator:
        cells[axis.column(found.quorum_us)] = ("◆", "bold green")
    elif row.node == CLIENT:
        cells[axis.column(row.end_us)] = ("◀", "bold green") if found.error is None else ("✗", "bold red")
    line = Text(f"{_label(row, found):<{_LABEL - 1}}"[: _LABEL - 1] + " ", "" if row.answered else "yellow")
    for glyph, style in cells:
        line.append(glyph, style)
    return line.append(f"{ms(row.end_us):>10}").append(*_remark(row))


def _label(row: Row, found: Trace) -> str:
    if row.node == CLIENT:
        return f"{CLIENT} {found.operation}"
    return f"{row.node} {_ROLES.get(row.role, row.message.lower())}" + (f" for {row.stands_in_for}" if row.stands_in_for else "")


def _remark(row: Row) -> tuple[str, str]:
    if row.role in ("replica", "stand-in") and not row.answered:
        return ("  silent" if row.left else "  away"), "yellow"
    return ("  late", "yellow") if row.late else ("", "")


def _legend() -> Text:
    line = Text("  ")
    for kind, word in (("way", "under way"), ("queue", "queued"), ("work", "read, merge"), ("commit", "commit")):
        line.append(*_GLYPHS[kind]).append(f" {word}  ", "dim")
    return line.append("◆", "bold green").append(" answer sent", "dim")


# --- in words -------------------------------------------------------------------------------------------------------------


def _remarks(found: Trace) -> list[Text]:
    said = []
    if found.error is not None:
        said.append(Text(str(found.error), "bold red"))
    for node, primary in found.stand_ins:
        said.append(Text(f"{node} took the copy of {primary}, with a hint to bring it home", "yellow"))
    for node in dict.fromkeys(found.late):
        row = next(row for row in found.rows if row.node == node and row.late)
        when = f"answered at {ms(row.end_us)}" if row.answered else "did not answer while this was watched"
        said.append(Text(f"{node} {when if row.left else 'could not be reached'}"))
        if found.quorum_us is not None:
            said[-1].append(": the client did not wait for it")
    for node, why in found.silent.items():
        said.append(Text(f"{node} was not watched: {why}", "yellow"))
    if not found.comparable:
        text = "the nodes are on several hosts, whose clocks cannot be compared: each begins when it was asked"
        said.append(Text(text, "yellow"))
    if found.others:
        said.append(Text(f"left out: {many(found.others, 'request')} of others about this key", "dim"))
    if found.lost:
        said.append(Text(f"{found.lost} points more were not noted: this key is busy", "yellow"))
    return [*said, Text()] if said else []


def points(found: Trace) -> list[Text]:
    """What happened, line by line; what says nothing by itself is left out."""
    told = [point for point in found.points if point.what != "done" and not (point.what == "committed" and not point.size)]
    names = max(len(point.node) for point in told)
    shown = []
    for point in told[:_POINTS_SHOWN]:
        late = found.quorum_us is not None and point.at_us > found.quorum_us and point.node != CLIENT
        line = Text(f"{point.at_us / 1000:>9.3f}  {point.node:<{names}}  ", "dim" if late else "")
        shown.append(line.append(_says(point, found), "bold green" if _is_answer(point) else ""))
    if len(told) > _POINTS_SHOWN:
        shown.append(Text(f"           and {len(told) - _POINTS_SHOWN} more (--json has all)", "dim"))
    return shown


def _is_answer(point: Point) -> bool:
    return point.what == "sent" and point.message in ("GetReply", "PutReply")


def _says(point: Point, found: Trace) -> str:
    peer = point.peer or CLIENT
    match point.what:
        case "asked":
            return f"asks {point.peer or 'somebody'}: {found.operation}"
        case "answered":
            return "has its answer"
        case "failed":
            return "gives up"
        case "committed":
            return f"committed, {ms(point.at_us - point.since_us)}"
        case "heard":
            return f"hears from {peer}: {_message(point)}"
        case "unsent":
            return f"cannot send to {peer}: {_message(point)}"
    return f"to {peer}: {_message(point)}"


def _message(point: Point) -> str:
    bytes_ = size(point.size) if point.size else "nothing"
    match point.message:
        case "Write":
            meant = f", a hint for {point.note}" if point.note else ""
            return f"write {bytes_}{meant}" + ("" if point.request_id else " (read repair)")
        case "WriteReply":
            return "it is durable"
        case "ReadReply":
            return f"here it is, {bytes_}"
        case "GetReply":
            return f"answer, {point.size} value{'' if point.size == 1 else 's'}, from {point.note}"
        case "PutReply":
            return f"answer, durable at {point.note}"
        case "Put":
            return point.note if point.note.startswith("delete") else f"put {bytes_}" + (f", {point.note}" if point.note else "")
        case "Failure" | "Refused":
            return f"{point.message.lower()}: {point.note}"
        case "PutAsk":
            return "has this put been done? Its value is sent if need be"
        case "PutTell":
            return point.note
        case "Recall":
            return "do you know this write?"
    return point.message.lower()

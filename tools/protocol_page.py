"""The part of docs/protocol.md that is made of the declarations of messages (dynazmq/dynamo/messages).

make protocol        writes it
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dynazmq.dynamo.messages import ANSWER_TO, DECLARATIONS  # noqa: E402
from dynazmq.dynamo.messages.fields import (  # noqa: E402
    Bytes,
    Kind,
    Many,
    Real,
    Row,
    Text,
    Where,
    Whole,
    Word,
    YesNo,
    parts,
)
from dynazmq.dynamo.messages.registry import CLIENT, PEER, SILENCE, STRANGER, Declaration  # noqa: E402

PAGE = ROOT / "docs" / "protocol.md"
BEGIN, END = "<!-- messages: generated from dynazmq/dynamo/messages -->\n", "<!-- /messages -->"


def table() -> str:
    """Each conversation's messages, and then the arrays within them."""
    lines = []
    for module in dict.fromkeys(each.conversation for each in DECLARATIONS):
        title = (sys.modules[module].__doc__ or "").splitlines()[0].rstrip(".")
        lines += [
            "",
            f"**{title}**",
            "",
            "| code | message | from | answered by | or by | fields |",
            "|---:|---|---|---|---|---|",
        ]
        lines += [_line(each) for each in DECLARATIONS if each.conversation == module]
    lines += ["", "**Arrays within them.** One is an array in its turn; those in brackets may be missing", ""]
    lines += ["| array of | |", "|---|---|"]
    lines += [f"| {row.name} | {_columns(row)} |" for row in _rows()]
    return "\n".join(lines).lstrip("\n") + "\n"


def _line(each: Declaration) -> str:
    answer = ANSWER_TO.get(each.cls)
    fields = ", ".join(f"{name} *{_type(kind)}*" for name, kind in each.fields)
    declined = each.declined.value if each.declined is not SILENCE else ""
    return f"| {each.code} | {each.name} | {_from(each)} | {answer.__name__ if answer else ''} | {declined} | {fields} |"


def _from(each: Declaration) -> str:
    who = [word for flag, word in ((STRANGER, "stranger"), (CLIENT, "client"), (PEER, "node")) if each.by & flag]
    return ", ".join(who) if who else "answer"


def _type(kind: Kind) -> str:
    match kind:
        case Whole():
            return f"int {kind}"
        case Real():
            return str(kind)
        case YesNo():
            return "bool"
        case Bytes(_, _, nil):
            return f"bin {str(kind).removesuffix(' or nil').removesuffix(' bytes')}" + (" or nil" if nil else "")
        case Text(low, high, _):
            return f"str {low:,} to {high:,}" if low else f"str at most {high:,}"
        case Word():
            return f"str: {kind}"
        case Where():
            return "str: an endpoint"
        case Many(of, high):
            return f"array of at most {high:,} {of.name if isinstance(of, Row) else _type(of)}"
        case Row(name, _, _, empty):
            return f"{name}" + (" or []" if empty else "")


def _rows() -> Iterator[Row]:
    kinds = [part for each in DECLARATIONS for _, kind in each.fields for part in parts(kind)]
    yield from {kind.name: kind for kind in kinds if isinstance(kind, Row)}.values()


def _columns(row: Row) -> str:
    said = [f"{name} *{_type(kind)}*" for name, kind in row.columns]
    return ", ".join([*said[: row.required], *[f"[{each}]" for each in said[row.required :]]])


def page() -> str:
    """The whole page, with this part as it should be."""
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())

"""docs/commands.md, made of dynazmq/vocabulary.py and of what each command says of itself.

make commands        writes it
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dynazmq.cli.tree import build, leaves  # noqa: E402
from dynazmq.tui.keys import KEYS  # noqa: E402
from dynazmq.vocabulary import UI_ONLY, Word, by_key, commands  # noqa: E402

PAGE = ROOT / "docs/commands.md"

_HEAD = """# Commands, keys, calls

What can be done with a cluster, by its three names: the command line, the key of `dynazmq tui`, and Python. Made by
`make commands` from `dynazmq/vocabulary.py` and from the commands' own help: change it there.

Data goes to standard output, all else to standard error. `--json` prints one document with a `schema`. `NODE…` is `n1`, `n1,n3`,
`n[2-4]` or `'n*'`; `--all` and `--random` name all and one of them. Times are `250ms`, `2s`, `5m`. `--dir DIR` picks the
cluster, else `DYNAZMQ_DIR`, else what `cluster use` chose, else it is the one called default.

| exit code | | | |
|---|---|---|---|
| 0 | done | 6 | timed out, outcome unknown |
| 1 | failed (see message) | 7 | no such cluster, or it is not running |
| 2 | usage | 8 | `status --check`: degraded |
| 3 | key not found | 9 | `status --check`: some keys cannot meet their quorum |
| 4 | siblings, and one value was asked for | 10 | check failed (`verify`, `simulate`, `doctor`) |
| 5 | unavailable: not enough replicas reachable | 11 | `status --check`: partitions were lost, and nobody has acknowledged it |
| 130 | interrupted | | |

The Python column has what the program imported: `from dynazmq.cluster import control`, `from dynazmq.cluster.directory import
faults`, `from dynazmq.cluster.observe import events, observe, verify`, `from dynazmq.cluster.operations import checkup, launch`,
`from dynazmq.storage.inspection import Inspection`, `client = dynazmq.connect()`, `bucket = client.bucket("carts")`,
`dir = dynazmq.paths.cluster_dir()`. `dynazmq.cli.main([…])` runs any command in the program's own process.
"""


def page() -> str:
    parts = [
        _HEAD,
        "## All of them",
        "",
        _table(),
        "",
        "## Keys of the terminal UI",
        "",
        _keys(),
        "",
        "## What each command does",
    ]
    parts += [text for path in _in_order() for text in ("", _section(path))]
    return "\n".join(parts) + "\n"


def _in_order() -> Iterator[tuple[str, ...]]:
    """As the help lists them; short forms are with their long ones."""
    words = commands()
    yield from (path for path in leaves() if " ".join(path) not in words or words[" ".join(path)].command == " ".join(path))


def _table() -> str:
    words = commands()
    lines = ["| command | key | Python | |", "|---|---|---|---|"]
    for path in _in_order():
        name = " ".join(path)
        word = words.get(name, Word(name))
        short = f", `{word.short}`" if word.short else ""
        call = f"`{word.call}`" if word.call else ""
        lines.append(f"| `{name}`{short} | {word.key} | {call} | {_cell(_first_line(build(path)))} |")
    return "\n".join(lines)


def _keys() -> str:
    lines = ["| key | does | the same |", "|---|---|---|"]
    words = by_key()
    for key in KEYS:
        same = ", ".join(f"`{word.command}`" for word in words.get(key.key, ())) or UI_ONLY.get(key.key, "")
        lines.append(f"| {_cell(key.key)} | {_cell(key.long)} | {same} |")
    return "\n".join(lines)


def _section(path: tuple[str, ...]) -> str:
    command = build(path)
    text, example = _help(command)
    parts = [f"### {' '.join(path)}", "", text, "", f"    {_usage(path, command)}", ""]
    options = [_option(each) for each in command.params if each.param_type_name == "option" and each.name not in _EVERYWHERE]
    if options:
        parts += ["| option | |", "|---|---|", *options, ""]
    return "\n".join([*parts, example]).rstrip()


_EVERYWHERE = ("directory", "as_json", "help")


def _help(command: Any) -> tuple[str, str]:
    """What it says of itself, and its example."""
    text, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    text = re.sub(r"^\x08\n((?:.+\n?)*)", lambda found: _indented(found[1]), text, flags=re.MULTILINE)
    lines = [line.strip() for line in example.strip().splitlines()]
    return text.strip().replace("<", "&lt;"), "\n".join(f"    $ {line}" for line in lines)


def _indented(block: str) -> str:
    return "".join(f"    {line}\n" for line in block.splitlines()) if block.strip() else ""


def _usage(path: tuple[str, ...], command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    shown = [_argument(each) for each in arguments]
    return " ".join(["dynazmq", *path, *(["[OPTIONS]"] if len(command.params) > len(arguments) else []), *shown])


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    default = f" ({option.default})" if option.show_default and option.default not in (None, False, True, "") else ""
    return f"| {names}{_cell(value)} | {_cell(option.help or '')}{_cell(default)} |"


def _first_line(command: Any) -> str:
    return inspect.cleandoc(command.help or "").split("\n")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())

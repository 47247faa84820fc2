"""Completion in the shell: what is offered, and the scripts that ask for it.

A script runs `dynazmq` with the words typed so far as its arguments and `_DYNAZMQ_COMPLETE=SHELL` in the environment; `answer`
then prints what fits, and no command is run. Only files are read, never a node asked: a shell waits for this at each TAB. So only
the command that was typed is built (tree.py), and nothing but typer is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dynazmq.cli import OK

if TYPE_CHECKING:
    import typer

VARIABLE = "_DYNAZMQ_COMPLETE"
SHELLS = ("bash", "zsh", "fish")

_COLOR = "--color"  # the one of dynazmq's own options that takes a value
_CHOICES = re.compile(r"[a-z][a-z0-9=_-]*(\|[A-Za-z][A-Za-z0-9=_-]*)+")


class Offer(NamedTuple):
    """One word that fits, and what it stands for."""

    word: str
    text: str = ""


# --- what is offered ------------------------------------------------------------------------------------------------------


def answer(shell: str, words: Sequence[str]) -> int:
    """Print what fits the last word, a line each. Never fails, and says nothing where it knows nothing."""
    from dynazmq.errors import DynazmqError

    try:
        found = list(offers(words[:-1], words[-1] if words else ""))
    except (DynazmqError, OSError):  # a damaged cluster.json: no reason to write into somebody's command line
        found = []
    for offer in found:
        print(_line(shell, offer))
    return OK


def _line(shell: str, offer: Offer) -> str:
    text = " ".join(offer.text.split())
    if shell == "zsh":  # _describe splits at the first colon
        word = offer.word.replace(":", "\\:")
        return f"{word}:{text}" if text else word
    return f"{offer.word}\t{text}" if shell == "fish" and text else offer.word


def offers(before: Sequence[str], begun: str) -> Iterator[Offer]:
    """What may stand in the place of `begun`, behind these words."""
    from dynazmq.cli.tree import build, children

    before = _joined(before)
    while before and before[0].startswith("-") and before != [_COLOR]:  # options of dynazmq itself
        before = before[2:] if before[0] == _COLOR else before[1:]
    path = list(_path(before))
    words = before[len(path) :]
    below = children(path)
    if below and not words and not begun.startswith("-"):
        yield from (Offer(name, text) for name, text in sorted(below.items()) if name.startswith(begun))
        return
    command = build(path)
    yield from _parameter_offers(command, words, begun)


def _joined(words: Sequence[str]) -> list[str]:
    """bash takes `--for=ready` for three words."""
    found: list[str] = []
    for word in words:
        if word == "=" and found and found[-1].startswith("--"):
            found[-1] += "="
        elif found and found[-1].startswith("--") and found[-1].endswith("="):
            found[-1] += word
        else:
            found.append(word)
    return found


def _path(words: Sequence[str]) -> Iterator[str]:
    """The names of groups and of the command at the beginning."""
    from dynazmq.cli.tree import children, exists

    path: list[str] = []
    for word in words:
        if not exists([*path, word]):
            return
        path.append(word)
        yield word
        if not children(path):
            return


def _parameter_offers(command: Any, words: Sequence[str], begun: str) -> Iterator[Offer]:
    """Of one command: the value of an option, an option, or an argument."""
    options = {name: each for each in command.params for name in (*each.opts, *each.secondary_opts) if name.startswith("-")}
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    given: dict[str, str] = {}
    waiting = None  # an option whose value comes next
    used: set[Any] = set()
    placed = 0
    for word in words:
        name, equals, value = word.partition("=")
        if waiting is not None:
            given[waiting.name], waiting = word, None
        elif (option := options.get(name)) is not None:
            used.add(option)
            if value:
                given[option.name] = value
            elif _takes_value(option):
                waiting = option
        elif not word.startswith("-"):
            placed += 1
    context = _context(command, given)
    if waiting is not None and begun == "=":
        begun = ""
    name, equals, value = begun.partition("=")
    if waiting is None and equals and name in options:  # the whole word is what a shell replaces
        yield from (Offer(f"{name}={offer.word}", offer.text) for offer in _values(options[name], context, value))
    elif waiting is not None:
        yield from _values(waiting, context, begun)
    elif begun.startswith("-"):
        for name, each in options.items():
            if name.startswith(begun) and (name.startswith("--") or len(begun) == 2) and (each.multiple or each not in used):
                yield Offer(name, each.help or "")
    elif arguments:
        last = arguments[min(placed, len(arguments) - 1)]
        if placed < len(arguments) or last.nargs == -1:
            yield from _values(last, context, begun)


def _takes_value(option: Any) -> bool:
    return not (getattr(option, "is_flag", False) or getattr(option, "count", False))


def _context(command: Any, given: dict[str, str]) -> typer.Context:
    import typer

    context = typer.Context(command)
    context.params = {**given, "directory": Path(os.path.expanduser(given["directory"])) if given.get("directory") else None}
    return context


def _values(parameter: Any, context: typer.Context, begun: str) -> Iterator[Offer]:
    """By the parameter's own function, or of those that it lists as its metavar."""
    if _CHOICES.fullmatch(metavar := str(parameter.metavar or "")):
        yield from (Offer(each) for each in metavar.split("|") if each.startswith(begun) and each.islower())
        return
    yield from (Offer(str(item.value), item.help or "") for item in parameter.shell_complete(context, begun))


# --- the scripts ----------------------------------------------------------------------------------------------------------

_BASH = r"""# dynazmq: completion for bash
_dynazmq() {
    local IFS=$'\n' cur=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=($(_DYNAZMQ_COMPLETE=bash "$1" "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$cur" 2>/dev/null))
}
complete -o default -F _dynazmq dynazmq
"""

_ZSH = r"""#compdef dynazmq
# dynazmq: completion for zsh
_dynazmq() {
    local -a found
    found=("${(@f)$(_DYNAZMQ_COMPLETE=zsh "${words[1]}" "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then _describe dynazmq found; else _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }
compdef _dynazmq dynazmq
"""

_FISH = r"""# dynazmq: completion for fish
function __dynazmq_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (env _DYNAZMQ_COMPLETE=fish $words[1] $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c dynazmq -f -a '(__dynazmq_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_MARK = "# dynazmq completion"


def chosen(shell: str | None) -> str:
    """The shell that was asked for, or the one that this user has. Raises InvalidRequest."""
    from dynazmq.errors import InvalidRequest

    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    if name not in SHELLS:
        found = f"not {name!r}" if name else "and SHELL is not set"
        raise InvalidRequest(f"which shell? bash, zsh or fish, {found}")
    return name


def show(shell: str | None) -> int:
    from dynazmq.cli.terminal import say

    say(_SCRIPTS[chosen(shell)].rstrip("\n"))
    return OK


def install(shell: str | None) -> int:
    """Write the script, and one line into the shell's start file that reads it. Again does nothing new. Raises OSError."""
    from dynazmq import output
    from dynazmq.cli.terminal import note, say

    name = chosen(shell)
    script, start_file = _places(name)
    script.parent.mkdir(parents=True, exist_ok=True)
    output.write(script, _SCRIPTS[name].encode(), overwrite=True, mode=0o644)
    say(f"wrote    {script}")
    if start_file is not None:
        line = f'source "{script}"  {_MARK}'
        text = start_file.read_bytes() if start_file.exists() else b""
        lines = text.removesuffix(b"\n").split(b"\n") if text else []  # no other line end: what is not ours stays as it is
        kept = [each for each in lines if not each.endswith(_MARK.encode())]
        if os.fsencode(line) not in lines:  # often it is a link into a collection of such files: the link stays
            output.write(start_file, b"\n".join([*kept, os.fsencode(line), b""]), overwrite=True, mode=0o644)
            say(f"changed  {start_file}: one line at its end reads it")
    note("it works in shells that you open from now on; `dynazmq` must be found there")
    return OK


def _places(shell: str) -> tuple[Path, Path | None]:
    """Of the script, and of the file that must name it; fish finds it by itself."""
    from dynazmq import home

    if shell == "fish":
        return home.base_dir("XDG_CONFIG_HOME", ".config") / "fish/completions/dynazmq.fish", None
    data = home.base_dir("XDG_DATA_HOME", ".local/share") / "dynazmq"
    start = home.home() / ".bashrc" if shell == "bash" else home.base_dir("ZDOTDIR", "") / ".zshrc"
    return data / f"completion.{shell}", start

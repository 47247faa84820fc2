"""`explain` as text: where the key lives, who holds what, what a get returns, what happens next. Pure: a value in, lines out."""

from __future__ import annotations

import time

from rich.text import Text

from dynazmq.cli.escaping import printable
from dynazmq.cli.ring import MARKS, row_width
from dynazmq.cli.words import many, size, span
from dynazmq.client.inspect.explained import Answer, Copy, Explanation, Hint, State, Step, Version, cut

_STATES = {"up": "green", "silent": "yellow", "suspect": "yellow", "down": "bold red", "unknown": "yellow"}
_OWNERS = ("yellow", "cyan", "green", "bright_yellow", "blue", "red", "magenta", "white")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SIBLINGS_SHOWN = 8


def lines(found: Explanation, width: int = 80) -> list[Text]:
    """All of `explain`, no line much wider than `width` unless a value or name is."""
    letters = {state.digest: _LETTERS[i % len(_LETTERS)] for i, state in enumerate(found.states)}
    shown = [_head(found), *strip(found, width), Text()]
    names = max(len(copy.node) for copy in found.copies)
    for copy in found.copies:
        shown += _copy(copy, names, letters)
    shown.append(Text())
    for state in found.states:
        shown += _state(state, letters, found.states, width)
    if found.states:
        shown.append(Text())
    return [*shown, *_get(found, letters), *_put(found), *_next(found, width)]


def _head(found: Explanation) -> Text:
    name = printable(cut(found.key))
    key = Text("key ").append(name if found.bucket == "default" else f"{found.bucket}/{name}", "bold")
    phase = "" if found.phase == "rest" else f", {found.phase}"
    quorum = f"N={found.n} R={found.r} W={found.w}" + ("" if found.conflict == "siblings" else f" {found.conflict}")
    place = f"hash {found.place:016x}   partition {found.partition} of {len(found.owners)}"
    return key.append(f"   {place}   ring v{found.ring_version}{phase}   {quorum}")


def strip(found: Explanation, width: int) -> list[Text]:
    """The ring's owners around the key's partition, one character for each; a node that does not answer is crossed out."""
    names = sorted(set(found.owners), key=lambda name: (len(name), name))
    marks = {name: MARKS[i % len(MARKS)] for i, name in enumerate(names)}
    away = {copy.node for copy in found.copies if not copy.answers}
    shown = []
    if any(marks[name] != name.removeprefix("n") for name in names):
        shown.append(Text("  ".join(f"{marks[name]}={name}" for name in names), "dim"))
    columns = row_width(len(found.owners), max(10, (width - 6) // 10 * 10))
    first = found.partition // columns * columns
    row = Text(f"{first:>4}  ")
    for name in found.owners[first : first + columns]:
        row.append(*("✗", "bold red") if name in away else (marks[name], _OWNERS[names.index(name) % len(_OWNERS)]))
    return [*shown, row, Text(" " * (6 + found.partition - first)).append("▲", "bold")]


# --- who holds what -------------------------------------------------------------------------------------------------------


def _copy(copy: Copy, names: int, letters: dict[str, str]) -> list[Text]:
    line = Text(f"  {copy.rank or '–':>2}  {copy.node:<{names}}  {copy.role:<9}  ")
    word = copy.state.upper() if copy.state in ("down", "suspect", "silent") else copy.state
    line.append(f"{word:<7}", _STATES.get(copy.state, "")).append("  ")
    if not copy.known:
        process = f"; process {copy.process}" if copy.process else ""
        line.append(f"not known: {copy.error or 'no answer'}{process}", "yellow")
    elif copy.damaged:
        line.append("a damaged copy", "bold red")
    elif copy.held is not None:
        line.append(letters[copy.held.digest], "bold").append(f"  {size(copy.held.size):>7}  {clock(copy.held)}")
        if copy.stray:
            line.append("  a stray copy", "yellow")
    else:
        line.append("no copy", "red" if copy.role == "primary" else "dim")
    doubted = [peer for peer, state in copy.seen_by.items() if state != "up"] if copy.answers else []
    if doubted:
        line.append(f"  not up for {' '.join(doubted)}", "yellow")
    below = []
    if copy.cannot_store:
        below.append(Text(f"      ↳ cannot store: {copy.cannot_store}", "bold red"))
    if copy.stands_in_for:
        below.append(Text(f"      ↳ stands in for {copy.stands_in_for} now", "yellow"))
    return [line, *below, *(_hint(hint, letters) for hint in copy.hints)]


def _hint(hint: Hint, letters: dict[str, str]) -> Text:
    line = Text(f"      ↳ hint for {hint.target}: ", "yellow")
    if hint.state is None:
        return line.append("damaged", "bold red")
    kept = f", kept for {span(hint.kept_s)}" if hint.kept_s is not None else ", kept since an earlier life of the process"
    return line.append(letters[hint.state.digest], "bold").append(f"  {size(hint.state.size)}{kept}", "not bold default")


def clock(state: State) -> str:
    """{n1:3, n4:1}; an actor whose node has two lives in it is written out."""
    nodes = [actor.partition("~")[0] for actor in state.clock]
    entries = [
        f"{node if nodes.count(node) == 1 else actor}:{counter}"
        for node, (actor, counter) in zip(nodes, state.clock.items(), strict=True)
    ]
    beyond = "".join(f" +{actor.partition('~')[0]}:{counter}" for actor, counter in state.dots)
    shown = entries if len(entries) <= 6 else [*entries[:5], f"{len(entries) - 5} more"]
    return "{" + ", ".join(shown) + beyond + "}"


def _state(state: State, letters: dict[str, str], states: tuple[State, ...], width: int) -> list[Text]:
    line = Text("  ").append(letters[state.digest], "bold").append(f"  {clock(state)}  ")
    relations = [_relation(state, other, letters[other.digest]) for other in states if other is not state]
    line.append("   ".join(relations), "dim")
    below = [_version(version, width) for version in state.live[:_SIBLINGS_SHOWN]]
    if len(state.live) > _SIBLINGS_SHOWN:
        below.append(Text(f"     and {many(len(state.live) - _SIBLINGS_SHOWN, 'more sibling')}", "dim"))
    return [line, *below]


def _relation(state: State, other: State, name: str) -> str:
    mine, theirs = _covers(state, other), _covers(other, state)
    if mine and theirs:
        return f"the same writes seen as {name}"
    return f"newer than {name}" if mine else f"older than {name}" if theirs else f"neither older nor newer than {name}"


def _covers(state: State, other: State) -> bool:
    def has(actor: str, counter: int) -> bool:
        return counter <= state.clock.get(actor, 0) or (actor, counter) in state.dots

    return all(has(actor, counter) for actor, counter in other.clock.items()) and all(has(*dot) for dot in other.dots)


def _version(version: Version, width: int) -> Text:
    at = time.strftime("%H:%M:%S", time.localtime(version.written_at)) + f".{int(version.written_at * 1000) % 1000:03d}"
    line = Text("     ").append(f"{version.node}:{version.counter}", "bold").append(f"  {at}  ", "dim")
    if version.value is None:
        return line.append("deleted (a tombstone)", "magenta")
    room = max(20, width - line.cell_len - 12)
    text = printable(cut(version.value))
    return line.append(text if len(text) <= room else f"{text[:room]}…").append(f"  {size(len(version.value))}", "dim")


# --- what a get and a put do now ------------------------------------------------------------------------------------------


def _get(found: Explanation, letters: dict[str, str]) -> list[Text]:
    line = Text("get   ").append(f"R={found.reads.needed} of {found.reads.reachable} reachable: ")
    if not found.answers:
        return [line.append("cannot be served", "bold red")]
    if found.agreed:
        line.append(_outcome(found.answers[0]), "bold").append(f", from any of {_vias(found)}", "dim")
        return [line, *_passed_over(found)]
    line.append("it depends on which replicas are asked", "yellow")
    return [line, *(_answer(answer, letters) for answer in found.answers), *_passed_over(found)]


def _vias(found: Explanation) -> str:
    names = [answer.via for answer in found.answers]
    return " ".join(names if len(names) <= 6 else [*names[:5], f"+{len(names) - 5}"])


def _answer(answer: Answer, letters: dict[str, str]) -> Text:
    name = f"{letters[answer.state.digest]}: " if answer.state.digest in letters else ""
    return Text(f"      via {answer.via}, from {' '.join(answer.asks)}: ").append(f"{name}{_outcome(answer)}", "bold")


def _passed_over(found: Explanation) -> list[Text]:
    names = sorted({name for answer in found.answers for name in answer.passes_over})
    return [Text(f"      {' '.join(names)} would be asked first and is silent: another is asked after a moment")] if names else []


def _outcome(answer: Answer) -> str:
    values = answer.state.values
    if not values:
        return "absent, deleted" if answer.state.live else "absent"
    if len(values) > 1:
        return f"found, {len(values)} siblings"
    text = printable(cut(values[0]))
    return f"found, {text if len(text) <= 24 else text[:24] + '…'}"


def _put(found: Explanation) -> list[Text]:
    able = "that can store" if any(copy.cannot_store for copy in found.copies) else "reachable"
    line = Text(f"put   W={found.writes.needed} of {found.writes.reachable} {able}: ")
    return [line.append("can be done", "bold") if found.writes.met else line.append("cannot be done", "bold red")]


def _next(found: Explanation, width: int) -> list[Text]:
    return [line for i, step in enumerate(found.repair) for line in _step(step, "next" if i == 0 else "", width)]


def _step(step: Step, head: str, width: int) -> list[Text]:
    line = Text(f"{head:<6}")
    if step.kind == "nothing":
        return [line.append(f"nothing: {step.why or 'all who should have a copy have the same'}")]
    who = step.by + (f" → {' '.join(step.to)}" if step.to else "")
    line.append(f"{step.kind:<13}", "bold").append(f"  {who}  {step.when}")
    if not step.why:
        return [line]
    if line.cell_len + len(step.why) + 3 <= width:
        return [line.append(f"   {step.why}", "dim")]
    return [line, Text(" " * 21 + step.why, "dim")]

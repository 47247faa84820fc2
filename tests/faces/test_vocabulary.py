"""One vocabulary: commands, keys, Python calls and docs/commands.md say the same (dynazmq/vocabulary.py)."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

import dynazmq
from dynazmq.cli.tree import leaves
from dynazmq.cluster.supervisor import supervisor
from dynazmq.tui.keys import ACTS, KEYS, Key
from dynazmq.vocabulary import UI_ONLY, WORDS, Word, by_key, commands
from tools.commands_page import PAGE, page

LEAVES = [" ".join(path) for path in leaves()]
ROOTS: dict[str, Any] = {"dynazmq": dynazmq, "client": dynazmq.Client, "bucket": dynazmq.Bucket}
MODULES = {
    "control": "dynazmq.cluster.control",
    "faults": "dynazmq.cluster.directory.faults",
    **{name: f"dynazmq.cluster.observe.{name}" for name in ("events", "observe", "verify")},
    **{name: f"dynazmq.cluster.operations.{name}" for name in ("checkup", "launch")},
    "Inspection": "dynazmq.storage.inspection",
}
CALLS = [word for word in WORDS if word.call]


def test_each_command_is_a_row_and_each_row_a_command() -> None:
    missing = [name for name in LEAVES if name not in commands()]
    assert missing == [], "add them to dynazmq/vocabulary.py, then: make commands"
    assert [name for name in commands() if name not in LEAVES] == []


def test_no_command_is_a_row_twice() -> None:
    names = [name for word in WORDS for name in (word.command, word.short) if name]
    assert sorted(names) == sorted(set(names))


def test_each_key_that_acts_on_a_cluster_has_a_command_or_a_reason_for_none() -> None:
    assert sorted(key for key in ACTS if key not in by_key() and key not in UI_ONLY) == []
    assert [key for key in UI_ONLY if key in by_key() or key not in ACTS] == []


def test_each_key_in_the_table_is_one_of_the_interface() -> None:
    assert sorted(by_key().keys() - {key.key for key in KEYS}) == []


def same(key: Key) -> str:
    """The command that the interface names for a key: "node kill NODE" → "node kill"."""
    said = getattr(key, "same", "") or (f"node {key.verb}" if key.verb else "")
    words = [word for word in said.split() if word.islower()]
    return " ".join(words)


NAMED = [key for key in KEYS if same(key) and (key.key in ACTS or key.key in by_key())]


@pytest.mark.parametrize("key", NAMED, ids=lambda key: key.key)
def test_the_command_that_the_interface_names_for_a_key_is_that_of_the_table(key: Key) -> None:
    assert same(key) in {name for word in by_key().get(key.key, ()) for name in (word.command, word.short)}


@pytest.mark.parametrize("word", CALLS, ids=lambda word: word.command)
def test_each_call_is_one_that_a_program_can_make(word: Word) -> None:
    """Its names are there, and its arguments fit."""
    tree = ast.parse(word.call, mode="eval").body
    if isinstance(tree, ast.Attribute) and isinstance(tree.value, ast.Call):
        tree = tree.value  # .converged: of what the call returns
    called = tree.func if isinstance(tree, ast.Call) else tree
    target, bound = resolve(called)
    if not isinstance(tree, ast.Call):
        return
    signature = inspect.signature(target)
    arguments = [None] * (len(tree.args) + bound)
    signature.bind(*arguments, **{str(each.arg): None for each in tree.keywords})


def resolve(name: ast.expr) -> tuple[Any, bool]:
    """What is called, and whether it is a method of an object, which comes first."""
    parts: list[str] = []
    while not isinstance(name, ast.Name):
        if isinstance(name, ast.Call):  # Inspection(path).key
            name = name.func
            continue
        assert isinstance(name, ast.Attribute)
        parts.insert(0, name.attr)
        name = name.value
    if name.id in ROOTS:
        found = ROOTS[name.id]
    else:
        module = importlib.import_module(MODULES[name.id])
        found = getattr(module, name.id) if name.id[0].isupper() else module
    bound = inspect.isclass(found)
    for part in parts:
        if inspect.ismodule(found) and not hasattr(found, part):
            found = importlib.import_module(f"{found.__name__}.{part}")
            continue
        owner, found = found, getattr(found, part)
        bound = inspect.isclass(owner) and inspect.isfunction(found)
    return found, bound


@pytest.mark.parametrize("word", [word for word in CALLS if "dynazmq.cli.main" in word.call], ids=lambda word: word.command)
def test_a_command_that_is_called_as_such_is_the_one_of_its_row(word: Word) -> None:
    arguments = ast.literal_eval(word.call.removeprefix("dynazmq.cli.main(").removesuffix(")"))
    said = " ".join(arguments)
    assert any(said == name or said.startswith(f"{name} ") for name in (word.command, word.short) if name)


def test_the_supervisor_knows_the_verbs_of_the_table() -> None:
    verbs = {ast.literal_eval(word.call.split(", ")[1]) for word in WORDS if word.call.startswith("control.call")}
    assert verbs <= supervisor._ACTIONS.keys()
    assert {key.verb for key in KEYS if key.verb} <= verbs


def test_the_page_of_commands_is_that_of_the_table_and_of_the_help() -> None:
    assert Path(__file__).resolve().parents[2] / "docs/commands.md" == PAGE
    assert page() == PAGE.read_text(), "write it anew with: make commands"

"""What the source itself must say: the core is pure, dependencies point one way, no module grows without end."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import dynazmq

PACKAGE = Path(dynazmq.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
CORE = sorted((PACKAGE / "dynamo").rglob("*.py"))

CORE_MAY_IMPORT = {
    "__future__", "abc", "array", "bisect", "collections", "dataclasses", "enum", "fractions", "functools", "hashlib", "heapq",
    "hmac", "itertools", "json", "math", "msgpack", "operator", "random", "struct", "types", "typing", "zlib",
}  # fmt: skip
"""Pure, all of them: none can tell the time, open a file or socket, start a thread, or draw a number from the system."""

LAYERS: dict[str, set[str]] = {
    "config": set(),
    "logs": {"place"},
    "durable": set(),
    "output": {"durable", "errors"},
    "sequence": set(),
    "signals": set(),
    "streams": {"errors"},
    "inherited": {"streams"},
    "errors": {"dynamo", "client"},  # client: for a type alone
    "dynamo": {"config"},
    "faults": {"errors"},
    "wire": {"faults", "dynamo", "config", "errors", "signals"},
    "storage": {"durable", "dynamo", "config", "errors"},
    "home": {"errors"},
    "paths": {"durable", "home", "config", "errors", "users"},
    "place": set(),
    "users": {"errors"},
    "simulator": {"client", "storage", "wire", "dynamo", "config", "errors"},  # client: its core, which is pure
    "server": {"faults", "storage", "wire", "dynamo", "config", "errors", "logs", "paths", "place", "inherited"},
    "client": {"wire", "dynamo", "config", "errors", "paths", "signals", "users"},
    "cluster": {
        *("faults", "client", "server", "storage", "wire", "dynamo", "config", "errors", "logs", "durable", "paths", "place"),
        *("sequence", "streams", "users", "inherited"),
    },
    "chaos": {"simulator", "cluster", "client", "wire", "faults", "dynamo", "config", "errors", "logs", "paths", "inherited"},
    "faces": {
        *("faces", "chaos", "cluster", "client", "simulator", "server", "storage", "wire", "faults", "dynamo", "config"),
        *("errors", "logs", "durable", "paths", "sequence", "output", "streams", "users", "inherited", "home"),
    },
}  # fmt: skip
"""Layer → the layers that it may know beside itself. Whatever is not named here is a face: cli, tui, the public names."""


FLOORS: dict[str, tuple[str, ...]] = {
    "dynamo": ("messages", "values", "runtime", "membership", "replica", "coordinator", "repair", "looking", "admin", "node"),
    "client": ("values", "core", "inspect", "api"),
    "cluster": ("processes", "directory", "control", "observe", "supervisor", "operations"),
    "simulator": ("world", "cluster", "run", "mutants"),
    "tui": ("look", "keys", "themes", "settings", "model", "recording", "panels", "app"),
}
"""Layer → what is in it, the lowest first: each knows itself and those below."""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module, names) of each import; relative ones do not occur (ruff would not see them, so it is asserted)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or "", tuple(alias.name for alias in node.names)


def layer_of(module: str) -> str:
    part = module.split(".")[1] if "." in module else ""
    return part if part in LAYERS else "faces"


def known_layers(path: Path) -> Iterator[str]:
    for module, names in imports(parsed(path)):
        if module == "dynazmq":
            yield from (layer_of(f"dynazmq.{name}") for name in names)
        elif module.startswith("dynazmq."):
            yield layer_of(module)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def identify(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", CORE, ids=identify)
def test_the_core_imports_nothing_that_could_touch_the_world(path: Path) -> None:
    for module, names in imports(parsed(path)):
        if module.startswith("dynazmq"):
            assert module == "dynazmq.config" or module.startswith("dynazmq.dynamo."), module
        else:
            assert module.split(".")[0] in CORE_MAY_IMPORT, module
        if module == "random":
            assert names == ("Random",), "chance comes in as an argument"


@pytest.mark.parametrize("path", CORE, ids=identify)
def test_the_core_calls_nothing_that_differs_between_two_runs(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"hash", "id", "open", "input", "print", "exec", "eval", "__import__"}, (
                f"line {node.lineno}"
            )
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Random":
            assert node.args, f"line {node.lineno}: Random() without a seed asks the system"


# --- sets have no order ----------------------------------------------------------------------------------------------------

ORDERLESS = {"sorted", "min", "max", "sum", "any", "all", "len", "set", "frozenset", "bool"}
ORDERED = {"list", "tuple", "enumerate", "iter", "zip", "map", "filter", "dict", "reversed"}


def is_set_type(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation).split("[")[0] in {"set", "frozenset", "Set", "AbstractSet"}


def set_names(tree: ast.AST) -> set[str]:
    """Names and attributes that are annotated as sets or assigned one, anywhere in the module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and is_set_type(node.annotation):
            found.add(ast.unparse(node.target).removeprefix("self."))
        elif isinstance(node, ast.arg) and is_set_type(node.annotation):
            found.add(node.arg)
        elif isinstance(node, ast.Assign) and makes_set(node.value, set()):
            found.update(ast.unparse(target).removeprefix("self.") for target in node.targets)
    return found


def makes_set(node: ast.expr, names: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in {"set", "frozenset"}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return makes_set(node.left, names) or makes_set(node.right, names)
    if isinstance(node, ast.Name):
        return node.id in names
    return isinstance(node, ast.Attribute) and node.attr in names


def ordered_uses_of_sets(tree: ast.AST) -> Iterator[int]:
    """Lines where the order of a set would be seen."""
    names = set_names(tree)
    harmless = {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ORDERLESS and node.args
    }
    for node in ast.walk(tree):
        seen: list[ast.expr] = []
        if isinstance(node, ast.For):
            seen = [node.iter]
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp) and id(node) not in harmless:
            seen = [generator.iter for generator in node.generators]
        elif isinstance(node, ast.Starred):
            seen = [node.value]
        elif isinstance(node, ast.Call):
            name = (
                node.func.id
                if isinstance(node.func, ast.Name)
                else node.func.attr
                if isinstance(node.func, ast.Attribute)
                else ""
            )
            on_text = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant)
            if name in ORDERED or name in {"extend", "choice", "fromkeys"} or (name == "join" and on_text):
                seen = node.args
            elif name == "pop" and isinstance(node.func, ast.Attribute) and not node.args and makes_set(node.func.value, names):
                yield node.lineno
        yield from (node.lineno for node in seen if makes_set(node, names))


@pytest.mark.parametrize("path", CORE, ids=identify)
def test_the_core_never_goes_by_the_order_of_a_set(path: Path) -> None:
    assert list(ordered_uses_of_sets(parsed(path))) == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("for x in {1, 2}: pass", True),
        ("s: set[str] = f()\n[x for x in s]", True),
        ("class C:\n    cloud: frozenset[str]\n    def f(self): return list(self.cloud)", True),
        ("s = set(f())\n','.join(s)", True),
        ("a = set()\nb = [*(a | c)]", True),
        ("s = set()\ns.pop()", True),
        ("s = set()\nsorted(s); len(s); x in s; max(y for y in s); s == {1}; sorted([x for x in s])", False),
        ("s = set()\n{x for x in s}", False),
        ("for x in [1]: pass", False),
    ],
)
def test_the_look_for_sets_sees_what_it_should(code: str, seen: bool) -> None:
    assert bool(list(ordered_uses_of_sets(ast.parse(code)))) == seen


# --- the whole package -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_dependencies_point_one_way(path: Path) -> None:
    layer = layer_of(name_of(path))
    for known in known_layers(path):
        assert known == layer or known in LAYERS[layer], f"{layer} must not know {known}"


def floors_known(path: Path, layer: str) -> set[str]:
    """Those of its layer that a module imports from. A name that is none is the layer's own, from its __init__."""
    known = set()
    for module, names in imports(parsed(path)):
        if module == f"dynazmq.{layer}":
            known.update(names)
        elif module.startswith(f"dynazmq.{layer}."):
            known.add(module.split(".")[2])
    return known.intersection(FLOORS[layer])


@pytest.mark.parametrize("layer", FLOORS)
def test_each_floor_of_a_layer_knows_those_below_alone(layer: str) -> None:
    there = {path.name.removesuffix(".py") for path in (PACKAGE / layer).iterdir()} - {"__init__", "__pycache__"}
    assert there == set(FLOORS[layer]), "a floor that is not named here, or is there no more"
    for height, floor in enumerate(FLOORS[layer]):
        for path in [PACKAGE / layer / f"{floor}.py", *sorted((PACKAGE / layer / floor).rglob("*.py"))]:
            if path.exists():
                above = floors_known(path, layer).difference(FLOORS[layer][: height + 1])
                assert not above, f"{identify(path)} must not know {', '.join(sorted(above))}"


def test_a_floor_that_knows_one_above_would_be_seen() -> None:
    assert floors_known(PACKAGE / "dynamo" / "coordinator" / "put.py", "dynamo") >= {"membership", "replica", "values"}


def test_the_core_has_no_circle_of_imports() -> None:
    known = {
        name_of(path): {module for module, _ in imports(parsed(path)) if module.startswith("dynazmq.dynamo.")} for path in CORE
    }
    while known:
        free = {name for name, needs in known.items() if not needs & known.keys()}
        assert free, f"a circle among {sorted(known)}"
        known = {name: needs for name, needs in known.items() if name not in free}


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_no_module_is_longer_than_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500

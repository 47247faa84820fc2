"""What is inherited from whoever starts a command: real commands of bin/dynazmq, each with something bad in its environment.

docs/operations.md says of each whether it is honoured or dropped; a test compares its table with the one here.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from patience import PATIENCE_S
from supervised import Ran

from dynazmq.cli import FAILED, OK
from dynazmq.wire.descriptors import NODE_MIN

ROOT = Path(__file__).parents[2]

NOWHERE = "/nonexistent/place"

VARIABLES: dict[str, tuple[str, ...]] = {
    "PYTHONPATH": ("FOREIGN",),  # replaced by a directory with modules of the same names as ours
    "PYTHONHOME": (NOWHERE,),
    "PYTHONPLATLIBDIR": ("nonsense",),
    "PYTHONEXECUTABLE": (NOWHERE,),
    "PYTHONSTARTUP": (NOWHERE,),
    "PYTHONOPTIMIZE": ("2",),
    "PYTHONWARNINGS": ("error",),
    "PYTHONDEVMODE": ("1",),
    "PYTHONINSPECT": ("1",),
    "PYTHONVERBOSE": ("1",),
    "PYTHONIOENCODING": ("nonsense", "utf-16"),
    "PYTHONUTF8": ("nonsense", "0"),
    "PYTHONMALLOC": ("nonsense",),
    "PYTHONHASHSEED": ("nonsense",),
    "PYTHONSAFEPATH": ("",),
    "PYTHONDONTWRITEBYTECODE": ("1",),
    "PYTHONPYCACHEPREFIX": (NOWHERE,),
    "LD_LIBRARY_PATH": ("FOREIGN",),
    "TMPDIR": (NOWHERE, "relative", "/tmp/" + "x" * 3_000),
    "LC_ALL": ("C", "POSIX", "xx_YY.nonsense", "de_DE.ISO-8859-1"),
    "TZ": ("Nowhere/Nonsense",),
    "HOME": (NOWHERE, "relative", ""),
    "XDG_STATE_HOME": ("relative", ""),
    "XDG_RUNTIME_DIR": (NOWHERE,),
    "TERM": ("dumb", "nonsense", ""),
    "COLUMNS": ("nonsense", "0", "-1", "99999999999999999999"),
    "LINES": ("nonsense",),
    "CDPATH": ("/:/tmp",),
    "VIRTUAL_ENV": (NOWHERE,),
    "CONDA_PREFIX": (NOWHERE,),
    "DYNAZMQ_LOG_LEVEL": ("nonsense",),
}
"""What is set → bad values of it. With each of them everything is as without."""


@dataclass
class Typed:
    """Commands of this checkout, each a process of its own."""

    root: Path
    around: Mapping[str, str]
    prepare: Callable[[], object] | None = None
    directory: Path = field(init=False)

    def __post_init__(self) -> None:
        self.directory = self.root / "c"

    def type(self, *arguments: str) -> Ran:
        ran = subprocess.run(
            [str(ROOT / "bin/dynazmq"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "DYNAZMQ_DIR": str(self.directory), **self.around},
            cwd=self.root,
            timeout=PATIENCE_S,
            check=False,
            preexec_fn=self.prepare,
        )
        told = Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())
        assert "Traceback" not in told.out + told.err, told
        assert "is a bug" not in told.err, told
        return told

    def is_as_ever(self) -> None:
        try:
            assert self.type("version").code == OK
            assert (ran := self.type("up", "-n", "1", "--sync", "normal", "--timeout", f"{PATIENCE_S:.0f}s")).code == OK, ran
            assert (ran := self.type("put", "key", "välue")).code == OK, ran
            assert (ran := self.type("get", "key")).code == OK, ran
            assert ran.out.strip() in ("välue", "v\\xe4lue", "v?lue"), ran
            assert not ran.err, ran
        finally:
            ran = self.type("down", "--purge", "--yes")
        assert ran.code == OK, ran
        assert "killed" not in ran.out + ran.err
        assert not self.directory.exists()


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What bin/dynazmq takes for the environment of this checkout, with the packages of the one that runs the tests."""
    made = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(made, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = made / "lib" / version / "site-packages"
    (packages / "these.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    (made / ".dynazmq").mkdir()
    (made / ".dynazmq/made-for").write_text(f"{ROOT}\n{made}\n")
    shutil.copy(ROOT / "requirements.lock", made / ".dynazmq/requirements.lock")
    return made


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Modules that nobody wants."""
    place = tmp_path / "foreign"
    place.mkdir()
    for module in ("zmq", "typer", "dynazmq", "random"):
        (place / f"{module}.py").write_text("raise SystemExit('a foreign module')\n")
    return place


def around(environment: Path, foreign: Path, **variables: str) -> dict[str, str]:
    return {"DYNAZMQ_VENV": str(environment), **{k: v.replace("FOREIGN", str(foreign)) for k, v in variables.items()}}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in VARIABLES.items() for value in values])
def test_a_command_runs_whatever_a_variable_says(name: str, value: str, environment: Path, foreign: Path, tmp_path: Path) -> None:
    ran = Typed(tmp_path, around(environment, foreign, **{name: value})).type("version")
    assert (ran.code, ran.err) == (OK, "")
    assert ran.out.startswith("dynazmq ")


ROWS = {
    "everything of Python's": {name: values[0] for name, values in VARIABLES.items() if name.startswith("PYTHON")},
    "everything else": {name: values[0] for name, values in VARIABLES.items() if not name.startswith("PYTHON")},
    "second values": {name: values[1] for name, values in VARIABLES.items() if len(values) > 1},
    "last values": {name: values[-1] for name, values in VARIABLES.items() if len(values) > 2},
}


@pytest.mark.parametrize("row", ROWS)
def test_a_cluster_runs_whatever_the_variables_say(row: str, environment: Path, foreign: Path, tmp_path: Path) -> None:
    Typed(tmp_path, around(environment, foreign, **ROWS[row])).is_as_ever()


def limited(what: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (limit, limit))


STATES: dict[str, Callable[[], object]] = {
    "umask 000": lambda: os.umask(0o000),
    "umask 077": lambda: os.umask(0o077),
    "umask 777": lambda: os.umask(0o777),
    "umask 177": lambda: os.umask(0o177),
    "signals ignored": lambda: [signal.signal(each, signal.SIG_IGN) for each in _IGNORED],
    "signals blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()),
    "few descriptors": limited(resource.RLIMIT_NOFILE, NODE_MIN),
    "no core": limited(resource.RLIMIT_CORE, 0),
    "descriptors that stay open": lambda: [os.dup2(os.open(os.devnull, os.O_RDONLY), number) for number in range(30, 60)],
    "standard streams of somebody else": lambda: [os.close(0), os.open(os.devnull, os.O_WRONLY)],
}
_IGNORED = (signal.SIGPIPE, signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ)


@pytest.mark.parametrize("state", STATES)
def test_a_cluster_runs_in_whatever_state_it_is_started(state: str, environment: Path, foreign: Path, tmp_path: Path) -> None:
    Typed(tmp_path, around(environment, foreign), STATES[state]).is_as_ever()


def test_too_few_open_files_for_a_node_are_said_at_once(environment: Path, foreign: Path, tmp_path: Path) -> None:
    typed = Typed(tmp_path, around(environment, foreign), limited(resource.RLIMIT_NOFILE, NODE_MIN - 1))
    ran = typed.type("up", "-n", "1", "--timeout", f"{PATIENCE_S:.0f}s")
    assert ran.code == FAILED
    assert f"the limit of open files is {NODE_MIN - 1}, and a node needs {NODE_MIN}" in ran.err


def test_a_foreign_module_path_reaches_neither_the_supervisor_nor_a_node_but_an_editor(
    environment: Path, foreign: Path, tmp_path: Path
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "$PYTHONPATH $PYTHONWARNINGS" > "$1"\n')
    editor.chmod(0o755)
    given = around(environment, foreign, PYTHONPATH="FOREIGN", PYTHONWARNINGS="error", EDITOR=str(editor), VISUAL=str(editor))
    typed = Typed(tmp_path, given)
    try:
        assert typed.type("up", "-n", "1", "--sync", "normal").code == OK
        assert (ran := typed.type("edit", "key")).code == OK, ran
        assert typed.type("get", "key").out.strip() == f"{foreign} error"
    finally:
        typed.type("down", "--purge", "--yes")


def test_the_documentation_has_the_same_variables() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    table = page.partition("## What dynazmq takes from its environment")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    documented = {name for cell in first_cells for name in re.findall(r"`([A-Z][A-Z_0-9]+)`", cell)}
    assert set(VARIABLES) <= documented

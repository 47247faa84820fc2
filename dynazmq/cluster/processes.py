"""Processes and who they are: spawning, finding, signalling and awaiting them.

A pid alone names nobody: the number is used again. A process is known by its pid *and* its start time, and no signal leaves
this module before both fit (P9). A zombie counts as gone (P8): `kill(pid, 0)` still succeeds on one, so nothing here
relies on it.

Whose a process is, what was written down somewhere does not say: files are copied, moved and put back, and a pid in a copy is
that of the original's process. A process of ours works in the directory that it serves, and the kernel tells which one that is
now: the directory itself, whatever it is called by now, and nothing else that has been put in its place.

On Linux everything comes from /proc and pidfds, which costs microseconds and loads no library; elsewhere psutil tells it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dynazmq import paths, users

STOP_GRACE_S = 5.0
"""What a node may take to end in good order before it is killed."""

_PROC = Path("/proc")
_LINUX = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Identity:
    """One life of one process. `started` is opaque: only its being equal means something."""

    pid: int
    started: str


CommandLines = Callable[[], Iterator[tuple[int, list[str]]]]
"""(pid, arguments) of processes."""


# --- who is there ---------------------------------------------------------------------------------------------------------


def identify(pid: int) -> Identity | None:
    """The process that has this pid now; None when there is none, or only a zombie."""
    found = _look(pid)
    return Identity(pid, found[1]) if found else None


def state_of(identity: Identity) -> str | None:
    """ "running", "paused" (SIGSTOP), or None: gone, a zombie, or the pid is another's by now."""
    found = _look(identity.pid)
    if found is None or found[1] != identity.started:
        return None
    return found[0]


def _look(pid: int) -> tuple[str, str] | None:
    return _look_in_proc(pid) if _LINUX else _look_with_psutil(pid)


def _look_in_proc(pid: int) -> tuple[str, str] | None:
    try:
        line = (_PROC / str(pid) / "stat").read_text()
    except (OSError, ValueError):  # ValueError: a name in another encoding
        return None
    fields = line[line.rindex(")") + 2 :].split()  # the name may hold spaces and brackets
    state, started = fields[0], fields[19]
    if state in "ZX" and not _other_threads(pid):
        return None
    return ("paused" if state == "T" else "running"), f"{_boot()}/{started}"


def _other_threads(pid: int) -> bool:
    """Whether threads of a killed process are still ending: until the last has, it holds its locks and sockets."""
    try:
        return len(os.listdir(_PROC / str(pid) / "task")) > 1
    except OSError:
        return False


@cache
def _boot() -> str:
    """Start times are counted from the boot: without its id, a pid of before a reboot could seem to be there still."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return "boot"


def _look_with_psutil(pid: int) -> tuple[str, str] | None:
    import psutil

    try:
        process = psutil.Process(pid)
        status, started = process.status(), process.create_time()
    except psutil.Error:
        return None
    if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
        return None
    return ("paused" if status == psutil.STATUS_STOPPED else "running"), f"{started:.2f}"


def find_nodes(directory: Path, names: Iterable[str]) -> dict[str, Identity]:
    """Node processes that serve from this directory: also those that nobody has recorded.

    A supervisor that dies between spawning a node and writing it down leaves such a one.
    """
    places = {name: paths.node_dir(directory, name) for name in names}
    found: dict[str, Identity] = {}
    for pid, told in _nodes():
        for name, place in places.items():
            if _works_in(pid, told, place) and (identity := identify(pid)):
                found[name] = identity
    return found


def works_in(identity: Identity, place: Path) -> bool:
    """Whether this process lives and serves this very directory: a node its own below nodes/, a supervisor the cluster's."""
    return state_of(identity) is not None and _works_in(identity.pid, None, place)


def running_clusters() -> Iterator[Path]:
    """Directories of clusters of which a supervisor or a node of this user's runs, each as often as that."""
    for pid, told in _mine(_supervisors()):
        yield _now(pid, told)
    for pid, told in _mine(_nodes()):
        yield _now(pid, told).parents[1]


def strangers(directory: Path) -> dict[str, Identity]:
    """Node processes that were started from this directory, whatever is in it now; none that serve from another one by now."""
    nodes = directory / "nodes"
    return {
        told.name: identity
        for pid, told in _mine(_nodes())
        if nodes in told.parents and _is_from(pid, told) and (identity := identify(pid))
    }


def supervisors(directory: Path) -> dict[str, Identity]:
    """The same of supervisors: "supervisor (PID)" → who it is."""
    return {
        f"supervisor ({pid})": identity
        for pid, told in _mine(_supervisors())
        if told == directory and _is_from(pid, told) and (identity := identify(pid))
    }


def supervisors_in(directory: Path) -> dict[str, Identity]:
    """Those that serve this very directory, whatever it is called and whoever holds its lock."""
    return {
        f"supervisor ({pid})": identity
        for pid, told in _supervisors()
        if _works_in(pid, told, directory) and (identity := identify(pid))
    }


def left_behind(directory: Path) -> dict[str, Identity]:
    """Processes that were started from here and whose own directory was deleted: what is here now was put in its place."""
    started = {**supervisors(directory), **strangers(directory)}
    return {name: identity for name, identity in started.items() if (own := _own_directory(identity.pid)) and not own.st_nlink}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A process of another user's. what: "supervisor", or a node's name."""

    what: str
    pid: int
    uid: int
    directory: Path


def of_others(directory: Path | None = None) -> list[Foreign]:
    """Those of other users that serve this cluster; None: supervisors of whichever. Where a system hides them there are none."""
    found = [
        Foreign("supervisor", pid, uid, told)
        for pid, told in _supervisors()
        if (uid := _user(pid)) not in (None, users.me()) and (directory is None or _works_in(pid, told, directory))
    ]
    if directory is not None:
        found += [
            Foreign(told.name, pid, uid, directory)
            for pid, told in _nodes()
            if (uid := _user(pid)) not in (None, users.me()) and _works_in(pid, told, paths.node_dir(directory, told.name))
        ]
    return found


def named(others: Sequence[Foreign]) -> str:
    """Who runs what, for a person."""
    return ", ".join(f"{users.name_of(each.uid)} runs {each.what} (pid {each.pid})" for each in others)


def mend_others(directory: Path, others: Sequence[Foreign]) -> str:
    """What to type where another user has started what serves the directory: his files are in it as well."""
    supervisors = [each for each in others if each.what == "supervisor"]  # it ends its nodes in good order
    pids = " ".join(str(each.pid) for each in supervisors or others)
    sudo = "sudo " if users.me() else ""
    return f"{sudo}kill {pids} && {users.give_back(directory)}"


def _mine(each: Iterable[tuple[int, Path]]) -> Iterator[tuple[int, Path]]:
    """Without those of other users, with which this one has nothing to do, not even as root."""
    return ((pid, told) for pid, told in each if _user(pid) == users.me())


def _user(pid: int) -> int | None:
    """Whose it is; None when it has ended."""
    try:
        if _LINUX:
            return os.stat(_PROC / str(pid)).st_uid
    except OSError:
        return None
    import psutil

    try:
        return int(psutil.Process(pid).uids().effective)
    except psutil.Error:
        return None


def _nodes() -> Iterator[tuple[int, Path]]:
    """(pid, the directory that it was told to serve) of node processes."""
    for pid, arguments in _command_lines():
        if "dynazmq.server" in arguments and arguments[-1].endswith("/config.json"):
            yield pid, Path(arguments[-1]).parent


def _supervisors() -> Iterator[tuple[int, Path]]:
    for pid, arguments in _command_lines():
        if "dynazmq.cluster.supervisor.supervisor" in arguments[:-1]:
            yield pid, Path(arguments[arguments.index("dynazmq.cluster.supervisor.supervisor") + 1])


def _works_in(pid: int, told: Path | None, place: Path) -> bool:
    """told: what it was told to serve, which is all that there is to go by while it has not begun to. None: to be looked up."""
    try:
        if (own := _own_directory(pid)) is not None:
            return os.path.samestat(own, os.stat(place))
        told = told or next((told for each, told in (*_nodes(), *_supervisors()) if each == pid), None)
        return told is not None and os.path.samefile(told, place)
    except OSError:
        return False


def _is_from(pid: int, told: Path) -> bool:
    """Whether it serves nothing that has moved elsewhere meanwhile."""
    own = _own_directory(pid)
    return own is None or not own.st_nlink or _works_in(pid, told, told)


def _now(pid: int, told: Path) -> Path:
    """What the directory that it serves is called now; as it was told where that cannot be seen from here."""
    own = _own_directory(pid)
    if own is None or _works_in(pid, told, told):
        return told
    try:
        called = Path(_working_directory(pid))
        return called if os.path.samestat(own, os.stat(called)) else told
    except OSError:
        return told  # it is deleted, or this one's root is another


def _own_directory(pid: int) -> os.stat_result | None:
    """The directory that it serves; without a name (st_nlink is 0) when it was deleted.

    None: it works elsewhere, having just begun or being of an earlier release, or that cannot be seen.
    """
    try:
        place = str(_PROC / str(pid) / "cwd") if _LINUX else _working_directory(pid)
        found = os.stat(place)
    except OSError:
        return None
    marked = any(os.path.exists(os.path.join(place, lock)) for lock in ("lock", "supervisor.lock"))
    return found if marked or not found.st_nlink else None


def _working_directory(pid: int) -> str:
    """Raises OSError."""
    if _LINUX:
        return os.readlink(_PROC / str(pid) / "cwd")
    import psutil

    try:
        return str(psutil.Process(pid).cwd())
    except psutil.Error as error:
        raise OSError(str(error)) from None


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    """(pid, arguments) of processes, of all users as far as they can be seen."""
    if not _LINUX:
        import psutil

        for process in psutil.process_iter(["cmdline"]):
            yield process.pid, process.info["cmdline"] or []
        return
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            raw = (_PROC / entry.name / "cmdline").read_bytes()
            yield int(entry.name), os.fsdecode(raw).rstrip("\0").split("\0")
        except OSError:
            continue  # ended while we looked


# --- acting on them -------------------------------------------------------------------------------------------------------


def send_signal(identity: Identity, number: int) -> bool:
    """Signal this process and no other. False when it is gone."""
    handle = open_pidfd(identity.pid)  # first: from here on the pid cannot come to mean another process
    try:
        if state_of(identity) is None:
            return False
        if handle is not None:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(identity.pid, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        if handle is not None:
            os.close(handle)


def open_pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends, whoever its parent is. None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def terminate(identity: Identity) -> bool:
    """Ask it to end in good order. A paused one would not hear it before it is resumed."""
    asked = send_signal(identity, signal.SIGTERM)
    if asked and state_of(identity) == "paused":
        send_signal(identity, signal.SIGCONT)
    return asked


def end_all(processes: Mapping[str, Identity], grace_s: float = STOP_GRACE_S) -> dict[str, str]:
    """End processes that are not ours to reap: TERM, then KILL. Returns how each one went: "stopped" or "killed"."""
    for identity in processes.values():
        terminate(identity)
    left = await_gone(processes, grace_s)
    for name in left:
        send_signal(processes[name], signal.SIGKILL)
    await_gone({name: processes[name] for name in left}, grace_s)
    return {name: "killed" if name in left else "stopped" for name in processes}


def await_gone(processes: Mapping[str, Identity], timeout_s: float) -> list[str]:
    """Wait until they have ended; the names of those that have not after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = [name for name, identity in processes.items() if state_of(identity)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.01)


# --- spawning -------------------------------------------------------------------------------------------------------------


def spawn_node(directory: Path, name: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a node's process; returns it and the place in its log at which this life begins.

    Its output goes to a file, never to a pipe: it must not block or die when the supervisor does (P16). A session of its own,
    because Ctrl-C at the terminal is meant for the supervisor, which then ends its nodes in good order.
    """
    log = paths.node_log(directory, name)
    rotate(log)
    with open(log, "ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dynazmq.server", str(paths.config_path(directory, name))],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=paths.node_dir(directory, name),
            env=environment(),
            start_new_session=True,
        )
    return process, begin


_WHERE_MODULES_ARE = ("PYTHONHOME", "PYTHONPLATLIBDIR")
"""If this interpreter went by them, its children cannot do without."""

_WHERE_BYTECODE_GOES = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""A checkout may be read-only, or somebody else's: who said that nothing is written there means us, too."""


def environment() -> dict[str, str]:
    """For our own Python processes: they run this same package wherever it lies, and nothing from the working directory.

    They find modules as this interpreter did. All other PYTHON… variables are dropped: warnings that are errors, asserts that are
    left out or an encoding that does not exist were set for another program.
    """
    root = str(Path(__file__).parents[2])
    heeded = not sys.flags.ignore_environment
    inherited = os.environ.get("PYTHONPATH", "") if heeded else ""
    kept = (*_WHERE_BYTECODE_GOES, *(_WHERE_MODULES_ARE if heeded else ()))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name in kept},
        "PYTHONPATH": os.pathsep.join(filter(None, (root, inherited))) if root not in inherited.split(os.pathsep) else inherited,
        "PYTHONSAFEPATH": "1",
    }


def rotate(log: Path) -> None:
    from dynazmq.logs import FILE_BYTES_MAX  # what only looks at processes does not load it

    try:
        if log.stat().st_size > FILE_BYTES_MAX:
            log.replace(log.with_name(log.name + ".1"))
    except FileNotFoundError:
        pass


def exit_text(returncode: int) -> str:
    """How a child ended, as people say it: "killed (9)", "exited (1)"."""
    return f"killed ({-returncode})" if returncode < 0 else f"exited ({returncode})"

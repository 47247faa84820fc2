"""Processes and who they are: spawning, finding, signalling and awaiting them.

A pid alone names nobody: the number is used again. A process is known by its pid *and* its start time, and no signal leaves
this module before both fit (faults P9). A zombie counts as gone (P8): `kill(pid, 0)` still succeeds on one, so nothing here
relies on it.

On Linux everything comes from /proc and pidfds, which costs microseconds and loads no library; elsewhere psutil tells it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dynazmq import paths

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
    """Node processes of this cluster by their command lines: also those that nobody has recorded.

    A supervisor that dies between spawning a node and writing it down leaves such a one.
    """
    configs = {str(paths.config_path(directory, name)): name for name in names}
    found: dict[str, Identity] = {}
    for pid, arguments in _command_lines():
        if "dynazmq.server" not in arguments:
            continue
        name = configs.get(arguments[-1]) or _by_same_file(arguments[-1], configs)
        identity = identify(pid) if name else None
        if name and identity:
            found[name] = identity
    return found


def running_clusters() -> Iterator[Path]:
    """Directories of clusters of which a supervisor or a node runs, each as often as that."""
    for _, arguments in _command_lines():
        if "dynazmq.cluster.supervisor" in arguments:
            yield Path(arguments[arguments.index("dynazmq.cluster.supervisor") + 1])
        elif "dynazmq.server" in arguments and arguments[-1].endswith("/config.json"):
            yield Path(arguments[-1]).parents[2]


def strangers(directory: Path) -> dict[str, Identity]:
    """Node processes that were started from this directory, whatever is in it now."""
    nodes = directory / "nodes"
    configs = [Path(arguments[-1]) for _, arguments in _command_lines() if "dynazmq.server" in arguments]
    return find_nodes(directory, {config.parent.name for config in configs if nodes in config.parents})


def supervisors(directory: Path) -> dict[str, Identity]:
    """Supervisors that were started for this directory, whatever is in it now: "supervisor (PID)" → who it is."""
    found = {}
    for pid, arguments in _command_lines():
        if "dynazmq.cluster.supervisor" in arguments[:-1]:
            place = arguments[arguments.index("dynazmq.cluster.supervisor") + 1]
            if place == str(directory) and (identity := identify(pid)):
                found[f"supervisor ({pid})"] = identity
    return found


def _by_same_file(path: str, configs: Mapping[str, str]) -> str | None:
    """The directory may have been named through a symbolic link the last time."""
    for config, name in configs.items():
        try:
            if os.path.basename(os.path.dirname(path)) == name and os.path.samefile(path, config):
                return name
        except OSError:
            continue
    return None


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    """(pid, arguments) of this user's processes."""
    if not _LINUX:
        import psutil

        for process in psutil.process_iter(["cmdline"]):
            yield process.pid, process.info["cmdline"] or []
        return
    me = os.getuid()
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == me:
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
            cwd="/",
            env=environment(),
            start_new_session=True,
        )
    return process, begin


def environment() -> dict[str, str]:
    """For our own Python processes: they run this same package wherever it lies, and nothing from the working directory."""
    root = str(Path(__file__).parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
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

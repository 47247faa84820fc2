"""`demo`: a guided tour in two minutes. Each step says in plain words what comes, then runs the command that it shows.

The cluster lives in a directory of its own under the temporary one, and goes with it: at the end, and at Ctrl-C at any moment.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dynazmq.cli import FAILED, INTERRUPTED, OK, SIBLINGS, main
from dynazmq.cli.terminal import BOLD, CYAN, DIM, GREEN, RED, note, paint, say
from dynazmq.cli.words import many
from dynazmq.cluster.operations import launch
from dynazmq.errors import ClusterError, DynazmqError, NoSuchCluster

_NODES = 5
_PUTS_PER_S = 100
_READ_S, _LOOK_S = 9.0, 14.0
"""To read what is said, and to look at what came of it."""
_FAST_KEYS = 40


class _Stopped(Exception):
    """A step did not do what the tour is about."""


def run(*, fast: bool, keep: bool) -> int:
    directory = Path(tempfile.mkdtemp(prefix="dynazmq-demo-")) / "demo"
    code = FAILED
    with _signals() as interrupt, _at(directory):
        tour = Tour(directory, fast, interrupt)
        try:
            tour.play(keep)
            code = OK
        except KeyboardInterrupt:
            note("\ninterrupted")
            code = INTERRUPTED
        except _Stopped as stop:
            note(f"the tour ends here: {stop}")
        finally:
            with _undisturbed():
                tour.close()
                if not (keep and code == OK):
                    _remove(directory)
    return code


class Tour:
    """One run through all steps. `close` ends the load."""

    def __init__(self, directory: Path, fast: bool, interrupt: Interrupt) -> None:
        self.directory = directory
        self._fast = fast
        self._interrupt = interrupt
        self._load: Load | None = None
        self._step = 0

    def close(self) -> None:
        if self._load is not None:
            self._load.end()

    def play(self, keep: bool) -> None:
        self._say(
            "This is Dynamo: a store that takes every write, whatever dies. The tour takes two minutes; Enter goes on sooner, "
            "Ctrl-C ends it, and nothing stays behind."
        )
        note(paint(f"  (to join in from another terminal:  export DYNAZMQ_DIR={self.directory})", DIM, out=sys.stderr))
        self._up()
        self._load_it()
        victim = self._kill()
        self._watch(victim)
        self._heal(victim)
        self._check()
        self._conflict()
        self._resolve()
        self._down(keep)

    # --- the steps --------------------------------------------------------------------------------------------------------

    def _up(self) -> None:
        self._head("Five nodes")
        self._say("Five processes start. Each is a node with a database of its own; every key will be held by three of them.")
        self._run("up", "-n", str(_NODES), "--name", "demo")
        self._pause(_LOOK_S)

    def _load_it(self) -> None:
        self._head("A program that writes")
        self._say(
            f"From now on a program writes {_PUTS_PER_S} keys a second. It remembers each write that was acknowledged, so that "
            "in the end it can tell whether one was lost."
        )
        self._load = Load(self.directory)
        self._load.start()
        self._await_writes(_FAST_KEYS)
        self._run("put", "greeting", "hello")
        self._run("get", "greeting")
        self._pause(_READ_S)

    def _kill(self) -> str:
        self._head("Kill a node")
        victim = "n3"
        self._say(
            f"{victim} is killed with SIGKILL: it cannot say goodbye. The others must find out by themselves, while writes go on."
        )
        self._run("kill", victim)
        self._await_writes(_FAST_KEYS)
        assert self._load is not None
        failed = self._load.failed
        self._say(
            f"{many(self._load.count, 'write')} acknowledged so far, {failed} failed. What {victim} should hold is kept by other "
            "nodes, each with a hint for whom it is."
        )
        self._pause(_READ_S)
        return victim

    def _watch(self, victim: str) -> None:
        self._head("Watch")
        self._say("The operating system, the node itself and its peers do not always agree: status shows all three.")
        self._run("status")
        self._run("hints", "list")
        self._pause(_LOOK_S)

    def _heal(self, victim: str) -> None:
        self._head("Heal")
        self._say(
            f"{victim} comes back. It missed writes: the hints go home, then replicas are compared until all hold the same."
        )
        self._run("node", "start", victim)
        self._run("cluster", "wait", "--for", "converged", "--timeout", "60s")
        self._pause(_READ_S)

    def _check(self) -> None:
        self._head("Was anything lost?")
        assert self._load is not None
        load = self._load
        load.end()
        lost = load.lost()
        verdict = paint(
            f"{many(load.count, 'acknowledged write')}, {len(lost)} lost, {load.failed} failed", RED if lost else GREEN, BOLD
        )
        say(f"  {verdict}")
        if lost:
            raise _Stopped(f"acknowledged writes are missing: {' '.join(lost[:5])}")
        self._pause(_READ_S)

    def _conflict(self) -> None:
        self._head("A conflict")
        self._say("Two people change one shopping cart at the same time, and neither has seen the other's change.")
        self._run("put", "cart", '{"milk":1}', "--blind")
        self._run("put", "cart", '{"bread":2}', "--blind")
        self._say("Nothing was overwritten. Who reads the cart gets both, as siblings, and decides.")
        self._run("get", "cart", expect=SIBLINGS)
        self._pause(_LOOK_S)

    def _resolve(self) -> None:
        self._head("Resolve it")
        self._say("Of two carts the union is one: that is what the paper's shops do. It replaces both, since it has seen both.")
        self._run("resolve", "cart", "--merge", "union")
        self._run("get", "cart")
        self._pause(_LOOK_S)

    def _down(self, keep: bool) -> None:
        self._head("That was it")
        if keep:
            self._say("The cluster keeps running.")
            say(f"  use it      export DYNAZMQ_DIR={self.directory}")
            say(f"  watch it    dynazmq tui --dir {self.directory}")
            say(f"  remove it   dynazmq down --purge --dir {self.directory}")
            return
        self._run("down", "--purge", "--yes")
        say()
        say("  next   dynazmq up && dynazmq tui      with K and S the same, on one screen")

    # --- telling ----------------------------------------------------------------------------------------------------------

    def _head(self, text: str) -> None:
        self._step += 1
        say()
        say(paint(f"{self._step}. {text}", BOLD))

    def _say(self, text: str) -> None:
        import textwrap

        for line in textwrap.wrap(text, 78):
            say(f"  {line}")

    def _run(self, *arguments: str, expect: int = OK) -> None:
        """One command, as it could be typed."""
        import shlex

        say()
        say(f"  {paint('$', DIM)} {paint(f'dynazmq {shlex.join(arguments)}', CYAN)}")
        self._pause(1.0)
        code = main(list(arguments))
        self._interrupt.check()
        if arguments[0] == "get" and code == OK and not sys.stdout.isatty():
            say()  # a value goes into a pipe as it is
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code != expect:
            raise _Stopped(f"exit code {code}")

    def _pause(self, seconds: float) -> None:
        """Until the time is over, or Enter is pressed where there is somebody to."""
        self._interrupt.check()
        if self._fast:
            return
        if sys.stdin.isatty() and seconds > 1.0:
            ready, _, _ = select.select([sys.stdin], [], [], seconds)
            if ready:
                sys.stdin.readline()
        else:
            time.sleep(seconds)

    def _await_writes(self, count: int) -> None:
        assert self._load is not None
        wanted = self._load.count + count
        deadline = time.monotonic() + 20.0
        while self._load.count < wanted:
            self._interrupt.check()
            if time.monotonic() > deadline or not self._load.is_alive():
                raise _Stopped(f"writes do not go on: {self._load.last_error or 'they are slow'}")
            time.sleep(0.02)


class Load(threading.Thread):
    """Writes keys one after the other, and remembers those that were acknowledged."""

    def __init__(self, directory: Path) -> None:
        super().__init__(name="load", daemon=True)
        self._directory = directory
        self._end = threading.Event()
        self._acked: list[str] = []
        self.failed = 0
        self.last_error = ""

    @property
    def count(self) -> int:
        return len(self._acked)

    def run(self) -> None:
        import dynazmq

        try:
            with dynazmq.connect(dir=self._directory) as client:
                bucket = client.bucket("load", codec="text")
                number = 0
                while not self._end.wait(1 / _PUTS_PER_S):
                    number += 1
                    self._put(bucket, f"key-{number}")
        except DynazmqError as error:
            self.last_error = str(error)

    def _put(self, bucket: object, key: str) -> None:
        from dynazmq import Bucket

        assert isinstance(bucket, Bucket)
        try:
            bucket.put(key, key)
            self._acked.append(key)
        except DynazmqError as error:
            self.failed += 1
            self.last_error = str(error)

    def end(self) -> None:
        self._end.set()
        if self.is_alive():
            self.join(5.0)

    def lost(self) -> list[str]:
        """Acknowledged keys that cannot be read, or hold something else."""
        import dynazmq

        with dynazmq.connect(dir=self._directory, timeout=5.0) as client:
            bucket = client.bucket("load", codec="text")
            missing: list[str] = []
            for first in range(0, len(self._acked), 256):
                for key, found in bucket.get_many(self._acked[first : first + 256]).items():
                    if isinstance(found, DynazmqError) or found.values != [key]:
                        missing.append(str(key))
        return missing


# --- leaving nothing behind -----------------------------------------------------------------------------------------------


class Interrupt:
    """Ctrl-C, a closed terminal, a TERM: the first one ends the tour, and no other disturbs the cleaning up.

    An exception that a signal raises is lost when it comes while Python finalises a generator. So it is kept in mind, too.
    """

    def __init__(self) -> None:
        self.seen = False

    def on_signal(self, _number: int, _frame: object) -> None:
        if not self.seen:
            self.seen = True
            raise KeyboardInterrupt

    def check(self) -> None:
        if self.seen:
            raise KeyboardInterrupt

    def on_lost(self, lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(lost)


@contextmanager
def _signals() -> Iterator[Interrupt]:
    interrupt = Interrupt()
    before, sys.unraisablehook = sys.unraisablehook, interrupt.on_lost
    try:
        with _handling(dict.fromkeys((signal.SIGTERM, signal.SIGHUP, signal.SIGINT), interrupt.on_signal)):
            yield interrupt
    finally:
        sys.unraisablehook = before


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nobody wants half of it cleaned up: more of Ctrl-C changes nothing now."""
    with _handling(dict.fromkeys((signal.SIGTERM, signal.SIGHUP, signal.SIGINT), signal.SIG_IGN)):
        yield


@contextmanager
def _handling(handlers: Mapping[signal.Signals, Callable[[int, object], None] | signal.Handlers]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _at(directory: Path) -> Iterator[None]:
    """What the commands say to type next need not name the directory."""
    before = os.environ.get("DYNAZMQ_DIR")
    os.environ["DYNAZMQ_DIR"] = str(directory)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("DYNAZMQ_DIR", None)
        else:
            os.environ["DYNAZMQ_DIR"] = before


def _remove(directory: Path) -> None:
    """The processes, the data, and the temporary directory itself."""
    with suppress(NoSuchCluster):
        launch.end_cluster(directory)
    if directory.exists():
        with suppress(ClusterError):
            launch.purge(directory)
    with suppress(OSError):  # what is not ours stays in it
        directory.parent.rmdir()
    if directory.parent.exists():
        note(f"could not be removed: {directory.parent}")

"""Acting on the cluster: what each key asks of the supervisor, away from the thread that draws, and what is said about it."""

from __future__ import annotations

import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from dynazmq.cluster.control import NoSupervisor, call
from dynazmq.cluster.directory.orphans import unsupervised
from dynazmq.cluster.observe.snapshot import NodeView
from dynazmq.errors import ClusterError, DynazmqError
from dynazmq.paths import where
from dynazmq.tui.keys import asks, command
from dynazmq.tui.model.load import Load

STOPPED_S = 20.0
COMMAND_S = 60.0
OUTPUT_CHARS_MAX = 200_000


class Controller(Protocol):
    """Raises DynazmqError with words for a person."""

    def act(self, verb: str, node: str) -> None: ...

    def partition(self, sides: Sequence[Sequence[str]]) -> str:
        """The fault's id."""
        ...

    def heal(self, paused: Sequence[str]) -> list[str]:
        """What was healed and resumed."""
        ...

    def run(self, words: Sequence[str], width: int) -> tuple[int, str]:
        """A dynazmq command line: its exit code and what it said."""
        ...

    def down(self) -> None: ...


class Supervisor:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def act(self, verb: str, node: str) -> None:
        self._tell(node, f"node {verb} {node}")
        try:
            call(self._directory, verb, nodes=[node])
        except NoSupervisor:
            raise ClusterError(unsupervised(self._directory, where(self._directory))) from None

    def _tell(self, node: str, line: str) -> None:
        """As a command line tells: what happens next is no accident. Raises ClusterError when it is not this user's cluster."""
        from dynazmq.cluster.directory import ownership
        from dynazmq.cluster.observe import events

        ownership.check_own(self._directory)

        events.append(self._directory, node, "command", f"dynazmq {line} (from the terminal UI)")

    def partition(self, sides: Sequence[Sequence[str]]) -> str:
        from dynazmq.cluster.directory import faults
        from dynazmq.paths import ClusterFile

        self._tell("*", f"fault partition {'/'.join(','.join(side) for side in sides)}")
        wanted = faults.Fault(kind="partition", sides=tuple(tuple(side) for side in sides))
        return faults.put_on(self._directory, wanted, list(ClusterFile.load(self._directory).members)).id

    def heal(self, paused: Sequence[str]) -> list[str]:
        from dynazmq.cluster.directory import faults

        self._tell("*", "heal")
        healed = [fault.id for fault in faults.heal(self._directory)]
        for name in paused:
            self.act("resume", name)
        return [*healed, *paused]

    def run(self, words: Sequence[str], width: int) -> tuple[int, str]:
        from os import environ

        line = [sys.executable, "-m", "dynazmq", *words]
        around = {**environ, "DYNAZMQ_DIR": str(self._directory), "COLUMNS": str(width), "NO_COLOR": "1"}
        try:
            done = subprocess.run(
                line, env=around, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_S
            )
        except subprocess.TimeoutExpired as late:
            return 6, f"{(late.stdout or b'').decode('utf-8', 'replace')[-OUTPUT_CHARS_MAX:]}\nended after {COMMAND_S:.0f} s"
        except OSError as error:
            raise ClusterError(f"cannot run it: {error.strerror}") from None
        return done.returncode, done.stdout.decode("utf-8", "replace")[-OUTPUT_CHARS_MAX:]

    def down(self) -> None:
        """Returns when the supervisor has ended every node and itself."""
        self._tell("*", "cluster down")
        deadline = time.monotonic() + STOPPED_S
        try:
            call(self._directory, "down")
            while time.monotonic() < deadline:
                call(self._directory, "facts", 1.0)
                time.sleep(0.1)
        except NoSupervisor:
            return
        raise ClusterError(f"it still runs after {STOPPED_S:.0f} s; look with: dynazmq cluster status")


class Hands:
    """Does one thing after the other, away from the thread that draws."""

    def __init__(self) -> None:
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="hands", daemon=True).start()

    def do(self, action: Callable[[], None]) -> None:
        self._todo.put(action)

    def _run(self) -> None:
        while True:
            self._todo.get()()


class Stage(Protocol):
    """What the keys need of the console. `told`, `shown` and `ended` may be called from any thread."""

    def say(self, notice: str, *, alarm: bool = False) -> None: ...

    def ask(self, question: str, action: Callable[[], None]) -> None: ...

    def told(self, notice: str, *, failed: bool = False) -> None: ...

    def shown(self, title: str, text: str) -> None: ...

    def ended(self) -> None: ...


class Acts:
    """One method for each key that acts. `last`: the command line that does the same as the last of them."""

    def __init__(
        self, directory: Path, stage: Stage, controller: Controller, load: Load, *, read_only: bool, confirm: str
    ) -> None:
        self._directory = directory
        self._stage = stage
        self._controller = controller
        self._load = load
        self._read_only = read_only
        self._confirm = confirm
        self._hands = Hands()
        self.last = ""

    def node(self, key: str, verb: str, view: NodeView) -> None:
        if view.state == "paused" and verb in ("pause", "start"):
            verb = "resume"
        what = {"wipe": "It is stopped and all that it stored is deleted."}.get(verb, "")
        self._do(
            key, f"{verb} {view.name}", command(verb, view.name, self._directory), what,
            lambda: self._controller.act(verb, view.name),
        )  # fmt: skip

    def partition(self, sides: Sequence[Sequence[str]]) -> None:
        parted = "/".join(",".join(side) for side in sides)
        same = f"dynazmq fault partition {parted}{where(self._directory)}"
        self._do("X", f"partition {parted}", same, "", lambda: self._controller.partition(sides))

    def heal(self, paused: Sequence[str]) -> None:
        self._do("H", "heal", f"dynazmq heal{where(self._directory)}", "", lambda: self._controller.heal(paused))

    def load(self) -> None:
        if self.refused():
            return
        if self._load.running:
            self._stage.say("stopping the load …")
            self._hands.do(self._stop_load)
        else:
            self._load.start()
            self._stage.told("load: some 200 puts and 200 gets a second, each acknowledged write is remembered   B stops it")

    def _stop_load(self) -> None:
        self._load.stop()
        self._stage.told("the load is off")

    def run(self, line: str, width: int) -> None:
        """A command line of `:`. With --read-only there is none: which of them only look is not for this to know."""
        if self.refused():
            return
        try:
            words = shlex.split(line)
        except ValueError as error:
            self._stage.say(f"{line}: {error}", alarm=True)
            return
        words = words[1:] if words[:1] == ["dynazmq"] else words
        said = shlex.join(words)
        if words[:1] == ["tui"]:
            self._stage.say("you are in it", alarm=True)
            return
        if words[:1] == ["edit"]:
            self._stage.say(f"an editor needs a terminal of its own: dynazmq {said}{where(self._directory)}", alarm=True)
            return
        self.last = f"dynazmq {said}{where(self._directory)}"

        def run() -> None:
            try:
                code, text = self._controller.run(words, width)
            except DynazmqError as error:
                self._stage.told(f"{said}: {error}", failed=True)
                return
            self._stage.shown(f"dynazmq {said}" + (f" · exit code {code}" if code else ""), text)
            self._stage.told(f"{said}: {'done' if not code else f'exit code {code}'}", failed=bool(code))

        self._stage.say(f"dynazmq {said} …")
        threading.Thread(target=run, name="command", daemon=True).start()  # it may take long, and other keys shall not wait

    def stop_all(self) -> None:
        same = f"dynazmq cluster down{where(self._directory)}"

        def stop() -> None:
            self._load.stop(0.0)
            self._controller.down()
            self._stage.ended()

        self._do("Q", "stop the whole cluster and leave", same, "What it stored is kept.", stop)

    def refused(self) -> bool:
        if self._read_only:
            self._stage.say("read-only: the keys that act on the cluster are off")
        return self._read_only

    def _do(self, key: str, what: str, same: str, warning: str, action: Callable[[], object]) -> None:
        """Ask, if this key asks; then do it, and tell what became of it."""
        if self.refused():
            return

        def act() -> None:
            try:
                action()
            except DynazmqError as error:
                self._stage.told(f"{what}: {error}", failed=True)
            else:
                self._stage.told(f"{what}: done   same as  {same}")

        def begin() -> None:
            self.last = same
            self._stage.say(f"{what} …   same as  {same}")
            self._hands.do(act)

        if asks(key, self._confirm):
            self._stage.ask(f"{what[0].upper()}{what[1:]}?{f' {warning}' if warning else ''}\nThe same as:  {same}", begin)
        else:
            begin()

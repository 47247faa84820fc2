"""The pictures of docs/screens/, taken of a real cluster: `make screenshots`. Takes a minute, and a cluster of its own.

    python -m tools.screenshots [DIRECTORY]

A load runs; a node is killed, comes back, and all converges; the network is parted, both sides take a put, and it is healed; a
node joins. What the terminal UI shows meanwhile is saved as SVG, and so is what `get`, `explain` and `trace` say of the key.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

import dynazmq
from dynazmq.cluster.control import call
from dynazmq.cluster.directory import faults
from dynazmq.cluster.observe.observe import Observer
from dynazmq.paths import ClusterFile
from dynazmq.tui.app.save import svg
from dynazmq.tui.look import Look
from dynazmq.tui.model.load import Load
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.trends import History
from dynazmq.tui.panels.screen import frame

WIDTH, HEIGHT = 120, 35
LOOK_S = 0.05
PATIENCE_S = 90.0
KEYS = 20_000
LEFT, RIGHT = ("n1", "n2"), ("n3", "n4", "n5")


class Camera:
    """Looks at a cluster as the terminal UI does, and saves what it would show."""

    def __init__(self, directory: Path, screens: Path) -> None:
        self.directory = directory
        self.screens = screens
        self.load = Load(directory, puts_per_s=300, gets_per_s=300)
        self._observer = Observer(directory)
        self._history = History()
        self._checked = 0.0
        self._last = "nothing"

    def see(self) -> Model:
        model = self._history.add(self._observer.look(), self.load.stats())
        converged = max((each.converged or 0.0 for each in model.recoveries), default=0.0)
        if converged > self._checked:
            self._checked = converged
            self.load.check(converged)
        time.sleep(LOOK_S)
        return model

    def until(self, condition: Callable[[Model], object]) -> Model:
        deadline = time.monotonic() + PATIENCE_S
        while not condition(model := self.see()):
            if time.monotonic() > deadline:
                raise SystemExit(f"after {self._last} it did not come to what was to be seen")
        return model

    def watch(self, seconds: float) -> Model:
        end = time.monotonic() + seconds
        return self.until(lambda _: time.monotonic() >= end)

    def take(self, name: str, model: Model) -> None:
        self._save(name, frame(model, Look(selected="n3"), WIDTH, HEIGHT), WIDTH, f"dynazmq tui · {name}")

    def type(self, name: str, *lines: str, width: int = 100) -> None:
        """Commands and what they say."""
        shown = Text()
        for line in lines:
            shown.append("$ ", "dim").append(f"{line}\n", "bold").append_text(
                Text.from_ansi(self.run(*line.split()[1:], width=width))
            )
            shown.append("\n")
        shown.rstrip()
        self._save(name, shown, width, f"dynazmq {name}")

    def run(self, *words: str, width: int = 100) -> str:
        around = {**os.environ, "DYNAZMQ_DIR": str(self.directory), "FORCE_COLOR": "1", "COLUMNS": str(width)}
        line = [sys.executable, "-m", "dynazmq", *words]
        return subprocess.run(line, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def _save(self, name: str, text: Text, width: int, title: str) -> None:
        path = self.screens / f"{name}.svg"
        path.write_text(svg(text, width, title), encoding="utf-8")
        self._last = name
        print(path, flush=True)

    def close(self) -> None:
        self.load.stop()
        self._observer.close()


def story(camera: Camera) -> None:
    directory = camera.directory
    with dynazmq.connect(dir=directory, timeout=30.0) as client:  # so that a transfer takes long enough to be seen
        for first in range(0, KEYS, 500):
            client.bucket("carts").put_many({f"cart:{number}": b"x" * 200 for number in range(first, first + 500)})
    camera.load.start()
    camera.take("healthy", camera.watch(15))

    call(directory, "kill", nodes=["n3"])
    camera.take("killed", camera.watch(30))
    call(directory, "start", nodes=["n3"])
    camera.take("draining", camera.until(lambda model: any(each.up and 0 < each.left < each.peak for each in model.recoveries)))
    camera.take("converged", camera.until(_checked))

    parted = faults.Fault(kind="partition", sides=(LEFT, RIGHT))
    camera.run("put", "cart:42", "milk")
    faults.put_on(directory, parted, [*LEFT, *RIGHT])
    camera.watch(4)
    for side, cart in ((LEFT, b"milk, eggs"), (RIGHT, b"milk, bread")):
        with dynazmq.connect(endpoints=[ClusterFile.load(directory).members[name] for name in side]) as client:
            carts = client.bucket("default")
            carts.put("cart:42", cart, context=carts.get("cart:42").context)
    camera.take("partitioned", camera.watch(4))
    faults.heal(directory)
    camera.until(lambda model: model.snapshot.converged)
    camera.type("siblings", "dynazmq get cart:42")
    camera.type("explain", "dynazmq explain cart:42")
    camera.type("trace", "dynazmq trace put cart:42 milk,eggs,bread", "dynazmq trace get cart:42")

    camera.watch(31)  # the cards of the recoveries go
    camera.run("cluster", "add")
    joins = subprocess.Popen(
        [sys.executable, "-m", "dynazmq", "cluster", "commit", "--dir", str(directory)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        camera.take(
            "joining",
            camera.until(
                lambda model: any(0.1 < each.left / each.partitions < 0.8 for each in model.transfers if each.partitions)
            ),
        )
    finally:
        joins.wait(PATIENCE_S)


def _checked(model: Model) -> bool:
    check = model.load.check if model.load is not None else None
    return check is not None and check.done and any(each.converged == check.after for each in model.recoveries)


def main() -> None:
    screens = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screens")
    screens.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dynazmq-") as made:
        directory = Path(made) / "demo"
        up = [sys.executable, "-m", "dynazmq", "cluster", "up", "-n", "5", "--dir", str(directory)]
        subprocess.run(up, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            camera = Camera(directory, screens)
            try:
                story(camera)
            finally:
                camera.close()
        finally:
            subprocess.run(
                [sys.executable, "-m", "dynazmq", "cluster", "down", "--purge", "--yes", "--dir", str(directory)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip


if __name__ == "__main__":
    main()

"""Whole frames as text, compared with golden/. After a change that is meant:

GOLDEN=write python -m pytest tests/faces/test_tui_frames.py        and look at the difference before it is committed
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from tui_cluster import Cluster

from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.tui import print_once
from dynazmq.tui.app.once import print_frame
from dynazmq.tui.look import Look, ascii_only
from dynazmq.tui.model.model import Model
from dynazmq.tui.panels.screen import frame
from dynazmq.tui.settings import Settings

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((80, 24), (120, 35), (160, 45))


def healthy() -> Model:
    return Cluster(load=True).run(20)


def killed() -> Model:
    cluster = Cluster(load=True)
    cluster.run(20)
    cluster.kill("n3")
    return cluster.run(18)


def suspect() -> Model:
    cluster = Cluster()
    cluster.run(20)
    cluster.freeze("n4")
    return cluster.run(1.5)


def paused() -> Model:
    cluster = Cluster()
    cluster.run(20)
    cluster.pause("n2")
    return cluster.run(5)


def partitioned() -> Model:
    cluster = Cluster(load=True)
    cluster.run(20)
    cluster.partition(["n1", "n2"], ["n3", "n4", "n5"])
    return cluster.run(5)


def draining() -> Model:
    cluster = Cluster(load=True)
    cluster.run(20)
    cluster.kill("n3")
    cluster.run(30)
    cluster.start("n3")
    return cluster.run(2)


def converged() -> Model:
    cluster = Cluster(load=True)
    cluster.run(20)
    cluster.kill("n3")
    cluster.run(30)
    cluster.start("n3")
    return cluster.run(6)


def two_away() -> Model:
    """One more than W=2 of N=3 allows for some ranges, and one of them counts down to its restart."""
    cluster = Cluster()
    cluster.run(20)
    cluster.kill("n2", restart_in_s=7.0)
    cluster.pause("n3")
    return cluster.run(3)


def joining() -> Model:
    cluster = Cluster(load=True)
    cluster.run(20)
    cluster.join("n6")
    cluster.run(2)
    cluster.filled = 54
    return cluster.run(1)


def one_node() -> Model:
    return Cluster(1).run(5)


def twenty_nodes() -> Model:
    cluster = Cluster(20, 240)
    cluster.run(10)
    cluster.kill("n17")
    return cluster.run(8)


STATES: tuple[Callable[[], Model], ...] = (
    healthy, killed, suspect, paused, partitioned, draining, converged, two_away, joining, one_node, twenty_nodes,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def agrees(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    text = "".join(line.rstrip() + "\n" for line in text.split("\n"))
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_frame_is_as_it_was(state: Callable[[], Model], width: int, height: int) -> None:
    drawn = frame(state(), Look(selected="n3"), width, height)

    agrees(f"{state.__name__}-{width}x{height}", drawn.plain)


def test_ascii_frame_has_nothing_but_ascii_and_the_same_places() -> None:
    drawn = frame(killed(), Look(selected="n3"), 80, 24)

    plain = ascii_only(drawn.copy())

    assert plain.plain.isascii()
    assert plain.spans == drawn.spans
    agrees("killed-ascii-80x24", plain.plain)


@pytest.mark.parametrize("width", [60, 61, 67, 75, 76, 77, 80, 91, 100, 117, 119, 120, 121, 130, 160, 300])
@pytest.mark.parametrize("state", [killed, twenty_nodes, one_node], ids=lambda state: state.__name__)
def test_every_size_is_filled_exactly(state: Callable[[], Model], width: int) -> None:
    model = state()
    for height in (12, 13, 16, 19, 20, 21, 22, 23, 24, 30, 45, 80):
        rows = frame(model, Look(selected="n3"), width, height).plain.split("\n")
        assert len(rows) == height
        assert {cell_len(row) for row in rows} == {width}
        assert rows[height - 2].startswith("└")


def test_members_that_come_and_go_while_somebody_looks_leave_no_trace_and_no_gap() -> None:
    cluster = Cluster(load=True)
    cluster.run(5)
    cluster.kill("n3")
    cluster.run(5)
    for change in (lambda: cluster.join("n6"), lambda: setattr(cluster["n6"], "state", "up"), lambda: cluster.part("n3")):
        change()
        rows = frame(cluster.run(2), Look(selected="n3"), 120, 35).plain.split("\n")
        assert {cell_len(row) for row in rows} == {120}
    drawn = frame(cluster.run(40), Look(selected="n3"), 120, 35).plain
    assert "n6" in drawn
    assert "recovery of n3" not in drawn


def test_long_names_and_text_of_strangers_keep_their_place() -> None:
    cluster = Cluster(names=["a-node-with-quite-a-long-name-1", "b2", "c3"])
    cluster.leave("b2", "down", "exited (1)", "boom \x1b[31m\nand more " + "x" * 200)
    model = cluster.run(2)

    rows = frame(model, Look(), 80, 24).plain.split("\n")

    assert {cell_len(row) for row in rows} == {80}
    assert "\x1b" not in "".join(rows)


def test_a_small_terminal_is_told_what_it_takes() -> None:
    assert "60×12" in frame(healthy(), Look(), 40, 10).plain
    assert frame(healthy(), Look(), 20, 5).plain.split("\n")[0].strip() == "needs 60×12"


# --- one frame for a pipe --------------------------------------------------------------------------------------------------


class Looks:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.closed = False

    def look(self) -> Snapshot:
        self.cluster.tick(0.5)
        return self.cluster.snapshot()

    def close(self) -> None:
        self.closed = True


def test_once_prints_one_plain_frame_without_keys() -> None:
    out = io.StringIO()
    looks = Looks(Cluster())

    code = print_frame(Path("demo"), width=80, height=24, out=out, watch=lambda _: looks, between_s=0)

    assert code == 0
    assert looks.closed
    assert "press" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
    agrees("once-80x24", out.getvalue().rstrip("\n"))


def test_once_takes_its_width_from_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    out = io.StringIO()

    print_frame(Path("demo"), out=out, watch=lambda _: Looks(Cluster()), between_s=0)

    assert max(map(cell_len, out.getvalue().split("\n"))) == 100


def test_once_falls_back_to_ascii_where_the_encoding_is() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")

    print_frame(Path("demo"), width=80, out=out, watch=lambda _: Looks(Cluster()), between_s=0)
    out.flush()

    assert b"+ nodes ---" in raw.getvalue()


def test_no_cluster_is_said_with_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = print_once(tmp_path, Settings())

    said = capsys.readouterr()
    assert code == 7
    assert said.out == ""
    agrees("no-cluster", said.err.replace(str(tmp_path), "DIR").rstrip("\n"))


def test_cluster_that_is_not_running_is_said_with_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster(3)
    for node in cluster.nodes:
        cluster.leave(node.name, "stopped", "stopped", "stopped")
    cluster.supervisor_pid = None

    code = print_frame(Path("/tmp/demo"), watch=lambda _: Looks(cluster))

    said = capsys.readouterr()
    assert (code, said.out) == (7, "")
    assert "not running" in said.err
    assert "dynazmq cluster up --dir /tmp/demo" in said.err

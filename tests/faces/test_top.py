"""`top`: rates and percentiles between two looks, and a frame as text."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from seen import NAMES, Seen

from dynazmq.cli import main
from dynazmq.cli.top import Frame, cut, document, lines
from dynazmq.cluster.observe import rates
from dynazmq.cluster.observe.node_health import Answer
from dynazmq.cluster.observe.rates import Rates, Sample
from dynazmq.cluster.processes import environment
from dynazmq.paths import ClusterFile


def sample(seen: Seen, at: float) -> Sample:
    answers = {name: Answer(name=name, status=said) for name, said in seen.said.items()}
    found = Sample.of(seen.snapshot, answers)
    found.at = at
    return found


def told(seen: Seen, name: str, puts: int, slow: int = 0, incarnation: int = 1, **counters: int) -> None:
    seen.said[name] |= {
        "incarnation": incarnation,
        "counters": {"puts_ok": puts, **counters},
        "histograms": {"put": {"buckets": [[1_088, puts - slow], [104_448, slow]]}, "get": {"buckets": []}},
    }


def frame(seen: Seen, before: Sample) -> Frame:
    found = rates.between(before, sample(seen, before.at + 2.0))
    snapshot = seen.snapshot
    nodes = [(node, found.get(node.name, Rates())) for node in snapshot.nodes]
    return Frame(snapshot, nodes, rates.whole(list(found.values())), hints_before=0, passed_s=2.0)


def busy() -> tuple[Seen, Sample]:
    seen = Seen()
    for name in NAMES:
        told(seen, name, puts=1_000, slow=500)
    before = sample(seen, 10.0)
    for i, name in enumerate(NAMES):
        told(seen, name, puts=1_200 + 100 * i, slow=500 + 10 * (i == 1), puts_failed=4 * (i == 0))
    return seen, before


def test_rates_and_percentiles_are_of_what_happened_in_between() -> None:
    seen, before = busy()
    found = rates.between(before, sample(seen, 12.0))
    assert found["n1"].puts_per_s == 100
    assert found["n1"].failed_per_s == 2
    assert found["n1"].quantile_ms(0.99) == 1.088, "what was slow before does not count"
    assert found["n2"].quantile_ms(0.99) == 104.448
    assert found["n2"].quantile_ms(0.99, "get") is None
    total = rates.whole(list(found.values()))
    assert total.ops_per_s == 1_000
    assert total.quantile_ms(0.999, "put") == 104.448


def test_a_node_that_was_restarted_counts_from_its_new_beginning_and_one_that_was_silent_not_at_all() -> None:
    seen, before = busy()
    told(seen, "n3", puts=10, incarnation=2)
    del before.nodes["n4"]
    found = rates.between(before, sample(seen, 12.0))
    assert found["n3"].puts_per_s == 5
    assert found["n4"].ops_per_s == 0


def test_a_frame_shows_who_does_what() -> None:
    seen, before = busy()
    seen.gone("n3", 18.0)
    seen.hold("n1", "n3", 412, 18.0)
    shown = lines(frame(seen, before), "ops")
    assert shown[0].endswith("DEGRADED 18s")
    assert shown[1] == "puts 800/s p99 1.1ms  gets 0/s p99 –  failed 2/s  hints 412↑  over 2 s"
    assert [line.split()[0] for line in shown[4:]] == ["n5", "n4", "n2", "n1", "n3"]
    figures = ["–", "–", "100", "0", "2", "1.1", "1.1", "0", "–", "–", "30.1k"]
    assert shown[7].split() == ["n1", "up", *figures, "n3:412", "equal"]
    assert shown[8].split() == ["n3", "down", *["–"] * 13]
    by_p99 = lines(frame(seen, before), "p99")
    assert by_p99[4].startswith("n2")
    by_hints = lines(frame(seen, before), "hints")
    assert by_hints[4].startswith("n1")


def test_who_cannot_store_does_not_count_as_up() -> None:
    seen, before = busy()
    seen_then = frame(seen, before)
    for node, _ in seen_then.nodes[:3]:
        node.cannot_store = "cannot commit: disk I/O error"
    shown = lines(seen_then, "name")
    assert [" no writes " in line for line in shown[4:]] == [True, True, True, False, False]
    assert "NO " not in shown[0]
    seen_then.nodes[3][0].cannot_store = "cannot commit: disk I/O error"
    assert lines(seen_then, "name")[0].endswith("NO WRITES")


def test_json_has_no_figures_of_who_does_not_answer() -> None:
    seen, before = busy()
    seen.gone("n3", 18.0)
    found: dict[str, Any] = document(frame(seen, before), "name")
    nodes = {node["name"]: node for node in found["nodes"]}
    assert nodes["n1"]["puts_per_s"] == 100
    assert nodes["n3"]["state"] == "down"
    assert nodes["n3"]["puts_per_s"] is None
    assert found["cluster"]["puts_per_s"] == 800.0
    assert found["interval_s"] == 2.0


@pytest.mark.parametrize(
    ("line", "columns", "left"),
    [("abcdef", 4, "abcd"), ("abc", 4, "abc"), ("\x1b[31mabc\x1b[0mdef", 4, "\x1b[31mabc\x1b[0md"), ("", 4, "")],
)
def test_a_line_is_cut_by_what_is_seen_of_it(line: str, columns: int, left: str) -> None:
    assert cut(line, columns) == left


@pytest.fixture
def at_rest(tmp_path: Path) -> Path:
    members = {name: f"ipc://{tmp_path}/{name}.sock" for name in ("n1", "n2")}
    ClusterFile(name="demo", cluster_id=1, secret=b"x" * 32, members=members, n=1, r=1, w=1, home=str(tmp_path)).save(tmp_path)
    return tmp_path


def test_in_a_pipe_it_is_one_frame_and_code_7_when_nothing_runs(at_rest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--dir", str(at_rest)]) == 7
    out = capsys.readouterr().out
    assert "NOT RUNNING" in out
    assert out.count("\n") == 6
    assert "\x1b" not in out
    assert main(["top", "--sort", "beauty", "--dir", str(at_rest)]) == 2
    assert main(["top", "--dir", str(at_rest / "none")]) == 7


def test_on_a_terminal_it_is_drawn_in_place_and_ctrl_c_gives_the_terminal_back(at_rest: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-P", "-m", "dynazmq", "top", "--every", "200ms", "--dir", str(at_rest)]
    process = subprocess.Popen(command, env={**environment(), "TERM": "xterm"}, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    try:
        deadline = time.monotonic() + 30
        while shown.count(b"\x1b[H") < 3 and time.monotonic() < deadline:
            shown += os.read(leader, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert shown.startswith(b"\x1b[?1049h\x1b[?25l")
    assert shown.endswith(b"\x1b[?25h\x1b[?1049l")
    assert b"\x1b[2J" not in shown, "nothing is wiped: that is what flickers"
    assert b"Traceback" not in shown

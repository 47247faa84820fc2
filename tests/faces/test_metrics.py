"""`dynazmq metrics`: judged by the parser of Prometheus' own client, and by what documents and dashboard say of it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from seen import NAMES, Seen

from dynazmq.cli.metrics import Server
from dynazmq.cluster.observe import metrics
from dynazmq.cluster.observe.metrics import BOUNDS_US, COUNTERS, FAMILIES, cumulated
from dynazmq.cluster.observe.node_health import Answer
from dynazmq.cluster.observe.observe import Observer
from dynazmq.cluster.processes import environment
from dynazmq.dynamo.coordinator.stats import Histogram
from dynazmq.faults import Fault
from dynazmq.paths import ClusterFile

ROOT = Path(__file__).parents[2]


def rich() -> Seen:
    """With something of everything."""
    seen = Seen()
    histogram = Histogram()
    for ms in range(1, 101):
        histogram.add(ms / 1000)
    told = {"buckets": histogram.sparse(), "count": 100, "sum_s": 5.05, "max_s": 0.1}
    for said in seen.said.values():
        said |= {
            "counters": {"puts_ok": 70, "puts_failed": 2, "gets_ok": 30, "hints_stored": 5},
            "histograms": {"put": told, "get": {"buckets": [], "count": 0, "sum_s": 0, "max_s": 0}},
            "cpu_s": 1.25, "rss_bytes": 1 << 20, "descriptors": {"open": 30, "limit": 20_000},
            "turns": {"longest_ms": 12.5, "part": "commit", "part_ms": 9.0, "busiest_ms": 4.0},
            "waiting": {"senders": 1, "bytes": 300},
            "unsent_bytes": {"clients": 4096, "peers": 0}, "hint_bytes": 4096, "hint_bytes_max": 1 << 30,
            "in_flight": 3, "commit": {"count": 10, "rows": 40, "avg_ms": 1.5},
            "log": {"bytes": 9, "held": 0, "waits": 1, "waited_ms": 20, "refused": 0},
            "to_forget": 0, "anti_entropy": {"on": True, "surveyed": 120, "peers": {}}, "transfer": {},
        }  # fmt: skip
    seen.gone("n3", 18.0, exits=2)
    seen.hold("n1", "n3", 412, 17.5)
    return seen


def text_of(seen: Seen, faults: list[Fault] | None = None) -> str:
    answers = {name: Answer(name=name, status=said) for name, said in seen.said.items()}
    snapshot = seen.snapshot
    snapshot.faults = faults or []
    return metrics.text(snapshot, answers, seen.facts, "0.1.0")


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    return samples(text)[name, frozenset(labels.items())]


def test_the_official_parser_reads_all_of_it_with_types_and_help() -> None:
    families = {family.name: family for family in text_string_to_metric_families(text_of(rich()))}
    assert len(families) == len(FAMILIES)
    for name, (kind, explained) in FAMILIES.items():
        family = families[name.removesuffix("_total") if kind == "counter" else name]
        assert (family.type, family.documentation) == (kind, explained), name
        assert family.samples, name


def test_figures_are_those_of_the_nodes() -> None:
    text = text_of(rich(), [Fault(kind="isolate", nodes=("n3",), id="f1", since=1.0)])
    assert value(text, "dynazmq_up", node="n1") == 1
    assert value(text, "dynazmq_up", node="n3") == 0
    assert value(text, "dynazmq_node_state", node="n3", state="down") == 1
    assert value(text, "dynazmq_node_exits_total", node="n3") == 2
    assert value(text, "dynazmq_hints_pending", node="n1", target="n3") == 412
    assert value(text, "dynazmq_hints_oldest_seconds", node="n1", target="n3") == 17.5
    assert value(text, "dynazmq_peer_up", node="n1", target="n3") == 0
    assert value(text, "dynazmq_requests_total", node="n1", op="put", outcome="failed") == 2
    assert value(text, "dynazmq_process_cpu_seconds_total", node="n1") == 1.25
    assert value(text, "dynazmq_commit_seconds", node="n1") == 0.0015
    assert value(text, "dynazmq_hints_stored_total", node="n1") == 5
    assert value(text, "dynazmq_hints_delivered_total", node="n1") == 0, "what has not happened yet is 0"
    assert value(text, "dynazmq_faults_active", kind="isolate") == 1
    assert value(text, "dynazmq_faults_active", kind="slow") == 0


def test_a_node_that_does_not_answer_has_no_figures() -> None:
    about = {name for name, labels in samples(text_of(rich())) if ("node", "n3") in labels}
    assert about == {"dynazmq_up", "dynazmq_node_state", "dynazmq_node_exits_total"}


def test_a_histogram_counts_exactly_what_its_bounds_say() -> None:
    text = text_of(rich())
    name, labels = "dynazmq_request_duration_seconds", {"node": "n1", "op": "put"}
    assert value(text, f"{name}_count", **labels) == value(text, f"{name}_bucket", **labels, le="+Inf") == 100
    assert value(text, f"{name}_sum", **labels) == 5.05
    assert value(text, f"{name}_bucket", **labels, le="0.032768") == 32
    assert value(text, f"{name}_bucket", **labels, le="0.049152") == 49
    assert value(text, f"{name}_bucket", **labels, le="0.131072") == 100


@given(st.lists(st.integers(1, 200_000_000), max_size=60))
def test_bounds_are_bounds_of_the_nodes_own_buckets(durations_us: list[int]) -> None:
    histogram = Histogram()
    for us in durations_us:
        histogram.add((us + 0.5) / 1e6)
    for bound, below in cumulated(histogram.sparse()):
        assert below == sum(us < bound for us in durations_us)
    assert list(BOUNDS_US) == sorted(set(BOUNDS_US))


def test_names_and_texts_cannot_break_the_format() -> None:
    seen = rich()
    seen.said["n1"]["peers"] = {'n"2\\\n{}': {"state": "up"}}
    seen.said["n1"]["counters"] |= {"of_a_later_release": 3, "no name} 1\n": 4}  # type: ignore[operator]
    text = text_of(seen)
    assert value(text, "dynazmq_peer_up", node="n1", target='n"2\\\n{}') == 1
    assert value(text, "dynazmq_of_a_later_release_total", node="n1") == 3
    assert "no name" not in text


def test_nothing_that_runs_is_still_a_document() -> None:
    seen = Seen()
    for name in NAMES:
        seen.gone(name, 3.0)
    text = text_of(seen)
    assert value(text, "dynazmq_up", node="n1") == 0
    assert value(text, "dynazmq_converged") == 0


def test_every_counter_of_a_node_is_explained() -> None:
    """Nobody may count something that nobody can look up."""
    counted = set()
    for path in [*(ROOT / "dynazmq/dynamo").rglob("*.py"), *(ROOT / "dynazmq/wire").glob("*.py"), ROOT / "dynazmq/server.py"]:
        for inside in re.findall(r"counters\[(.*?)\] \+=", path.read_text()):
            counted |= set(re.findall(r'"([a-z_]+)"', inside))
    assert counted == COUNTERS.keys() | {"puts_ok", "puts_failed", "gets_ok", "gets_failed"}


def test_the_document_names_every_metric_and_no_other() -> None:
    page = (ROOT / "docs/observability.md").read_text()
    named = set(re.findall(r"`(dynazmq_[a-z_]+)`", page))
    assert named == FAMILIES.keys()


# --- the dashboard --------------------------------------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs/grafana-dashboard.json").read_text())
    return found


def test_each_metric_of_the_dashboard_exists_with_the_labels_that_it_asks_for() -> None:
    known = samples(text_of(rich(), [Fault(kind="isolate", nodes=("n3",), id="f1")]))
    labels: dict[str, set[str]] = {}
    for name, has in known:
        labels.setdefault(name, set()).update(label for label, _ in has)
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 30
    for expression in expressions:
        names = re.findall(r"dynazmq_[a-z_]+", expression)
        assert names, expression
        for name in names:
            assert name in labels, expression
        asked = set(re.findall(r"([a-z]+)=~?\"", expression))
        asked |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
        assert asked <= set().union(*(labels[name] for name in names)), expression


def test_panels_of_the_dashboard_do_not_lie_upon_each_other() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]


# --- serving --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def at_rest(tmp_path: Path) -> Path:
    """A cluster that is not running."""
    members = {"n1": f"ipc://{tmp_path}/n1.sock"}
    ClusterFile(name="demo", cluster_id=1, secret=b"x" * 32, members=members, n=1, r=1, w=1, home=str(tmp_path)).save(tmp_path)
    return tmp_path


def test_it_is_served_on_loopback_and_a_signal_ends_it_with_code_0(at_rest: Path) -> None:
    command = [sys.executable, "-P", "-m", "dynazmq", "metrics", "serve", "--port", "0", "--dir", str(at_rest)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", process.stderr.readline())
        assert found
        silent = socket.create_connection(("127.0.0.1", int(found[1])), 5)  # who connects and says nothing holds up nobody
        with urllib.request.urlopen(found[0], timeout=10) as reply:
            assert reply.headers["Content-Type"] == metrics.CONTENT_TYPE
            text = reply.read().decode()
        assert value(text, "dynazmq_up", node="n1") == 0
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/other", timeout=10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
        silent.close()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_port_that_is_taken_is_one_line(at_rest: Path) -> None:
    with Observer(at_rest) as observer, Server(observer, 0) as taken:
        ran = subprocess.run(
            [sys.executable, "-P", "-m", "dynazmq", "metrics", "serve", "--port", str(taken.server_port), "--dir", str(at_rest)],
            env=environment(), capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert (ran.returncode, ran.stdout) == (1, "")
        where = f"127.0.0.1:{taken.server_port}"
        assert ran.stderr == f"error: cannot listen on {where}: Address already in use; choose another --port\n"

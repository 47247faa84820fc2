"""`doctor`: each rule by itself, on pictures of clusters that do not run; then the command, where nothing does."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from dynazmq import paths
from dynazmq.cli import doctor, main
from dynazmq.cluster.observe.node_health import Facts, NodeFact
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.cluster.operations import checkup
from dynazmq.cluster.operations.checkup import PROBLEM, WARNING, Finding
from dynazmq.cluster.processes import Identity
from dynazmq.paths import ClusterFile, save_node_config


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("dynazmq.cluster.processes.running_clusters", lambda: iter(()))
    monkeypatch.setenv("DYNAZMQ_DIR", str(tmp_path / "c"))
    return tmp_path / "c"


def a_cluster(directory: Path, **more: Any) -> ClusterFile:
    from dynazmq.config import NodeConfig

    directory.mkdir(parents=True)
    members = {f"n{i}": f"ipc://{directory}/run/n{i}.sock" for i in (1, 2, 3)}
    cluster = ClusterFile(name=directory.name, cluster_id=7, secret=b"s" * 32, members=members, **more)
    cluster.save(directory)
    for name, endpoint in members.items():
        paths.node_dir(directory, name).mkdir(parents=True)
        config = NodeConfig(name=name, cluster="c", cluster_id=7, secret=b"s" * 32, data_dir="", endpoint=endpoint)
        save_node_config(paths.config_path(directory, name), config)
    return cluster


def node(name: str, state: str = "up", **more: Any) -> NodeView:
    about: dict[str, Any] = {"pid": 1 if state != "down" else None, "answers": state == "up", **more}
    return NodeView(name=name, endpoint="", state=state, **about)


def snapshot(*nodes: NodeView, **more: Any) -> Snapshot:
    about: dict[str, Any] = {"supervisor_pid": 1, "ring_agreed": True, **more}
    return Snapshot(
        name="c", directory="", taken_at=0.0, ring_version=1, owners=(), n=3, r=2, w=2, sync="full", transport="ipc",
        nodes=list(nodes), **about,
    )  # fmt: skip


def bad(findings: Any) -> list[tuple[str, str, str]]:
    return [(each.level, each.text, each.fix) for each in findings if each.level != checkup.OK]


# --- the rules ------------------------------------------------------------------------------------------------------------


def test_a_node_that_is_down_is_a_problem_with_its_age_its_hints_and_the_command() -> None:
    seen = snapshot(node("n1", hints_for={"n3": 1181}), node("n2"), node("n3", "down", since_s=18.0))
    assert bad(checkup.away(seen, Facts(), "")) == [
        (PROBLEM, "n3 down for 18 s with 1,181 hints waiting", "dynazmq node start n3")
    ]


def test_why_a_node_died_is_said_and_a_paused_one_is_resumed() -> None:
    seen = snapshot(node("n1"), node("n2", "paused", since_s=400.0), node("n3", "down"))
    facts = Facts(nodes={"n3": NodeFact(reason="disk I/O error")})
    assert bad(checkup.away(seen, facts, " --dir d"))[:2] == [
        (PROBLEM, "n2 paused for 7 m", "dynazmq node resume n2 --dir d"),
        (PROBLEM, "n3 down for 0.0 s: disk I/O error", "dynazmq node start n3 --dir d"),
    ]


def test_nodes_that_answer_and_are_not_reached_are_one_problem_whose_fix_is_to_heal_a_fault() -> None:
    seen = snapshot(node("n1"), *(node(name, "suspect", answers=True, since_s=2.4) for name in ("n2", "n3")))
    said = [(PROBLEM, "n2 n3 answer and cannot be reached by all peers for 2.4 s", "dynazmq logs n2")]
    assert bad(checkup.away(seen, Facts(), "")) == said
    seen.faults = [object()]  # type: ignore[list-item]
    assert bad(checkup.away(seen, Facts(), ""))[0][2] == "dynazmq fault heal"


def test_too_few_nodes_for_the_quorums_and_no_supervisor_are_problems() -> None:
    seen = snapshot(node("n1"), node("n2", "down"), node("n3", "down"), supervisor_pid=None)
    texts = [text for _, text, _ in bad(checkup.away(seen, Facts(), ""))]
    assert "no key meets R=2 and W=2: 1 node left" in texts
    assert "no supervisor: nodes that die stay down" in texts


def test_a_whole_cluster_and_one_that_does_not_run_are_well() -> None:
    assert bad(checkup.away(snapshot(node("n1"), node("n2"), node("n3")), Facts(), "")) == []
    (only,) = checkup.away(snapshot(node("n1", "down")), Facts(), "")
    assert only.text == "c is not running; start it with: dynazmq up"


@pytest.mark.parametrize(
    ("clocks", "level", "text"),
    [
        ([1_000, 1_003], "ok", "clocks agree within 3 ms"),
        ([1_000, 301_000, 1_000], WARNING, "clocks differ: n2 is 5 m ahead of n1"),
    ],
)
def test_clocks_are_compared(clocks: list[int], level: str, text: str) -> None:
    nodes = [node(f"n{i}", wall_ms=ms) for i, ms in enumerate(clocks, 1)]
    (only,) = checkup.clocks(snapshot(*nodes))
    assert only.level == level
    assert only.text.startswith(text)


def test_of_one_clock_nothing_is_said() -> None:
    assert list(checkup.clocks(snapshot(node("n1", wall_ms=5), node("n2", "down")))) == []


def test_damage_other_protocols_and_a_change_that_waits_are_named() -> None:
    hurt = node("n1", counters={"rows_damaged": 2, "store_failures": 1})
    assert [text for _, text, _ in bad(checkup.damage(snapshot(hurt), ""))] == [
        "n1 found 2 damaged rows since its start; its peers mend them",
        "n1 failed to store or read 1 time since its start",
    ]
    assert bad(checkup.protocols(snapshot(node("n2", protocol=9)), 3, ""))[0][1] == "n2 speaks protocol 9, this program 3"
    held = snapshot(node("n1"), node("n3", "down"), waiting_for=["n1", "n3"])
    assert [text for _, text, _ in bad(checkup.change(held, ""))] == ["a change of the members waits for n3 (down)"]


def test_limits_are_said_with_what_is_wanted(directory: Path) -> None:
    assert bad(checkup.file_limit(64, 5)) == [(WARNING, "file limit 64: 5 nodes and their clients want 256", "ulimit -n 256")]
    assert [each.text for each in checkup.file_limit(-1, 5)] == ["file limit none"]
    levels = [next(checkup.disk(directory, free, 100 << 30)).level for free in (1 << 20, 1 << 30, 80 << 30)]
    assert levels == [PROBLEM, WARNING, "ok"]


def test_relaxed_durability_and_files_that_others_can_read_are_warnings(directory: Path) -> None:
    cluster = a_cluster(directory, sync="normal", anti_entropy="off")
    (directory / "cluster.json").chmod(0o644)
    paths.config_path(directory, "n2").unlink()
    texts = [text for _, text, _ in bad(checkup.files(directory, cluster, ""))]
    assert "cluster.json can be read by others" in texts[0]
    assert "n2/config.json is missing" in texts[1]
    assert "durability is relaxed" in texts[2]
    assert "anti-entropy is off" in texts[3]


def test_a_fault_that_was_left_on_is_said_and_one_that_ends_by_itself_is_not(directory: Path) -> None:
    a_cluster(directory)
    fault = {"id": "f1", "kind": "partition", "sides": [["n1"], ["n2", "n3"]], "nodes": [], "since": 1.0, "until": None}
    (directory / "faults.json").write_text(json.dumps({"schema": "dynazmq.faults/1", "faults": [fault]}))
    ((level, text, fix),) = bad(checkup.faults(directory, ""))
    assert (level, fix) == (WARNING, "dynazmq fault heal f1")
    assert text.startswith("fault f1 is on: ")
    assert "n1" in text


# --- the command ----------------------------------------------------------------------------------------------------------


def test_without_a_cluster_the_machine_is_looked_at(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    assert main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "dynazmq.doctor/1"
    assert {"versions", "runtime-directory", "file-limit", "disk", "cluster"} <= {each["check"] for each in document["checks"]}
    assert not directory.exists()


def test_a_damaged_cluster_is_a_problem_with_code_10(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    a_cluster(directory)
    (directory / "cluster.json").write_text("{")
    assert main(["doctor"]) == 10
    assert "✗ cannot read" in capsys.readouterr().out


def test_sockets_without_a_process_are_removed_by_fix_and_nothing_else(
    capsys: pytest.CaptureFixture[str], directory: Path
) -> None:
    a_cluster(directory)
    run = paths.runtime_dir(directory)
    paths.make_private(run)
    (run / "notes.txt").write_text("mine")
    for name in ("n1", "supervisor"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(run / f"{name}.sock"))
        left.close()
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert '! a cluster "c" left 2 sockets and no process' in said
    assert "fix  dynazmq doctor --fix" in said
    assert main(["doctor", "--fix", "--json"]) == 0
    fixed = [each["fixed"] for each in json.loads(capsys.readouterr().out)["checks"] if each["fixed"]]
    assert fixed == [f"removed the sockets in {run}"]
    assert [path.name for path in run.iterdir()] == ["notes.txt"]
    main(["doctor"])
    assert "left" not in capsys.readouterr().out
    (run / "notes.txt").unlink()  # or the directory would outlive the tests


@pytest.mark.parametrize("seen", [False, True])
def test_processes_of_a_cluster_that_is_gone_are_a_problem_unless_they_still_see_it(
    seen: bool, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"n1": Identity(os.getpid(), "x")}
    monkeypatch.setattr("dynazmq.cluster.processes.running_clusters", lambda: iter([directory]))
    monkeypatch.setattr("dynazmq.cluster.processes.strangers", lambda _directory: left)
    monkeypatch.setattr("dynazmq.cluster.operations.checkup._sees", lambda _pid, _path: seen)
    found = list(checkup.orphans())
    assert [each.text for each in found] == ([] if seen else [f"n1 runs for a cluster that is not there any more: {directory}"])


def test_fix_makes_the_secret_private_again(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    a_cluster(directory)
    (directory / "cluster.json").chmod(0o644)
    assert main(["doctor", "--fix"]) == 0
    assert os.stat(directory / "cluster.json").st_mode & 0o777 == 0o600
    assert "is private now" in capsys.readouterr().out


def test_what_is_well_shares_lines_and_the_worst_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    found = [
        Finding(level="ok", check="a", text="file limit 1,024"),
        Finding(level=WARNING, check="b", text="durability is relaxed"),
        Finding(level="ok", check="c", text="free disk 80 GiB"),
        Finding(level=PROBLEM, check="d", text="n3 down", fix="dynazmq node start n3"),
    ]
    assert doctor.lines(found, {}) == [
        " ✓ file limit 1,024     ✓ free disk 80 GiB",
        " ✗ n3 down    fix  dynazmq node start n3",
        " ! durability is relaxed",
        " 1 problem, 1 warning",
    ]


def test_a_node_that_cannot_store_is_a_problem_with_its_reason() -> None:
    full = node("n2", cannot_store="No space left on device")
    found = bad(checkup.away(snapshot(node("n1"), full, node("n3")), Facts(supervisor_pid=1), ""))
    assert found == [(PROBLEM, "n2 cannot store: No space left on device", "dynazmq logs n2")]
    broken = node("n2", cannot_store="disk full (fault f1)", faults=["f1"])
    found = bad(checkup.away(snapshot(broken, broken, node("n3")), Facts(supervisor_pid=1), ""))
    assert found[0] == (PROBLEM, "n2 cannot store: disk full (fault f1)", "dynazmq heal")
    assert found[-1] == (PROBLEM, "no key meets R=2 and W=2: 1 node can store", "")


def test_a_file_system_that_is_read_only_is_a_problem_whatever_is_free(tmp_path: Path) -> None:
    assert [each.level for each in checkup.disk(tmp_path, 80 << 30, 90 << 30, closed=True)] == [PROBLEM]

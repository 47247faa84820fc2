"""doctor, inspect, support-bundle, hints, resolve, mget, export, import, lists of nodes, on five real nodes; and the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually, run

from dynazmq.cluster.processes import environment, running_clusters
from dynazmq.paths import ClusterFile


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "5", "--sync", "normal")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def whole(cluster: Cluster) -> Iterator[Cluster]:
    """For tests that take nodes away."""
    yield cluster
    cluster.run("node", "start", "--all", "--no-wait")
    eventually(cluster.whole, "the cluster is whole")


def states(cluster: Cluster) -> dict[str, str]:
    return {node["name"]: node["state"] for node in cluster.status()["nodes"]}


def test_lists_globs_and_chance_name_nodes(whole: Cluster) -> None:
    assert whole.run("node", "pause", "n[2-3],n5", "--no-wait").code == 0
    wanted = {"n1": "up", "n2": "paused", "n3": "paused", "n4": "up", "n5": "paused"}
    eventually(lambda: states(whole) == wanted, "these three are paused, each as soon as its signal comes")
    assert whole.run("resume", "n*", "--no-wait").code == 0
    eventually(lambda: set(states(whole).values()) == {"up"}, "all go on")
    shown = whole.run("node", "show", "--random", "--json").document["nodes"]
    assert len(shown) == 1
    assert [node["name"] for node in whole.run("aae", "status", "n[4-5]", "--json").document["nodes"]] == ["n4", "n5"]


def test_hints_are_listed_kept_while_their_node_is_away_and_drained_when_it_is_back(whole: Cluster) -> None:
    whole.run("kill", "n3")
    for i in range(30):
        assert whole.run("put", f"hinted-{i}", "v").code == 0
    listed = whole.run("hints", "list", "n3", "--keys", "--limit", "100", "--json")
    hints = listed.document["hints"]
    assert listed.code == 0
    assert {row["target"] for row in hints} == {"n3"}
    assert all(len(row["keys"]) == row["count"] for row in hints)
    kept = {key["key"] for row in hints for key in row["keys"]}
    assert kept <= {f"hinted-{i}" for i in range(30)}
    assert kept
    assert whole.run("hints", "list", "n1", "--json").document["hints"] == []

    stuck = whole.run("hints", "drain", "n3")
    assert stuck.code == 5
    assert "n3 is down    next  dynazmq node start n3" in stuck.err

    ill = whole.run("doctor", "--json")
    assert ill.code == 10
    (problem,) = [each for each in ill.document["checks"] if each["level"] == "problem"]
    assert problem["text"].startswith("n3 down for ")
    assert "hints waiting" in problem["text"]
    assert problem["fix"].startswith("dynazmq node start n3")

    holder = hints[0]["holder"]
    of_hints = whole.run("inspect", holder, "--table", "hints", "--json").document["nodes"][0]["rows"]
    assert {row["key"] for row in of_hints} == {key["key"] for key in hints[0]["keys"]}

    whole.run("node", "start", "n3")
    assert whole.run("hints", "drain", "n3", "--timeout", "20s").code == 0
    assert whole.run("hints", "list", "--json").document["hints"] == []
    eventually(lambda: whole.run("doctor").code == 0, "nothing is wrong any more")


def test_a_conflict_is_resolved_in_each_way(cluster: Cluster) -> None:
    def conflict(key: str) -> None:
        cluster.run("put", key, '{"milk":1}')
        cluster.run("put", key, '{"bread":2}', "--blind")
        assert cluster.run("get", key).code == 4

    for how, value in (
        (("--take", "1"), '{"milk":1}'),
        (("--merge", "union"), '{"bread":2,"milk":1}'),
        (("--merge", "latest"), '{"bread":2}'),
        (("--value", "else"), "else"),
    ):
        key = f"conflict-{how[0]}-{how[1]}"
        conflict(key)
        done = cluster.run("resolve", key, *how, "--json")
        assert (done.code, done.document["resolved"], done.document["values_left"]) == (0, 2, 1)
        assert cluster.run("get", key).out == value
    conflict("twice")
    assert cluster.run("resolve", "twice", "--take", "3").code == 2
    assert cluster.run("get", "twice").code == 4  # and nothing has changed
    assert cluster.run("resolve", "never", "--take", "1").code == 3
    cluster.run("put", "single", "v")
    assert cluster.run("resolve", "single", "--value", "other").code == 0
    assert cluster.run("get", "single").out == "v"


def test_what_is_exported_is_imported_again_siblings_and_bytes_included(cluster: Cluster, tmp_path: Path) -> None:
    file = str(tmp_path / "e.jsonl")
    binary = os.fsdecode(b"\x80\xff")
    cluster.run("put", "one", "1", "-b", "from")
    cluster.run("put", "two", "a", "-b", "from")
    cluster.run("put", "two", "b", "--blind", "-b", "from")
    cluster.run("put", "three", binary, "-b", "from")
    done = cluster.run("export", file, "-b", "from", "--json").document
    assert (done["keys"], done["values"]) == (3, 4)
    assert cluster.run("export", file, "-b", "from").code == 2  # it is there

    assert cluster.run("import", file, "-b", "to", "--json").document["stored"] == 3
    assert cluster.run("count", "-b", "to").out == "3\n"
    assert sorted(cluster.run("get", "two", "-b", "to", "--json").document["values"]) == ["a", "b"]
    assert os.fsencode(binary) == bytes.fromhex("80ff")
    assert cluster.run("get", "three", "-b", "to", "--json").document["encoding"] == "base64"
    assert cluster.run("import", file, "-b", "to", "--json").document == {
        "schema": "dynazmq.import/1",
        "file": file,
        "bucket": "to",
        "stored": 0,
        "skipped": 3,
        "failed": 0,
        "unseen": 0,
        "error": None,
    }

    cluster.run("put", "one", "newer", "-b", "from")
    assert cluster.run("import", file, "--missing", "--json").document["skipped"] == 3
    assert cluster.run("import", file, "--contexts", "--json").document["stored"] == 1
    assert sorted(cluster.run("get", "one", "-b", "from", "--json").document["values"]) == ["1", "newer"]
    assert cluster.run("import", file, "--contexts", "--json").document["stored"] == 0
    assert cluster.run("import", file, "--json").document["stored"] == 1
    assert cluster.run("get", "one", "-b", "from").out == "1"


def test_a_file_that_is_cut_in_a_line_stores_those_before_it(cluster: Cluster, tmp_path: Path) -> None:
    header = '{"schema": "dynazmq.export/1", "cluster": "x", "cluster_id": "0", "bucket": "cut"}\n'
    (tmp_path / "cut").write_text(header + '{"key": "a", "values": ["1"]}\n{"key": "b", "val')
    ran = cluster.run("import", str(tmp_path / "cut"))
    assert ran.code == 2
    assert "cut:3: cut off or no JSON; 1 key before it stored" in ran.err
    assert cluster.run("keys", "-b", "cut").out == "a\n"


def test_many_keys_are_read_at_once(cluster: Cluster) -> None:
    cluster.run("put", "m1", "a\nb", "-b", "many")
    cluster.run("put", "m2", "x", "-b", "many")
    ran = cluster.run("mget", "m2", "m1", "none", "-b", "many")
    assert (ran.code, ran.out, ran.err) == (3, "m2\tx\nm1\ta\\nb\n", "none: no value\n")
    rows = cluster.run("mget", "m2", "none", "-b", "many", "--json").document["results"]
    assert [(row["key"], row["found"], row["values"]) for row in rows] == [("m2", True, ["x"]), ("none", False, [])]


@pytest.mark.parametrize("language", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu"}])
def test_any_key_goes_through_a_pipe_of_commands_in_any_locale(cluster: Cluster, language: dict[str, str]) -> None:
    keys = {
        b"a\nb": b"1",
        b"a\\nb": b"2",
        b"cr\r": b"3",
        b"tab\t": b"4",
        b"\xff\xfe": b"\xff",
        "caf\u00e9".encode(): b"",
        b"-e": b"\\",
    }
    bucket = "piped-" + language["LC_ALL"].lower()
    dynazmq_ = [sys.executable, "-P", "-m", "dynazmq"]
    at = ["-b", bucket, "--dir", str(cluster.directory), "--timeout", "60s"]

    def command(*words: bytes | str, given: bytes = b"") -> bytes:
        env = {**environment(), **language}
        ran = subprocess.run([*dynazmq_, *words[:1], *at, *words[1:]], input=given, env=env, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    for key, value in keys.items():
        command("put", "--", key, "-", given=value)
    listed = command("keys")
    assert listed.isascii() or "PYTHONUTF8" not in language
    assert len(command("mget", "-", given=listed).splitlines()) == len(keys)
    assert command("mget", "-0", "-", given=command("keys", "-0")) == command("mget", "-", given=listed)
    for line in listed.splitlines():
        found = command("get", "-e", "--", line)
        key = next(key for key, value in keys.items() if value == found)
        assert command("get", "--", key) == found
    command("delete", "-e", "--", b"a\\nb")  # the one with a line end
    assert command("get", "--", b"a\\nb") == b"2"


def test_a_node_that_runs_is_looked_into_before_and_after_its_journal_is_folded(cluster: Cluster) -> None:
    cluster.run("put", "looked", "at")
    for _ in range(3):
        ran = cluster.run("inspect", "--all", "--key", "looked", "--json")
        assert ran.code == 0
        found = [row for node in ran.document["nodes"] for row in node["rows"] if row["table"] != "hints"]
        assert len({row["place"] for row in found}) == 1
        assert all(row["siblings"][0]["value"] == "at" and row["intact"] for row in found)
        assert len(found) >= 2
        time.sleep(0.5)
    assert cluster.run("inspect", "n*", "--key", "never").code == 3
    refused = cluster.run("inspect", "n1", "--sql", "DELETE FROM data")
    assert (refused.code, refused.err) == (2, "error: refused: inspect only reads, so a statement is one SELECT\n")
    counted = cluster.run("inspect", "n1", "--sql", "SELECT count(*) AS n FROM data", "--json").document
    assert counted["nodes"][0]["result"][0]["n"] >= 0


def test_the_bundle_of_a_cluster_that_runs_does_not_have_its_secret(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    document = cluster.run("support-bundle", str(file), "--json").document
    assert document["errors"] == []
    secret = ClusterFile.load(cluster.directory).secret
    with tarfile.open(file) as tar:
        everything = {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers()}  # type: ignore[union-attr]
    assert len(everything) >= 18
    for name, raw in everything.items():
        assert secret not in raw, name
        assert secret.hex().encode() not in raw.lower(), name
    status = json.loads(next(raw for name, raw in everything.items() if name.endswith("status.json")))
    assert [node["name"] for node in status["nodes"]] == ["n1", "n2", "n3", "n4", "n5"]


def test_doctor_says_that_clocks_agree_and_durability_is_relaxed(cluster: Cluster) -> None:
    said = cluster.run("doctor").out
    assert "clocks agree within" in said
    assert "! durability is relaxed" in said


# --- the demo -------------------------------------------------------------------------------------------------------------


def demos(place: Path) -> list[Path]:
    return [directory for directory in running_clusters() if place in directory.parents]


def test_the_tour_ends_with_nothing_lost_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran = run("demo", "--fast")
    assert ran.code == 0, ran
    assert ", 0 lost" in ran.out
    assert '{"bread":2,"milk":1}' in ran.out
    for command in ("up -n 5", "kill n3", "status", "node start n3", "resolve cart --merge union", "down --purge --yes"):
        assert f"$ dynazmq {command}" in ran.out
    assert list(tmp_path.iterdir()) == []
    assert demos(tmp_path) == []


@pytest.mark.parametrize(
    ("said", "number"), [("Five nodes", signal.SIGINT), ("DEGRADED", signal.SIGINT), ("ready in", signal.SIGHUP)]
)
def test_ctrl_c_at_any_point_leaves_nothing(said: str, number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "dynazmq", "demo", "--fast"]
    where = {**environment(), "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if said in line:
                break
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
    assert demos(tmp_path) == []

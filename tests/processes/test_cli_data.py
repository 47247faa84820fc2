"""put, get, delete, exists, keys and ring as they are typed, against three real nodes (ux 1.3, 1.4)."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, Ran, eventually

from dynazmq.cluster.processes import environment


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "3", "--sync", "normal")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def whole(cluster: Cluster) -> Iterator[Cluster]:
    """For tests that take nodes away."""
    yield cluster
    cluster.run("node", "start", "--all", "--no-wait")
    eventually(cluster.whole, "the cluster is whole")


def with_input(monkeypatch: pytest.MonkeyPatch, data: bytes, cluster: Cluster, *arguments: str) -> Ran:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return cluster.run(*arguments)


def test_what_is_put_is_got_byte_for_byte(cluster: Cluster) -> None:
    done = cluster.run("put", "greeting", "hello\nworld")
    assert done.code == 0
    assert done.out.startswith("ok   held by n")
    assert cluster.run("get", "greeting") == Ran(0, "hello\nworld", "")


def test_a_value_is_read_from_standard_input(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bytes(range(256))
    assert with_input(monkeypatch, raw, cluster, "put", "binary", "-").code == 0
    document = cluster.run("get", "binary", "--json").document
    assert document["encoding"] == "base64"
    assert base64.b64decode(document["values"][0]) == raw


def test_the_json_of_a_get_has_value_context_and_who_answered(cluster: Cluster) -> None:
    put = cluster.run("put", "j", '{"milk":1}', "--json").document
    assert put["schema"] == "dynazmq.put/1"
    assert len(put["acked"]) >= 2
    got = cluster.run("get", "j", "--json").document
    assert got["schema"] == "dynazmq.get/1"
    assert got.items() >= {"found": True, "values": ['{"milk":1}'], "encoding": "utf-8", "context": put["context"]}.items()
    assert len(got["responders"]) >= 2
    assert got["siblings"][0]["node"] in ("n1", "n2", "n3")


def test_an_absent_key_is_code_3_and_nothing_on_standard_output(cluster: Cluster) -> None:
    for verb in ("get", "delete", "exists"):
        absent = cluster.run(verb, "nothing")
        assert (absent.code, absent.out) == (3, "")
        document = cluster.run(verb, "nothing", "--json")
        assert (document.code, document.document["found"]) == (3, False)
        assert document.document["schema"] == f"dynazmq.{verb}/1"


def test_a_put_at_the_shell_replaces_what_is_there(cluster: Cluster) -> None:
    for value in ("one", "two", "three"):
        assert cluster.run("put", "counted", value).code == 0
    assert cluster.run("get", "counted") == Ran(0, "three", "")


def test_a_blind_put_leaves_a_sibling_and_the_next_put_replaces_both(cluster: Cluster) -> None:
    cluster.run("put", "cart", "milk")
    assert cluster.run("put", "cart", "bread", "--blind").code == 0
    several = cluster.run("get", "cart")
    assert (several.code, several.out) == (4, "")
    assert "2 siblings of cart" in several.err
    assert re.search(r"\[1\]  milk .*\n  \[2\]  bread ", several.err)  # in the order in which they were written
    assert "dynazmq resolve cart --take 2" in several.err
    as_json = cluster.run("get", "cart", "--json")
    assert as_json.code == 4
    assert sorted(as_json.document["values"]) == ["bread", "milk"]
    assert cluster.run("put", "cart", "both").code == 0
    assert cluster.run("get", "cart") == Ran(0, "both", "")


def test_a_context_replaces_what_it_covers_and_nothing_else(cluster: Cluster) -> None:
    first = cluster.run("put", "c", "first", "--json").document["context"]
    cluster.run("put", "c", "unseen", "--blind")
    assert cluster.run("put", "c", "second", "--context", first).code == 0
    assert sorted(cluster.run("get", "c", "--json").document["values"]) == ["second", "unseen"]
    assert cluster.run("delete", "c", "--context", first).code == 0
    assert len(cluster.run("get", "c", "--json").document["values"]) == 2


def test_a_context_of_another_key_or_a_changed_one_is_refused_and_nothing_is_stored(cluster: Cluster) -> None:
    context = cluster.run("put", "mine", "v", "--json").document["context"]
    changed = ("B" if context[20] == "A" else "A").join((context[:20], context[21:]))
    for key, token in (("other", context), ("mine", changed), ("mine", context[:-8])):
        refused = cluster.run("put", key, "stolen", "--context", token)
        assert refused.code == 2, refused
        assert "context" in refused.err
    assert cluster.run("get", "other").code == 3
    assert cluster.run("get", "mine").out == "v"


def test_what_is_written_while_somebody_edits_stays_beside_what_he_wrote(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.run("put", "edited", "before")
    put = f"{sys.executable} -P -m dynazmq put edited theirs --dir {cluster.directory}"
    (tmp_path / "editor").write_text(f'#!/bin/sh\n{put} && echo mine > "$2"\n')
    (tmp_path / "editor").chmod(0o700)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    monkeypatch.setenv("EDITOR", f"{tmp_path}/editor -w")
    edited = cluster.run("edit", "edited", "--json")
    assert edited.code == 0
    assert edited.document.items() >= {"schema": "dynazmq.edit/1", "found": True, "changed": True, "values_left": 2}.items()
    assert sorted(cluster.run("get", "edited", "--json").document["values"]) == ["mine", "theirs"]
    assert cluster.run("edit", "edited").code == 4
    cluster.run("resolve", "edited", "--take", "1")
    monkeypatch.setenv("EDITOR", "sh -c 'echo alone > \"$0\"'")
    assert cluster.run("edit", "edited").code == 0
    assert cluster.run("get", "edited") == Ran(0, "alone", "")


def test_a_deleted_key_is_gone_and_can_be_put_again(cluster: Cluster) -> None:
    cluster.run("put", "brief", "v")
    assert cluster.run("exists", "brief") == Ran(0, "", "")
    assert cluster.run("delete", "brief").code == 0
    assert cluster.run("exists", "brief").code == 3
    assert cluster.run("put", "brief", "again").code == 0
    assert cluster.run("get", "brief").out == "again"


def test_buckets_are_apart(cluster: Cluster) -> None:
    cluster.run("put", "same", "here", "--bucket", "one")
    cluster.run("put", "same", "there", "--bucket", "two")
    assert cluster.run("get", "same", "-b", "one").out == "here"
    assert cluster.run("get", "same", "-b", "two").out == "there"


def test_keys_lists_a_bucket_by_prefix_and_up_to_a_limit(cluster: Cluster) -> None:
    for key in ("user:1", "user:2", "cart:1", "late\nr"):
        cluster.run("put", key, "v", "-b", "listed")
    assert sorted(cluster.run("keys", "-b", "listed").out.splitlines()) == ["cart:1", "late\\nr", "user:1", "user:2"]
    assert sorted(cluster.run("keys", "user:", "-b", "listed").out.split()) == ["user:1", "user:2"]
    assert len(cluster.run("keys", "-b", "listed", "--limit", "2").out.splitlines()) == 2
    document = cluster.run("keys", "-b", "listed", "--json").document
    assert sorted(document["keys"]) == ["cart:1", "late\nr", "user:1", "user:2"]
    assert cluster.run("keys", "-b", "empty") == Ran(0, "", "")


def test_bad_input_is_refused_with_the_limit_and_what_was_given(cluster: Cluster) -> None:
    for arguments, words in (
        (("put", "", "v"), "1 to 1,024 bytes, this one 0"),
        (("put", "x" * 1025, "v"), "1 to 1,024 bytes, this one 1,025"),
        (("put", "k", "x" * 1_048_577), "1,048,577 bytes is over the limit of 1,048,576"),
        (("put", "k", "v", "-w", "4"), "w=4 .*3"),
        (("put", "k", "v", "-w", "0"), "w=0 "),
        (("get", "k", "-r", "4"), "r=4 .*3"),
        (("get", "k", "-n", "4"), "n=4 .*3"),
        (("get", "k", "--timeout", "0s"), "timeout is in seconds, above 0"),
        (("get", "k", "--timeout", "1h"), "up to 60"),
        (("put", "k", "v", "-b", ""), "1 to 64 bytes, this one 0"),
        (("put", "k", "v", "-b", "b" * 65), "1 to 64 bytes, this one 65"),
        (("keys", "-b", "\x01"), "control characters"),
    ):
        refused = cluster.run(*arguments)
        assert (refused.code, refused.out) == (2, ""), arguments[:2]
        assert re.search(words, refused.err), refused.err
        assert refused.err.count("\n") == 1
    assert cluster.run("get", "k").code == 3


def test_an_input_that_is_too_long_is_not_read_to_its_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(b"x" * 2_000_000)
    for path, words in (
        (tmp_path / "large", "2,000,000 bytes is over the limit of 1,048,576"),
        (Path("/dev/zero"), "the limit is 1,048,576 bytes"),
    ):
        with path.open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            refused = cluster.run("put", "long", "-")
        assert refused.code == 2
        assert words in refused.err
    assert cluster.run("get", "long").code == 3


def test_too_few_nodes_is_code_5_and_a_smaller_quorum_still_works(whole: Cluster) -> None:
    whole.run("put", "always", "v")
    whole.run("kill", "n2,n3")
    refused = whole.run("put", "always", "w", "--blind")
    assert refused.code == 5
    assert "2" in refused.err
    assert "1" in refused.err
    assert whole.run("put", "always", "w", "-w", "1", "-r", "1").code == 0
    assert whole.run("get", "always", "-r", "1").code == 0
    assert whole.run("status", "--check").code == 9


def test_a_write_while_a_node_is_away_leaves_a_hint_that_status_shows_and_wait_sees_delivered(whole: Cluster) -> None:
    whole.run("kill", "n3")
    said = [whole.run("put", f"hinted:{i}", "v") for i in range(12)]
    assert all(each.code == 0 for each in said)
    # N=3 of three nodes: whoever takes a write for n3 holds a copy of its own already, so the hint is beside that copy.
    eventually(lambda: sum(node["hints_for"].get("n3", 0) for node in whole.status()["nodes"]) >= 12, "hints for n3")
    shown = whole.run("status").out
    assert "wait for n3, the oldest for" in shown
    waiting = whole.run("cluster", "wait", "--for", "hints=0", "--timeout", "200ms")
    assert waiting.code == 6
    assert "hints pend" in waiting.err
    assert whole.run("node", "start", "n3").code == 0
    converged = whole.run("cluster", "wait", "--for", "converged", "--timeout", "10s", "--json")
    assert (converged.code, converged.document["met"]) == (0, True)
    assert sum(node["hints_pending"] for node in whole.status()["nodes"]) == 0


def test_the_ring_shows_where_a_key_lives(cluster: Cluster) -> None:
    shown = cluster.run("ring", "--key", "greeting").out.splitlines()
    assert shown[0].startswith("120 partitions  3 nodes  N=3  ring v1")
    assert any("▲" in line for line in shown)
    assert [line.split()[2] for line in shown[-3:]] == ["primary"] * 3
    document = json.loads(cluster.run("ring", "--key", "greeting", "--json").out)
    assert document["schema"] == "dynazmq.ring/1"
    assert len(document["owners"]) == 120
    assert document["nodes"] == {"n1": 40, "n2": 40, "n3": 40}
    assert [each["node"] for each in document["key"]["preference"]] == [line.split()[1] for line in shown[-3:]]


def test_a_bucket_is_told_to_let_the_last_write_win_and_what_that_costs_is_counted(cluster: Cluster) -> None:
    assert cluster.run("bucket", "list").out == "(all others)  N=3 R=2 W=2  siblings\n"
    done = cluster.run("bucket", "set", "positions", "--conflict", "lww")
    assert (done.code, done.out) == (0, "ok   positions keeps the last of concurrent writes; all nodes know it in some seconds\n")
    assert done.err.startswith("warning: reads see one value where there are siblings, and of concurrent writes all but the last")
    policy = {"name": "positions", "n": 3, "r": 2, "w": 2, "conflict": "lww", "wanted": None}
    eventually(
        lambda: all(cluster.run("bucket", "list", "--json").document["buckets"] == [policy] for _ in range(25)), "all know it"
    )
    assert cluster.run("bucket", "list").out.startswith("positions     N=3 R=2 W=2  lww\n")
    for place in ("here", "there"):
        assert cluster.run("put", "car", place, "--blind", "--bucket", "positions").code == 0
    assert cluster.run("get", "car", "--bucket", "positions").out == "there"
    status = cluster.run("status", "--json").document
    assert sum(node["lww_discarded"] for node in status["nodes"]) >= 1
    assert "discarded in buckets where the last write wins" in cluster.run("status").out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--conflict", "last"), "conflict='last' is not one of siblings, lww"),
        (("-n", "4"), "n=4 is not in 1..3"),
        (("-w", "0"), "w=0 is not in 1..3"),
    ],
)
def test_a_policy_that_cannot_be_is_a_mistake_of_whoever_typed_it(
    cluster: Cluster, arguments: tuple[str, ...], text: str
) -> None:
    done = cluster.run("bucket", "set", "b", *arguments)
    assert done.code == 2
    assert text in done.err

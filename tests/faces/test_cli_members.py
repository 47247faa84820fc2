"""What the command line says of members that come and go: plans, progress, status. Values in, lines out; no cluster runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from seen import NAMES, Seen

from dynazmq import paths
from dynazmq.cli import change, main, planned
from dynazmq.cli.status import _met, code, document
from dynazmq.cluster.directory.staging import Change, Staged
from dynazmq.cluster.observe.snapshot import Lost
from dynazmq.cluster.operations.members import Decided, Late, Met, Progress, Settled, Started
from dynazmq.cluster.operations.plan import Known, make_plan
from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import Ring
from dynazmq.paths import ClusterFile


def known(names: tuple[str, ...] = NAMES, up: tuple[str, ...] | None = None) -> Known:
    ring = Ring(4, claim(dict.fromkeys(names, 1.0), 120, 3))
    return Known(
        ring=ring, intents={}, n=3, quorum=2, up=frozenset(up or names), keys=dict.fromkeys(up or names, 30_100), row_bytes=214.0
    )


# --- plan ------------------------------------------------------------------------------------------------------------------


def test_a_plan_says_what_moves_how_much_of_it_and_how_even_it_is() -> None:
    staged = Staged([Change(action="add", name="n6")])
    shown = make_plan(known(), staged)
    assert planned.lines(shown, staged) == [
        "  staged   add n6",
        "  nodes    5 → 6    N=3, ring v4",
        "  owners   20 partitions of 120 change hands: n1→n6 4 n2→n6 4 n3→n6 4 n4→n6 4 n5→n6 4",
        "  copies   n6 60 of 120 partitions; about 25.1k keys, 5 MiB",
        "  shares   24 → 20 partitions each",
        "  repeats  0 → 0 preference lists name a node twice in 3",
    ]


def test_a_plan_names_who_is_given_up_and_who_holds_it_up() -> None:
    staged = Staged([Change(action="add", name="n6", replaces="n2"), Change(action="remove", name="n5")])
    shown = make_plan(known(up=("n1", "n3", "n4")), staged)
    assert planned.lines(shown, staged)[:2] == ["  staged   add n6 --replace n2", "           remove n5"]
    assert planned.lines(shown, staged)[-2:] == [
        "  !  n2 is given up: what no other node holds is lost; the rest is copied from its peers",
        "  !  n5 does not answer: the change waits for it, or until it is given up (remove n5 --force)",
    ]


def test_a_plan_with_fewer_members_than_copies_says_so() -> None:
    staged = Staged([Change(action="remove", name="n3")])
    shown = make_plan(known(NAMES[:3]), staged)
    assert "  copies   none: no node gets a key that it does not hold" in planned.lines(shown, staged)
    assert planned.lines(shown, staged)[-1] == "  !  of each key there will be 2 copies and not 3"


def test_a_plan_that_is_refused_says_why_and_nothing_else() -> None:
    staged = Staged([Change(action="remove", name=name) for name in NAMES[1:]])
    said = planned.lines(make_plan(known(), staged), staged)
    assert said[-1].startswith("refused  ")
    assert said[-1].endswith("would be left, and the cluster's quorums need 2")


def test_nothing_staged_is_said_so() -> None:
    assert planned.lines(make_plan(known(), Staged()), Staged()) == ["  staged  nothing", "  ring    v4 stays as it is"]


def test_a_plan_as_json_has_each_partition() -> None:
    staged = Staged([Change(action="add", name="n6", weight=2.0)])
    shown = make_plan(known(), staged)
    said = json.loads(json.dumps(planned.document(shown, staged)))
    assert said["staged"] == [
        {
            "action": "add", "name": "n6", "weight": 2.0, "replaces": None, "force": False, "without_quorum": False,
            "stays": False,
        }
    ]  # fmt: skip
    assert said["members"] == {"before": [*NAMES], "after": [*NAMES, "n6"]}
    assert [(each["partition"], each["from"], each["to"]) for each in said["moves"]] == list(shown.moves)
    assert said["owned"]["n6"] == [0, 35]
    assert sum(map(len, said["copies"].values())) == shown.copies
    assert (said["keys"], said["bytes"], said["refused"]) == (shown.keys, shown.bytes, None)


# --- commit ----------------------------------------------------------------------------------------------------------------


def a_report(tmp_path: Path, *, as_json: bool = False) -> change.Report:
    report = change.Report(tmp_path, as_json)
    staged = Staged([Change(action="add", name="n6"), Change(action="remove", name="n2")], "shown before")
    report.begin(make_plan(known(), staged), staged, staged)
    return report


def test_a_commit_tells_each_thing_once_it_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = a_report(tmp_path)
    for step in [
        Started("n6", 41206),
        Met("n6"),
        Decided(4),
        Progress(phase="rest", waiting_for={"n3": "up"}),
        Progress(phase="filling", partitions=80, left=60, waiting_for={"n3": "down", "n6": "up"}),
        Progress(phase="filling", partitions=80, left=20, waiting_for={"n3": "down"}),
        Progress(phase="flipped"),
        Settled(ring_version=7, owners=("n1", "n3", "n4", "n5", "n6"), keys=30_120, bytes=7 << 20, parted=("n2",)),
    ]:
        report.step(step)  # type: ignore[arg-type]
    assert report.done() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:-1] == [
        "✓ n6  started, pid 41206",
        "✓ n6  waits to be let in, seen by all others",
        "✓ decided; ring v4 begins to change, whatever becomes of this command",
        "  filling  keys are copied",
        "  !  it waits for n3 (down)",
        "  flipped  the new owners are read",
        "✓ n2  left; it has no process any more",
    ]
    assert said[-1].startswith("done  ring v7, 5 nodes; 30,120 keys, 7 MiB moved in ")


def test_a_commit_that_is_late_or_interrupted_says_whether_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = a_report(tmp_path)
    report.interrupted()
    assert "interrupted; nothing was decided    go on  dynazmq cluster commit --dir" in capsys.readouterr().err
    report.step(Decided(4))
    report.interrupted()
    assert "interrupted; the change goes on by itself    watch  dynazmq cluster status --dir" in capsys.readouterr().err
    late = Late(missing="the ring is filling", progress=Progress(phase="filling", waiting_for={"n3": "paused", "n6": "joining"}))
    assert report.late(late, 30.0) == 6
    assert capsys.readouterr().err.splitlines()[:2] == [
        "✗ not done after 30 s: the ring is filling",
        "   it waits for n3 (paused) n6",
    ]


def test_a_decision_that_one_disk_has_is_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_report(tmp_path).step(Decided(4, alone="n3"))
    assert capsys.readouterr().out.splitlines() == [
        "!  n3 alone has it on disk so far: if that is lost now, so is the decision",
        "✓ decided; ring v4 begins to change, whatever becomes of this command",
    ]
    report = a_report(tmp_path, as_json=True)
    report.step(Decided(4, alone="n3"))
    report.interrupted()
    assert json.loads(capsys.readouterr().out)["decided_by_one_disk"] == "n3"


def test_a_commit_as_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = a_report(tmp_path, as_json=True)
    report.step(Decided(4))
    report.step(Progress(phase="filling", keys=5, bytes=500, waiting_for={"n3": "down"}))
    report.interrupted()
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "dynazmq.commit/1"
    assert {what: said[what] for what in ("decided", "done", "interrupted", "waiting_for", "keys", "bytes")} == {
        "decided": True, "done": False, "interrupted": True, "waiting_for": ["n3"], "keys": 5, "bytes": 500
    }  # fmt: skip


# --- status ----------------------------------------------------------------------------------------------------------------


def changing(phase: str = "filling", *, waiting_for: tuple[str, ...] = ("n5",)) -> Seen:
    """n5 joins the other four."""
    seen = Seen()
    for name, said in seen.said.items():
        said["ring"] = {"version": 5, "digest": "d", "partitions": 120, "phase": phase}
        said["standing"] = "joining" if name == "n5" else "member"
        said["change"] = {"waiting_for": list(waiting_for), "target": list(NAMES)}
    transfer = {"partitions": 72, "left": 18, "keys": 22_500, "bytes": 5_000_000, "confirmed": False, "strays": 0}
    seen.said["n5"]["transfer"] = transfer
    return seen


def test_status_says_which_bucket_is_to_have_other_replicas_and_who_holds_it_up() -> None:
    seen = changing("rest")
    for said in seen.said.values():
        said["standing"] = "member"
        said["change"] = {"waiting_for": ["n5"], "target": list(NAMES), "buckets": [["carts", 1, 1, 1, 3, 2, 2]]}
    seen.said["n5"]["transfer"] = {"partitions": 0, "left": 0, "keys": 0, "bytes": 0, "confirmed": False, "strays": 0}
    assert seen.lines[10:13] == [
        "bucket carts has N=1 R=1 W=1, and is to have N=3 R=2 W=2",
        "replicas change: the ring follows soon",
        "  it waits for n5",
    ]
    assert not seen.snapshot.converged
    (change,) = [document(seen.snapshot)["change"]]
    assert change["buckets"] == [["carts", 1, 1, 1, 3, 2, 2]]


def test_a_change_under_way_is_no_trouble_and_says_how_far_it_is() -> None:
    seen = changing()
    assert seen.lines[0] == "demo  5 nodes  N=3 R=2 W=2  ring v5 agreed by 5/5     CHANGING"
    assert seen.lines[7].startswith("n5    ◌ 41205  up      up 4/4")
    assert seen.lines[9:] == [
        "Up 4 / Suspect 0 / Down 0 / Joining 1",
        "members change: n5 gets copies: 54 of 72 partitions filled, 22.5k keys, 5 MiB",
        "  it waits for n5",
        "every key meets R=2 W=2",
    ]
    assert max(map(len, seen.lines)) <= 80
    assert code(seen.snapshot, check=True) == 0
    assert not seen.snapshot.converged
    assert _met(seen.snapshot, "converged", 0) == (False, "members change")
    said = document(seen.snapshot)
    assert said["ring"]["phase"] == "filling"
    assert said["change"] == {
        "phase": "filling", "target": [*NAMES], "waiting_for": ["n5"], "partitions": 72, "partitions_left": 18, "keys": 22_500,
        "bytes": 5_000_000, "strays": 0, "given_up": [], "expelling": None, "without_source": [], "salvaged": 0,
        "buckets": [],
    }  # fmt: skip
    assert [node["state"] for node in said["nodes"]] == ["up"] * 4 + ["joining"]


def test_who_holds_up_a_change_is_named_with_what_can_be_done() -> None:
    seen = changing(waiting_for=("n3",))
    seen.gone("n3", 18.0)
    assert "  it waits for n3 (down)" in seen.lines
    assert seen.lines[-2:] == [
        "next  dynazmq node start n3",
        "or    dynazmq cluster remove n3 --force --now    if it is gone for good",
    ]
    assert "DEGRADED" in seen.lines[0]


def test_an_expulsion_to_which_a_majority_has_not_agreed_yet_says_who_is_missing_and_how_to_take_it_back() -> None:
    seen = changing("rest", waiting_for=("n2",))
    seen.gone("n3", 18.0)
    for name in ("n1", "n4", "n5"):
        agree = ["n1", "n4"] if name == "n4" else [name]
        expelling = {"members": ["n3"], "needed": 3, "agree": agree, "possible": True}
        seen.said[name]["change"] = {"waiting_for": ["n2"], "target": [], "expelling": expelling}
    assert "n3 is to be expelled: 2 of the 3 members agree that must, it waits for n2" in seen.lines
    assert not any("node start n3" in line for line in seen.lines), "it is given up"
    assert "or    dynazmq cluster add n3 --now    if it shall stay after all" in seen.lines
    assert document(seen.snapshot)["change"]["expelling"]["needed"] == 3
    assert not seen.snapshot.converged


def test_expulsions_that_contradict_each_other_are_said_to_come_to_nothing() -> None:
    seen = Seen()
    for said in seen.said.values():
        expelling = {"members": ["n1", "n2", "n3"], "needed": 3, "agree": ["n4"], "possible": False}
        said["change"] = {"waiting_for": [], "target": [], "expelling": expelling}
    (line,) = [line for line in seen.lines if "to be expelled" in line]
    assert line.startswith("n1 n2 n3 are to be expelled, which would leave no majority: nothing comes of it until some")


def test_who_is_given_up_is_not_waited_for_and_nobody_is_told_to_start_it() -> None:
    seen = changing(waiting_for=("n5",))
    seen.gone("n3", 18.0)
    for said in seen.said.values():
        said["change"] |= {"gone": ["n3"]}  # type: ignore[operator]
    assert "n3 is given up: nobody waits for it" in seen.lines
    assert not any("node start" in line for line in seen.lines)


LOST = {"ring_version": 4, "partitions": [3, 7, 12], "owners": ["n4", "n5"], "keys": 31}


def test_lost_partitions_are_said_until_somebody_acknowledges_them_and_have_an_exit_code_of_their_own() -> None:
    seen = Seen()
    seen.said["n2"]["lost"] = [LOST]
    assert seen.lines[0].endswith("DATA LOST")
    assert "LOST  3 partitions with n4 n5, about 31 keys when last heard of: 3 7 12" in seen.lines
    assert seen.lines[-1].startswith("next  dynazmq cluster acknowledge")
    assert code(seen.snapshot, check=True) == 11
    assert code(seen.snapshot, check=False) == 0
    assert document(seen.snapshot)["lost"] == [LOST]
    seen.said["n2"]["lost"] = [{**LOST, "keys": None}]
    assert "LOST  3 partitions with n4 n5, nobody knows how many keys: 3 7 12" in seen.lines
    del seen.said["n2"]["lost"]
    assert document(seen.snapshot)["lost"] == []
    assert code(seen.snapshot, check=True) == 0


def test_while_others_are_searched_it_is_said_how_many_partitions_have_no_holder_left() -> None:
    seen = changing()
    for said in seen.said.values():
        said["change"] |= {"without_source": [3, 7]}  # type: ignore[operator]
    seen.said["n5"]["transfer"] |= {"salvaged": 12}  # type: ignore[operator]
    assert "  2 partitions have no holder left: the others are searched, 12 copies of keys found" in seen.lines
    assert document(seen.snapshot)["change"]["without_source"] == [3, 7]
    assert document(seen.snapshot)["change"]["salvaged"] == 12


def test_a_commit_ends_with_what_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        report = a_report(tmp_path, as_json=as_json)
        report.step(Settled(ring_version=7, owners=("n1",), keys=0, bytes=0, lost=(Lost(**LOST),)))  # type: ignore[arg-type]
        assert report.done() == 0
        said = capsys.readouterr().out
        if as_json:
            assert json.loads(said)["lost"] == [LOST]
        else:
            assert said.splitlines()[0] == "LOST  3 partitions with n4 n5, about 31 keys when last heard of: 3 7 12"


def test_a_plan_warns_of_partitions_that_nobody_else_holds() -> None:
    staged = Staged([Change(action="remove", name=name, force=True, without_quorum=True) for name in ("n3", "n4", "n5")])
    shown = make_plan(known(up=("n1", "n2")), staged)
    warning = f"{len(shown.lost)} partitions that nobody else holds: what is in them is lost, but for hints that others keep"
    assert f"  !  {warning}" in planned.lines(shown, staged)
    assert planned.document(shown, staged)["lost"] == list(shown.lost) != []
    one = Staged([Change(action="remove", name="n3", force=True)])
    assert make_plan(known(), one).lost == ()


def test_one_that_waits_to_be_let_in_is_not_degraded_and_the_next_command_is_named() -> None:
    seen = Seen()
    seen.said["n5"] |= {"standing": "joining", "ring": {"version": 0, "digest": "its own"}}
    assert seen.snapshot.ring_agreed
    assert seen.lines[-1] == "n5 waits to be let in    next  dynazmq cluster commit"
    assert code(seen.snapshot, check=True) == 0


def test_partitions_that_wait_to_be_handed_over_keep_it_from_being_converged() -> None:
    seen = Seen()
    for said in seen.said.values():
        said["ring"] = {"version": 5, "digest": "d", "partitions": 120, "phase": "rest"}
    assert seen.snapshot.converged
    seen.said["n2"]["transfer"] = {"strays": 412}
    assert not seen.snapshot.converged
    assert "412 partitions to be handed over by n2" in seen.lines
    assert document(seen.snapshot)["change"]["strays"] == 412


def test_a_node_that_was_removed_by_force_and_came_back_is_stopped_and_nobody_starts_it() -> None:
    seen = Seen()
    seen.gone("n3", 3.0, process="removed", purpose="removed", state="stopped")
    assert seen.lines[5].startswith("n3    ■ removed")


# --- the commands, where no node is asked ------------------------------------------------------------------------------------


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cluster that does not run."""
    directory = tmp_path / "c"
    monkeypatch.setenv("DYNAZMQ_DIR", str(directory))
    directory.mkdir()
    members = {f"n{i}": f"ipc://{directory}/run/n{i}.sock" for i in (1, 2, 3)}
    ClusterFile(name="c", cluster_id=7, secret=b"s" * 32, members=members).save(directory)
    return directory


def test_changes_are_staged_without_a_running_cluster_and_dropped_again(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cluster", "add"]) == 0
    assert main(["cluster", "remove", "n2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "staged  add n4",
        "    next  dynazmq cluster plan",
        "staged  remove n2",
        "    with 1 change before    next  dynazmq cluster plan",
    ]
    assert main(["cluster", "add", "--replace", "n3", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["staged"]] == ["n4", "n2", "n5"]
    for verb in ("plan", "commit"):
        assert main(["cluster", verb]) == 7
        assert "is not running; start it with: dynazmq up" in capsys.readouterr().err
    assert main(["cluster", "clear"]) == 0
    assert capsys.readouterr().out.splitlines() == ["dropped  add n4", "dropped  remove n2", "dropped  add n5 --replace n3"]
    assert main(["cluster", "clear"]) == 0
    assert "nothing is staged" in capsys.readouterr().out
    assert not (directory / "staged.json").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("cluster add N4", "1 to 32 of a-z 0-9"),
        ("cluster add n3", "n3 is a member already; there are n1 n2 n3"),
        ("cluster add --weight 0", "--weight is above 0 and at most 100, not 0"),
        ("cluster add --replace n9", "no node 'n9'; there are n1 n2 n3"),
        ("cluster remove n9", "no node 'n9'; there are n1 n2 n3"),
        ("cluster remove", "which nodes?"),
        ("cluster commit --timeout soon", "not a duration: 'soon'"),
        ("node leave n9", "no node 'n9'"),
    ],
)
def test_what_cannot_be_staged_is_refused_with_code_2(
    command: str, words: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 2
    assert words in capsys.readouterr().err
    assert not (directory / "staged.json").exists()


def test_the_file_of_a_purged_cluster_goes_with_it(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths.removed_dir(directory).mkdir()
    assert main(["cluster", "add"]) == 0
    assert main(["down", "--purge", "--yes"]) == 0
    assert not directory.exists()


def test_without_quorum_must_be_meant(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "remove", "n3", "--without-quorum"]) == 2
    assert "it goes with --force" in capsys.readouterr().err
    assert main(["cluster", "add", "--without-quorum"]) == 2
    assert "it goes with --replace" in capsys.readouterr().err
    assert main(["cluster", "remove", "n3", "--force", "--without-quorum"]) == 2
    assert "Are they lost for good? Nobody can be asked here: say --yes" in capsys.readouterr().err
    assert Staged.load(directory).changes == []
    assert main(["cluster", "remove", "n3", "--force", "--without-quorum", "--yes"]) == 0
    assert "staged  remove n3 --force --without-quorum" in capsys.readouterr().out

"""What is staged, what a plan of it says, and what is on disk when members come and go (§4.9). No process runs here."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dynazmq import paths
from dynazmq.cluster.directory import creation, roster, staging
from dynazmq.cluster.directory.creation import Wishes
from dynazmq.cluster.directory.staging import Change, Staged
from dynazmq.cluster.operations.plan import Known, make_plan, undecided, with_decisions
from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import Ring
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.paths import ClusterFile
from dynazmq.storage.schema import bring_up_to_date

NAMES = ("n1", "n2", "n3", "n4", "n5")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    creation.create(tmp_path / "c", Wishes(nodes=3, name="c"))
    return tmp_path / "c"


def staged_add(directory: Path, name: str | None, staged: Staged, **options: object) -> str:
    given = {"weight": None, "replaces": None, "sure": False, **options}
    return staging.stage_add(staged, ClusterFile.load(directory), directory, name, **given)  # type: ignore[arg-type]


# --- staging ---------------------------------------------------------------------------------------------------------------


def test_what_is_staged_is_read_back_whole_and_is_nobody_elses_to_read(directory: Path) -> None:
    staged = Staged()
    assert staged_add(directory, None, staged, weight=2.0) == "n4"
    assert staged_add(directory, None, staged, replaces="n2", sure=True) == "n5"
    staging.stage_remove(staged, ClusterFile.load(directory), "n1", force=False, sure=False)
    staged.save(directory)
    assert stat.S_IMODE((directory / "staged.json").stat().st_mode) == 0o600
    again = Staged.load(directory)
    assert again == staged
    assert again.removed == {"n1": False, "n2": True}
    assert again.gone_for_sure == {"n2"}
    assert again.intents({"n2": 3.0}) == [
        ("n4", "in", 2.0, ""), ("n5", "in", 3.0, "n2"), ("n1", "out", 1.0, ""), ("n2", "expel", 3.0, "")
    ]  # fmt: skip
    Staged().save(directory)
    assert not (directory / "staged.json").exists()
    assert Staged.load(directory).changes == []


def test_a_damaged_file_of_staged_changes_says_how_to_drop_it(directory: Path) -> None:
    (directory / "staged.json").write_text("{")
    with pytest.raises(ClusterError, match="dynazmq cluster clear"):
        Staged.load(directory)


@pytest.mark.parametrize("name", ["", "N4", "4n", "n 4", "n/4", "-n", "n" * 33, "supervisor", "nö"])
def test_names_that_no_node_can_have_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 32 of a-z"):
        roster.check_name(name)


def test_the_next_free_name_is_behind_all_that_were_ever_used(directory: Path) -> None:
    cluster = ClusterFile.load(directory)
    cluster.former = ["n7", "old"]
    cluster.save(directory)
    staged = Staged()
    assert staged_add(directory, None, staged) == "n8"
    assert staged_add(directory, None, staged) == "n9"
    with pytest.raises(InvalidRequest, match="n7 was a member before, and no name is used twice; a free one is n10"):
        staged_add(directory, "n7", staged)


def test_a_name_whose_directory_holds_data_is_refused_and_an_empty_one_is_not(directory: Path) -> None:
    node = paths.node_dir(directory, "n4")
    node.mkdir()
    staged_add(directory, "n4", Staged())
    (node / "data.db").write_bytes(b"no database at all")
    with pytest.raises(InvalidRequest, match="n4 holds data; a free name is n5"):
        staged_add(directory, "n4", Staged())


def test_what_contradicts_what_is_staged_is_refused(directory: Path) -> None:
    cluster, staged = ClusterFile.load(directory), Staged()
    staged_add(directory, "new", staged, replaces="n1")
    for name, words in [
        ("new", "new is staged to be added"),
        ("n1", "n1 is staged to be removed already"),
        ("n9", "no node 'n9'; there are n1 n2 n3"),
    ]:
        with pytest.raises(InvalidRequest, match=words):
            staging.stage_remove(staged, cluster, name, force=False, sure=False)
    for name, options, words in [
        ("new", {}, "new is staged already"),
        ("n2", {}, "n2 is a member already"),
        ("more", {"replaces": "n1"}, "n1 is staged to be removed already"),
        ("more", {"replaces": "n8"}, "no node 'n8'"),
        ("more", {"weight": 0.0}, "--weight is above 0 and at most 100, not 0"),
        ("more", {"weight": float("inf")}, "--weight is above 0"),
        ("more", {"weight": 101.0}, "--weight is above 0"),
    ]:
        with pytest.raises(InvalidRequest, match=words):
            staged_add(directory, name, staged, **options)
    assert [change.name for change in staged.changes] == ["new"]


def test_a_member_whose_removal_was_decided_may_be_asked_to_stay_with_the_weight_that_it_has(directory: Path) -> None:
    staged = Staged()
    assert staged_add(directory, "n2", staged, removing=["n2"]) == "n2"
    assert staged.added == [], "it needs no process"
    assert staged.intents({"n2": 2.0}) == [("n2", "in", 2.0, "")]
    staged.save(directory)
    assert Staged.load(directory) == staged
    with pytest.raises(InvalidRequest, match="n2 is staged already"):
        staged_add(directory, "n2", staged, removing=["n2"])
    with pytest.raises(InvalidRequest, match="n1 is a member, and is asked to stay: it takes nobody's place"):
        staged_add(directory, "n1", staged, removing=["n1"], replaces="n3")
    with pytest.raises(InvalidRequest, match="n1 is a member already"):
        staged_add(directory, "n1", staged, removing=["n3"])


def test_who_is_expelled_without_a_quorum_is_told_to_be_gone_at_once(directory: Path) -> None:
    staged, cluster = Staged(), ClusterFile.load(directory)
    staging.stage_remove(staged, cluster, "n1", force=True, sure=False, without_quorum=True)
    staged_add(directory, "n4", staged, replaces="n2", without_quorum=True)
    staging.stage_remove(staged, cluster, "n3", force=True, sure=False)
    assert staged.without_quorum == ["n1", "n2"]
    assert {name: kind for name, kind, *_ in staged.intents({})} == {"n4": "in", "n1": "gone", "n2": "gone", "n3": "expel"}


# --- plans -----------------------------------------------------------------------------------------------------------------


def known(names: tuple[str, ...] = NAMES, **more: object) -> Known:
    ring = Ring(4, claim(dict.fromkeys(names, 1.0), 120, 3))
    given = {"n": 3, "quorum": 2, "up": frozenset(names), "keys": dict.fromkeys(names, 6_000), "row_bytes": 100.0, "intents": {}}
    return Known(**{"ring": ring, **given, **more})  # type: ignore[arg-type]


def test_a_joining_node_gets_an_equal_share_and_few_partitions_move() -> None:
    plan = make_plan(known(), Staged([Change(action="add", name="n6")]))
    assert plan.members == ([*NAMES], [*NAMES, "n6"])
    assert plan.after.count("n6") == 20
    assert len(plan.moves) == 20 == sum(plan.flows.values())
    assert {new for _, _, new in plan.moves} == {"n6"}
    assert plan.repeats == (0, 0)
    assert plan.copies == sum(map(len, plan.gains.values()))
    assert plan.keys == round(plan.copies * 5 * 6_000 / 360), "360 copies of partitions hold 30,000 rows"
    assert plan.bytes == plan.keys * 100
    assert (plan.refusal, plan.holds_up, plan.gone) == ("", (), ())


def test_what_is_replaced_hands_its_partitions_to_the_new_one_alone() -> None:
    plan = make_plan(known(up=frozenset(NAMES) - {"n3"}), Staged([Change(action="add", name="n6", replaces="n3")]))
    assert plan.flows == {("n3", "n6"): 24}
    assert plan.gains.keys() == {"n6"}
    assert plan.gone == ("n3",)
    assert plan.holds_up == (), "nobody waits for one that is gone"


def test_an_expulsion_to_which_no_majority_can_agree_is_refused_with_the_numbers_and_what_can_be_said_instead() -> None:
    some, more = Staged([Change(action="remove", name="n3", force=True)]), Staged()
    more.changes += [Change(action="remove", name=name, force=True) for name in ("n3", "n4", "n5")]
    assert make_plan(known(up=frozenset(("n1", "n2", "n4"))), some).refusal == ""
    assert make_plan(known(up=frozenset(("n1", "n2"))), some).refusal == (
        "more than half of 5 members (3) must agree to expel n3, and 2 can be reached: n1 n2; if the others are lost for good: "
        "--without-quorum"
    )
    assert make_plan(known(), more).refusal.startswith("expelling n3 n4 n5 would leave 2 of 5 members, and more than half (3)")
    alone = Staged([replace(change, without_quorum=True) for change in more.changes])
    plan = make_plan(known(up=frozenset(("n1", "n2"))), alone)
    assert (plan.refusal, plan.without_quorum, plan.holds_up) == ("", ("n3", "n4", "n5"), ())
    assert set(plan.after) == {"n1", "n2"}


def test_a_member_that_does_not_answer_holds_up_every_change_but_its_own_removal_by_force() -> None:
    up = frozenset(NAMES) - {"n3"}
    assert make_plan(known(up=up), Staged([Change(action="add", name="n6")])).holds_up == ("n3",)
    assert make_plan(known(up=up), Staged([Change(action="remove", name="n3")])).holds_up == ("n3",)
    assert make_plan(known(up=up), Staged([Change(action="remove", name="n3", force=True)])).holds_up == ()


def test_too_few_members_for_the_quorum_are_refused_and_nothing_moves() -> None:
    staged = Staged([Change(action="remove", name=name) for name in ("n1", "n2")])
    plan = make_plan(known(NAMES[:3], bucket="carts"), staged)
    assert plan.refusal.endswith("would be left, and the cluster's quorums need 2 (bucket 'carts')")
    assert plan.moves == ()
    off = make_plan(known(anti_entropy=False), Staged([Change(action="add", name="n6")]))
    assert off.refusal.startswith("anti-entropy is off")


def test_what_was_decided_before_is_not_decided_again_and_counts_in_the_plan() -> None:
    staged = Staged([Change(action="add", name="n6", replaces="n2"), Change(action="remove", name="n1")], "digest")
    told = known()
    told = known(intents=with_decisions({}, staged.intents(told.weights())[:1] + staged.intents(told.weights())[2:]))
    assert undecided(staged, told) == Staged([staged.changes[1]], "digest")
    told = known(intents=with_decisions({}, staged.intents(told.weights())))
    assert undecided(staged, told).changes == []
    assert make_plan(told, Staged()).members[1] == ["n3", "n4", "n5", "n6"]
    again = Staged([Change(action="remove", name="n1", force=True)])
    assert undecided(again, told) == again, "to be gone is more than to leave"
    left = with_decisions({}, [("n1", "left", 1.0, "")])
    assert undecided(again, known(intents=left)).changes == [], "it has left by itself meanwhile"


# --- on disk ---------------------------------------------------------------------------------------------------------------


def test_who_is_taken_in_is_no_founder_and_everybodys_configuration_has_it(directory: Path) -> None:
    cluster = ClusterFile.load(directory)
    roster.enrol(cluster, directory, "n4")
    assert ClusterFile.load(directory) == cluster
    for name in ("n1", "n2", "n3", "n4"):
        config = paths.load_node_config(paths.config_path(directory, name))
        assert list(config.members) == ["n1", "n2", "n3", "n4"]
        assert config.founders == ["n1", "n2", "n3"]
    assert paths.load_node_config(paths.config_path(directory, "n4")).endpoint == cluster.members["n4"]


def test_a_cluster_of_a_release_without_founders_was_founded_by_its_members(directory: Path) -> None:
    cluster = ClusterFile.load(directory)
    cluster.founders = []
    cluster.save(directory)
    cluster = ClusterFile.load(directory)
    assert cluster.founders == ["n1", "n2", "n3"]
    roster.enrol(cluster, directory, "n4")
    assert ClusterFile.load(directory).founders == ["n1", "n2", "n3"]


def test_who_is_struck_off_leaves_nothing_behind_but_data(directory: Path) -> None:
    cluster = ClusterFile.load(directory)
    with_data = sqlite3.connect(paths.node_dir(directory, "n2") / "data.db")
    bring_up_to_date(with_data, paths.node_dir(directory, "n2") / "data.db")
    assert not roster.holds_data(paths.node_dir(directory, "n2"))
    with_data.execute("INSERT INTO data VALUES (1, 'b', x'00', x'00', 0)")
    with_data.commit()
    with_data.close()
    assert "deleted" in roster.strike(cluster, directory, "n3")
    assert "removed/n2-" in roster.strike(cluster, directory, "n2")
    assert roster.names_on_disk(directory) == ["n1"]
    assert [entry.name[:3] for entry in paths.removed_dir(directory).iterdir()] == ["n2-"]
    cluster = ClusterFile.load(directory)
    assert (list(cluster.members), cluster.former) == (["n1"], ["n3", "n2"])
    assert list(paths.load_node_config(paths.config_path(directory, "n1")).members) == ["n1"]


def test_a_crash_between_two_steps_is_put_right_by_the_next_start(directory: Path) -> None:
    cluster = ClusterFile.load(directory)
    paths.node_dir(directory, "n4").mkdir()  # taking n4 in was interrupted before it was in
    (paths.node_dir(directory, "n3") / "aside-1").mkdir()
    cluster.members.pop("n3")  # striking n3 off was interrupted when it was out: its files, the others' configurations
    cluster.save(directory)
    cluster = creation.reopen(directory, Wishes())
    assert list(paths.load_node_config(paths.config_path(directory, "n1")).members) == ["n1", "n2"]
    said = roster.tidy(cluster, directory)
    assert [line.partition(":")[0] for line in said] == ["n3", "n4"]
    assert roster.names_on_disk(directory) == ["n1", "n2"]
    assert [entry.name[:3] for entry in paths.removed_dir(directory).iterdir()] == ["n3-"]

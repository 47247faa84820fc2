"""`dynazmq simulate`: what it prints, and that it can fail."""

from __future__ import annotations

import json

import pytest

from dynazmq.cli import CHECK_FAILED, OK, simulate
from dynazmq.dynamo.coordinator.put import Puts
from dynazmq.dynamo.values.quorum import Quorum
from dynazmq.errors import InvalidRequest
from dynazmq.simulator.mutants import MUTANTS


def test_it_says_what_was_counted_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run(3, None, log=False, as_json=False) == OK
    said = capsys.readouterr().out
    assert said.startswith("3 seeds, 0 failed    acked ")
    assert "  lost 0  " in said
    assert "log hash " in said


def test_json_has_the_names_that_scripts_rely_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run(2, 7, log=False, as_json=True) == OK
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "dynazmq.simulate/1"
    assert (document["seeds"], document["failed"]) == (2, [])
    assert [document[name] for name in ("lost", "resurrected", "diverged")] == [0, 0, 0]
    assert document["acked"] > 0
    assert len(document["log_hash"]) == 32


def test_it_ends_with_the_figures_on_one_line_and_names_what_never_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run(3, None, log=False, as_json=False) == OK
    *_, never, line = capsys.readouterr().out.splitlines()
    assert never.startswith("never   ")
    figures = dict(pair.split("=") for pair in line.split())
    assert list(figures) == [
        "seeds", "failed", "events", "virtual_h", "wall_s", "virtual/real", "acked", "lost", "resurrected", "diverged",
        "unsettled", "settle_p50/p99/max", "changes", "sometimes", "log_hash",
    ]  # fmt: skip
    reached, all_of_them = map(int, figures["sometimes"].split("/"))
    assert 0 < reached < all_of_them
    assert (figures["seeds"], figures["lost"], figures["unsettled"]) == ("3", "0", "0")


def test_json_says_what_was_reached_and_how_long_settling_took(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run(2, 7, log=False, as_json=True) == OK
    document = json.loads(capsys.readouterr().out)
    assert document["sometimes"]["siblings_shown"] > 0
    assert set(document["not_reached"]) == {name for name, count in document["sometimes"].items() if not count}
    assert 0 < document["settle_s"]["p50"] <= document["settle_s"]["max"]
    assert (document["unsettled"], document["shrunk"]) == (0, None)


def test_a_mutant_that_is_caught_is_exit_code_0_and_the_seed_and_line_that_caught_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert simulate.run(None, None, log=False, as_json=False, mutant="last_write_wins_in_puts") == OK
    line, total = capsys.readouterr().out.splitlines()
    assert line.startswith("last_write_wins_in_puts  seed 1: I3: ")
    assert total == "mutants_caught=1/1"


def test_a_mutant_that_is_not_caught_is_exit_code_10(capsys: pytest.CaptureFixture[str]) -> None:
    """In the one seed that it is played with, no read has anything to repair that would stay."""
    assert simulate.run(1, 2, log=False, as_json=True, mutant="repair_nothing_on_reads") == CHECK_FAILED
    document = json.loads(capsys.readouterr().out)
    assert (document["mutants_caught"], document["mutants_run"]) == (0, 1)
    assert (document["mutants"][0]["caught"], document["mutants"][0]["seed"]) == (False, None)


def test_mutants_can_be_listed_and_one_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run(None, None, log=False, as_json=True, mutant="list") == OK
    listed = json.loads(capsys.readouterr().out)["mutants"]
    assert [row["name"] for row in listed] == list(MUTANTS)
    with pytest.raises(InvalidRequest, match="no mutant 'nobody'"):
        simulate.run(None, None, log=False, as_json=False, mutant="nobody")


def test_a_seed_that_fails_can_be_shrunk(capsys: pytest.CaptureFixture[str]) -> None:
    with MUTANTS["last_write_wins_in_puts"].built_in():
        assert simulate.run(None, 1, log=False, as_json=True, shrink=True) == CHECK_FAILED
    found = json.loads(capsys.readouterr().out)["shrunk"]
    assert found["plan"].startswith("Plan(seed=1, ")
    assert found["broken"]


def test_one_seed_tells_its_plan_and_with_log_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run(None, 5, log=True, as_json=False) == OK
    said = capsys.readouterr().out
    assert "seed 5: " in said
    assert said.count("\n") > 100


def test_a_broken_promise_is_exit_code_10_and_the_line_to_replay_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put that is acknowledged one copy too early."""
    original = Puts.replicate

    def replicate(self: Puts, op, *rest, **more) -> None:  # type: ignore[no-untyped-def]
        op.quorum = Quorum(max(op.quorum.needed - 1, 0), op.quorum.primaries_needed)
        original(self, op, *rest, **more)

    monkeypatch.setattr(Puts, "replicate", replicate)
    assert simulate.run(5, 1, log=False, as_json=False) == CHECK_FAILED
    said = capsys.readouterr().out
    assert "I15" in said
    assert "replay  dynazmq simulate --seed " in said

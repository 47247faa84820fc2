"""`dynazmq simulate`: what it prints, and that it can fail."""

from __future__ import annotations

import json

import pytest

from dynazmq.cli import CHECK_FAILED, OK, simulate
from dynazmq.dynamo.put import Puts
from dynazmq.dynamo.quorum import Quorum


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

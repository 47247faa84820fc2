"""The checkers can fail: each known bug, built into the core on purpose, is found by some seed."""

from __future__ import annotations

import pytest

from dynazmq.dynamo.coordinator import put
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.simulator.mutants import MUTANTS, SEEDS, hunt
from dynazmq.simulator.mutants.mutant import Mutant, Patches
from dynazmq.simulator.run.simulation import Report, run_seed

pytestmark = pytest.mark.campaign

MUST_BE_KNOWN = {
    "last_write_wins_in_puts", "return_a_context_of_more_than_was_shown", "ignore_contexts", "speak_before_commit",
    "repair_nothing_on_reads", "drop_one_of_three_siblings", "give_dots_again_after_a_lost_disk",
    "acknowledge_hints_and_keep_none", "write_every_retry_anew", "reap_tombstones_early",
}  # fmt: skip
"""Bugs that stores of this kind have had: whatever else is tried out, these are."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    found = hunt(MUTANTS[name])
    assert found.caught, f"{name}: no seed of {SEEDS} has noticed"
    assert found.line.startswith(MUTANTS[name].broken)


def test_under_the_plans_of_the_mutants_the_real_core_breaks_nothing() -> None:
    """So it is the mutation that was caught. And all of them have been taken out again.

    Where more disks are lost than promise 1 allows for, what is lost is lost; but no dot is given twice.
    """
    reports: dict[str, Report] = {}
    for mutant in MUTANTS.values():
        plan = str(mutant.changes())  # some mutants have the same
        report = reports[plan] = reports.get(plan) or run_seed(1, **mutant.changes())
        assert not any(map(mutant.is_shown_by, report.broken)), f"{mutant.name}\n{report}"
        assert report.ok or "lossy_max" in mutant.plan, f"{mutant.name}\n{report}"


def test_every_bug_that_must_be_known_has_a_mutant() -> None:
    assert set(MUTANTS) >= MUST_BE_KNOWN
    assert all(mutant.says.endswith(".") and mutant.broken for mutant in MUTANTS.values())


def test_a_mutant_is_gone_after_its_block_even_when_that_ends_in_an_error() -> None:
    keep, newest = Hints.keep, put.put
    mutant = MUTANTS["acknowledge_hints_and_keep_none"].built_in()
    mutant.__enter__()
    assert Hints.keep is not keep
    assert not mutant.__exit__(RuntimeError, RuntimeError("what went wrong meanwhile"), None)
    with MUTANTS["last_write_wins_in_puts"].built_in():
        assert put.put is not newest
    assert (Hints.keep, put.put) == (keep, newest)


def test_a_patch_of_what_is_not_there_is_refused_and_what_was_patched_before_is_as_it_was() -> None:
    """A function had got another name, and the mutant of it was the real core."""

    def patch(patches: Patches) -> None:
        patches.set(Hints, "keep", lambda *_: None)
        patches.set(Hints, "keep_under_its_old_name", lambda *_: None)

    keep, harmless = Hints.keep, Mutant("harmless", "", patch, (), {})
    with pytest.raises(AttributeError, match=r"Hints has no 'keep_under_its_old_name'"), harmless.built_in():
        pass
    with pytest.raises(AttributeError, match=r"dynazmq\.dynamo\.coordinator\.put has no 'gone'"):
        Patches().set(put, "gone", None)
    assert Hints.keep is keep


@pytest.mark.parametrize("name", MUTANTS)
def test_what_a_mutant_patches_is_there(name: str) -> None:
    with MUTANTS[name].built_in():
        pass


def test_what_a_class_only_inherited_is_inherited_again() -> None:
    class Base:
        @staticmethod
        def says() -> str:
            return "base"

    class Derived(Base):
        pass

    patches = Patches()
    patches.set(Derived, "says", staticmethod(lambda: "patched"))
    patches.set(Base, "says", staticmethod(lambda: "patched, too"))
    assert (Derived.says(), Base.says()) == ("patched", "patched, too")
    patches.undo()
    assert (Derived.says(), Base.says()) == ("base", "base")
    assert "says" not in vars(Derived)

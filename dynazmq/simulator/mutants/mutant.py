"""What a mutant is, how it is built in and taken out again, and how seeds hunt for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dynazmq.simulator.run.simulation import run_seed
from dynazmq.simulator.world.network import Conditions

SEEDS = range(1, 41)
"""By which a mutant must be caught."""

_QUIET: dict[str, Any] = {
    "faults": (), "conditions": Conditions(), "one_clock": True, "max_in_flight": 4096, "core": 0, "stable_s": 0.0,
    "grace_ms": 0, "acts": (), "victims": (), "partitions": 120, "max_hint_bytes": 1 << 30,
    "asks": False,
    "anti_entropy_ms": 0,  # or it would mend what the mutant breaks
}  # fmt: skip
"""Fields of a plan that are not left to the seed, unless the mutant needs them otherwise."""

_GONE = object()


class Patches:
    """Attributes of classes and modules that are other ones for a while."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """owner.name is value until `undo`. Raises AttributeError where there is none: nothing would be broken then."""
        if not hasattr(owner, name):
            raise AttributeError(f"{owner.__name__} has no {name!r} that could be patched: was it renamed?")
        self._before.append((owner, name, vars(owner).get(name, _GONE)))
        setattr(owner, name, value)

    def undo(self) -> None:
        while self._before:
            owner, name, value = self._before.pop()
            if value is _GONE:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A known bug, the plan under which it can show, and the promises of which at least one is then seen broken."""

    name: str
    says: str
    patch: Callable[[Patches], None]
    broken: tuple[str, ...]
    plan: dict[str, Any]

    @contextmanager
    def built_in(self) -> Iterator[None]:
        """The bug is there inside this block, for every node in this process, and nowhere after it."""
        patches = Patches()
        try:
            self.patch(patches)
            yield
        finally:
            patches.undo()

    def is_shown_by(self, line: str) -> bool:
        """Whether this line of a report ("I9/I14: …") says that one of its promises is broken: I1, and not I11."""
        return not set(self.broken).isdisjoint(line.partition(":")[0].split("/"))

    def changes(self) -> dict[str, Any]:
        """What is set otherwise in the plans that seeds draw."""
        return _QUIET | self.plan


MUTANTS: dict[str, Mutant] = {}
"""name → mutant, in the order of the modules that define them."""


def mutant(*broken: str, **plan: Any) -> Callable[[Callable[[Patches], None]], Callable[[Patches], None]]:
    """Register a function that builds a bug in: its name is the mutant's, the first line of its docstring says which bug it is.

    broken: the promises of which one must be seen broken. plan: fields of `Plan` that give the bug its chance.
    """

    def register(patch: Callable[[Patches], None]) -> Callable[[Patches], None]:
        assert patch.__doc__, "says which bug it is"
        MUTANTS[patch.__name__] = Mutant(patch.__name__, patch.__doc__.strip().splitlines()[0], patch, broken, plan)
        return patch

    return register


@dataclass(frozen=True, slots=True)
class Hunt:
    """What came of the seeds that a mutant was played with. seed and line: of the first that caught it."""

    mutant: Mutant
    seeds: int
    seed: int | None = None
    line: str = ""

    @property
    def caught(self) -> bool:
        return self.seed is not None


def hunt(mutant: Mutant, seeds: Sequence[int] = SEEDS) -> Hunt:
    """Play seeds with the mutant built in until one shows that a promise of its is broken."""
    with mutant.built_in():
        for played, seed in enumerate(seeds, 1):
            for line in run_seed(seed, **mutant.changes()).broken:
                if mutant.is_shown_by(line):
                    return Hunt(mutant, played, seed, line)
    return Hunt(mutant, len(seeds))

"""Changes of the members that are planned and not committed: DIR/staged.json.

Each is one wish of an admin about one member: add it, perhaps in another's place, or remove it, perhaps by force. `intents` says
what the nodes are told of them. They are staged together so that they are carried out together: the ring moves once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dynazmq import durable, paths
from dynazmq.cluster.directory import ownership, roster
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.paths import ClusterFile

SCHEMA = "dynazmq.staged/1"
WEIGHT_MAX = 100.0
"""As in dynamo/membership/change.py, which this module does not load: staging must not wait for it."""

ADD, REMOVE = "add", "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One wish.

    action: add | remove. replaces: of an added one, whose partitions it takes over; that one is expelled. force: the removed one
    is, too: nobody waits for it, and what only it holds is lost. sure: that was meant although it was up. weight 0: as the
    replaced one's, else 1. without_quorum: that expulsion needs nobody's consent. stays: the added one is a member, and its
    removal, which was decided, is taken back.
    """

    action: str
    name: str
    weight: float = 0.0
    replaces: str = ""
    force: bool = False
    sure: bool = False
    without_quorum: bool = False
    stays: bool = False


@dataclass(slots=True)
class Staged:
    """In the order in which they were staged; one for each name. planned: digest of the ring that they were last shown for."""

    changes: list[Change] = field(default_factory=list)
    planned: str = ""

    @classmethod
    def load(cls, directory: Path) -> Staged:
        """Nothing when nothing is staged. Raises ClusterError when it cannot be read."""
        path = directory / "staged.json"
        try:
            raw = json.loads(path.read_text())
            if raw["schema"] != SCHEMA:
                raise ValueError(f"schema {raw['schema']!r}")
            return cls([Change(**each) for each in raw["changes"]], str(raw["planned"]))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ClusterError(f"cannot read {path}: {error}; drop it with: dynazmq cluster clear") from None

    def save(self, directory: Path) -> None:
        """Raises ClusterError."""
        ownership.check_own(directory)
        if not self.changes:
            clear(directory)
            return
        document = {"schema": SCHEMA, "planned": self.planned, "changes": [asdict(change) for change in self.changes]}
        try:
            durable.write_text(directory / "staged.json", json.dumps(document, indent=1) + "\n")
        except OSError as error:
            raise ClusterError(f"cannot write {directory}/staged.json: {error.strerror}") from None

    @property
    def added(self) -> list[Change]:
        """Who comes: they need a process, and are waited for to be known."""
        return [change for change in self.changes if change.action == ADD and not change.stays]

    @property
    def gone_for_sure(self) -> set[str]:
        """Members that are given up although they are up."""
        return {change.replaces or change.name for change in self.changes if change.sure}

    @property
    def removed(self) -> dict[str, bool]:
        """Name → whether it is expelled: those removed, and those replaced."""
        found = {change.name: change.force for change in self.changes if change.action == REMOVE}
        return found | {change.replaces: True for change in self.changes if change.replaces}

    @property
    def without_quorum(self) -> list[str]:
        """Who is expelled without anybody's consent."""
        return [change.replaces or change.name for change in self.changes if change.without_quorum]

    def intents(self, weight_of: dict[str, float]) -> list[tuple[str, str, float, str]]:
        """What the nodes are told: (name, in | out | expel | gone, weight, name that it replaces). weight_of: the members'."""
        told = []
        for change in self.changes:
            weight = change.weight or weight_of.get(change.name if change.stays else change.replaces, 1.0)
            if change.action == ADD:
                told.append((change.name, "in", weight, change.replaces))
        alone = self.without_quorum
        for name, force in self.removed.items():
            told.append((name, ("gone" if name in alone else "expel") if force else "out", weight_of.get(name, 1.0), ""))
        return told


def clear(directory: Path) -> None:
    """Raises ClusterError, OSError."""
    ownership.check_own(directory)
    (directory / "staged.json").unlink(missing_ok=True)


# --- staging one more -----------------------------------------------------------------------------------------------------
# Each changes `staged` or raises InvalidRequest. sure: a member that is given up may be up. without_quorum: as in Change.


def stage_add(
    staged: Staged,
    cluster: ClusterFile,
    directory: Path,
    name: str | None,
    *,
    weight: float | None,
    replaces: str | None,
    sure: bool,
    without_quorum: bool = False,
    removing: Collection[str] = (),
) -> str:
    """The name that it got. removing: members that are to be none any more, as was decided: they may be asked to stay."""
    used = {*cluster.former} - cluster.members.keys()
    on_disk = roster.names_on_disk(directory)
    taken = {*cluster.members, *used, *on_disk, *(change.name for change in staged.changes)}
    name = name or roster.free_name(taken)
    roster.check_name(name)
    if weight is not None and not (0 < weight <= WEIGHT_MAX and math.isfinite(weight)):
        raise InvalidRequest(f"--weight is above 0 and at most {WEIGHT_MAX:g}, not {weight:g}")
    if any(change.name == name for change in staged.changes):
        raise InvalidRequest(f"{name} is staged already; start anew with: dynazmq cluster clear")
    if name in cluster.members and name in removing:
        if replaces is not None:
            raise InvalidRequest(f"{name} is a member, and is asked to stay: it takes nobody's place")
        staged.changes.append(Change(action=ADD, name=name, weight=weight or 0.0, stays=True))
        staged.planned = ""
        return name
    if name in cluster.members:
        raise InvalidRequest(f"{name} is a member already; there are {' '.join(cluster.members)}")
    if name in used:
        raise InvalidRequest(f"{name} was a member before, and no name is used twice; a free one is {roster.free_name(taken)}")
    if name in on_disk and roster.holds_data(paths.node_dir(directory, name)):
        raise InvalidRequest(f"{paths.node_dir(directory, name)} holds data; a free name is {roster.free_name(taken)}")
    if replaces is not None:
        _check_leaver(staged, cluster, replaces, "--replace")
    staged.changes.append(
        Change(
            action=ADD, name=name, weight=weight or 0.0, replaces=replaces or "", sure=sure, without_quorum=without_quorum
        )
    )  # fmt: skip
    staged.planned = ""
    return name


def stage_remove(
    staged: Staged, cluster: ClusterFile, name: str, *, force: bool, sure: bool, without_quorum: bool = False
) -> None:
    _check_leaver(staged, cluster, name, "remove")
    staged.changes.append(Change(action=REMOVE, name=name, force=force, sure=sure, without_quorum=without_quorum))
    staged.planned = ""


def _check_leaver(staged: Staged, cluster: ClusterFile, name: str, what: str) -> None:
    if any(change.name == name and change.action == ADD for change in staged.changes):
        raise InvalidRequest(f"{name} is staged to be added; drop that with: dynazmq cluster clear")
    if name not in cluster.members:
        raise InvalidRequest(f"{what}: no node {name!r}; there are {' '.join(cluster.members)}")
    if name in staged.removed:
        raise InvalidRequest(f"{name} is staged to be removed already; start anew with: dynazmq cluster clear")

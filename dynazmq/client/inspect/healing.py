"""What will make the copies of one key equal: who acts next, with whom, and when. Pure.

The rules are those of the techniques: hints.py hands over when a target is back, get.py repairs those that it asked, of two
primaries the first in the preference list compares (anti_entropy.py), a stray goes to all primaries (handover.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynazmq.client.inspect.explained import Answer, Step
from dynazmq.client.inspect.looked import Node, merged, raw_of
from dynazmq.dynamo.values.ring import Ring
from dynazmq.dynamo.values.versions import decode, sync


class Healing:
    """What makes the copies of one key equal: who acts, with whom and when."""

    def __init__(self, ring: Ring, partition: int, n: int, nodes: Mapping[str, Node]) -> None:
        self._ring = ring
        self._nodes = nodes
        self._primaries = ring.primaries(partition, n)
        self._extras = ring.extras(partition, n)
        self._holders = (*self._primaries, *self._extras)

    def steps(self, answers: Sequence[tuple[Answer, list[str]]]) -> list[Step]:
        """answers: what a get would return, and whom it would then send what they lack."""
        steps = [*self._hints(), *self._transfers(), *self._handovers(), *self._damage(), *self._read_repair(answers)]
        steps += [*self._anti_entropy(), *self._unknown()]
        known = [node for name in self._primaries if (node := self._nodes.get(name)) and node.own is not None]
        if not steps and known and all(node.own and node.own.context and not node.own.values for node in known):
            first, *others = [node.name for node in known]
            steps.append(Step("forgetting", first, tuple(others), "when all members have been up for some minutes"))
        if any(len(answer.state.values) > 1 for answer, _ in answers):
            when = "when it puts with the context of a get"
            steps.append(Step("resolve", "a client", (), when, "no node decides among siblings"))
        return steps or [Step("nothing", "", (), "", "" if known else "no primary tells what it holds")]

    def _hints(self) -> list[Step]:
        steps = []
        for holder in self._nodes.values():
            for target, state, _ in holder.hints:
                if target not in self._holders:
                    to = tuple(name for name in self._primaries if name != holder.name)
                    when = "now" if self._ring.at_rest else "when the change of members is over"
                    steps.append(Step("handover", holder.name, to, when, f"its hint is for {target}, who holds this key no more"))
                    continue
                node = self._nodes.get(target)
                has = node is not None and node.own is not None and state and sync(node.own, decode(state)) == node.own
                why = f"{target} has it already, the hint goes" if has else "" if state else "the hint is damaged: it is given up"
                steps.append(Step("hint delivery", holder.name, (target,), self._when(holder, target), why))
        return steps

    def _transfers(self) -> list[Step]:
        steps = []
        full = self._full()
        for name in self._extras if self._ring.filling else ():
            node = self._nodes.get(name)
            if node is not None and (node.own is None or raw_of(node.own) != full):
                when = "now" if node.answers else f"when {name} is back"
                steps.append(Step("transfer", name, self._primaries, when, "a new owner fetches its copy"))
        return steps

    def _handovers(self) -> list[Step]:
        steps = []
        for node in self._nodes.values():
            if node.name in self._holders or not (node.raw or node.damaged):
                continue
            away = [name for name in self._primaries if not node.reaches(name)]
            when = f"when {' '.join(away)} {'is' if len(away) == 1 else 'are'} back" if away else "now"
            when = when if self._ring.at_rest else "when the change of members is over"
            why = "a stray copy: dropped there when all primaries have it"
            steps.append(Step("handover", node.name, self._primaries, when, why))
        return steps

    def _damage(self) -> list[Step]:
        return [
            Step("anti-entropy", node.name, tuple(name for name in self._holders if name != node.name), "when it is next read",
                 "its copy is damaged: it gives it up and gets another")
            for node in self._nodes.values()
            if node.damaged and node.name in self._holders
        ]  # fmt: skip

    def _read_repair(self, answers: Sequence[tuple[Answer, list[str]]]) -> list[Step]:
        """One get will do: the first that finds something to mend."""
        for answer, behind in answers:
            if behind:
                return [Step("read repair", answer.via, tuple(behind), f"at the next get through {answer.via}")]
        return []

    def _anti_entropy(self) -> list[Step]:
        """For each primary that lacks something, one who has something else."""
        own = {name: raw_of(node.own) for name in self._primaries if (node := self._nodes.get(name)) and node.own is not None}
        full = self._full()
        steps: dict[tuple[str, str], Step] = {}
        for name, raw in own.items():
            others = [each for each in own if own[each] != raw]
            if raw == full or not others:
                continue
            other = next((each for each in others if own[each] == full), others[0])
            first, second = sorted((name, other), key=self._primaries.index)  # of two primaries the first asks
            why = f"{name} lacks what {other} holds"
            steps[first, second] = Step("anti-entropy", first, (second,), self._compares(first, second), why)
        return list(steps.values())

    def _unknown(self) -> list[Step]:
        """A primary that is away and for which no hint is kept may lack something all the same."""
        hinted = [target for node in self._nodes.values() for target, _, _ in node.hints]
        steps = []
        for name in self._primaries:
            node = self._nodes.get(name)
            if name in hinted or (node is not None and (node.own is not None or node.damaged)):
                continue
            others = tuple(each for each in self._primaries if each != name)
            when = f"when {name} can read its disk" if node is not None and node.answers else f"when {name} is back"
            steps.append(Step("anti-entropy", name, others, when, "what it holds is not known"))
        return steps

    def _compares(self, first: str, second: str) -> str:
        for name in (first, second):
            entropy = self._nodes[name].status.get("anti_entropy")
            if isinstance(entropy, dict) and entropy.get("on") is False:
                return f"never: it is off on {name}"
            if isinstance(entropy, dict) and entropy.get("paused"):
                return f"when it is resumed on {name}"
        return self._when(self._nodes[first], second)

    def _when(self, who: Node, whom: str) -> str:
        return "now" if who.reaches(whom) else f"when {whom} is back"

    def _full(self) -> bytes:
        """What all holders' own copies come to."""
        holding = [self._nodes[name] for name in self._holders if name in self._nodes]
        return raw_of(merged(node.own for node in holding if node.own is not None))

"""Who is reachable: what is evidence, how long silence is borne, and what a node's own sleep must not do."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from dynazmq.config import NodeConfig
from dynazmq.dynamo.membership.failure import DOWN, SUSPECT, UP, FailureDetector, Peer
from dynazmq.dynamo.messages import Probe, ProbeReply, Stopping
from dynazmq.dynamo.runtime import Runtime
from dynazmq.storage.memory import MemoryStorage

STEP = 0.01


class Watch:
    """A detector that watches `peer`, driven in steps of 10 ms; `answer` says after how long a probe sent now is answered."""

    def __init__(self) -> None:
        config = NodeConfig(name="me", cluster="t", cluster_id=1, secret=b"", data_dir="", endpoint="")
        self.runtime = Runtime(config, MemoryStorage(), Random(1), 100.0, 0)
        self.detector = FailureDetector(self.runtime)
        self.detector.watch(["peer"])
        self.answers: list[tuple[float, int]] = []
        self.changed: list[tuple[float, str]] = []

    @property
    def state(self) -> str:
        return self.detector.state_of("peer")

    def run(self, seconds: float, answer_after: float | None = 0.0, jitter: Random | None = None) -> None:
        end = self.runtime.now + seconds
        while self.runtime.now < end - STEP / 2:
            self.runtime.now += STEP
            before = self.state
            self.detector.tick()
            for message in self.runtime.outbox.pop("peer", []):
                if isinstance(message, Probe) and answer_after is not None:
                    late = answer_after * (jitter.random() if jitter else 1.0)
                    self.answers.append((self.runtime.now + late, message.sequence))
            due = [sequence for at, sequence in self.answers if at <= self.runtime.now]
            self.answers = [(at, sequence) for at, sequence in self.answers if at > self.runtime.now]
            for sequence in due:
                self.detector.on_probe_reply("peer", ProbeReply(sequence))
            if self.state != before:
                self.changed.append((self.runtime.now, self.state))


@pytest.mark.parametrize(("peers", "rounds"), [(1, 50), (4, 50), (20, 50), (63, 15), (127, 7)])
def test_each_peer_is_probed_each_200_ms_but_no_more_than_a_hundred_a_second_together(peers: int, rounds: int) -> None:
    watch = Watch()
    names = ["peer", *(f"p{i}" for i in range(peers - 1))]
    watch.detector.watch(names)
    probes: Counter[str] = Counter()
    for _ in range(1000):  # 10 s
        watch.runtime.now += STEP
        watch.detector.tick()
        probes.update(list(watch.runtime.outbox))
        watch.runtime.outbox.clear()
    assert set(probes) == set(names)
    assert all(rounds - 5 <= count <= rounds + 1 for count in probes.values()), probes
    assert probes.total() <= 1_000 + peers


def test_of_many_peers_a_silent_one_is_suspected_later_but_in_time_and_no_other_is() -> None:
    watch = Watch()
    watch.detector.watch(["peer", *(f"p{i}" for i in range(62))])
    watch.run(20)
    watch.changed.clear()
    quiet_since = watch.runtime.now
    watch.run(5, answer_after=None)
    (suspected_at, suspected), (_, down) = watch.changed
    assert (suspected, down) == (SUSPECT, DOWN)
    assert 0.6 < suspected_at - quiet_since < 2.0
    watch.run(0.7)
    assert watch.state == UP


def test_a_peer_is_not_reachable_before_its_first_answer() -> None:
    watch = Watch()
    assert not watch.detector.reachable("peer")
    watch.run(0.3)
    assert watch.detector.reachable("peer")


def test_oneself_is_always_reachable_and_a_stranger_never() -> None:
    watch = Watch()
    assert watch.detector.reachable("me")
    assert not watch.detector.reachable("stranger")
    assert watch.detector.state_of("stranger") == DOWN


def test_a_silent_peer_is_suspected_within_a_second_and_down_a_little_later() -> None:
    watch = Watch()
    watch.run(10)
    quiet_since = watch.runtime.now
    watch.changed.clear()
    watch.run(3, answer_after=None)
    assert [state for _, state in watch.changed] == [SUSPECT, DOWN]
    suspected, down = (at - quiet_since for at, _ in watch.changed)
    assert 0.3 < suspected < 0.7
    assert 0.8 <= down - suspected < 0.9


def test_jitter_of_a_whole_interval_raises_no_suspicion() -> None:
    watch = Watch()
    watch.run(1)
    watch.changed.clear()
    watch.run(120, answer_after=0.2, jitter=Random(7))
    assert watch.changed == []


def test_one_answer_to_a_probe_brings_a_peer_back() -> None:
    watch = Watch()
    watch.run(2)
    watch.run(5, answer_after=None)
    watch.run(0.25)
    assert watch.state == UP


def test_c21_coming_back_is_told_once_and_so_is_each_loss() -> None:
    watch = Watch()
    watch.run(2)
    assert watch.detector.take_returned() == ["peer"]
    assert watch.detector.take_returned() == []
    watch.run(3, answer_after=None)
    assert watch.runtime.counters["suspicions"] == 1
    watch.run(1)
    assert watch.detector.take_returned() == ["peer"]


def test_changes_rises_exactly_when_reachability_changes() -> None:
    watch = Watch()
    watch.run(2)
    before = watch.detector.changes
    watch.run(2, answer_after=None)
    assert watch.state == DOWN
    assert watch.detector.changes == before + 1, "suspect and down are the same to routing"


def test_a_send_that_the_transport_refuses_is_suspicion_at_once() -> None:
    watch = Watch()
    watch.run(1)
    watch.detector.refused("peer")
    assert watch.state == SUSPECT
    watch.detector.refused("stranger")


def test_a_peer_that_says_it_stops_is_suspected_at_once_until_its_next_life_answers_a_probe() -> None:
    watch = Watch()
    watch.run(1.0)
    watch.detector.on_stopping("peer", Stopping(0))
    assert watch.state == SUSPECT
    watch.run(0.3, answer_after=None)
    watch.run(0.3)
    assert watch.state == UP


def test_replies_of_normal_traffic_keep_a_peer_reachable_but_bring_none_back() -> None:
    watch = Watch()
    watch.run(1)
    for _ in range(20):
        watch.run(0.1, answer_after=None)
        watch.detector.answered("peer")
    assert watch.state == UP
    watch.run(1, answer_after=None)
    watch.detector.answered("peer")
    assert watch.state != UP


@pytest.mark.parametrize("off", [-4, -1000, 1, 1 << 63])
def test_n11_an_answer_to_an_old_probe_or_to_one_never_sent_is_no_evidence(off: int) -> None:
    watch = Watch()
    watch.run(2, answer_after=None)
    watch.runtime.outbox.clear()
    watch.runtime.now += 0.2
    watch.detector.tick()
    (probe,) = watch.runtime.outbox["peer"]
    assert isinstance(probe, Probe)
    watch.detector.on_probe_reply("peer", ProbeReply(probe.sequence + off))
    assert watch.state != UP
    watch.detector.on_probe_reply("peer", ProbeReply(probe.sequence))
    assert watch.state == UP


def test_a_clients_forged_answer_is_no_evidence() -> None:
    watch = Watch()
    watch.run(0.2, answer_after=None)
    watch.detector.on_probe_reply(b"peer", ProbeReply(1))
    assert watch.state == SUSPECT


def test_p5_a_node_that_was_frozen_itself_suspects_nobody_for_the_time_it_missed() -> None:
    watch = Watch()
    watch.run(5)
    watch.changed.clear()
    watch.runtime.now += 10
    watch.run(2)
    assert watch.changed == []


def test_a_probe_goes_out_each_interval_and_no_more() -> None:
    watch = Watch()
    sent = 0
    for _ in range(500):
        watch.runtime.now += STEP
        watch.detector.tick()
        sent += sum(isinstance(message, Probe) for message in watch.runtime.outbox.pop("peer", []))
    assert sent in (24, 25, 26)


def test_phi_grows_with_silence_and_never_overflows() -> None:
    peer = Peer(0.0)
    peer.intervals.extend([0.2] * 40)
    values = [peer.phi(now / 100, 0.2) for now in range(10_000)]
    assert values == sorted(values)
    assert values[20] < 1
    assert values[-1] == 300


def test_a_member_that_is_no_longer_watched_is_forgotten() -> None:
    watch = Watch()
    watch.run(1)
    watch.detector.watch(["other"])
    assert watch.detector.take_returned() == []
    assert not watch.detector.reachable("peer")
    assert watch.detector.state_of("other") == SUSPECT


def test_who_was_never_reached_is_lost_when_that_is_noticed_and_no_more_after_that() -> None:
    watch = Watch()
    began = watch.runtime.now
    watch.run(0.5, answer_after=None)
    assert not watch.detector.lost_between(began, watch.runtime.now)
    watch.run(2.0, answer_after=None)
    assert watch.state == DOWN
    assert watch.detector.lost_between(began, watch.runtime.now)
    noticed = watch.runtime.now
    watch.run(2.0, answer_after=None)
    assert not watch.detector.lost_between(noticed, watch.runtime.now)


def test_when_somebody_was_lost_is_known_when_he_is_back_as_well() -> None:
    watch = Watch()
    watch.run(2.0)
    cut = watch.runtime.now
    assert not watch.detector.lost_between(0.0, cut)
    watch.run(2.0, answer_after=None)
    watch.run(2.0)
    assert watch.state == UP
    assert watch.detector.lost_between(cut, cut + 1.0)
    assert not watch.detector.lost_between(cut + 1.0, watch.runtime.now)

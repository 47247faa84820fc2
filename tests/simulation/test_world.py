"""The simulated network, disks and clocks do to nodes what real ones do."""

from __future__ import annotations

from random import Random

import pytest

from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.runtime import DamagedRow, HintTotal, StoreFailed
from dynazmq.simulator.cluster.cluster import Cluster, Unsettled, row_of
from dynazmq.simulator.run.faults import DAMAGE, Nemesis
from dynazmq.simulator.world.disk import Disk
from dynazmq.simulator.world.network import Conditions, Network
from dynazmq.simulator.world.shapes import SHAPES
from dynazmq.simulator.world.world import World

AT = (1, "b", b"k")


class Ear:
    """A port that notes what arrives, and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.waiting = 0
        self.frozen_since = float("inf")
        self.heard: list[bytes] = []

    def arrive(self, source: str, frame: bytes) -> None:
        self.heard.append(frame)


def wired(conditions: Conditions | None = None) -> tuple[World, Network, Ear, Ear]:
    world = World(1)
    network = Network(world, conditions or Conditions())
    a, b = Ear(world), Ear(world)
    network.attach("a", a)
    network.attach("b", b)
    return world, network, a, b


FRAMES = [bytes([i]) for i in range(6)]


def test_a_clogged_link_holds_frames_and_lets_them_go_in_order_before_what_comes_later() -> None:
    world, network, a, b = wired()
    network.clog("a", "b", room=100)
    assert all(network.send("a", "b", frame) for frame in FRAMES[:4])
    assert network.send("b", "a", b"the other way is open")
    world.run(5.0)
    assert (b.heard, len(a.heard)) == ([], 1)
    network.unclog("a", "b")
    assert all(network.send("a", "b", frame) for frame in FRAMES[4:])
    world.run(1.0)
    assert b.heard == FRAMES


def test_of_two_copies_of_a_frame_neither_comes_to_a_process_that_did_not_get_the_first() -> None:
    world, network, _, b = wired(Conditions(duplication=1.0, jitter_s=0.0, spikes=1.0, spike_s=2.0))
    for frame in FRAMES:
        network.send("a", "b", frame)
    world.run(1.0)
    first, second = b.heard, Ear(world)
    assert first
    network.attach("b", second)  # the next life
    world.run(5.0)
    assert not set(first).intersection(second.heard)
    assert len(second.heard) == len(set(second.heard))


def test_beyond_its_room_a_clogged_link_loses_frames_and_tells_nobody() -> None:
    world, network, _, b = wired()
    network.clog("a", "b", room=2)
    assert all(network.send("a", "b", frame) for frame in FRAMES)
    network.heal()
    world.run(1.0)
    assert b.heard == FRAMES[:2]


@pytest.mark.parametrize(("left_over", "heard"), [(0.0, []), (1.0, FRAMES)])
def test_frames_under_way_to_a_process_that_died_reach_its_next_life_or_not(left_over: float, heard: list[bytes]) -> None:
    world, network, _, b = wired(Conditions(left_over=left_over))
    for frame in FRAMES:
        network.send("a", "b", frame)
    b.alive = False
    world.run(1.0)
    assert not network.send("a", "b", b"to nobody")
    again = Ear(world)
    network.attach("b", again)
    world.run(1.0)
    assert (b.heard, again.heard) == ([], heard)


def test_one_direction_of_one_link_can_be_bad_alone() -> None:
    world, network, a, b = wired()
    network.spoil("a", "b", Conditions(loss=1.0))
    assert network.send("a", "b", b"lost")
    assert network.send("b", "a", b"there")
    world.run(1.0)
    assert (a.heard, b.heard) == ([b"there"], [])
    network.restore("a", "b")
    network.send("a", "b", b"there, too")
    world.run(1.0)
    assert b.heard == [b"there, too"]


@pytest.mark.parametrize("size", [3, 4, 5, 6, 9])
def test_in_a_ring_everybody_reaches_a_majority_and_no_two_the_same_one(size: int) -> None:
    names = [f"n{i}" for i in range(size)]
    cut = set(SHAPES["ring"](names, Random(1)))
    reach = {name: frozenset(other for other in names if (name, other) not in cut) for name in names}
    assert all(len(others) > size // 2 for others in reach.values())
    assert all((b, a) in cut for a, b in cut)
    if size > 3:
        assert len(set(reach.values())) == size


@pytest.mark.parametrize("shape", ["isolate", "split", "bridge", "one way"])
def test_the_other_shapes_cut_what_their_names_say(shape: str) -> None:
    names = [f"n{i}" for i in range(5)]
    for seed in range(20):
        cut = set(SHAPES[shape](names, Random(seed)))
        whole = [name for name in names if not any(name in link for link in cut)]
        reach = {frozenset(other for other in names if (name, other) not in cut) for name in names if name not in whole}
        if shape == "one way":
            assert len(cut) == 1
        elif shape == "bridge":
            assert len(whole) == 1
            assert all(whole[0] in side for side in reach)
        else:
            assert whole == []
            assert len(reach) == 2
            assert (shape != "isolate") or min(map(len, reach)) == 1


def written(disk: Disk, count: int) -> None:
    for i in range(count):
        disk.write(*AT, b"%d" % i)
        disk.write_hint("n2", *AT, b"%d" % i)
        disk.set_meta("m", b"%d" % i)
        disk.commit()


def test_a_loss_of_power_leaves_a_prefix_of_the_commits_since_the_checkpoint() -> None:
    left = set()
    for seed in range(40):
        disk = Disk("normal")
        written(disk, 3)
        disk.checkpoint()
        written(disk, 5)
        lost = disk.lose_power(Random(seed))
        state = disk.read(*AT)
        assert state == disk.read_hint("n2", *AT) == disk.get_meta("m") == (b"%d" % (4 - lost) if lost < 5 else b"2")
        left.add(lost)
    assert left == set(range(6))


def test_totals_of_hints_are_those_of_the_disk_after_whatever_befell_it() -> None:
    disk = Disk("normal")
    for number in range(3):
        disk.write_hint("n2", number, "b", b"k", bytes(10))
        disk.commit()
    disk.checkpoint()
    kept = disk.backup()
    disk.delete_hint("n2", 0, "b", b"k")
    disk.write_hint("n3", 0, "b", b"k", bytes(7))
    assert disk.hint_totals() == {"n2": HintTotal(2, 22), "n3": HintTotal(1, 8)}, "before the commit"
    disk.commit()
    assert disk.snapshot().hint_totals() == disk.hint_totals() == {"n2": HintTotal(2, 22), "n3": HintTotal(1, 8)}
    disk.lose_commits(1)
    assert disk.hint_totals() == {"n2": HintTotal(3, 33)}
    disk.write_hint("n2", 0, "b", b"k", bytes(1000))
    disk.fail_commits = True
    with pytest.raises(StoreFailed):
        disk.commit()
    disk.crash()
    assert disk.hint_totals() == {"n2": HintTotal(3, 33)}
    disk.wipe()
    assert disk.hint_totals() == {}
    disk.restore(kept)
    assert disk.hint_totals() == {"n2": HintTotal(3, 33)}


def test_a_row_that_was_new_since_the_checkpoint_is_gone_and_one_that_was_deleted_is_back() -> None:
    disk = Disk("normal")
    disk.write_hint("n2", *AT, b"kept")
    disk.commit()
    disk.checkpoint()
    disk.write(*AT, b"new")
    disk.delete_hint("n2", *AT)
    disk.commit()
    assert disk.lose_commits(1) == 1
    assert (disk.read(*AT), disk.read_hint("n2", *AT)) == (b"", b"kept")


def test_with_sync_full_a_loss_of_power_costs_nothing() -> None:
    disk = Disk("full")
    written(disk, 5)
    assert disk.lose_power(Random(1)) == 0
    assert disk.read(*AT) == b"4"


def test_a_commit_that_failed_cannot_be_lost_with_the_power() -> None:
    disk = Disk("normal")
    written(disk, 1)
    disk.fail_commits = True
    disk.write(*AT, b"never")
    with pytest.raises(Exception, match="full"):
        disk.commit()
    disk.fail_commits = False
    assert disk.lose_commits(1) == 1
    assert disk.read(*AT) == b""


def test_a_damaged_hint_is_never_returned_and_is_whole_again_when_it_is_written() -> None:
    disk = Disk()
    written(disk, 1)
    assert disk.damage_hints_of(*AT)
    assert disk.hints("n2", (0, "", b""), 9) == ([(*AT, None)], None)
    with pytest.raises(DamagedRow):
        disk.read_hint("n2", *AT)
    disk.write_hint("n2", *AT, b"anew")
    disk.commit()
    assert disk.read_hint("n2", *AT) == b"anew"
    assert not disk.damage_hints_of(2, "b", b"another")


@pytest.mark.parametrize("w", [2, 3])
def test_bits_rot_by_an_atlas_that_leaves_a_copy_of_every_key(w: int) -> None:
    cluster = Cluster(9, w=w)
    client = cluster.client()
    keys = [f"k{i}" for i in range(4)]
    for key in keys:
        client.put(key, "v", w="all")
    nemesis = Nemesis(cluster, (DAMAGE,), keys, 0.01, 0.01, copies_max=w - 1)
    for node in cluster.nodes:
        node.process.pause()  # nobody finds it, nobody repairs it
    cluster.run(3.0)
    nemesis.stop()
    rotten = [sum(row_of(key) in node.process.disk._damaged for node in cluster.nodes) for key in keys]
    assert max(rotten) <= w - 1
    assert sum(rotten) > 1


def test_a_cluster_that_does_not_come_up_in_its_weather_comes_up_before_it() -> None:
    weather = Conditions(loss=1.0)
    cluster = Cluster(13, conditions=weather)
    assert cluster.unsettled() == ""
    assert cluster.network.conditions is weather
    cluster.run(3.0)
    assert {peer.state for node in cluster.nodes for peer in node.process.node.failure.peers.values()} == {"down"}


def test_a_cluster_that_comes_up_in_its_weather_is_spared_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conditions, "calmed", lambda self: pytest.fail("the weather has cleared up"))
    cluster = Cluster(14, conditions=Conditions(loss=0.1, spikes=0.02, spike_s=0.5))
    assert cluster.unsettled() == ""


def test_a_cluster_that_does_not_come_up_in_any_weather_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailureDetector, "on_probe_reply", lambda *_: None)
    with pytest.raises(Unsettled, match=r"everybody sees everybody up; who is up: .*'n2': 'down'"):
        Cluster(15, conditions=Conditions(loss=0.1))


def test_losing_power_counts_as_a_lost_disk_only_if_commits_went_with_it() -> None:
    cluster = Cluster(10, sync="normal")
    client = cluster.client()
    client.put("k", "v", w="all")
    node = cluster.primaries("k")[0]
    node.process.disk.checkpoint()
    node.lose_power()
    assert cluster.history.disks_lost == 0
    node.come_back()
    client.put("k", "w", client.get("k").context, w="all")
    node.lose_power(all_since_the_checkpoint=True)
    assert cluster.history.disks_lost == 1


def test_a_clock_that_drifts_goes_faster_from_now_on_and_not_before() -> None:
    cluster = Cluster(11, one_clock=False)
    node = cluster.nodes[0].process
    before = node._now
    node.set_clock(2.0)
    assert node._now == pytest.approx(before)
    cluster.run(2.0)
    assert node._now == pytest.approx(before + 4.0)
    node.set_clock()
    cluster.run(2.0)
    assert node._now == pytest.approx(before + 6.0)


@pytest.mark.parametrize("ahead_s", [-1000.0, -10.0, 10.0, 1000.0])
def test_a_host_that_was_booted_anew_serves_on_with_its_new_clock(ahead_s: float) -> None:
    cluster = Cluster(11, one_clock=False)
    client = cluster.client()
    node = cluster.primaries("k")[0]
    node.crash()
    before = node.process._now
    node.process.set_clock(ahead_s=ahead_s)
    cluster.run(1.5)
    assert node.process._now == pytest.approx(before + ahead_s + 1.5)
    node.come_back()
    client.put("k", "v", at=node.name, w="all")
    assert client.get("k", at=node.name, r="all").values == ["v"]
    assert sum(each.counters["expired"] for each in cluster.nodes) == 0


def test_a_part_of_the_cluster_is_healed_alone_and_serves() -> None:
    cluster = Cluster(12)
    client = cluster.client("c", beside="n1")
    client.put("k", "v", w="all")
    cluster.settle(["n1", "n2", "n3"])
    assert [node.process.state for node in cluster.nodes] == ["up", "up", "up", "down", "down"]
    client.put("k", "w", client.get("k").context)
    assert client.get("k").values == ["w"]
    cluster.settle()
    assert cluster.equal("k")

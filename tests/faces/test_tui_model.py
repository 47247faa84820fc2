"""What snapshots add up to: coverage, rates, hints, the stages of a recovery, and the load that checks its writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest
from tui_cluster import START, Cluster

from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.errors import Unavailable
from dynazmq.tui.keys import KEYS, footer_keys
from dynazmq.tui.look import Look, milliseconds, percent, short, span, spark, symbols
from dynazmq.tui.model.coverage import cover
from dynazmq.tui.model.load import Load
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.recovery import Recovery, some
from dynazmq.tui.model.trends import HELD_S
from dynazmq.tui.panels.bars import header

# --- coverage --------------------------------------------------------------------------------------------------------------


def test_with_all_up_nothing_is_degraded() -> None:
    covered = cover(Cluster().snapshot())

    assert (covered.partitions, covered.degraded, covered.short) == (120, 0, 0)
    assert set(covered.fallbacks) == {""}


def test_one_node_away_touches_three_fifths_of_the_partitions_and_none_is_short() -> None:
    cluster = Cluster()
    cluster.kill("n3")

    covered = cover(cluster.snapshot())

    assert (covered.degraded, covered.short) == (72, 0)  # N=3 of 5
    assert covered.fallbacks[2] == "n1"  # owners n3 n4 n5, then n1
    assert covered.fallbacks[0] == ""


def test_two_neighbours_away_leave_some_partitions_to_fallbacks() -> None:
    cluster = Cluster()
    cluster.kill("n2")
    cluster.pause("n3")

    assert cover(cluster.snapshot()).short == 48


def test_the_preference_list_wraps_around_the_ring() -> None:
    cluster = Cluster(4, partitions=8)
    cluster.kill("n4")

    assert cover(cluster.snapshot()).fallbacks[7] == "n3"  # n4, then n1 n2 from the start


def test_nobody_left_is_no_fallback() -> None:
    cluster = Cluster(2, partitions=8)
    cluster.kill("n1")

    assert set(cover(cluster.snapshot()).fallbacks) == {"", "-"}


# --- read repair -----------------------------------------------------------------------------------------------------------


def test_the_rates_of_reads_that_repair_or_give_siblings_are_those_of_the_last_five_seconds_and_outlive_a_node() -> None:
    cluster = Cluster()
    assert cluster.run(1).reads_per_s == (0, 0)
    cluster["n1"].repairs += 4
    cluster["n2"].repairs += 6
    cluster["n2"].siblings += 2
    assert cluster.run(3).reads_per_s == pytest.approx((10 / 4, 2 / 4))  # all that there was so far
    cluster.kill("n1")
    cluster.run(1)
    cluster.start("n1")  # its counters begin at 0
    cluster["n1"].repairs = 5
    assert cluster.run(1).reads_per_s == pytest.approx((15 / 5, 2 / 5))
    assert cluster.run(10).reads_per_s == (0, 0)


def test_the_rates_of_reads_are_not_known_where_no_node_says() -> None:
    cluster = Cluster(1)
    cluster.kill("n1")

    assert cluster.run(2).reads_per_s is None


# --- recovery --------------------------------------------------------------------------------------------------------------


def only(model: Model) -> Recovery:
    assert len(model.recoveries) == 1
    return model.recoveries[0]


def test_a_killed_node_goes_through_all_stages_in_order() -> None:
    cluster = Cluster(load=True)
    cluster.run(5)
    cluster.kill("n3")
    now = only(cluster.run(0.5))
    assert (now.what, now.began) == ("killed (9)", START + 5)
    assert now.suspected is not None
    assert now.down is None

    now = only(cluster.run(10))
    assert (now.agree, now.peers) == (4, 4)
    assert now.down is not None
    assert now.started is None

    cluster.start("n3")
    now = only(cluster.run(0.5))
    assert now.started is not None
    assert now.delivered is None

    now = only(cluster.run(10))
    assert None not in (now.up, now.delivered, now.converged)
    assert now.gained.delivered > 0.9 * now.peak > 0
    assert now.began <= (now.suspected or 0) <= (now.down or 0) <= (now.started or 0) <= (now.up or 0)
    assert (now.up or 0) <= (now.delivered or 0) <= (now.converged or 0)


def test_a_finished_recovery_is_held_a_while_and_then_told_in_a_sentence() -> None:
    cluster = Cluster()
    cluster.supervisor_pid = None  # who would tell of it as well
    cluster.run(5)
    cluster.kill("n3")
    cluster.run(5)
    cluster.start("n3")
    cluster.run(5)

    assert only(cluster.run(HELD_S - 6)).converged is not None
    model = cluster.run(10)
    assert model.recoveries == ()
    assert model.ended.startswith("n3 CONVERGED")
    assert any("CONVERGED" in event.text for event in model.events)


def test_a_node_killed_again_while_it_recovers_begins_a_new_outage() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.kill("n3")
    cluster.run(5)
    cluster.start("n3")
    cluster.run(1)
    cluster.kill("n3")

    assert only(cluster.run(1)).began == START + 11


def test_a_node_cut_off_while_it_recovers_begins_a_new_outage() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.pause("n3")
    cluster.run(2)
    cluster.start("n3")
    assert only(cluster.run(0.5)).what == "paused"
    cluster.partition(["n3"], ["n1", "n2", "n4", "n5"])

    (now,) = (each for each in cluster.run(2).recoveries if each.node == "n3")
    assert (now.what, now.fault, now.began) == ("silent", "f1", START + 7.5)
    assert now.down is not None
    assert now.agree == 4


def test_a_suspicion_that_passes_converges_without_a_start() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.freeze("n4")
    now = only(cluster.run(2))
    assert now.what == "silent"

    cluster["n4"].gone_at, cluster["n4"].state = None, "up"
    now = only(cluster.run(1))
    assert now.converged is not None
    assert now.started is None


def test_two_outages_are_both_kept_the_latest_first() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.kill("n3")
    cluster.run(2)
    cluster.kill("n1")

    assert [each.node for each in cluster.run(2).recoveries] == ["n1", "n3"]


def test_a_console_opened_late_knows_when_the_outage_began() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.kill("n3")
    cluster.run(60)
    from dynazmq.tui.model.trends import History

    assert only(History().add(cluster.snapshot())).began == START + 5


def test_long_lists_of_names_are_cut() -> None:
    assert some(("n1", "n2")) == "n1 n2"
    assert some(tuple(f"n{index}" for index in range(1, 20))) == "n1 n2 n3 +16"


# --- history ---------------------------------------------------------------------------------------------------------------


def test_hints_grow_while_a_node_is_away_and_drain_with_an_end_in_sight() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.kill("n3")
    (growing,) = cluster.run(20).pending
    assert growing.target == "n3"
    assert growing.per_s == pytest.approx(64, rel=0.1)
    assert growing.eta_s is None

    cluster.start("n3")
    (draining,) = cluster.run(1.5).pending
    assert draining.per_s is not None
    assert draining.per_s < 0
    assert draining.eta_s is not None
    assert cluster.run(5).pending == ()


def test_what_a_silent_node_holds_is_remembered() -> None:
    cluster = Cluster()
    cluster.run(5)
    cluster.kill("n3")
    cluster.run(5)
    cluster.pause("n1")
    model = cluster.run(1)

    holders = {holder.name: holder for holder in next(p for p in model.pending if p.target == "n3").holders}
    assert holders["n1"].silent
    assert holders["n1"].hints > 0


def test_a_counter_that_starts_again_at_zero_is_no_negative_rate() -> None:
    cluster = Cluster()
    cluster.run(10)
    cluster.kill("n3")
    cluster.run(2)
    cluster.start("n3")

    for _ in range(20):
        assert cluster.run(0.5).service.put.per_s >= 0


def test_rates_are_those_of_all_nodes_together() -> None:
    service = Cluster().run(20).service

    assert service.put.per_s == pytest.approx(400, rel=0.02)
    assert service.get.per_s == pytest.approx(800, rel=0.02)
    assert service.put.ok == 1.0


def test_history_is_bounded() -> None:
    cluster = Cluster()
    cluster.run(300)

    assert len(cluster.history._samples) <= 2 * 60 + 1


def test_too_few_nodes_for_a_write_are_the_headline() -> None:
    cluster = Cluster(3)
    cluster.run(1)
    cluster.kill("n1")
    cluster.kill("n2")

    assert "NO WRITES" in header(cluster.run(1), Look(), 80).plain


def test_no_node_answering_at_all_is_drawn_too() -> None:
    cluster = Cluster(3)
    for name in ("n1", "n2", "n3"):
        cluster.kill(name)

    assert "NOBODY ANSWERS" in header(cluster.run(1), Look(), 80).plain


def test_the_header_says_that_replicas_are_not_compared_while_anti_entropy_is_paused() -> None:
    model = Cluster().run(1)
    assert "aae" not in header(model, Look(), 120).plain
    model.snapshot.nodes[1].anti_entropy = "paused"
    assert header(model, Look(), 80).plain.endswith("● up, aae paused ")


# --- looks -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "–"), (0, "0"), (999, "999"), (999.6, "1.0k"), (30_100, "30.1k"), (412_000, "412k"), (1e6, "1.0M")],
)
def test_short_numbers(number: float | None, text: str) -> None:
    assert short(number) == text


def test_a_hundred_percent_is_never_rounded_up_to() -> None:
    assert percent(1.0) == "100.0%"
    assert percent(0.99999) == "99.9%"


def test_spans_and_milliseconds() -> None:
    assert [span(seconds) for seconds in (None, 0.4, 59, 724, 7300, 200_000)] == ["–", "0s", "59s", "12m", "2h", "2d"]
    assert [milliseconds(number) for number in (None, 0.04, 3.44, 120.3)] == ["–", "0.0", "3.4", "120"]


def test_a_sparkline_starts_at_zero() -> None:
    assert spark([0, 5, 10], 10) == "▁▅█"
    assert spark([0, 0], 10) == "▁▁"


def test_each_node_has_a_symbol_of_its_own() -> None:
    assert symbols(["n1", "n2"]) == {"n1": "1", "n2": "2"}
    assert len(set(symbols([f"n{index}" for index in range(1, 21)]).values())) == 20


def test_a_narrow_footer_keeps_the_keys_that_matter_most() -> None:
    kept = [key for key, _ in footer_keys(False, 40)]

    assert {"K", "S"} <= set(kept)
    assert len(footer_keys(False, 200)) == sum(bool(key.short) for key in KEYS)


# --- the load --------------------------------------------------------------------------------------------------------------


class Store:
    """A client and its bucket in one. `lose` forgets what it acknowledged."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.broken = False

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def bucket(self, name: str) -> Store:
        return self

    def get(self, key: str, timeout: float, best_effort: bool = False) -> Any:
        if self.broken:
            raise Unavailable("down", 2, 1)
        value = self.values.get(key)
        return SimpleNamespace(values=[value] if value is not None else [], context="c")

    def get_many(self, keys: list[str], timeout: float) -> dict[str, Any]:
        return {key: self.get(key, timeout) for key in keys}

    def put(self, key: str, value: bytes, context: Any, timeout: float) -> Any:
        if self.broken:
            raise Unavailable("down", 2, 1)
        with self.lock:
            self.values[key] = value
        return SimpleNamespace(context="c")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def load(store: Store) -> Any:
    load = Load(Path("demo"), connect=lambda _: store, puts_per_s=1500, gets_per_s=1500, keys=90)
    load.start()
    until(lambda: load.stats().acked == 90)
    yield load
    load.stop()


def test_acknowledged_writes_are_found_again(load: Load) -> None:
    load.check(after=7.0)
    until(lambda: (check := load.stats().check) is not None and check.after == 7.0 and check.total == 90 and check.done)

    check = load.stats().check
    assert check is not None
    assert (check.checked, check.lost, check.unread) == (90, 0, 0)


def test_a_lost_write_is_counted_and_named(store: Store, load: Load) -> None:
    load.stop()
    lost = sorted(store.values)[0]
    del store.values[lost]
    store.put = refuse  # type: ignore[method-assign]  # or the load would write it again
    load.start()
    load.check(after=7.0)
    until(lambda: (check := load.stats().check) is not None and check.total == 90 and check.done)

    check = load.stats().check
    assert check is not None
    assert (check.checked, check.lost, check.lost_keys) == (90, 1, (lost,))


def refuse(*_: Any, **__: Any) -> Any:
    raise Unavailable("down", 2, 1)


def test_the_load_outlives_errors_and_counts_them(store: Store, load: Load) -> None:
    store.broken = True
    until(lambda: load.stats().puts_failed > 3 and load.stats().gets_failed > 3)
    assert load.stats().last_error == "Unavailable"
    before = load.stats().puts_ok

    store.broken = False
    until(lambda: load.stats().puts_ok > before + 10)
    assert load.running


def test_a_gap_without_acknowledged_puts_is_measured(store: Store, load: Load) -> None:
    began = time.time()
    store.broken = True
    time.sleep(0.3)
    store.broken = False
    before = load.stats().puts_ok
    until(lambda: load.stats().puts_ok > before)

    assert max(gap for at, gap in load.stats().gaps if at >= began) >= 0.29


def test_a_cluster_that_cannot_be_reached_is_tried_again() -> None:
    tries = []

    def connect(directory: Path) -> Any:
        tries.append(directory)
        raise ConnectionError

    load = Load(Path("demo"), connect=connect, workers=1)
    load.start()
    until(lambda: load.stats().last_error == "ConnectionError")
    running = load.running
    load.stop()
    assert (running, load.running) == (True, False)
    assert tries


def test_the_load_keeps_to_its_keys(store: Store, load: Load) -> None:
    load_puts = load.stats().puts_ok
    until(lambda: load.stats().puts_ok > load_puts + 100)

    assert len(store.values) == 90


# --- odd snapshots ---------------------------------------------------------------------------------------------------------


def test_an_empty_snapshot_is_drawn() -> None:
    from dynazmq.tui.model.trends import History
    from dynazmq.tui.panels.screen import frame

    snapshot = Snapshot(
        name="x", directory="d", taken_at=START, supervisor_pid=1, ring_version=0, owners=(), n=3, r=2, w=2, sync="normal",
        transport="tcp", nodes=[NodeView(name="n1", endpoint="", state="starting", pid=4, process="running")],
    )  # fmt: skip

    drawn = frame(History().add(snapshot), Look(), 80, 24).plain
    assert "◌ starting" in drawn
    assert "no node told of its ring yet" in drawn

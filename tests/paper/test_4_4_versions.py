"""§4.4: data versioning. Figure 3 names its coordinators Sx, Sy, Sz and its versions D1 to D5."""

from __future__ import annotations

from dynazmq.dynamo.values.versions import EMPTY, Context, Siblings, put, sync

SX, SY, SZ = "Sx~1", "Sy~1", "Sz~1"
NOTHING_SEEN = Context()


def write(state: Siblings, seen: Context, actor: str, value: bytes | None) -> Siblings:
    return put(state, seen, actor, value, b"", 0)[0]


D1 = write(EMPTY, NOTHING_SEEN, SX, b"D1")
D2 = write(D1, D1.context, SX, b"D2")
D3 = write(D2, D2.context, SY, b"D3")
D4 = write(D2, D2.context, SZ, b"D4")


def test_4_4_figure_3_d1_written_at_sx_has_the_clock_sx_1() -> None:
    assert D1.values == [b"D1"]
    assert D1.context == Context({SX: 1})


def test_4_4_figure_3_d2_descends_from_d1_and_overwrites_it() -> None:
    assert D2.values == [b"D2"]
    assert D2.context == Context({SX: 2})


def test_4_4_figure_3_a_replica_that_still_has_d1_forgets_it_when_it_receives_d2() -> None:
    assert sync(D1, D2) == sync(D2, D1) == D2


def test_4_4_figure_3_d3_and_d4_descend_from_d2_at_different_servers() -> None:
    assert D3.context == Context({SX: 2, SY: 1})
    assert D4.context == Context({SX: 2, SZ: 1})


def test_4_4_figure_3_a_node_that_knows_d1_or_d2_and_receives_d4_sees_that_they_are_overwritten() -> None:
    for older in (D1, D2):
        assert sync(older, D4).values == [b"D4"]


def test_4_4_figure_3_d3_and_d4_are_both_kept_there_are_changes_in_each_that_the_other_has_not() -> None:
    both = sync(D3, D4)
    assert both.values == [b"D3", b"D4"]
    assert both.context == Context({SX: 2, SY: 1, SZ: 1}), "the read's context is a summary of both clocks"


def test_4_4_figure_3_the_client_reconciles_them_and_sx_coordinates_d5() -> None:
    both = sync(D3, D4)
    d5 = write(D2, both.context, SX, b"D5")
    assert d5.context == Context({SX: 3, SY: 1, SZ: 1})
    assert sync(both, d5).values == sync(D3, d5).values == sync(d5, D4).values == [b"D5"]


def test_4_4_an_add_to_cart_is_never_lost_when_two_versions_of_the_cart_diverge() -> None:
    cart = write(EMPTY, NOTHING_SEEN, SX, b"milk")
    here = write(cart, cart.context, SY, b"milk, bread")
    there = write(cart, cart.context, SZ, b"milk, eggs")
    assert sync(here, there).values == [b"milk, bread", b"milk, eggs"]


def test_4_4_a_put_says_which_version_it_updates_by_the_context_of_an_earlier_read() -> None:
    stale = write(D2, D1.context, SX, b"from D1")
    assert stale.values == [b"D2", b"from D1"], "D2 was not read, so it is not overwritten"


def test_4_4_departs_from_the_paper_two_clients_through_one_server_do_not_overwrite_each_other() -> None:
    """With plain vector clocks the second put's [Sx, 3] would descend from [Sx, 2] and the first would vanish."""
    first = write(D1, D1.context, SX, b"first")
    second = write(first, D1.context, SX, b"second")
    assert second.values == [b"first", b"second"]


def test_4_4_departs_from_the_paper_no_pair_is_ever_truncated_from_a_clock() -> None:
    """The paper removes the oldest pair of a clock of ten; what it said is then forgotten, and overwritten values return."""
    state = EMPTY
    for coordinator in range(40):
        state = write(state, state.context, f"n{coordinator}~1", b"%d" % coordinator)
    assert len(state.context.vector) == 40
    assert sync(state, write(EMPTY, NOTHING_SEEN, "n0~1", b"0")) == state

"""What is kept of a state on an old disk: writes that came since it was put back, and nothing that may be wrong beside them."""

from __future__ import annotations

from dynazmq.dynamo.replica.rescue import written_since
from dynazmq.dynamo.values.versions import EMPTY, Context, Siblings, actor_id, decode, encode, put, sync

OLD_ACTOR, NEW_ACTOR = actor_id("n2", "before"), actor_id("n2", "since")


def wrote(state: Siblings, actor: str, value: str, *, over: Siblings = EMPTY) -> Siblings:
    return put(state, over.context, actor, value.encode(), value.encode().ljust(16, b"."), 1)[0]


def kept(state: Siblings) -> Siblings:
    found = written_since(state, "n2", ["since"])
    assert decode(encode(found)) == found, "one form, and no law broken"
    return found


def test_of_what_was_written_before_nothing_is_kept() -> None:
    assert kept(wrote(EMPTY, OLD_ACTOR, "old")) is EMPTY
    assert kept(wrote(EMPTY, actor_id("n3", "since"), "another's")) is EMPTY


def test_an_old_value_beside_a_new_one_goes_and_stays_where_others_have_it() -> None:
    old = wrote(EMPTY, OLD_ACTOR, "old")
    found = kept(wrote(old, NEW_ACTOR, "new"))
    assert found.values == [b"new"]
    assert sorted(sync(found, old).values) == [b"new", b"old"]


def test_an_old_value_that_was_overwritten_stays_so() -> None:
    old = wrote(EMPTY, OLD_ACTOR, "old")
    found = kept(wrote(old, NEW_ACTOR, "new", over=old))
    assert sync(found, old).values == [b"new"]


def test_of_several_old_ones_none_is_called_overwritten() -> None:
    old = EMPTY
    for number in range(3):
        old = wrote(old, OLD_ACTOR, f"old {number}")
    found = kept(wrote(old, NEW_ACTOR, "new"))
    assert found.context == Context({NEW_ACTOR: 1})
    assert len(sync(found, old).values) == 4


def test_what_was_written_as_a_stand_in_is_kept_as_well() -> None:
    assert kept(wrote(EMPTY, f"{NEW_ACTOR}.3", "v")).values == [b"v"]


def test_a_retry_of_an_old_value_is_not_called_overwritten() -> None:
    old = wrote(EMPTY, OLD_ACTOR, "old")
    old = old.with_retried(old.live[0].write_id)
    found = kept(wrote(old, NEW_ACTOR, "new"))
    assert not found.context.retried
    assert sorted(sync(found, old).values) == [b"new", b"old"]

"""What goes in and comes out of a client: contexts, codecs, resolvers, results. And what is refused before anything is sent."""

from __future__ import annotations

import json
import pickle
import signal
from collections.abc import Callable, Iterator
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple

import pytest
from client_bench import topology
from hypothesis import example, given
from hypothesis import strategies as st

from dynazmq import resolvers
from dynazmq.client.core import flows
from dynazmq.client.core.requests import Options, Request, put_request
from dynazmq.client.values.codecs import CODECS, Codec, codec_of
from dynazmq.client.values.context import Context
from dynazmq.client.values.results import Batch, PutResult, Result
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import GetReply, PutReply
from dynazmq.errors import (
    ConflictError,
    DynazmqError,
    InvalidRequest,
    KeyNotFound,
    ProtocolError,
    Unavailable,
    WriteTimeout,
)
from dynazmq.signals import raised_by_handler
from dynazmq.wire.codec import decode_body

VIEW = View.of(topology(["n1", "n2", "n3", "n4", "n5"], buckets=(("pair", 2, 1, 2),)))
TOKEN = b"\x01" + b"causal" + bytes(16)
OPTIONS = Options()


class Point(NamedTuple):
    x: Any
    y: Any


class Alarm(Exception):
    pass


class Bell:
    def ring(self, *_: object) -> None:
        raise Alarm

    def __call__(self, *_: object) -> None:
        raise Alarm


# --- contexts -------------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=17, max_size=300))
def test_a_context_survives_text_json_and_pickle(content: bytes) -> None:
    context = Context(b"\x01" + content)

    assert Context.parse(str(context)) == context
    assert Context.of(json.loads(json.dumps({"etag": str(context)}))["etag"]) == context
    assert pickle.loads(pickle.dumps(context)) == context
    assert hash(Context.parse(str(context))) == hash(context)
    assert set(str(context)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")


def test_the_empty_context_is_false_and_means_that_nothing_was_seen() -> None:
    assert not Context()
    assert Context(TOKEN)
    assert Context.of(None) == Context.of("") == Context.parse(str(Context())) == Context()


OTHER_VERSION, CUT = str(Context(b"\x02" + TOKEN)), str(Context(TOKEN))[:-1]


@pytest.mark.parametrize("text", ["!", "AAAA", "abc", "ä", "\ud800", "AQ==", OTHER_VERSION, CUT])
def test_a_garbled_context_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not a context"):
        Context.parse(text)


def test_a_context_over_the_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(InvalidRequest, match="at most 87,385 characters, this one 100,000"):
        Context.parse("A" * 100_000)
    with pytest.raises(InvalidRequest, match="at most 65,536 bytes, this one 70,017"):
        Context.of(Context(b"\x01" + bytes(70_016)))


@pytest.mark.parametrize("given", [b"bytes", 5, Result("k", [], Context(), (), []), Context("no bytes"), Context(b"short")])  # type: ignore[arg-type]
def test_what_is_no_context_is_refused(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="context"):
        put_request(OPTIONS, VIEW, "k", b"v", given)


# --- codecs ---------------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=10)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@given(plain)
def test_json_and_msgpack_return_what_they_were_given(value: Any) -> None:
    for name in ("json", "msgpack"):
        codec = codec_of(name)
        assert codec.decode(codec.encode(value)) == value


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(Point, inner, inner)
        | st.dictionaries(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.tuples(texts), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", ["json", "msgpack", "text"])
@given(value=anything)
@example(value=[float("nan")])
@example(value={(1,): 1})
def test_what_a_codec_accepts_it_gives_back_equal(name: str, value: Any) -> None:
    codec = codec_of(name)
    try:
        packed = codec.encode(value)
    except InvalidRequest:
        return
    back = codec.decode(packed)
    assert back == value or repr(back) == repr(value), "NaN is equal to nothing"


def test_the_first_part_of_a_value_that_would_change_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"tuple at \['cart'\]\[1\] would come back as list"):
        codec_of("json").encode({"cart": [1, (2, 3)]})
    with pytest.raises(InvalidRequest, match=r"the key 42 at \['by'\], of type int, would come back as something else"):
        codec_of("json").encode({"by": {42: "milk"}})


@given(st.binary(max_size=50), texts)
def test_raw_and_text_return_what_they_were_given(raw: bytes, text: str) -> None:
    for value in (raw, bytearray(raw), memoryview(raw)):
        assert CODECS["raw"].decode(CODECS["raw"].encode(value)) == raw
    assert CODECS["raw"].encode(text) == text.encode()
    assert CODECS["text"].decode(CODECS["text"].encode(text)) == text


@given(st.dictionaries(texts, st.integers(), max_size=5))
def test_equal_dicts_are_equal_json(value: dict[str, int]) -> None:
    encode = codec_of("json").encode
    assert encode(value) == encode(dict(reversed(value.items())))


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        ("raw", 5),
        ("raw", None),
        ("raw", {"a": 1}),
        ("raw", "\ud800"),
        ("text", b"bytes"),
        ("text", "a\udfff"),
        ("json", b"bytes"),
        ("json", {1, 2}),
        ("json", float("nan")),
        ("json", float("inf")),
        ("json", {1: "a", "b": 2}),
        ("json", deep(100_000)),
        ("json", "\ud800"),
        ("msgpack", 1 << 64),
        ("msgpack", {1, 2}),
        ("msgpack", deep(100_000)),
        ("msgpack", "\ud800"),
        ("msgpack", object()),
        ("json", (1, 2)),
        ("json", {"a": [1, (2,)]}),
        ("json", {1: "a"}),
        ("json", {None: 1}),
        ("json", {True: 1}),
        ("msgpack", (1, 2)),
        ("msgpack", {(1, 2): 3}),
        ("msgpack", [Point(1, 2)]),
    ],
)
def test_what_a_codec_cannot_carry_is_refused(codec: str, value: Any) -> None:
    with pytest.raises(InvalidRequest):
        next(flows.put(VIEW, OPTIONS.with_(codec=codec), "k", value, None))


@pytest.mark.parametrize("codec", ["pickle", "", 5, ["json"], ("x", bytes, bytes)])
def test_an_unknown_codec_is_refused_with_those_that_there_are(codec: Any) -> None:
    with pytest.raises(InvalidRequest, match="there are raw text json msgpack"):
        OPTIONS.with_(codec=codec)


def ring_a_bell(*_: object) -> None:
    raise Alarm


@pytest.fixture
def bell() -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, ring_a_bell)
    yield
    signal.signal(signal.SIGUSR1, before)


def test_what_a_signal_handler_raises_in_the_middle_of_a_codec_passes_through(bell: None) -> None:
    def decode(raw: bytes) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return raw

    with pytest.raises(Alarm):
        read(OPTIONS.with_(codec=Codec("own", bytes, decode)), b"x")


def test_what_a_signal_handler_raises_in_the_middle_of_a_resolver_passes_through(bell: None) -> None:
    def resolver(values: list[Any]) -> Any:
        signal.raise_signal(signal.SIGUSR1)

    with pytest.raises(Alarm):
        read(OPTIONS.with_(resolver=resolver), b"x", b"y")


def test_what_a_signal_handler_raises_while_a_frame_is_decoded_passes_through(
    bell: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msgpack.unpackb", lambda *_, **__: signal.raise_signal(signal.SIGUSR1))
    with pytest.raises(Alarm):
        decode_body(b"\x90")


@pytest.mark.parametrize("handler", [ring_a_bell, partial(ring_a_bell), Bell().ring, Bell()])
def test_a_handler_is_known_whatever_kind_of_callable_it_is(bell: None, handler: Any) -> None:
    signal.signal(signal.SIGUSR1, handler)
    with pytest.raises(Alarm) as caught:
        signal.raise_signal(signal.SIGUSR1)
    assert raised_by_handler(caught.value)
    with pytest.raises(ValueError, match="bad") as own:
        raise ValueError("bad")
    assert not raised_by_handler(own.value)


def test_a_codec_of_ones_own_must_make_bytes() -> None:
    own = Codec("own", lambda value: f"<{value}>", lambda raw: raw)  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidRequest, match="codec 'own' made str of the value, not bytes"):
        next(flows.put(VIEW, OPTIONS.with_(codec=own), "k", 5, None))


@pytest.mark.parametrize("codec", ["text", "json", "msgpack"])
def test_bytes_that_the_codec_did_not_write_are_named_with_their_key(codec: str) -> None:
    with pytest.raises(InvalidRequest, match=f"key 'k': not written by codec '{codec}'"):
        read(OPTIONS.with_(codec=codec), b"\xc1{")


# --- resolvers ------------------------------------------------------------------------------------------------------------


def test_union_has_every_item_of_lists_once_and_every_key_of_dicts_with_the_larger_value() -> None:
    assert resolvers.union([["milk", "eggs"], ["milk", "bread"]]) == ["bread", "eggs", "milk"]
    assert resolvers.union([{"milk": 1, "eggs": 6}, {"milk": 2, "bread": 2}]) == {"milk": 2, "eggs": 6, "bread": 2}
    with pytest.raises(TypeError, match="union merges dicts or lists, not dict and list"):
        resolvers.union([{"a": 1}, ["a"]])


items = st.integers(0, 3) | st.booleans() | st.sampled_from([0.0, 1.0, 2.5])
siblings = st.one_of(
    st.lists(st.lists(items, max_size=4), min_size=2, max_size=4),
    st.lists(st.dictionaries(st.sampled_from("abc"), items, max_size=3), min_size=2, max_size=4),
)


@given(siblings)
def test_union_gives_the_same_bytes_for_any_order(values: list[Any]) -> None:
    assert len({codec_of("msgpack").encode(resolvers.union(list(order))) for order in permutations(values)}) == 1


@given(st.lists(items, min_size=2, max_size=4))
def test_largest_gives_the_same_bytes_for_any_order(values: list[Any]) -> None:
    assert len({codec_of("msgpack").encode(resolvers.largest(list(order))) for order in permutations(values)}) == 1


@given(st.lists(st.fixed_dictionaries({"at": st.integers(0, 2), "by": texts}), min_size=2, max_size=4))
def test_by_field_takes_the_largest_and_the_same_for_any_order(values: list[Any]) -> None:
    chosen = [resolvers.by_field("at")(list(order)) for order in permutations(values)]
    assert all(choice == chosen[0] for choice in chosen)
    assert chosen[0]["at"] == max(value["at"] for value in values)


# --- a call, step by step -------------------------------------------------------------------------------------------------


def step(flow: flows.Flow[Any], *outcomes: Any) -> tuple[list[Request], Any]:
    """Answer the flow's requests of one step; what it wants next, or ([], its result)."""
    return advance(flow, next(flow), *outcomes)


def advance(flow: flows.Flow[Any], requests: list[Request], *outcomes: Any) -> tuple[list[Request], Any]:
    assert len(requests) == len(outcomes)
    for request, outcome in zip(requests, outcomes, strict=True):
        request.deadline = request.started + 1e9
        if isinstance(outcome, DynazmqError):
            request.error = outcome
        else:
            request.reply = outcome
    try:
        return next(flow), None
    except StopIteration as stop:
        return [], stop.value


def found(*values: bytes, token: bytes = TOKEN) -> GetReply:
    return GetReply(0, list(values), [[f"n{i}", i, 1000 * i] for i, _ in enumerate(values, 1)], token, ["n1", "n2"])


def read(options: Options, *values: bytes) -> Any:
    return step(flows.get(VIEW, options, "k"), found(*values))[1]


WRITTEN = PutReply(0, TOKEN + b"later", ["n1", "n4"], [["n4", "n2"]])


def test_a_result_says_what_was_found_and_where_it_comes_from() -> None:
    result = read(OPTIONS, b"milk")

    assert result.found
    assert result.value == result.unwrap() == b"milk"
    assert (result.values, result.context, result.responders) == ([b"milk"], Context(TOKEN), ("n1", "n2"))
    ((value, node, counter, at),) = [(s.value, s.node, s.counter, s.written_at) for s in result.siblings]
    assert (value, node, counter, at) == (b"milk", "n1", 1, 1.0)


def test_an_absent_key_is_no_error_until_its_value_must_be_there() -> None:
    result = read(OPTIONS)

    assert not result.found
    assert result.value is None
    assert result.context == Context(TOKEN)
    with pytest.raises(KeyNotFound, match="no value for key 'k'"):
        result.unwrap()
    with pytest.raises(KeyError):
        result.unwrap()


def test_the_one_value_of_several_is_a_conflict_that_carries_them_all() -> None:
    result = read(OPTIONS, b"milk", b"eggs")

    with pytest.raises(ConflictError, match="2 concurrent values") as caught:
        _ = result.value
    assert caught.value.result.values == [b"milk", b"eggs"]


def test_results_are_equal_when_they_have_seen_the_same() -> None:
    assert read(OPTIONS, b"milk") == read(OPTIONS, b"milk")
    assert len({read(OPTIONS, b"milk"), read(OPTIONS, b"milk")}) == 1
    other = step(flows.get(VIEW, OPTIONS, "k"), found(b"milk", token=TOKEN + b"x"))[1]
    assert read(OPTIONS, b"milk") != other


def test_an_answer_that_makes_no_sense_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        step(flows.get(VIEW, OPTIONS, "k"), GetReply(0, [b"v"], [5], b"", []))
    with pytest.raises(ProtocolError):
        step(flows.get(VIEW, OPTIONS, "k"), GetReply(0, [b"v"], [], b"", []))
    with pytest.raises(ProtocolError):
        step(flows.put(VIEW, OPTIONS, "k", b"v", None), PutReply(0, b"", ["n1"], [["n1"]]))


def test_a_put_returns_its_context_and_who_holds_it_for_whom() -> None:
    _, done = step(flows.put(VIEW, OPTIONS, "k", b"v", None), WRITTEN)

    assert done == PutResult(Context(TOKEN + b"later"), ("n1", "n4"), (("n4", "n2"),))


def test_a_resolver_makes_one_value_which_is_written_back_over_all_that_was_read() -> None:
    options = OPTIONS.with_(codec="json", resolver=resolvers.union)
    flow = flows.get(VIEW, options, "k")
    (write,), _ = step(flow, found(b'["milk"]', b'["eggs"]'))
    assert (write.message.value, write.message.context) == (b'["eggs","milk"]', TOKEN)

    _, result = advance(flow, [write], WRITTEN)

    assert result.value == ["eggs", "milk"]
    assert result.context == Context(TOKEN + b"later")
    assert [sibling.value for sibling in result.siblings] == [["milk"], ["eggs"]]


def test_a_resolver_is_not_asked_about_one_value() -> None:
    def never(_values: list[Any]) -> Any:
        raise AssertionError

    assert read(OPTIONS.with_(resolver=never), b"milk").value == b"milk"
    assert not read(OPTIONS.with_(resolver=never)).found


def test_a_resolver_that_fails_is_a_conflict_with_its_own_error_as_the_cause() -> None:
    def broken(values: list[Any]) -> Any:
        values.clear()  # what it does to its list is its own affair
        raise ZeroDivisionError("oh")

    with pytest.raises(ConflictError, match="2 concurrent values, and their resolver failed: ZeroDivisionError") as caught:
        read(OPTIONS.with_(resolver=broken), b"a", b"b")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.result.values == [b"a", b"b"]


def test_what_a_resolver_makes_must_fit_the_codec() -> None:
    with pytest.raises(InvalidRequest):
        read(OPTIONS.with_(resolver=len), b"a", b"b")


@pytest.mark.parametrize("error", [Unavailable("n", 2, 1), WriteTimeout("t", 2, 1)])
def test_a_resolved_read_stands_when_its_value_cannot_be_written_back(error: DynazmqError) -> None:
    flow = flows.get(VIEW, OPTIONS.with_(resolver=max), "k")
    write, _ = step(flow, found(b"a", b"b"))
    _, result = advance(flow, write, error)

    assert result.value == b"b"
    assert result.context == Context(TOKEN)  # it covers both: a put with it replaces them


def test_a_delete_without_a_context_deletes_what_it_reads() -> None:
    flow = flows.delete(VIEW, OPTIONS.with_(codec="json"), "k", None)
    (write,), _ = step(flow, found(b"no json"))
    assert (write.message.value, write.message.context) == (None, TOKEN)
    _, done = advance(flow, [write], WRITTEN)
    assert done.context == Context(TOKEN + b"later")


def test_a_delete_of_nothing_writes_nothing() -> None:
    requests, done = step(flows.delete(VIEW, OPTIONS, "k", None), found())
    assert (requests, done) == ([], PutResult(Context(TOKEN), (), ()))


def test_a_delete_with_a_context_reads_nothing() -> None:
    (request,) = next(flows.delete(VIEW, OPTIONS, "k", Context(TOKEN)))
    assert request.message.value is None


# --- batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_has_each_keys_own_outcome() -> None:
    flow = flows.put_many(VIEW, OPTIONS, {"a": b"1", "b": 5, "c": b"3", "": b"4"}, None)
    _, batch = step(flow, WRITTEN, Unavailable("no", 2, 1))

    assert list(batch.ok) == ["a"]
    errors = {key: type(error) for key, error in batch.failed.items()}
    assert errors == {"b": InvalidRequest, "": InvalidRequest, "c": Unavailable}
    with pytest.raises(DynazmqError):
        batch.raise_for_errors()
    Batch({"a": batch["a"]}).raise_for_errors()


def test_a_key_that_comes_twice_is_asked_for_once() -> None:
    requests = next(flows.get_many(VIEW, OPTIONS, ["a", "b", "a"]))
    assert [request.key for request in requests] == ["a", "b"]
    (request,) = next(flows.put_many(VIEW, OPTIONS, [("a", b"1"), ("a", b"2")], None))
    assert request.message.value == b"2"


def test_each_put_of_a_batch_has_the_context_of_its_key() -> None:
    requests = next(flows.put_many(VIEW, OPTIONS, {"a": b"1", "b": b"2"}, {"b": Context(TOKEN)}))
    assert [request.message.context for request in requests] == [b"", TOKEN]


def test_a_garbled_context_in_a_batch_fails_its_key_alone() -> None:
    _, batch = step(flows.put_many(VIEW, OPTIONS, {"a": b"1", "b": b"2"}, {"b": "garbled"}), WRITTEN)
    assert list(batch.ok) == ["a"]
    assert isinstance(batch["b"], InvalidRequest)


def test_deleting_many_reads_only_those_without_a_context() -> None:
    flow = flows.delete_many(VIEW, OPTIONS, ["a", "b", "c", "d"], {"b": Context(TOKEN)})
    reads = next(flow)
    assert [request.key for request in reads] == ["a", "c", "d"]
    writes, _ = advance(flow, reads, found(b"1"), found(), Unavailable("no", 2, 1))
    assert [request.key for request in writes] == ["a", "b"]
    _, batch = advance(flow, writes, WRITTEN, WRITTEN)
    assert sorted(batch.ok) == ["a", "b", "c"]
    assert batch["c"].acked == ()
    assert isinstance(batch["d"], Unavailable)


def test_in_a_batch_each_conflict_is_resolved_for_itself() -> None:
    def careful(values: list[bytes]) -> bytes:
        return b"/".join(sorted(values)) if b"bad" not in values else values[9]

    flow = flows.get_many(VIEW, OPTIONS.with_(resolver=careful), ["a", "b", "c"])
    writes, _ = step(flow, found(b"1", b"2"), found(b"3"), found(b"bad", b"4"))
    assert [(request.key, request.message.value) for request in writes] == [("a", b"1/2")]
    _, batch = advance(flow, writes, WRITTEN)

    assert (batch["a"].value, batch["b"].value) == (b"1/2", b"3")
    assert isinstance(batch["c"], ConflictError)
    assert isinstance(batch["c"].__cause__, IndexError)


@pytest.mark.parametrize(
    "call",
    [
        lambda: flows.get_many(VIEW, OPTIONS, "abc"),
        lambda: flows.get_many(VIEW, OPTIONS, b"abc"),
        lambda: flows.get_many(VIEW, OPTIONS, 5),  # type: ignore[arg-type]
        lambda: flows.get_many(VIEW, OPTIONS, [["a"]]),  # type: ignore[list-item]
        lambda: flows.get_many(VIEW, OPTIONS, [None]),  # type: ignore[list-item]
        lambda: flows.delete_many(VIEW, OPTIONS, "abc", None),
        lambda: flows.delete_many(VIEW, OPTIONS, [5], None),  # type: ignore[list-item]
        lambda: flows.delete_many(VIEW, OPTIONS, ["a"], [Context()]),  # type: ignore[arg-type]
        lambda: flows.put_many(VIEW, OPTIONS, "abc", None),  # type: ignore[arg-type]
        lambda: flows.put_many(VIEW, OPTIONS, ["ab", "cd"], None),  # type: ignore[list-item]
        lambda: flows.put_many(VIEW, OPTIONS, [("a", b"1", "more")], None),  # type: ignore[list-item]
        lambda: flows.put_many(VIEW, OPTIONS, [(["a"], b"1")], None),  # type: ignore[list-item]
        lambda: flows.put_many(VIEW, OPTIONS, 5, None),  # type: ignore[arg-type]
        lambda: flows.put_many(VIEW, OPTIONS, {"a": b"1"}, 5),  # type: ignore[arg-type]
    ],
)
def test_a_batch_that_is_no_batch_is_refused_whole(call: Callable[[], flows.Flow[Any]]) -> None:
    with pytest.raises(InvalidRequest):
        next(call())

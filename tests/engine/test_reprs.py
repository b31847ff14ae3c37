"""What a person sees who types a name and Enter."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import selar_local as sl
from selar_local.engine.events import Result, Timings, TokenEvent, Usage
from selar_local.methods import METHODS
from selar_local.methods.base import Method

LONG = 400


def test_engines(model):
    for isolated in (False, True):
        engine = sl.load(model, threads=1, ctx_size=256, isolated=isolated)
        name = type(engine).__name__
        assert repr(engine) == f"<{name}: {engine.info.name}, context 256, open>"
        engine.close()
        assert repr(engine) == f"<{name}: {engine.info.name}, context 256, closed>"


def test_a_stream_as_it_goes_on(engine):
    stream = engine.stream("Hello", raw=True, seed=1, max_tokens=300)
    assert repr(stream) == "<Stream: running, 0 tokens>"
    next(stream)
    assert repr(stream) == "<Stream: running, 1 token>"
    list(stream)
    text = repr(stream)
    assert text.startswith(f"<Stream: {stream.result.finish_reason}, {len(stream.result.tokens)} tokens, ")
    assert len(text) < LONG and "\n" not in text


def test_results_and_events(engine):
    with engine.stream("Hello", raw=True, seed=1, max_tokens=300, logprobs=3) as stream:
        events = list(stream)
    assert all(len(repr(event)) < LONG for event in events)
    first, text = events[0], repr(stream.result)
    assert repr(first).startswith(f"TokenEvent(index=0, token={first.token}, text=")
    assert len(text) < LONG and f"finish_reason={stream.result.finish_reason!r}" in text
    assert f"tokens={len(stream.result.tokens)}" in text and "seed=1" in text


TEXT = st.text(max_size=300)


@settings(max_examples=80, deadline=None)
@given(TEXT, TEXT, st.booleans(), st.none() | st.floats(0, 1), st.sampled_from(["stop", "length", "cancelled"]))
def test_any_text_is_one_short_line(text, thinking, explored, entropy, reason):
    event = TokenEvent(3, 17, text, thinking, entropy, explored, ((1, 0.5),), 17, ((17, 1.0),))
    result = Result(text, thinking, reason, Usage(9, 8, int(explored)), Timings(0.1, 0.2, 8), tokens=(1,) * 8)
    for one in (event, result):
        shown = repr(one)
        assert "\n" not in shown and len(shown) < 12 * 60 * 2 + 200
        assert ("explored=" in shown.replace(repr(text), "").replace(repr(thinking), "")) is explored
    assert (repr(text) in repr(result)) is (len(text) <= 60)
    assert ("thinking=" in repr(result)) is bool(thinking)


def test_a_model(engine):
    info = engine.info
    assert repr(info) == (
        f"ModelInfo(name={info.name!r}, architecture='llama', n_params={info.n_params}, ctx_size={info.ctx_size})"
    )


@pytest.mark.parametrize("cls", METHODS.values(), ids=METHODS)
def test_a_method_shows_what_was_chosen(cls):
    assert repr(cls()) == f"{cls.__name__}()"
    namespace = {cls.__name__: cls}
    for field in fields(cls):
        for value in (0.25, 4, 0, True, False, "thinking", "heaviest", "full", "auto", "gumbel", "soft", "<x>"):
            try:
                method = cls(**{field.name: value})
            except sl.errors.OptionError:
                continue
            differs = value != field.default
            assert repr(method) == f"{cls.__name__}({f'{field.name}={value!r}' if differs else ''})"
            assert eval(repr(method), namespace) == method  # written as one would write it


def test_a_method_may_have_a_repr_of_its_own():
    @dataclass(frozen=True)
    class Mine(sl.CoT):
        def __repr__(self) -> str:
            return "mine"

    @dataclass(frozen=True)
    class Other(sl.CoT):
        number: int = 3

    assert (repr(Mine()), repr(Other(number=4))) == ("mine", "Other(number=4)")
    assert issubclass(Other, Method)

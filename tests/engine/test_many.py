"""Many sequences on one engine: each gives what it gives alone, and none hears of another."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import selar_local as sl
from selar_local.methods.base import Mixture, Token

METHODS: tuple[sl.Method, ...] = (
    sl.Selar(),
    sl.CoT(),
    sl.Selar(tau=0.0, symbol_guard=False),
    sl.SoftThinking(),
    sl.SwiReasoning(window_size=1),
    sl.Coconut(latent_steps=2),
    sl.Selar(repel=2, anchor=0.7),
    sl.Selar(tau=0.2, max_share=0.3),
    sl.SoftThinking(noise="gumbel"),
)
#: Each with a needle of its own, at different places and lengths.
PROMPTS = [f"{'the number of the user is so ' * (i % 5)}{chr(65 + i) * 3} and the answer" for i in range(16)]


def ask(engine: sl.Engine, i: int, **more: Any) -> sl.Stream:
    return engine.stream(PROMPTS[i], raw=True, method=METHODS[i % len(METHODS)], seed=i, max_tokens=20, **more)


@pytest.fixture(scope="module", params=["llama", "qwen2", "gemma3"])
def path(request: pytest.FixtureRequest, tiny):
    return tiny(architecture=request.param, weight_type="Q8_0")


@pytest.fixture(scope="module")
def alone(path) -> list[list[sl.TokenEvent]]:
    with sl.load(path, threads=1) as engine:
        return [list(ask(engine, i)) for i in range(16)]


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_sixteen_with_three_in_flight_give_what_each_gives_alone(path, alone, parallel) -> None:
    with sl.load(path, threads=1, parallel=parallel) as engine:
        streams = [ask(engine, i) for i in range(16)]
        assert [list(stream) for stream in streams] == alone
    assert any(event.explored for events in alone for event in events)


def test_sixteen_in_flight_all_finish_and_none_leaks(path, alone) -> None:
    """More rows in a batch may move logits a little, so that texts may part; what a sequence is fed stays its own."""
    fed: dict[int, list[Any]] = {}
    with sl.load(path, threads=1, parallel=16) as engine:
        runtime = engine._runtime
        step, prefill = runtime.step, runtime.prefill
        prompts: dict[int, list[int]] = {}

        def watched_step(feeds: Any, *how: bool, **more: bool) -> Any:
            for feed in feeds:
                fed.setdefault(feed.sequence, []).append(feed.next_input)
            return step(feeds, *how, **more)

        def watched_prefill(chunks: Any, *more: Any) -> Any:
            if len(more) == 2:  # the loop's own call; one for a hidden state makes another within
                for chunk in chunks:
                    prompts[chunk.sequence] = prompts.get(chunk.sequence, []) + list(chunk.ids)
            return prefill(chunks, *more)

        runtime.step, runtime.prefill = watched_step, watched_prefill  # type: ignore[method-assign]
        results: dict[int, tuple[list[sl.TokenEvent], sl.Result]] = {}
        wanted: dict[int, tuple[int, ...]] = {}

        def read(i: int) -> None:
            stream = ask(engine, i)
            wanted[i] = stream.prompt
            results[i] = list(stream), stream.result

        threads = [threading.Thread(target=read, args=(i,)) for i in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert {tuple(ids) for ids in prompts.values()} == set(wanted.values())  # sixteen places, sixteen whole prompts
    assert len(results) == 16
    for i, (events, result) in results.items():
        assert result.finish_reason in ("stop", "length")
        assert len(events) == result.usage.completion_tokens <= 20
        assert events[0].top[0][0] == alone[i][0].top[0][0]  # each answers to its own prompt
    # What a sequence was fed is what its own events say: its tokens where it did not explore, and nobody else's.
    by_prompt = {tuple(ids): slot for slot, ids in prompts.items()}
    for i, (events, _) in results.items():
        if isinstance(METHODS[i % len(METHODS)], sl.Coconut):
            continue
        own = fed[by_prompt[wanted[i]]]
        for event, chosen in zip(events, own, strict=False):
            assert isinstance(chosen, Token) is not event.explored
            if isinstance(chosen, Token):
                assert chosen.id == event.token
            elif isinstance(METHODS[i % len(METHODS)], sl.Selar):
                assert isinstance(chosen, Mixture)
                assert {token for token, _ in event.top} | {event.token} >= set(chosen.ids.tolist())


def test_one_that_explores_changes_nothing_for_its_neighbours(path) -> None:
    with sl.load(path, threads=1, parallel=3) as engine:
        plain = list(engine.stream(PROMPTS[1], raw=True, method="cot", seed=1, max_tokens=20))
        for method in (sl.CoT(), sl.Selar(tau=0.0, symbol_guard=False), sl.SwiReasoning(window_size=0)):
            others = [engine.stream(PROMPTS[i], raw=True, method=method, seed=i, max_tokens=25) for i in (4, 9)]
            assert list(engine.stream(PROMPTS[1], raw=True, method="cot", seed=1, max_tokens=20)) == plain
            for other in others:
                other.close()

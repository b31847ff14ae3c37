"""The engine on tiny models: prompts, options, results, errors, repeatability."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.tiny_gguf import TinyVocabulary, tiny_vocabulary, write_tiny_gguf

import selar_local as sl
from selar_local.engine.events import FINISH_REASONS
from selar_local.errors import (
    DecodeError,
    EngineClosed,
    ModelFileError,
    OptionError,
    PromptTooLong,
    TemplateError,
)
from selar_local.llama.gguf_file import open_gguf

Tiny = Callable[..., Path]
VOCABULARY: TinyVocabulary = tiny_vocabulary()


def trail(engine: sl.Engine, prompt: str = "Hello there", **options: object) -> list[sl.TokenEvent]:
    """All that each step reports, to the bit."""
    with engine.stream(prompt, raw=True, **{"max_tokens": 40, **options}) as stream:
        return list(stream)


# -- prompts ----------------------------------------------------------------------------------


def test_stream_and_generate_agree(engine):
    with engine.stream("Why?", seed=3, max_tokens=30) as stream:
        events = list(stream)
    result = engine.generate("Why?", seed=3, max_tokens=30)
    assert result.text == stream.result.text == "".join(event.text for event in events)
    assert result.tokens == stream.result.tokens == tuple(event.token for event in events)
    assert result.usage == stream.result.usage
    assert result.usage.prompt_tokens == len(stream.prompt)
    assert result.finish_reason in FINISH_REASONS
    assert result.seed == stream.seed == 3
    assert result.mean_entropy == stream.result.mean_entropy


def test_a_prompt_is_one_user_turn(engine):
    rendered = engine.render([{"role": "user", "content": "Why?"}])
    assert rendered == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    by_prompt = engine.stream("Why?", max_tokens=0)
    by_messages = engine.stream(messages=[{"role": "user", "content": "Why?"}], max_tokens=0)
    raw = engine.stream(rendered, raw=True, max_tokens=0)
    assert by_prompt.prompt == by_messages.prompt == raw.prompt == engine.tokenize(rendered)
    assert by_prompt.prompt[0] == VOCABULARY.id_of("<|im_start|>")


def test_system_and_thinking_reach_the_template(engine):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    wanted = engine.tokenize(engine.render(turns))
    assert engine.stream("Why?", system="Be brief.", max_tokens=0).prompt == wanted
    assert engine.stream(messages=turns[1:], system="Be brief.", max_tokens=0).prompt == wanted
    assert engine.render(turns, thinking=True).endswith("<think>\n")
    thought = engine.generate("Why?", thinking=True, max_tokens=20, seed=1)
    assert (thought.text, bool(thought.thinking)) == ("", True)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"prompt": "a", "messages": [{"role": "user", "content": "a"}]},
        {"messages": [{"role": "user", "content": "a"}], "raw": True},
        {"prompt": "a", "system": "b", "raw": True},
        {"prompt": "", "raw": True},
    ],
)
def test_prompts_that_make_no_sense(engine, arguments):
    with pytest.raises(OptionError):
        engine.stream(**arguments)


def test_messages_that_make_no_sense(engine):
    with pytest.raises(TemplateError):
        engine.stream(messages=[])
    with pytest.raises(TemplateError):
        engine.stream(messages=[{"content": "a"}])


def test_without_a_chat_template_chatml_is_assumed(tiny):
    with sl.load(tiny(), threads=1) as engine:
        assert engine.info.chat_template is False
        assert engine.render([{"role": "user", "content": "a"}]).startswith("<|im_start|>user\na")
        assert engine.generate("a", max_tokens=3, seed=1).usage.completion_tokens == 3


def test_a_template_that_does_not_parse_leaves_raw_prompts_usable(tiny):
    with sl.load(tiny(chat_template="{% for %}"), threads=1) as engine:
        assert engine.info.chat_template is True
        for _ in range(2):
            with pytest.raises(TemplateError, match="does not parse"):
                engine.stream("Why?")
        assert engine.generate("Why?", raw=True, max_tokens=3, method="cot-greedy").usage.completion_tokens == 3


def test_a_raw_prompt_keeps_the_tags_in_the_text(engine, monkeypatch):
    first = engine.generate("Why?", raw=True, max_tokens=8, method="cot-greedy").tokens[0]
    monkeypatch.setitem(engine._runtime.model._pieces, first, b"<think>")
    result = engine.generate("Why?", raw=True, max_tokens=8, method="cot-greedy")
    assert result.text.startswith("<think>")
    assert result.thinking == ""


# -- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 1}, "unknown option 'temprature'"),
        ({"tau": 0.5}, "unknown option 'tau'"),
        ({"method": "selr"}, "unknown method 'selr'"),
        ({"method": sl.Selar}, "method must be an instance"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"max_tokens": -2}, "max_tokens must be"),
        ({"stop": "x"}, "stop must be"),
        ({"seed": -2}, "seed must be"),
    ],
)
def test_wrong_options(engine, options, said):
    with pytest.raises(OptionError, match=said):
        engine.stream("Why?", **options)


def test_unknown_load_option(model):
    with pytest.raises(OptionError, match="unknown option 'context'"):
        sl.load(model, context=1)


def test_the_default_method_is_selar(engine):
    by_default = trail(engine, seed=5)
    assert by_default == trail(engine, seed=5, method=sl.Selar()) == trail(engine, seed=5, method="selar")
    assert any(event.explored for event in by_default)
    assert not all(event.explored for event in by_default)
    assert all(event.entropy is not None and 0 <= event.entropy <= 1 for event in by_default)
    assert all(len(event.top) == 3 for event in by_default)


def test_temperature_zero_is_greedy(engine):
    assert trail(engine, method="cot", temperature=0, seed=1)[0].token == trail(engine, method="cot-greedy")[0].token
    assert trail(engine, temperature=0, seed=1) == trail(engine, greedy=True, seed=2)
    tokens = [e.token for e in trail(engine, method="cot-greedy")]
    assert [e.token for e in trail(engine, method="cot", greedy=True)] == tokens


def test_progress_of_the_prompt(model):
    seen: list[tuple[int, int]] = []
    with sl.load(model, threads=1, batch_size=32) as engine:
        result = engine.generate("a b c d " * 20, raw=True, max_tokens=1, on_prefill=lambda *at: seen.append(at))
    total = result.usage.prompt_tokens
    assert seen == [(min(done, total), total) for done in range(32, total + 32, 32)]


def test_progress_of_the_load_and_an_error_in_it(model):
    seen: list[float] = []
    sl.load(model, threads=1, on_progress=seen.append).close()
    assert seen
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def fail(_share: float) -> None:
        raise KeyboardInterrupt

    threads = set(threading.enumerate())
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            sl.load(model, threads=1, on_progress=fail)
        assert set(threading.enumerate()) <= threads


# -- repeatability ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["selar", "cot", "cot-greedy"])
def test_the_same_seed_gives_the_same_to_the_bit(engine, model, method):
    first = trail(engine, method=method, seed=7)
    assert len(first) == 40
    trail(engine, "something else", method="selar", seed=8)
    engine.stream("and a broken off one", raw=True).close()
    assert trail(engine, method=method, seed=7) == first
    with sl.load(model, threads=1) as another:
        assert trail(another, method=method, seed=7) == first


def test_seeds_matter(engine):
    tokens = {tuple(event.token for event in trail(engine, seed=seed)) for seed in range(6)}
    assert len(tokens) == 6
    assert engine.stream("a", max_tokens=0).seed != engine.stream("a", max_tokens=0).seed


def test_a_drawn_seed_can_be_given_again(engine):
    with engine.stream("Hello there", raw=True, max_tokens=20) as stream:
        events = list(stream)
    assert trail(engine, seed=stream.seed, max_tokens=20) == events


# -- ends -------------------------------------------------------------------------------------


def test_no_tokens_wanted(engine):
    result = engine.generate("Hello", max_tokens=0)
    assert (result.text, result.tokens, result.finish_reason) == ("", (), "length")


def test_the_context_fills_up(engine_256):
    capacity = engine_256.info.ctx_size
    result = engine_256.generate("Hello", raw=True, method="cot-greedy")
    assert (result.finish_reason, result.context_full) == ("length", True)
    assert result.usage.prompt_tokens + result.usage.completion_tokens == capacity + 1


def test_prompts_at_the_limit(engine_256):
    capacity = engine_256.info.ctx_size
    full = engine_256.generate("Z" * capacity, raw=True, method="cot-greedy")
    assert (full.usage.prompt_tokens, full.usage.completion_tokens, full.context_full) == (capacity, 1, True)
    with pytest.raises(PromptTooLong, match=f"has {capacity + 1} tokens"):
        engine_256.stream("Z" * (capacity + 1), raw=True)


@pytest.fixture(scope="module")
def engine_256(model):
    with sl.load(model, threads=1, ctx_size=256) as opened:
        yield opened


def test_a_stop_string_from_the_text_itself(engine):
    text = engine.generate("Hello", raw=True, seed=2, max_tokens=30).text
    stop = text[8:11]
    result = engine.generate("Hello", raw=True, seed=2, max_tokens=30, stop=[stop])
    assert result.text == text[: text.index(stop)]
    assert (result.stop_string, result.finish_reason) == (stop, "stop")


# -- damaged weights --------------------------------------------------------------------------


@pytest.mark.parametrize("tensor", ["token_embd.weight", "output_norm.weight", "blk.1.attn_v.weight"])
@pytest.mark.parametrize("flash_attn", ["on", "off"])
def test_weights_that_are_not_numbers(tiny, tensor, flash_attn):
    with pytest.raises((ModelFileError, DecodeError), match=r"not numbers|damaged"):
        sl.load(tiny(nan_tensor=tensor), threads=1, flash_attn=flash_attn)


@pytest.mark.parametrize("flash_attn", ["on", "off"])
def test_one_damaged_embedding_row_harms_no_other_generation(tmp_path, flash_attn):
    path = write_tiny_gguf(tmp_path / "row.gguf", tie_embeddings=False)
    tensor, bad = open_gguf(path).tensors["token_embd.weight"], VOCABULARY.id_of("Z")
    with path.open("r+b") as file:
        file.seek(tensor.offset + 4 * 64 * bad)
        file.write(np.full(64, np.nan, np.float32).tobytes())
    with sl.load(path, threads=1, flash_attn=flash_attn, parallel=2) as engine:
        alone = engine.generate("abc", raw=True, max_tokens=30, method="cot-greedy")
        for _ in range(4):
            # The slots change sides from round to round: what was NaN serves the good one next.
            spoilt = engine.stream("ab Z c" * 5, raw=True, max_tokens=30, method="cot-greedy")
            good = engine.stream("abc", raw=True, max_tokens=30, method="cot-greedy")
            with pytest.raises(DecodeError, match="not numbers"):
                list(spoilt)
            assert spoilt.result.finish_reason == "error"
            assert [event.token for event in good] == list(alone.tokens)


# -- closing ----------------------------------------------------------------------------------


def test_a_closed_engine_says_so(model):
    engine = sl.load(model, threads=1)
    engine.close()
    engine.close()
    for call in (engine.stream, engine.generate, engine.tokenize):
        with pytest.raises(EngineClosed):
            call("Hello")
    assert engine.info.n_vocab == len(VOCABULARY.tokens)


# -- output -----------------------------------------------------------------------------------


def test_nothing_is_written_to_the_terminal(model, tiny, tmp_path, capfd):
    with sl.load(model, threads=1) as engine:
        engine.generate("Hello", max_tokens=5)
        with pytest.raises(PromptTooLong):
            engine.generate("Hello " * 5000)
        engine.stream("Hello").close()
    with pytest.raises(sl.SelarError):
        sl.load(tiny(nan_tensor="output_norm.weight"), threads=1)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(model.read_bytes()[:100_000])
    with pytest.raises(ModelFileError):
        sl.load(broken)
    with pytest.raises(ModelFileError):
        sl.load(tiny(metadata={"tokenizer.ggml.pre": "unheard-of"}), threads=1)
    assert capfd.readouterr() == ("", "")


def test_the_log_of_llama_cpp_arrives_in_logging(model, tiny, caplog):
    with caplog.at_level(logging.DEBUG, "selar_local.llama"):
        sl.load(model, threads=1).close()
        facts = [r for r in caplog.records if "general.architecture" in r.getMessage()]
        assert [(r.name, r.levelno) for r in facts] == [("selar_local.llama", logging.DEBUG)]
        caplog.clear()
        with pytest.raises(ModelFileError, match="unheard-of"):
            sl.load(tiny(metadata={"tokenizer.ggml.pre": "unheard-of"}), threads=1)
        assert any(r.levelno == logging.WARNING and "unheard-of" in r.getMessage() for r in caplog.records)
    assert all(r.levelno <= logging.WARNING for r in caplog.records)


def test_more_messages_than_the_context_holds_tokens_are_refused_unread(tiny):
    template = "{{ raise_exception('it was rendered') }}"
    messages = [{"role": "user", "content": ""}] * 300
    with sl.load(tiny(chat_template=template), threads=1, ctx_size=256) as engine:
        with pytest.raises(PromptTooLong, match="at least 300 tokens, the context holds 256"):
            engine.stream(messages=messages)
        with pytest.raises(PromptTooLong, match="at least"):
            engine.stream("<|im_end|>" * 8000, raw=True)


def test_how_long_a_step_takes_is_seen_while_it_lasts(tiny, monkeypatch):
    go, within = threading.Event(), threading.Event()

    with sl.load(tiny(), threads=1) as engine:
        step = engine._runtime.step

        def slow(*arguments):
            within.set()
            assert go.wait(20)
            return step(*arguments)

        monkeypatch.setattr(engine._runtime, "step", slow)
        with engine.stream("a", max_tokens=3):
            assert within.wait(20) and engine.step_seconds() > 0
            go.set()
        assert engine.generate("a", max_tokens=1) and engine.step_seconds() >= 0

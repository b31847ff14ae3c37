"""The thinking budget: after so many tokens of thinking its closing text comes, whatever the model says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import selar_local as sl
from selar_local.engine.thinking_budget import ThinkingBudget, closing_text
from selar_local.errors import OptionError
from selar_local.formats import format_of
from selar_local.methods import METHODS

HEAD = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a: "
OPENS = HEAD + "<think>\n{% endif %}"
PLAIN = HEAD + "{% endif %}"
TAGS_APART = HEAD + "{# <think> </think> #}{% endif %}"


@pytest.fixture(scope="module")
def engine(tiny) -> Iterator[sl.Engine]:
    with sl.load(tiny(chat_template=OPENS, thinking_tokens=True), threads=1) as opened:
        yield opened


@pytest.mark.parametrize("method", [name for name in METHODS if name != "coconut"])
@pytest.mark.parametrize("budget", [0, 5])
def test_the_closing_text_comes_when_the_budget_is_used_up(engine, method, budget):
    closing = engine.tokenize("\n</think>\n\n")
    free = engine.generate("Why?", method=method, seed=1, max_tokens=30)
    events = list(stream := engine.stream("Why?", method=method, seed=1, max_tokens=30, thinking_budget=budget))
    result = stream.result
    n = budget + len(closing)
    assert result.tokens[:n] == (*free.tokens[:budget], *closing)
    assert result.usage.completion_tokens == 30 and result.usage.thinking_tokens == (n if budget else 0)
    assert not any(event.explored for event in events[budget:n])
    assert [event.token for event in events] == list(result.tokens)
    assert result.text and "</think>" not in result.thinking + result.text
    assert "".join(event.thinking for event in events) == result.thinking


def test_what_was_fed_is_recorded(engine):
    events = list(engine.stream("Why?", method=sl.Selar(tau=0, symbol_guard=False), seed=1, thinking_budget=3))[:8]
    forced = [event for event in events if event.kept == "thinking budget"]
    assert [event.fed for event in forced] == [((event.token, 1.0),) for event in forced] and len(forced) >= 3
    assert all(event.explored for event in events[:3])


def test_a_thinking_that_ends_in_time_is_not_touched(engine):
    assert engine.generate("Why?", seed=1, max_tokens=9, thinking_budget=500).tokens == (
        engine.generate("Why?", seed=1, max_tokens=9).tokens
    )


def test_a_model_without_thinking_says_so(tiny):
    with sl.load(tiny(chat_template=PLAIN), threads=1) as engine:
        note = "thinking_budget has no effect: this model has no thinking tags"
        assert engine.generate("Why?", thinking_budget=3, max_tokens=2).notes == (note,)
        result = engine.generate("a <think>\n", raw=True, thinking_budget=2, max_tokens=20)
        assert result.notes == () and "</think>" in result.text


def test_under_a_grammar_it_says_so(engine):
    notes = engine.generate("Why?", method="cot", thinking_budget=3, grammar='root ::= "a"').notes
    assert notes == ("thinking_budget has no effect: under a grammar or a JSON schema",)


def test_efforts_are_budgets_where_the_template_knows_none(engine, tiny):
    result = engine.generate("Why?", reasoning_effort="minimal", max_tokens=2)
    assert result.notes == ("the chat template knows no effort: minimal is at most 256 tokens of thinking here",)
    assert "no limit" in engine.generate("Why?", reasoning_effort="high", max_tokens=2).notes[0]
    with pytest.raises(
        OptionError, match="reasoning_effort must be one of none, minimal, low, medium, high, xhigh, max"
    ):
        engine.generate("Why?", reasoning_effort="huge")
    with sl.load(tiny(chat_template=PLAIN), threads=1) as plain:
        low = plain.generate("Why?", reasoning_effort="low", max_tokens=1)
        assert low.notes == ("reasoning_effort has no effect: this model does not think",)
        assert plain.generate("Why?", reasoning_effort="none", max_tokens=1).notes == ()


@pytest.mark.parametrize(
    ("limit", "open_before", "expected"),
    [
        (None, [True] * 4, [None] * 4),
        (2, [False, True, True, True, True, False], [None, None, None, 7, 8, None]),
        (0, [True, True, False], [7, 8, None]),
        (0, [True] * 4, [7, 8, None, None]),  # the text did not close: it is not repeated
        (0, [True, True, False, True], [7, 8, None, 7]),  # opened again
        (3, [True, False, True, True, True], [None, None, None, None, 7]),
    ],
)
def test_steps(limit, open_before, expected):
    budget = ThinkingBudget(limit, (7, 8))
    assert [budget.next(is_open) for is_open in open_before] == expected


def test_the_closing_text_is_the_family_s():
    class Words:
        def token_of(self, text: str) -> int | None:
            return 1 if text in ("[THINK]", "[/THINK]") else None

    assert closing_text(format_of("x"), Words()) == "\n[/THINK]\n\n"
    assert closing_text(format_of("x <think> </think>"), Words()) == "\n</think>\n\n"
    harmony = closing_text(format_of("<|channel|>analysis<|message|>"), Words())
    assert harmony == "<|end|><|start|>assistant<|channel|>final<|message|>"

"""The neutral suite canitoolcall (469 recorded outputs of nine families) against the formats' readers.

    python scripts/canitoolcall_suite.py [--chars] [FAMILY ...]

It prints the counts and every failure. ``--chars`` also feeds every output character by character.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable

from canitoolcall.checks import case_status, run_checks
from canitoolcall.chunking import DEFAULT_STRATEGIES, split_text
from canitoolcall.fixtures import Family, Fixture, load_families, load_fixtures
from canitoolcall.results import Observation, ParsedToolCall, ParseResult

from selar_local.formats import format_of

#: The lines of the chat templates that tell the family, by the beginning of the model's name in the suite.
TEMPLATES = {
    "deepseek-ai/DeepSeek-V3.2": "<think></think>{%- set dsml_token = '｜DSML｜' -%}",
    "deepseek-ai/DeepSeek-V4": "<think></think>{%- set dsml_token = '｜DSML｜' -%}",
    "deepseek-ai/DeepSeek-V3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
    "google/gemma-4": "<|turn>model <|channel>thought <channel|> <|tool_call>call: <tool_call|>",
    "zai-org/GLM": "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><think></think>",
    "openai/gpt-oss": "<|start|>assistant<|channel|>analysis<|message|>",
    "moonshotai/Kimi-K3": "<|open|>message<|sep|><|close|>message<|sep|>",
    "moonshotai/Kimi-K2": "<|tool_calls_section_begin|><|tool_call_begin|><think></think>",
    "meta-llama/Llama-3": "<|start_header_id|>assistant<|end_header_id|><|python_tag|>",
    "meta-llama/Llama-4": "<|header_start|>assistant<|header_end|>",
    "mistralai/": "[INST][/INST][TOOL_CALLS]",
    "Qwen/Qwen3-0.6B": '<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><think>',
    "Qwen/Qwen3-4B": '<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><think>',
    "Qwen/Qwen3": "<tool_call>\\n<function=example>\\n<parameter=example_parameter_1>\\n</think>",
}


def template_of(model: str) -> str:
    """The lines that tell the family of a model."""
    return next(text for name, text in TEMPLATES.items() if model.startswith(name))


def prompt_tail_of(fixture: Fixture, family: Family) -> str:
    """The end of the prompt: the fixture's, or else the model's."""
    if fixture.generation_prompt is not None:
        return fixture.generation_prompt
    reference = family.reference_for(fixture.models[0])
    return (reference.default_generation_prompt if reference else None) or ""


def parse(fixture: Fixture, family: Family, pieces: Iterable[str]) -> ParseResult:
    """What our reader makes of an output that comes in these pieces; the calls are those that an "end" completed."""
    reader = format_of(template_of(fixture.models[0])).reader(prompt_tail_of(fixture, family), list(fixture.tools))
    deltas = [delta for piece in pieces for delta in reader.feed(piece)]
    parsed = reader.finish()
    deltas += parsed.rest
    texts = {kind: "".join(d.text for d in deltas if d.kind == kind) for kind in ("content", "thinking")}
    names = {d.call: d.text for d in deltas if d.kind == "call"}
    done = [d.call for d in deltas if d.kind == "end"]
    arguments = {index: "".join(d.text for d in deltas if d.kind == "arguments" and d.call == index) for index in done}
    calls = tuple(ParsedToolCall(names[index], arguments[index]) for index in done)
    whole = tuple(ParsedToolCall(call.name, call.arguments) for call in parsed.calls)
    assert (texts["content"], texts["thinking"], calls) == (parsed.content, parsed.thinking, whole), fixture.id
    return ParseResult(texts["content"] or None, texts["thinking"] or None, calls)


def observe(fixture: Fixture, family: Family, chars: bool = False) -> Observation:
    """The parse of the whole and of every strategy of the suite, over characters as the suite has no tokenizer."""
    text = fixture.raw_output
    streams = {
        strategy.id: parse(fixture, family, split_text(text, strategy))
        for strategy in DEFAULT_STRATEGIES
        if strategy.kind in ("one", "rand")
    }
    if chars:
        streams["rand:0:1"] = parse(fixture, family, text)
    return Observation(parse(fixture, family, [text]), streams)


def main() -> None:
    """Run the suite."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("families", nargs="*")
    arguments.add_argument("--chars", action="store_true")
    options = arguments.parse_args()
    families, counts = load_families(), Counter[str]()
    for fixture in load_fixtures(families=options.families or None):
        rows = run_checks(fixture, families[fixture.family], observe(fixture, families[fixture.family], options.chars))
        status = case_status(rows).value
        counts[status] += 1
        if status not in ("pass", "soft_pass"):
            bad = next(row for row in rows if row.status.value == status)
            print(f"{status} {fixture.id}: {bad.check} {bad.strategy}: {bad.detail}")
    print(dict(counts))


if __name__ == "__main__":
    main()

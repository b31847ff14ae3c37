"""``selar-local run``: one answer, or a chat."""

from __future__ import annotations

from typing import Any

import click

from selar_local.cli.devices import list_devices_option, rpc_option
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, json_option, option
from selar_local.cli.interrupt import importing
from selar_local.cli.keyboard import pastes_marked
from selar_local.cli.model_argument import model_argument
from selar_local.cli.opening import find, open_engine, open_isolated
from selar_local.cli.options import (
    build,
    build_method,
    build_sampling,
    config_options,
    method_option,
    method_options,
    model_sampling_option,
)
from selar_local.cli.prompt import joined, prompt_options, read_prompt, text_beside
from selar_local.cli.request_files import read_request_files, request_file_options
from selar_local.cli.session import Session
from selar_local.config import ChatConfig, EngineConfig, GenerationConfig, SamplingConfig

_SAMPLING = "Sampling and length"
_EXAMPLES = """\b
Examples:
  selar-local run model.gguf                           a chat (also: selar-local model.gguf)
  selar-local run model.gguf "Why is the sky blue?"
  selar-local run -p "Why is the sky blue?"            the bundled model
  git diff | selar-local run model.gguf "Explain this change."
  selar-local run hf:Qwen/Qwen3-4B-GGUF:Q4_K_M < question.txt > answer.txt
  selar-local run model.gguf -p "2+3=" --raw -n 8 --trace steps.jsonl --json
  selar-local run model.gguf "Why is the sky blue?" --trace-html sky.html
  selar-local run model.gguf --messages talk.json --tools tools.json --json"""


@click.command(cls=GroupedCommand, epilog=_EXAMPLES)
@model_argument()
@click.argument("prompt", required=False)
@prompt_options
@request_file_options
@method_option
@config_options((_SAMPLING, GenerationConfig), (_SAMPLING, SamplingConfig))
@option(
    "--trace",
    "trace_path",
    type=click.Path(),
    heading="Output",
    once=True,
    help="write every step to this file (JSON Lines)",
)
@option(
    "--trace-html", "page_path", type=click.Path(), once=True, help="write a page of all steps to this file, to look at"
)
@json_option
@option("--no-color", is_flag=True, help="no colours (also: the variable NO_COLOR)")
@option("-q", "--quiet", is_flag=True, help="the answer alone: no notes, thinking, progress or statistics")
@config_options(("Chat", ChatConfig), ("Model and engine", EngineConfig))
@rpc_option
@list_devices_option
@method_options
@model_sampling_option
def run(model: str | None, prompt: str | None, method: str, **values: Any) -> int:
    """Generate with MODEL: a GGUF file, hf:owner/repo[:file-or-quant], or a name that `selar-local models` lists
    (default: the bundled model).

    PROMPT may also come by -p, by -f or on standard input. Without one, on a terminal, a chat begins. Text on standard
    input beside a prompt is put before it, with an empty line between.
    """
    display = Display(no_color=values["no_color"], quiet=values["quiet"])
    chosen_method = build_method(method, values)
    _, sampling = build_sampling(chosen_method, values)
    generation = build(GenerationConfig, values)
    config = build(EngineConfig, values)
    session = Session(display, chosen_method, sampling, generation, values)
    request = read_request_files(prompt, values)
    beside = text_beside(prompt, values)
    path = find(model)
    if "messages" not in request:
        request["prompt"] = read_prompt(
            prompt,
            values["prompt_option"],
            values["prompt_file"],
            needed=session.as_json or session.raw or session.traces or "tools" in request,
            raw=session.raw,
        )
    chats = "messages" not in request and request["prompt"] is None
    opening = open_isolated if config.rpc else open_engine
    with pastes_marked(chats), session.open_trace() as trace, opening(path, config, display) as engine:
        session.fit(engine)
        if chats:
            with importing():
                from selar_local.cli.chat import chat

            return chat(engine, session, build(ChatConfig, values))
        if beside is not None:
            request["prompt"] = joined(beside.wait(display.warn), request["prompt"])
        return session.answer_once(engine, request, trace)

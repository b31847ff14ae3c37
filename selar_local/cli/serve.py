"""``selar-local serve``: the OpenAI-compatible server."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from selar_local.cli.devices import list_devices_option, rpc_option
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import NO_BREAK, GroupedCommand, option
from selar_local.cli.interrupt import importing
from selar_local.cli.model_argument import model_argument
from selar_local.cli.opening import find, open_engine, open_isolated
from selar_local.cli.options import (
    build,
    build_method,
    build_sampling,
    config_options,
    is_named,
    method_option,
    method_options,
    model_sampling_option,
    recommended_in_force,
)
from selar_local.cli.prompt import template_arg_option
from selar_local.cli.server_log import ServerLog
from selar_local.cli.streams import one_line
from selar_local.cli.wording import NO_TEMPLATE
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig
from selar_local.engine.settings import default_method, require_usable
from selar_local.server import Defaults, RequestLine, ServerConfig, require_web
from selar_local.server.config import PARALLEL, keys_in_environment

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine

_LENGTH = ("max_tokens", "stop", "thinking_budget", "reasoning_effort")
_SAMPLING = "Sampling and length, where a request does not say"
#: "All interfaces" is no place that a browser goes to.
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_EXAMPLES = """\b
Examples:
  selar-local serve model.gguf
  selar-local serve model.gguf --ui
  selar-local serve model.gguf --method cot --temperature 0.7 --parallel 8
  selar-local serve model.gguf --host 0.0.0.0 --api-key "$KEY" --cors-origin https://app.example"""


@click.command(cls=GroupedCommand, epilog=_EXAMPLES)
@model_argument()
@config_options(("Server", ServerConfig))
@option("--parallel", type=click.INT, help=f"requests decoded together [default:{NO_BREAK}{PARALLEL}]")
@option("--queue-size", type=click.INT, help=f"requests that may wait [default:{NO_BREAK}{EngineConfig().queue_size}]")
@option(
    "--hang-timeout",
    type=click.FLOAT,
    help=f"seconds after which a llama.cpp that does not come back is started anew "
    f"[default:{NO_BREAK}{EngineConfig().hang_timeout:.0f}]",
)
@option(
    "--isolated/--no-isolated",
    default=True,
    help="run llama.cpp in a process of its own, which is started anew where it dies [default:\u00a0on]",
)
@option("--open", "open_page", is_flag=True, help="open the chat page in the web browser (implies --ui)")
@option("--log-requests", is_flag=True, help="one line for each request on standard error")
@option("--thinking/--no-thinking", default=None, heading="Prompt", help="ask the chat template for thinking")
@template_arg_option
@method_option
@config_options(
    (_SAMPLING, GenerationConfig, "max_tokens", "stop", "thinking_budget", "reasoning_effort", "keep_form"),
    (_SAMPLING, SamplingConfig),
)
@option("-q", "--quiet", is_flag=True, heading="Output", help="no progress, no notes")
@config_options(("Model and engine", EngineConfig))
@rpc_option
@list_devices_option
@method_options
@model_sampling_option
def serve(
    model: str | None, method: str, isolated: bool, open_page: bool, log_requests: bool, quiet: bool, **values: Any
) -> int:
    """Serve MODEL over HTTP, as OpenAI's API: /v1/chat/completions, /v1/completions, /v1/models; /health, /metrics.

    With --ui there is a chat page at /. What a request does not say comes from here. Ctrl-C lets running requests
    finish for --grace seconds.
    """
    values["ui"] = values["ui"] or open_page
    defaults = _defaults(method, values)
    config = _config(values)
    values["parallel"] = PARALLEL if values["parallel"] is None else values["parallel"]
    engine_config = build(EngineConfig, values)
    if engine_config.rpc and not isolated:
        raise click.UsageError("--rpc needs a process of its own for llama.cpp: leave --no-isolated out")
    with importing():
        require_web()
        from selar_local.server.app import create_app
        from selar_local.server.lifecycle import Server, bind, url_of

    display = Display(quiet=quiet)
    path = find(model)
    opening = open_isolated if isolated else open_engine
    with (
        bind(config.host, config.port) as bound,
        opening(path, engine_config, display) as engine,
        ServerLog().attached() as log,
    ):
        defaults = _fitted(defaults, engine, display)
        app = create_app(engine, config, defaults, (lambda line: log.say(_logged(line))) if log_requests else None)
        here = url_of(_HERE.get(config.host, config.host), bound)

        def ready() -> None:
            log.say(f"listening on {url_of(config.host, bound)}")
            log.say(one_line(f"serving {app.state.service.model} at {here}/v1"))
            if config.ui:
                log.say(f"chat page: {here}/")
            if open_page:
                threading.Thread(target=_open, args=(f"{here}/", log.say), daemon=True).start()

        Server(app, bound, ready).run()
    return 0


def _open(page: str, say: Callable[[str], None]) -> None:
    """Ask the browser; it may take its time."""
    if not webbrowser.open(page):
        say(f"no web browser was found: open {page} yourself")


def _defaults(method: str, values: dict[str, Any]) -> Defaults:
    chosen = build_method(method, values)
    _, given = build_sampling(chosen, values)
    return Defaults(chosen, given, build(GenerationConfig, values), values["thinking"])


def _fitted(defaults: Defaults, engine: Engine | IsolatedEngine, display: Display) -> Defaults:
    """Where no method was named, the one that this model is decoded with. Raises UnsupportedModel."""
    note = recommended_in_force(engine.info.sampling, defaults.method, defaults.sampling)
    if note is not None:
        display.note(note)
    if not engine.info.chat_template:
        display.note(NO_TEMPLATE)
    if engine.info.no_vectors is None:
        return defaults
    display.note(f"soft methods cannot be used: {engine.info.no_vectors}")
    if not is_named(defaults.method):
        return replace(defaults, method=default_method(engine.info))
    require_usable(defaults.method, engine.info)
    return defaults


def _config(values: dict[str, Any]) -> ServerConfig:
    """The server's configuration, with the key of the environment."""
    return build(ServerConfig, {**values, "api_keys": (*(values["api_keys"] or ()), *keys_in_environment())})


def _logged(line: RequestLine) -> str:
    return one_line(f"{line.method} {line.path[:200]} {line.status} {line.seconds:.3f} s")

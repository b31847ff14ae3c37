"""The options of ``selar-local eval`` for running servers, and what they exclude."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selar_local.cli.grouped_help import option
from selar_local.cli.option_sources import is_typed
from selar_local.config import EngineConfig
from selar_local.evaluation.config import EvaluationConfig, MethodSpec
from selar_local.methods import CoT

if TYPE_CHECKING:
    from selar_local.evaluation.servers import Servers

F = TypeVar("F", bound=Callable[..., Any])
_KEY = "SELAR_LOCAL_API_KEY"


def url_options(function: F) -> F:
    """A decorator that adds ``--url`` and ``--api-key``."""
    for add in (
        option("--api-key", once=True, help=f"the servers' API key (also: {_KEY})"),
        option(
            "--url", once=True, metavar="URL[,URL...]", heading="Servers",
            help="let running servers answer: servers of selar-local, or for cot any with OpenAI's API; MODEL is then "
            "the model's name there",
        ),
    ):  # fmt: skip
        function = add(function)
    return function


def servers_of(
    url: str, api_key: str | None, model: str | None, given: EvaluationConfig, specs: Sequence[MethodSpec],
    values: Mapping[str, Any],
) -> Servers:  # fmt: skip
    """The servers, asked who they are. Raises UsageError for options that have no effect there."""
    from selar_local.evaluation.servers import find_servers

    for one in fields(EngineConfig):
        if values.get(one.name) is not None and is_typed(one.name):
            raise click.UsageError(f"{one.metadata['flags'][-1]} has no effect with --url: the servers decide")
    key = api_key or next(iter(os.environ.get(_KEY, "").replace(",", " ").split()), None)
    servers = find_servers([one for one in url.split(",") if one.strip()], model, given.parallel, key)
    others = [spec.label for spec in specs if spec.method.name != CoT.name]
    if not servers.ours and others:
        raise click.UsageError(f"{servers.all[0].url} is no server of selar-local and knows no {', '.join(others)}")
    if not servers.ours and values.get("thinking") is not None:
        raise click.UsageError("--thinking needs servers of selar-local")
    return servers

"""What Inspect finds by the entry point `selar_local` of the group `inspect_ai`: the provider and the tasks."""

from __future__ import annotations

from typing import Any

from inspect_ai.model import modelapi

from selar_local.evaluation.inspect_tasks import answer, graded, problems

__all__ = ["answer", "graded", "problems", "selar", "servers"]


@modelapi(name="selar")
def selar() -> Any:
    """The provider, imported when a model of it is made."""
    from selar_local.evaluation.provider import SelarAPI

    return SelarAPI


@modelapi(name="selar-servers")
def servers() -> Any:
    """The provider of `selar-local eval --url`."""
    from selar_local.evaluation.server_provider import ServersAPI

    return ServersAPI

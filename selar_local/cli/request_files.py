"""A conversation and tools for ``selar-local run``, from JSON files in the form of OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from selar_local.cli.grouped_help import option
from selar_local.cli.prompt import read_text
from selar_local.errors import SelarError

F = TypeVar("F", bound=Callable[..., Any])


def request_file_options(function: F) -> F:
    """A decorator that adds `--messages` and `--tools`."""
    for decorate in (
        option(
            "--tools", "tools_file", type=click.Path(dir_okay=False), once=True, metavar="FILE",
            help="a JSON file with the tools that the model may call, as OpenAI's API has them",
        ),
        option(
            "--messages", "messages_file", type=click.Path(dir_okay=False), once=True, metavar="FILE",
            help="a JSON file with the conversation to answer, as OpenAI's API has it (-: stdin), instead of a prompt",
        ),
    ):  # fmt: skip
        function = decorate(function)
    return function


def read_request_files(prompt: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments `messages` and `tools` of `BaseEngine.stream`, where the files were given.

    Raises UsageError beside a prompt or `--raw`, SelarError for a file that cannot be read or holds something else.
    """
    files = {"--messages": values["messages_file"], "--tools": values["tools_file"]}
    if values["raw"] and (given := [flag for flag, path in files.items() if path is not None]):
        raise click.UsageError(f"{given[0]} has no place beside --raw")
    if files["--messages"] is not None:
        beside = {"PROMPT": prompt, "-p": values["prompt_option"], "-f": values["prompt_file"]}
        for name, value in beside.items():
            if value is not None:
                raise click.UsageError(f"the prompt comes from {name} and --messages: give it once")
    if files["--tools"] == "-":
        raise click.UsageError("--tools takes a file, not standard input")
    return {flag[2:]: _objects_of(path, flag) for flag, path in files.items() if path is not None}


def _objects_of(path: str, flag: str) -> list[dict[str, Any]]:
    text, place = read_text(path, f"the {flag[2:]}"), "standard input" if path == "-" else path
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SelarError(f"{place} holds no JSON: {error}") from None
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise SelarError(f"{place}: {flag} wants a list of JSON objects, as OpenAI's API has its {flag[2:]}")
    return found

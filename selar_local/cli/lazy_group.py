"""The group of all commands: a command's module is imported when the command is asked for."""

from __future__ import annotations

import difflib
import shlex
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selar_local.cli.commands import COMMANDS
from selar_local.cli.wording import did_you_mean

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_DEFAULT = "run"
_SCHEMES = ("hf:", "ollama:", "lmstudio:", "llamacpp:")


def load_command(name: str) -> click.Command:
    """The command, imported now."""
    entry = COMMANDS[name]
    command: click.Command = getattr(import_module(entry.module), entry.attribute)
    return command


class LazyGroup(click.Group):
    """Without a command, a model or an option of ``run`` means ``run``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of use (click's hook)."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, None where there is no such name (click's hook)."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands without importing them (click's hook)."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options that the program itself does not have belong to ``run`` (click's hook)."""
        own = {flag for parameter in self.get_params(ctx) for flag in parameter.opts}
        place = next((place for place, word in enumerate(args) if word not in own), len(args))
        if place < len(args) and args[place].startswith("-") and not _is_misspelt(args[place], own):
            args = [*args[:place], _DEFAULT, *args[place:]]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A model in the place of the command means ``run`` (click's hook)."""
        word = args[0]
        if word in COMMANDS:
            return super().resolve_command(ctx, args)
        if _is_model(word):
            return _DEFAULT, load_command(_DEFAULT), args
        if ctx.resilient_parsing:  # a shell completes the line
            return None, None, args
        raise click.UsageError(_what_to_type(word))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, model files, options (click's hook). No command is imported."""
        from click.shell_completion import CompletionItem

        from selar_local.cli.completion import model_files

        named = [(name, entry) for name, entry in COMMANDS.items() if name.startswith(incomplete)]
        items = [CompletionItem(name, help=entry.summary) for name, entry in named]
        items += model_files(incomplete)
        own: list[Any] = click.Command.shell_complete(self, ctx, incomplete)
        return [*items, *own]


def _is_misspelt(flag: str, own: set[str]) -> bool:
    """Whether a long flag was meant for the program itself: `--verison`."""
    return flag.startswith("--") and bool(difflib.get_close_matches(flag, own, 1, 0.8))


def _is_model(word: str) -> bool:
    from selar_local.catalog import bundled_models

    if word.lower().endswith(".gguf") or word.startswith(_SCHEMES) or word.lower() in bundled_models():
        return True
    try:
        return Path(word).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _what_to_type(word: str) -> str:
    if len(word.split()) > 1 or word.endswith("?"):
        return f"{word!r} is not a command; to ask a model: selar-local run -p {shlex.quote(word)}"
    return f"there is no command {word!r}{did_you_mean(word, COMMANDS) or '; selar-local --help lists the commands'}"

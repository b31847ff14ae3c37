"""The config file: defaults for options, for all commands or for one.

It is TOML. A key is the long name of an option. Keys at the top are for every command that has the option; keys under
``[serve]`` are for ``serve`` alone and win. docs/CONFIG.md describes it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from selar_local.cli.commands import COMMANDS
from selar_local.cli.wording import did_you_mean

VARIABLE = "SELAR_LOCAL_CONFIG"
_TABLE = re.compile(r"\s*\[\s*[\"']?([^\[\]\"']+?)[\"']?\s*\]\s*(?:#.*)?")
_KEY = re.compile(r"\s*[\"']?([\w-]+)[\"']?\s*=")


class Setting(NamedTuple):
    """One line of the file. value: what one would type for the option; a tuple for one that is given several times."""

    key: str
    value: str | tuple[str, ...]
    line: int | None
    path: Path

    @property
    def place(self) -> str:
        """Where the line is."""
        return str(self.path) if self.line is None else f"{self.path}, line {self.line}"


class ConfigFile(NamedTuple):
    """The settings for all commands, and the settings of each section. Keys have underscores."""

    path: Path
    shared: Mapping[str, Setting]
    sections: Mapping[str, Mapping[str, Setting]]


def config_path() -> Path:
    """Where the file is, or would be: ``$SELAR_LOCAL_CONFIG``, else in the user's folder for settings."""
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser()
    return Path(click.get_app_dir("selar-local")) / "config.toml"


def read_config() -> ConfigFile | None:
    """The file; None where there is none. Raises UsageError for a file that cannot be understood."""
    path = config_path()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        if os.environ.get(VARIABLE):
            raise click.UsageError(f"there is no config file {path} ({VARIABLE} names it)") from None
        return None
    except UnicodeDecodeError:
        raise click.UsageError(f"the config file {path} is not UTF-8 text") from None
    except OSError as error:
        raise click.UsageError(f"cannot read the config file {path}: {error.strerror}") from None
    return _parsed(path, text)


def _parsed(path: Path, text: str) -> ConfigFile:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise click.UsageError(f"the config file {path} is not valid TOML: {error}") from None
    lines = _lines_of(text)
    shared, sections = {}, {}
    for name, value in content.items():
        if not isinstance(value, dict):
            shared[_plain(name)] = _setting(path, lines, "", name, value)
        elif name not in COMMANDS:
            where = Setting(name, "", lines.get((name, "")), path).place
            raise click.UsageError(f"{where}: there is no command {name!r}{did_you_mean(name, COMMANDS)}")
        else:
            sections[name] = {_plain(key): _setting(path, lines, name, key, one) for key, one in value.items()}
    return ConfigFile(path, shared, sections)


def _lines_of(text: str) -> dict[tuple[str, str], int]:
    """(section, key) -> line; (section, "") for the section itself. The TOML reader does not tell."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if table := _TABLE.fullmatch(line):
            section = table[1].strip()
            found.setdefault((section, ""), number)
        elif key := _KEY.match(line):
            found.setdefault((section, key[1]), number)
    return found


def _setting(path: Path, lines: Mapping[tuple[str, str], int], section: str, key: str, value: Any) -> Setting:
    setting = Setting(key, "", lines.get((section, key)), path)
    try:
        typed = tuple(map(_typed, value)) if isinstance(value, list) else _typed(value)
    except TypeError:
        raise click.UsageError(f"{setting.place}: {key} must be a number, a text, true or false") from None
    return setting._replace(value=typed)


def _typed(value: Any) -> str:
    """The value as one would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise TypeError


def _plain(key: str) -> str:
    return key.replace("-", "_")


def defaults_for(command: click.Command, section: str) -> dict[str, Setting]:
    """What the file sets for the command, by the names of its parameters.

    section: the name of the command, or of the group that it is in. Raises UsageError for a key that no command has.
    """
    file = read_config()
    if file is None:
        return {}
    own = _options(command)
    found: dict[str, Setting] = {}
    for key, setting in file.shared.items():
        if key not in own:
            _require_known(setting, COMMANDS)
    for key, setting in file.sections.get(section, {}).items():
        if key not in own:
            _require_known(setting, [section])
    for key, setting in {**file.shared, **file.sections.get(section, {})}.items():
        if key in own:
            name = own[key].name
            assert name is not None
            found[name] = _fitting(own[key], setting)
    return found


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options that the file may set, by key."""
    if isinstance(command, click.Group):
        return {key: one for part in command.commands.values() for key, one in _options(part).items()}
    return {
        _plain(flag[2:]): one
        for one in command.params
        if isinstance(one, click.Option) and getattr(one, "configurable", False)
        for flag in one.opts
        if flag.startswith("--")
    }


def _require_known(setting: Setting, commands: Iterable[str]) -> None:
    """Raises UsageError for a key that is no option of any of the commands."""
    from selar_local.cli.lazy_group import load_command

    known: set[str] = set()
    for name in commands:
        own = _options(load_command(name))
        if _plain(setting.key) in own:
            return
        known |= {key.replace("_", "-") for key in own}
    where = "" if len(list(commands)) > 1 else f" of {next(iter(commands))}"
    raise click.UsageError(
        f"{setting.place}: {setting.key} is no option{where}{did_you_mean(setting.key.replace('_', '-'), known)}"
    )


def _fitting(option: click.Option, setting: Setting) -> Setting:
    """The setting with one value or several, as the option takes them."""
    if option.multiple:
        return setting._replace(value=(setting.value,) if isinstance(setting.value, str) else setting.value)
    if isinstance(setting.value, str):
        return setting
    raise click.UsageError(f"{setting.place}: {setting.key} takes one value, not a list")

"""Several methods on one command line: ``cot,selar:tau=0.3``, and the options that go to all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from selar_local.cli.grouped_help import NO_BREAK, option
from selar_local.cli.option_sources import is_typed
from selar_local.cli.options import as_usage, build_sampling
from selar_local.errors import OptionError
from selar_local.evaluation.config import MethodSpec, methods_of
from selar_local.methods import METHODS

_METHODS = "cot,selar"

methods_option = option(
    "--methods", default=_METHODS, heading="Methods",
    help=f"what to compare; options of one follow a colon: selar:tau=0;contrast=0 [default:{NO_BREAK}{_METHODS}]",
)  # fmt: skip


def specs_of(methods: str, values: Mapping[str, Any], sweep: str | None = None) -> tuple[MethodSpec, ...]:
    """The methods with the options that were given for all of them. Raises UsageError.

    What the config file or the environment sets is left out where it is of another method, or swept.
    """
    names = {one.name for cls in METHODS.values() for one in fields(cls) if values.get(one.name) is not None}
    typed = {name: values[name] for name in names if is_typed(name)}
    try:
        specs = methods_of(methods, typed, sweep, {name: values[name] for name in names})
    except OptionError as error:
        raise as_usage(error, {"methods", "sweep", *names}) from None
    for spec in specs:
        build_sampling(spec.method, values)
    return tuple(specs)

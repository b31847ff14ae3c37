"""``--no-model-sampling``: whether the sampling begins with what the model file recommends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selar_local.cli.grouped_help import option
from selar_local.methods import Method

model_sampling_option = option(
    "--model-sampling/--no-model-sampling",
    default=None,
    heading="Sampling and length",
    help="begin with the sampling that the model file recommends, where it does [default:\u00a0on]",
)


def recommended_in_force(recommended: Mapping[str, Any], method: Method, given: Mapping[str, Any]) -> str | None:
    """A note on the options that the file has set; None where there are none."""
    sampling = method.sampling(given, recommended)
    names = [name for name in recommended if name not in given and name not in method.sampling_defaults]
    values = ", ".join(f"{name} {value}" for name in names if (value := getattr(sampling, name)) == recommended[name])
    return f"the model file recommends {values} (--no-model-sampling leaves that out)" if values else None

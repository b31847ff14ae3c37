"""``selar-local doctor``: what this build can do, and whether a model can be fed vectors."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selar_local._version import __version__
from selar_local.catalog import bundled_models
from selar_local.cli.device_facts import device_facts, device_line
from selar_local.cli.display import Display
from selar_local.cli.gpu_build import gpu_build, prebuilt_wheels
from selar_local.cli.grouped_help import GroupedCommand, json_option
from selar_local.cli.model_argument import model_argument
from selar_local.cli.opening import find, open_engine
from selar_local.cli.options import build, config_options
from selar_local.cli.streams import print_json
from selar_local.config import EngineConfig
from selar_local.install_hint import version_of
from selar_local.llama.present import require_llama_cpp

if TYPE_CHECKING:
    from selar_local.engine.model_info import ModelInfo


@click.command(cls=GroupedCommand)
@model_argument(configurable=False)
@config_options(("Model and engine", EngineConfig))
@json_option
def doctor(model: str | None, as_json: bool, **values: Any) -> int:
    """Versions, backends and devices; with MODEL its facts and the injection check, measured now."""
    report = _machine()
    if model is not None:
        report["model"] = _model(model, build(EngineConfig, values))
        report["injection_max_abs_diff"] = report["model"]["injection_max_abs_diff"]
    if as_json:
        print_json(report)
    else:
        _print(report)
    return 0


def _machine() -> dict[str, Any]:
    require_llama_cpp()
    from selar_local.llama import library
    from selar_local.llama.devices import backend_devices, backends

    library.start()
    offload = library.can_offload()
    report: dict[str, Any] = {
        "selar_local": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "llama_cpp_python": library.binding_version,
        "numpy": version_of("numpy"),
        "gguf": version_of("gguf"),
        "huggingface_hub": version_of("huggingface-hub"),
        "backends": backends(),
        "gpu_offload": offload,
        "devices": [device_facts(device) for device in backend_devices()],
        "system_info": library.system_info(),
        "bundled_models": {name: path and str(path) for name, path in bundled_models().items()},
    }
    if not offload:
        rebuild = gpu_build()
        report["gpu_hint"], report["gpu_kind"] = rebuild.command(library.binding_version), rebuild.why
        report["gpu_wheels"] = prebuilt_wheels()
    return report


def _model(model: str, config: EngineConfig) -> dict[str, Any]:
    with open_engine(find(model), config, Display(), check_again=True) as engine:
        info = engine.info
    hint = _hint(info) if info.no_vectors is not None else None
    return info.as_dict() | ({} if hint is None else {"hint": hint})


def _hint(info: ModelInfo) -> str | None:
    """What a person can do where the model takes no vectors."""
    from selar_local.llama.gguf_file import open_gguf

    key = f"{info.architecture}.rope.dimension_sections"
    if not info.architecture.startswith("glm4") or key in open_gguf(Path(info.path)).value_types:
        return None
    return f"the file lacks {key}: GLM-4 files that have it, such as GLM-4.1V and 4.5V, take vectors"


def _print(report: dict[str, Any]) -> None:
    rows = {"selar-local": report["selar_local"], "python": f"{report['python']} on {report['platform']}"}
    for name in ("llama_cpp_python", "numpy", "gguf", "huggingface_hub"):
        rows[name.replace("_", "-")] = report[name] or "not installed"
    rows["backends"] = ", ".join(report["backends"]) or "unknown"
    for number, device in enumerate(report["devices"]):
        rows[f"device {number}"] = device_line(device)
    rows["gpu offload"] = "yes" if report["gpu_offload"] else "no"
    rows["system info"] = report["system_info"]
    for name, path in report["bundled_models"].items():
        rows[name] = path or f"not here; get it with: selar-local pull {name}"
    _table(rows)
    if "gpu_hint" in report:
        click.echo(
            f"\nThis build computes on the CPU only. To use a GPU ({report['gpu_kind']}):\n  {report['gpu_hint']}"
        )
        click.echo(report["gpu_wheels"])
    if "model" in report:
        click.echo("")
        _table(_readable(report["model"]))
        click.echo(f"\n{_verdict(report['model'])}")


def _verdict(model: dict[str, Any]) -> str:
    """What the injection check found, and what it means for the methods."""
    if model["no_vectors"] is None:
        verdict = "exact" if model["injection_max_abs_diff"] == 0 else "within tolerance"
        return f"injection check: {verdict}: a token fed as its embedding row gives the same logits"
    hint = f"; {model['hint']}" if "hint" in model else ""
    return f"soft methods cannot be used, the others can: {model['no_vectors']}{hint}"


def _readable(model: dict[str, Any]) -> dict[str, Any]:
    """The facts with units that a person reads."""
    rows = {**model, "size": f"{model['size']:,} bytes", "n_params": f"{model['n_params']:,}"}
    rows["warnings"] = "; ".join(model["warnings"]) or "none"
    rows["sampling"] = ", ".join(f"{name} {value}" for name, value in model["sampling"].items()) or "none in the file"
    rows["placement"] = model["placement"] or "on the CPU"
    del rows["no_vectors"]  # the last line says it
    return {
        name: {True: "yes", False: "no"}[value] if isinstance(value, bool) else value for name, value in rows.items()
    }


def _table(rows: dict[str, Any]) -> None:
    width = max(map(len, rows)) + 1
    for name, value in rows.items():
        click.echo(f"{name + ':':<{width}} {value}")

"""The options about devices that only some commands have, and how a device is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from selar_local.cli.grouped_help import option
from selar_local.config import EngineConfig
from selar_local.llama.present import require_llama_cpp
from selar_local.options import described

F = TypeVar("F", bound=Callable[..., Any])


def rpc_option(function: F) -> F:
    """A decorator that adds ``--rpc``."""
    help_text = next(one.help for one in described(EngineConfig) if one.name == "rpc")
    heading = "Model and engine"
    return option("--rpc", metavar="HOST:PORT,...", heading=heading, owner=EngineConfig, help=help_text)(function)


def list_devices_option(function: F) -> F:
    """A decorator that adds ``--list-devices``."""
    return option(
        "--list-devices",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        once=True,
        callback=_list_devices,
        heading="Model and engine",
        help="print the devices of this machine that take layers, and leave",
    )(function)


def _list_devices(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    require_llama_cpp()
    from selar_local.llama import library
    from selar_local.llama.devices import backend_devices

    library.start()
    devices = [device for device in backend_devices() if device.takes_layers]
    click.echo("Available devices:")
    for device in devices:
        total, free = device.memory_total >> 20, device.memory_free >> 20
        click.echo(f"  {device.name}: {device.description} ({total} MiB, {free} MiB free)")
    if not devices:
        cause = (
            "llama.cpp finds no GPU" if library.can_offload() else "this build of llama.cpp computes on the CPU only"
        )
        click.echo(f"  none: {cause} (see `selar-local doctor`)")
    ctx.exit()

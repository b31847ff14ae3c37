"""``selar-local worker``: this machine's devices for an engine on another one."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from typing import Any

import click

from selar_local.cli.devices import list_devices_option
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, option
from selar_local.cli.interrupt import leave_at_once
from selar_local.cli.options import build, config_options
from selar_local.config import EngineConfig
from selar_local.errors import SelarError
from selar_local.llama.present import require_llama_cpp

_EXAMPLES = """\b
Examples:
  selar-local worker                                   for tests: reachable from this machine alone
  selar-local worker --host 192.168.1.7                on the machine 192.168.1.7
  selar-local run model.gguf --rpc 192.168.1.7:50052   on another one"""


class _Port(click.IntRange):
    name = "port"  # for click's message


@click.command(cls=GroupedCommand, epilog=_EXAMPLES, short_help="This machine's devices, for a model on another one.")
@option("--host", default="127.0.0.1", heading="Worker", help="address to listen on [default:\u00a0127.0.0.1]")
@option("--port", type=_Port(1, 65535), default=50052, help="port to listen on [default:\u00a050052]")
@config_options(("Worker", EngineConfig, "device", "threads"))
@list_devices_option
def worker(host: str, port: int, **values: Any) -> int:
    """Serve the GPUs of this machine, or its CPU where there is none, to one engine at a time (llama.cpp's RPC).

    Trusted networks only: whoever reaches the port can use this process. Both sides need the same version.
    """
    config = build(EngineConfig, values)
    display = Display()
    require_llama_cpp()
    from selar_local.llama import library, rpc
    from selar_local.llama.devices import backend_devices, offload_devices
    from selar_local.llama.machine import default_threads

    library.start()
    rpc.require_rpc()
    there = backend_devices()
    devices = offload_devices(there, config.device) or [device for device in there if device.kind == "cpu"]
    if not _is_loopback(host):
        display.warn(f"whoever reaches {host}:{port} can use this process: trusted networks only")
    for device in devices:
        display.note(f"{device.name}: {device.description}, {device.memory_free / 2**30:.1f} GiB free")
    display.note(f"serving at {host}:{port}; Ctrl-C ends it")
    leave_at_once()  # the interpreter's own end would meet the thread in native code
    _wait_for(lambda: rpc.serve(host, port, config.threads or default_threads(), devices))
    return 0


def _wait_for(serve: Callable[[], None]) -> None:
    """Run it in a thread: native code in this one would not see Ctrl-C. Raises its error."""
    errors: list[SelarError] = []

    def work() -> None:
        try:
            serve()
        except SelarError as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(1.0)
    for error in errors:
        raise error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

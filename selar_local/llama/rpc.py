"""llama.cpp's RPC: the devices of other machines as devices here, and this machine's devices for others.

The protocol has no authentication and no encryption. llama.cpp ends its process when a worker cannot be reached, or is
lost: workers are asked by TCP first, and an engine with workers runs in a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Sequence

from selar_local.errors import WorkerUnavailable
from selar_local.llama.devices import Device
from selar_local.llama.ggml import address_of, symbol

_PATIENCE = 5.0  # seconds that a worker has to accept a connection, and to end it
_NO_RPC = "this build of llama.cpp has no RPC: build it with -DGGML_RPC=on (docs/GPU.md says how)"
_lock = threading.Lock()
_registered: set[str] = set()


def connect(workers: Sequence[str]) -> None:
    """Make the devices of these workers devices here. Raises WorkerUnavailable."""
    if workers:
        require_rpc()
    for worker in workers:
        with _lock:
            if worker not in _registered:
                _require_answer(worker)
                _register(worker)
                _registered.add(worker)


def _require_answer(worker: str) -> None:
    """A worker serves one client at a time: it ends a connection that says nothing only when it is free."""
    host, _, port = worker.rpartition(":")
    connected = False
    try:
        with socket.create_connection((host, int(port)), _PATIENCE) as client:
            connected = True
            client.shutdown(socket.SHUT_WR)
            spoke = client.recv(1)
    except OSError as error:
        if connected and isinstance(error, TimeoutError):
            busy = "another engine may have it"
            raise WorkerUnavailable(f"the worker at {worker} does not answer; {busy}") from None
        reason, advice = error.strerror or str(error), "start `selar-local worker` there"
        raise WorkerUnavailable(f"no worker answers at {worker}: {reason.lower()}; {advice}") from None
    if spoke:
        raise WorkerUnavailable(f"what answers at {worker} is another program: a worker does not speak first")


def _register(worker: str) -> None:
    pointer = ctypes.c_void_p
    add = symbol("ggml_backend_rpc_add_server", pointer, [ctypes.c_char_p])
    register = symbol("ggml_backend_register", None, [pointer])
    if add is None or register is None:
        raise WorkerUnavailable(_NO_RPC)
    registry = add(worker.encode())
    if not registry:
        raise WorkerUnavailable(f"the worker at {worker} has no devices")
    register(registry)


def serve(host: str, port: int, threads: int, devices: Sequence[Device]) -> None:
    """Serve these devices, one client after the other, for ever. Raises WorkerUnavailable where that cannot begin."""
    pointer = ctypes.c_void_p
    arguments = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.POINTER(pointer)]
    start = symbol("ggml_backend_rpc_start_server", None, arguments)
    if start is None:
        raise WorkerUnavailable(_NO_RPC)
    try:
        address = socket.gethostbyname(host)
        socket.create_server((address, port)).close()  # llama.cpp would not say why it cannot
    except OSError as error:
        raise WorkerUnavailable(f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}") from None
    handles = (pointer * len(devices))(*(device.handle for device in devices))
    os.dup2(2, 1)  # llama.cpp prints who comes
    start(f"{address}:{port}".encode(), None, threads, len(devices), handles)
    raise WorkerUnavailable(f"cannot listen on {host}:{port}")


def require_rpc() -> None:
    """Raises WorkerUnavailable where this build of llama.cpp has no RPC."""
    if address_of("ggml_backend_rpc_start_server") is None:
        raise WorkerUnavailable(_NO_RPC)

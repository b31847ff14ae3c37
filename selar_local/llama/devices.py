"""The devices that ggml computes on, and which of them take layers of the model."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

from selar_local.errors import OptionError
from selar_local.llama.ggml import symbol

_KINDS = {0: "cpu", 1: "gpu", 2: "integrated gpu", 3: "accelerator"}
_REMOTE = "RPC"


class Device(NamedTuple):
    """One device. Memory in bytes; id: where it is on the bus, None where that is unknown; handle: ggml's own."""

    name: str
    description: str
    kind: str
    memory_free: int
    memory_total: int
    id: str | None
    backend: str
    handle: int

    @property
    def takes_layers(self) -> bool:
        """Whether layers can be put on it; the CPU has those that are put nowhere else."""
        return self.kind in ("gpu", "integrated gpu")


class _Properties(ctypes.Structure):
    """``struct ggml_backend_dev_props`` of ggml-backend.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities", ctypes.c_bool * 8),
    ]


def backend_devices() -> list[Device]:
    """The devices that ggml has found. Empty where its functions cannot be reached."""
    pointer = ctypes.c_void_p
    count = symbol("ggml_backend_dev_count", ctypes.c_size_t, [])
    get = symbol("ggml_backend_dev_get", pointer, [ctypes.c_size_t])
    properties = symbol("ggml_backend_dev_get_props", None, [pointer, ctypes.POINTER(_Properties)])
    registry = symbol("ggml_backend_dev_backend_reg", pointer, [pointer])
    registry_name = symbol("ggml_backend_reg_name", ctypes.c_char_p, [pointer])
    if not (count and get and properties and registry and registry_name):
        return []
    found = []
    for index in range(count()):
        handle, facts = get(index), _Properties()
        properties(handle, ctypes.byref(facts))
        found.append(
            Device(
                name=_text(facts.name),
                description=_text(facts.description).strip(),
                kind=_KINDS.get(facts.type, "other"),
                memory_free=facts.memory_free,
                memory_total=facts.memory_total,
                id=_text(facts.device_id) or None,
                backend=_text(registry_name(registry(handle))),
                handle=handle,
            )
        )
    return found


def backends() -> list[str]:
    """The backends of this build, such as CPU and Vulkan. Empty where ggml's functions cannot be reached."""
    count = symbol("ggml_backend_reg_count", ctypes.c_size_t, [])
    get = symbol("ggml_backend_reg_get", ctypes.c_void_p, [ctypes.c_size_t])
    name = symbol("ggml_backend_reg_name", ctypes.c_char_p, [ctypes.c_void_p])
    return [_text(name(get(index))) for index in range(count())] if count and get and name else []


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def offload_devices(devices: Sequence[Device], names: str | None = None) -> list[Device]:
    """The devices that take layers, in llama.cpp's order: remote ones, GPUs, and integrated ones where there is no GPU.

    names: the only ones, such as ``Vulkan0,Vulkan1``, or ``none``. Raises OptionError for a name that is not there.
    """
    if names is not None:
        return [] if names.strip().lower() == "none" else [_named(devices, name) for name in names.split(",")]
    remote = [device for device in devices if device.takes_layers and device.backend == _REMOTE]
    cards: list[Device] = []
    for device in devices:
        # Two backends, such as CUDA and Vulkan, may see one card.
        known = device.id is not None and device.id in {card.id for card in cards}
        if device.kind == "gpu" and device.backend != _REMOTE and not known:
            cards.append(device)
    integrated = [device for device in devices if device.kind == "integrated gpu"]
    return [*remote, *(cards or [device for device in integrated if device.backend == integrated[0].backend])]


def _named(devices: Sequence[Device], name: str) -> Device:
    for device in devices:
        if device.name.lower() == name.strip().lower() and device.takes_layers:
            return device
    there = ", ".join(device.name for device in devices if device.takes_layers)
    none = "none, since llama.cpp finds no GPU here (see `selar-local doctor`)"
    raise OptionError(f"device must be {f'among {there}' if there else none}, not {name.strip()!r}")

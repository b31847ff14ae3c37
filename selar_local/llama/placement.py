"""Where the layers of a model go: the parameters of llama.cpp that say so, and what `-ngl auto` chooses."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from selar_local.config import EngineConfig
from selar_local.errors import OptionError, UnsupportedModel
from selar_local.llama.devices import Device, backend_devices, offload_devices
from selar_local.llama.fit import Needs, Plan, budget, fit, taken
from selar_local.llama.ggml import symbol
from selar_local.llama.gguf_file import GgufFile
from selar_local.llama.layer_sizes import EXPERTS, LayerSizes, layer_sizes
from selar_local.llama.native import C

_SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
_OUT_OF_MEMORY = re.compile(r"alloc|memory", re.IGNORECASE)
_ROUNDS = 3

#: What a model would take of each card at a placement, as llama.cpp sees it.
Forecast = Callable[["Placement"], Needs]


class _Override(ctypes.Structure):
    """``struct llama_model_tensor_buft_override`` of llama.h."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p)]


@dataclass(frozen=True)
class Placement:
    """A plan for these devices; None: those that llama.cpp takes.

    description: what was chosen, in words; None where nothing was to be chosen.
    """

    devices: tuple[Device, ...] | None
    plan: Plan
    split_mode: int = 1
    main_gpu: int = 0
    description: str | None = None

    @property
    def key(self) -> str:
        """What tells it from another one."""
        return f"{tuple(self.plan)} {[device.name for device in self.devices or ()]} {self.split_mode} {self.main_gpu}"

    @property
    def uses_devices(self) -> bool:
        """Whether any layer goes to one."""
        return self.plan.gpu_layers != 0 and self.devices != ()

    def apply(self, params: Any) -> list[Any]:
        """Write it into llama.cpp's parameters. Returns what must live until the model is open."""
        params.n_gpu_layers = self.plan.gpu_layers
        params.split_mode, params.main_gpu = self.split_mode, self.main_gpu
        alive: list[Any] = []
        if self.devices is not None:
            handles = (ctypes.c_void_p * (len(self.devices) + 1))(*(device.handle for device in self.devices), None)
            params.devices = ctypes.cast(handles, ctypes.c_void_p)
            alive.append(handles)
        if self.plan.split:
            most = int(C.llama_max_devices())
            shares = (ctypes.c_float * most)(*self.plan.split[:most])
            params.tensor_split = ctypes.cast(shares, ctypes.POINTER(ctypes.c_float))
            alive.append(shares)
        if self.plan.n_cpu_moe:
            overrides = _experts_on_cpu(self.plan.n_cpu_moe)
            params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
            alive.append(overrides)
        return alive


#: No layer on any device.
CPU = Placement((), Plan(0))


def _experts_on_cpu(layers: int) -> Any:
    buffer_type = symbol("ggml_backend_cpu_buffer_type", ctypes.c_void_p, [])
    if buffer_type is None:
        raise UnsupportedModel("this build of llama.cpp cannot keep experts on the CPU: ggml is out of reach")
    numbers = "|".join(map(str, range(layers)))
    pattern = rf"blk\.({numbers}){EXPERTS}".encode()
    return (_Override * 2)(_Override(pattern, buffer_type()), _Override(None, None))


def is_out_of_memory(error: Exception) -> bool:
    """Whether llama.cpp said that it could not get the memory."""
    return _OUT_OF_MEMORY.search(str(error)) is not None


def placements(gguf: GgufFile, config: EngineConfig, forecast: Forecast) -> Iterator[Placement]:
    """What to try, the best first; the next one where the cards refuse it. Raises OptionError."""
    there = backend_devices()
    devices = offload_devices(there, config.device)
    if config.split_mode == "none" and devices:
        if config.main_gpu >= len(devices):
            names = ", ".join(device.name for device in devices)
            raise OptionError(f"main_gpu must be below {len(devices)}, not {config.main_gpu} (devices: {names})")
        devices = [devices[config.main_gpu]]
    split = config.shares
    if len(split) > max(len(devices), 1):
        raise OptionError(f"tensor_split has {len(split)} shares for {len(devices)} devices")
    split = split and split + (0.0,) * (len(devices) - len(split))
    choice = _Choice(layer_sizes(gguf), tuple(devices) if there else None, split, config)
    return iter([choice.fixed()]) if config.gpu_layers != "auto" or not devices else choice.fitting(forecast)


class _Choice:
    """The placements of one model on these devices."""

    def __init__(
        self, sizes: LayerSizes, devices: tuple[Device, ...] | None, split: tuple[float, ...], config: EngineConfig
    ) -> None:
        self._sizes, self._devices, self._split, self._config = sizes, devices, split, config
        self._cards = [budget(device.memory_free, device.memory_total) for device in devices or ()]

    def fixed(self) -> Placement:
        """As the user says; all layers where "auto" finds no device."""
        layers = self._config.gpu_layers
        count = layers if isinstance(layers, int) else -1
        return self._placement(Plan(count, self._config.n_cpu_moe or 0, self._split))

    def fitting(self, forecast: Forecast) -> Iterator[Placement]:
        """What fits, by llama.cpp's own figures; then less and less of it, at last nothing."""
        plan = Plan(self._sizes.offered, self._config.n_cpu_moe or 0, self._split)
        needs = forecast(self._placement(plan))
        for _ in range(_ROUNDS):
            plan = fit(self._sizes, needs, self._cards, self._split, self._config.n_cpu_moe)
            if plan.gpu_layers in (0, self._sizes.offered) and not plan.n_cpu_moe:
                break
            seen = forecast(self._placement(plan))  # weights that a card fetches from the CPU take room as well
            if seen.buffers <= needs.buffers:
                break
            needs = needs._replace(buffers=seen.buffers)
        while plan.gpu_layers:
            yield self._placement(plan, self._words(plan, needs))
            plan = plan.less(self._sizes)
        words = f"no layer fits on {self._names()}: the CPU computes all"
        yield replace(CPU, description=words)

    def _placement(self, plan: Plan, words: str | None = None) -> Placement:
        mode = self._config.split_mode
        main = self._config.main_gpu if mode == "row" else 0  # with "none" it is the only device
        return Placement(self._devices, plan, _SPLIT_MODES[mode], main, words)

    def _names(self) -> str:
        return " and ".join(
            f"{device.name} ({device.memory_free / 2**30:.1f} GiB free)" for device in self._devices or ()
        )

    def _words(self, plan: Plan, needs: Needs) -> str:
        shares = plan.split or (1.0,) * len(self._cards)
        used = sum(taken(self._sizes, needs, len(self._cards), shares, plan)) / 2**30
        offered = self._sizes.offered
        layers = f"all {offered} layers" if plan.gpu_layers == offered else f"{plan.gpu_layers} of {offered} layers"
        experts = f", the experts of {plan.n_cpu_moe} on the CPU" if plan.n_cpu_moe else ""
        return f"{layers} on {self._names()}{experts}; they take about {used:.1f} GiB"

"""Where layers go: the devices that are chosen, what llama.cpp gets, what happens when a card says no."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.model_shapes import SHAPES, write_shape

from selar_local.config import EngineConfig
from selar_local.errors import ModelFileError, OptionError
from selar_local.llama import library, placement, runtime
from selar_local.llama.devices import Device, backend_devices, backends, offload_devices
from selar_local.llama.fit import Needs, Plan
from selar_local.llama.forecast import forecast, needs_in
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.library import C
from selar_local.llama.placement import CPU, Placement, is_out_of_memory, placements
from selar_local.llama.runtime import LlamaRuntime

GIB = 1 << 30


def device(name: str, gib: float = 8, kind: str = "gpu", bus: str | None = None, backend: str = "CUDA") -> Device:
    return Device(name, "a card", kind, int(gib * GIB), int(gib * GIB), bus, backend, handle=0)


CPU_DEVICE = device("CPU", kind="cpu", backend="CPU")
MACHINE = [
    device("CUDA0", 24, bus="0000:01:00.0"),
    device("Vulkan0", 24, bus="0000:01:00.0", backend="Vulkan"),
    device("Vulkan1", 2, kind="integrated gpu", bus="0000:00:02.0", backend="Vulkan"),
    CPU_DEVICE,
    device("RPC0", 12, backend="RPC"),
]


def names(devices: list[Device]) -> list[str]:
    return [one.name for one in devices]


def test_workers_first_then_cards_each_once():
    assert names(offload_devices(MACHINE)) == ["RPC0", "CUDA0"]
    assert names(offload_devices([MACHINE[2], CPU_DEVICE])) == ["Vulkan1"]  # integrated, where there is no other
    assert names(offload_devices([MACHINE[2], MACHINE[4]])) == ["RPC0", "Vulkan1"]
    assert offload_devices([CPU_DEVICE]) == []


def test_devices_by_name():
    assert names(offload_devices(MACHINE, "vulkan1, CUDA0")) == ["Vulkan1", "CUDA0"]
    assert offload_devices(MACHINE, "none") == []
    for wrong in ("CUDA1", "CPU", "CUDA0,"):
        with pytest.raises(OptionError, match="device must be among CUDA0, Vulkan0, Vulkan1, RPC0"):
            offload_devices(MACHINE, wrong)
    with pytest.raises(OptionError, match="no GPU"):
        offload_devices([CPU_DEVICE], "CUDA0")


def test_the_devices_of_this_machine():
    library.start()
    (cpu,) = [one for one in backend_devices() if one.kind == "cpu"]
    assert cpu.memory_total > 0 and cpu.handle and not cpu.takes_layers
    assert "CPU" in backends()


@pytest.fixture
def eight_gib(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Placement]]:
    """Placements of an 8B model on cards of these GiB."""

    def plan(tmp_path: Path, *cards: float, needs: Needs | None = None, **options: Any) -> list[Placement]:
        found = [*(device(f"CUDA{number}", gib) for number, gib in enumerate(cards)), CPU_DEVICE]
        monkeypatch.setattr(placement, "backend_devices", lambda: found)
        shape = SHAPES["llama-8b"]
        path = tmp_path / "8b.gguf"
        if not path.exists():
            write_shape(path, shape)
        asked = needs or Needs(shape.cache(8192), 300 << 20)
        return list(placements(open_gguf(path), EngineConfig(**options), lambda _: asked))

    return plan


def test_auto_takes_what_fits_then_half_then_the_cpu(eight_gib, tmp_path):
    plans = eight_gib(tmp_path, 4)
    layers = [one.plan.gpu_layers for one in plans]
    assert 10 < layers[0] < 33 and layers[1:] == [layers[0] // 2, *layers[2:]] and layers[-1] == 0
    assert plans[-1].devices == () and "the CPU computes all" in str(plans[-1].description)
    assert f"{layers[0]} of 33 layers on CUDA0 (4.0 GiB free)" in str(plans[0].description)


def test_auto_without_a_card_says_nothing(eight_gib, tmp_path):
    assert eight_gib(tmp_path) == [Placement((), Plan(-1))]
    assert eight_gib(tmp_path, 24, device="none") == [Placement((), Plan(-1))]


def test_a_number_is_not_changed(eight_gib, tmp_path):
    for given, layers in ((20, 20), ("all", -1), (-1, -1), (0, 0)):
        (only,) = eight_gib(tmp_path, 4, gpu_layers=given)
        assert (only.plan.gpu_layers, only.description) == (layers, None)


def test_buffers_that_grow_with_the_weights_left_behind_take_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "backend_devices", lambda: [device("CUDA0", 4)])
    gguf = open_gguf(write_shape(tmp_path / "8b.gguf", SHAPES["llama-8b"]))

    def seen(asked: Placement) -> Needs:
        return Needs(GIB, (1000 if asked.plan.gpu_layers < 33 else 100) << 20)

    grown = next(placements(gguf, EngineConfig(), seen)).plan.gpu_layers
    steady = next(placements(gguf, EngineConfig(), lambda _: Needs(GIB, 100 << 20))).plan.gpu_layers
    assert 0 < grown < steady


def test_one_card_of_several(eight_gib, tmp_path):
    (only,) = eight_gib(tmp_path, 24, 8, split_mode="none", main_gpu=1, gpu_layers="all")
    assert only.devices is not None and names(list(only.devices)) == ["CUDA1"]
    with pytest.raises(OptionError, match="main_gpu must be below 2"):
        eight_gib(tmp_path, 24, 8, split_mode="none", main_gpu=2)


def test_shares_are_for_the_cards_that_are_there(eight_gib, tmp_path):
    assert eight_gib(tmp_path, 24, 24, tensor_split="3", gpu_layers="all")[0].plan.split == (3.0, 0.0)
    with pytest.raises(OptionError, match="tensor_split has 3 shares for 2 devices"):
        eight_gib(tmp_path, 24, 24, tensor_split="1,1,1")


def test_what_llama_cpp_gets():
    params = C.llama_model_default_params()
    plan = Plan(7, n_cpu_moe=2, split=(3.0, 1.0))
    cards = (device("CUDA0")._replace(handle=16), device("CUDA1")._replace(handle=32))
    alive = Placement(cards, plan, split_mode=2, main_gpu=1).apply(params)
    assert (params.n_gpu_layers, params.split_mode, params.main_gpu) == (7, 2, 1)
    handles = ctypes.cast(params.devices, ctypes.POINTER(ctypes.c_void_p))
    assert [handles[0], handles[1], handles[2]] == [16, 32, None]
    assert params.tensor_split[:3] == [3.0, 1.0, 0.0]
    pattern = ctypes.cast(params.tensor_buft_overrides, ctypes.POINTER(ctypes.c_char_p))[0]
    assert pattern == rb"blk\.(0|1)\.ffn_(up|down|gate|gate_up)_(ch|)exps"
    assert len(alive) == 3


def test_the_forecast_is_what_llama_cpp_then_takes(tiny):
    config = EngineConfig(threads=1, ctx_size=16384)
    gguf = open_gguf(tiny(n_layer=3))
    with library.listening() as lines:
        LlamaRuntime(gguf.path, config).close()
    assert forecast(gguf, config, CPU).cache == needs_in(lines).cache == 3 * 2 * 64 // 2 * 2 * 16384
    assert forecast(gguf, replace(config, kv_offload=False), CPU).cache == 0


def test_the_forecast_where_another_user_of_llama_cpp_has_taken_its_log(tiny):
    library.start()
    silent = library.C.llama_log_callback(lambda *_: None)
    library.C.llama_log_set(silent, None)
    assert forecast(open_gguf(tiny()), EngineConfig(ctx_size=64), CPU).cache > 0


def test_the_forecast_of_a_model_that_is_larger_than_the_machine(tmp_path):
    gguf = open_gguf(write_shape(tmp_path / "70b.gguf", SHAPES["llama-70b"]))
    needs = forecast(gguf, EngineConfig(ctx_size=8192), CPU)
    assert needs.cache == SHAPES["llama-70b"].cache(8192)


def test_buffers_are_those_of_cards():
    lines = [
        "llama_kv_cache: size =   28.00 MiB (  4096 cells,   7 layers,  1/1 seqs), K (f16):   14.00 MiB, V (f16): 14",
        "llama_kv_cache: size =    2.00 MiB (   512 cells,  21 layers,  1/1 seqs), K (f16):    1.00 MiB, V (f16): 1",
        "sched_reserve:    Vulkan0 compute buffer size =   150.50 MiB",
        "sched_reserve: RPC0[127.0.0.1:50052] compute buffer size =   170.00 MiB",
        "sched_reserve: Vulkan_Host compute buffer size =   900.00 MiB",
        "sched_reserve:        CPU compute buffer size =   800.00 MiB",
    ]
    assert needs_in(lines) == Needs(30 << 20, 170 << 20)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Path]) -> Iterator[Callable[[str], list[int]]]:
    """Open a model on a card that says no, with this reason, to more than one layer; the layers that were tried."""
    tried: list[int] = []
    real = runtime.LlamaModel

    def opened(_reason: str) -> list[int]:
        def model(gguf: Any, config: Any, where: Placement, *rest: Any) -> Any:
            tried.append(where.plan.gpu_layers)
            if where.plan.gpu_layers > 1:
                raise ModelFileError(f"tiny.gguf: llama.cpp cannot load it: {_reason}")
            return real(gguf, config, CPU, *rest)

        plans = [Placement((MACHINE[0],), Plan(count)) for count in (3, 2, 1, 0)]
        monkeypatch.setattr(runtime, "placements", lambda *_: iter(plans))
        monkeypatch.setattr(runtime, "LlamaModel", model)
        LlamaRuntime(tiny(), EngineConfig(threads=1, ctx_size=64)).close()
        return tried

    yield opened


def test_a_card_that_says_no_gets_less(refused):
    assert refused("unable to allocate CUDA0 buffer") == [3, 2, 1]


def test_another_error_is_not_tried_again(refused):
    with pytest.raises(ModelFileError, match="damaged"):
        refused("the file is damaged")


def test_words_of_a_full_card():
    said = ["cudaMalloc failed: out of memory", "failed to allocate buffer for kv cache", "ErrorOutOfDeviceMemory"]
    assert all(is_out_of_memory(ModelFileError(text)) for text in said)
    assert not is_out_of_memory(ModelFileError("unknown model architecture"))


def test_experts_on_the_cpu_change_nothing_where_all_is_on_the_cpu(family_model):
    path = family_model("qwen3moe")
    config = EngineConfig(threads=1, ctx_size=64, n_cpu_moe=1)
    with library.listening() as lines:
        LlamaRuntime(path, config).close()
    assert any("buffer type overrid" in line for line in lines)

"""Options: their defaults, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from selar_local.config import (
    CACHE_TYPES,
    EngineConfig,
    GenerationConfig,
    SamplingConfig,
    from_mapping,
)
from selar_local.errors import OptionError, SelarError
from selar_local.methods import Selar

CLASSES = [EngineConfig, SamplingConfig, GenerationConfig]


def test_defaults_are_the_papers():
    sampling, method = SamplingConfig(), Selar()
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.6, 20, 0.95, 0.0)
    assert (sampling.greedy, sampling.seed) == (False, None)
    assert (method.k, method.tau, method.contrast, method.symbol_guard) == (3, 0.5, 1.0, True)
    assert (method.gate_on, method.scope) == ("filtered", "all")


def test_defaults_of_generation_and_engine():
    assert GenerationConfig() == GenerationConfig(max_tokens=None, stop=())
    engine = EngineConfig()
    assert (engine.ctx_size, engine.gpu_layers, engine.threads, engine.parallel) == (4096, "auto", None, 1)
    assert (engine.cache_type_k, engine.cache_type_v, engine.flash_attn) == ("f16", "f16", "auto")
    assert (engine.mmap, engine.mlock, engine.check_tensors) == (True, False, False)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_has_help_and_flags_of_its_own(cls):
    flags = [flag for f in dataclasses.fields(cls) for flag in f.metadata["flags"]]
    assert len(flags) == len(set(flags))
    assert all(f.metadata["help"] for f in dataclasses.fields(cls))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), dataclasses.fields(cls)[0].name, None)


@pytest.mark.parametrize("cls", CLASSES)
def test_from_mapping(cls):
    assert from_mapping(cls, {}) == cls()
    with pytest.raises(OptionError) as caught:
        from_mapping(cls, {"nonsense": 1})
    assert "unknown option 'nonsense'" in str(caught.value)
    assert all(f.name in str(caught.value) for f in dataclasses.fields(cls))
    assert "\n" not in str(caught.value)


def test_from_mapping_of_a_class_without_options():
    empty = dataclasses.make_dataclass("Empty", [])
    with pytest.raises(OptionError, match="known: none"):
        from_mapping(empty, {"a": 1})


GOOD: list[tuple[type, dict[str, Any]]] = [
    (SamplingConfig, {"temperature": 0}),
    (SamplingConfig, {"temperature": 100, "top_k": 0, "top_p": 1, "min_p": 1}),
    (SamplingConfig, {"top_p": 0}),
    (SamplingConfig, {"temperature": np.float64(0.5)}),
    (SamplingConfig, {"seed": 0}),
    (SamplingConfig, {"seed": 2**63 - 1}),
    (GenerationConfig, {"max_tokens": 0}),
    (GenerationConfig, {"stop": ["a", "b"]}),
    (EngineConfig, {"ctx_size": 0, "gpu_layers": 0, "threads": 1, "batch_size": 1}),
    (EngineConfig, {"repack": False, "mmap": False, "mlock": True, "check_tensors": True}),
    (EngineConfig, {"parallel": 256, "ctx_size": 8_000_000}),
    *[(EngineConfig, {"cache_type_k": name, "cache_type_v": name}) for name in CACHE_TYPES],
    *[(EngineConfig, {"flash_attn": name}) for name in ("on", "off", "auto")],
]


@pytest.mark.parametrize(("cls", "options"), GOOD)
def test_good_values(cls, options):
    made = from_mapping(cls, options)
    for name, value in options.items():
        kept = getattr(made, name)
        assert kept == (tuple(value) if name == "stop" else value)


BAD: list[tuple[type, dict[str, Any]]] = [
    *[
        (SamplingConfig, {"temperature": v})
        for v in (-0.1, 101, float("nan"), float("inf"), "0.5", True, None, 10**400)
    ],
    *[(SamplingConfig, {"top_k": v}) for v in (-2, -1.0, 1.0, 2.5, "20", True, None, 2**31, 10**400)],
    *[(SamplingConfig, {"top_p": v}) for v in (-0.1, 1.01, "1", None)],
    *[(SamplingConfig, {"min_p": v}) for v in (-0.1, 1.01, float("nan"))],
    *[(SamplingConfig, {"greedy": v}) for v in ("false", 0, None)],
    *[(SamplingConfig, {"seed": v}) for v in (-2, 2**63, 1.5, "1", 10**400)],
    *[(GenerationConfig, {"max_tokens": v}) for v in (-2, 1.5, "5", 2**31, False)],
    *[(GenerationConfig, {"stop": v}) for v in ("end", b"end", [""], ["a", 1], None, 5, [b"a"])],
    *[(EngineConfig, {"ctx_size": v}) for v in (-1, 1.5, "4096", None, 2**31)],
    *[(EngineConfig, {"gpu_layers": v}) for v in (-2, 0.5, "some")],
    *[(EngineConfig, {"tensor_split": v}) for v in ("", "3,x", "3,-1", "0,0", "inf")],
    *[(EngineConfig, {"rpc": v}) for v in ("host", "host:0", ":50052", "a:1,a:1", "a:70000")],
    *[(EngineConfig, {"split_mode": "columns"}), (EngineConfig, {"main_gpu": -1}), (EngineConfig, {"n_cpu_moe": -1})],
    *[(EngineConfig, {"threads": v}) for v in (0, -1, 513, "2")],
    *[(EngineConfig, {"batch_size": v}) for v in (0, -1, 65537)],
    *[(EngineConfig, {"parallel": v}) for v in (0, -1, 257)],
    *[(EngineConfig, {"cache_type_k": v}) for v in ("F16", "q6_k", "", None, 1, ["f16"])],
    *[(EngineConfig, {"cache_type_v": v}) for v in ("f64", {})],
    *[(EngineConfig, {"flash_attn": v}) for v in ("yes", True, None, 1)],
    *[(EngineConfig, {name: v}) for name in ("mmap", "mlock", "check_tensors", "repack") for v in ("yes", 1)],
    (EngineConfig, {"parallel": 2, "ctx_size": 2**30}),  # the product is llama.cpp's n_ctx
]


@pytest.mark.parametrize(("cls", "options"), BAD, ids=lambda value: str(value)[:40])
def test_bad_values(cls, options):
    with pytest.raises(OptionError) as caught:
        from_mapping(cls, options)
    message = str(caught.value)
    assert next(iter(options)) in message or "parallel" in message
    assert "\n" not in message
    assert isinstance(caught.value, SelarError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("cls", "name", "meaning"),
    [(SamplingConfig, "top_k", 0), (SamplingConfig, "seed", None), (GenerationConfig, "max_tokens", None)],
)
def test_minus_one_is_what_llama_cpp_means_by_it(cls, name, meaning):
    config = from_mapping(cls, {name: -1})
    assert getattr(config, name) == meaning and config == from_mapping(cls, {name: meaning})
    assert dataclasses.replace(config) == config


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 2**31}, "top_k must be at most 2147483647, not 2147483648"),
        ({"temperature": -1}, "temperature must be between 0 and 100, not -1"),
        ({"min_p": 1.5}, "min_p must be between 0 and 1, not 1.5"),
    ],
)
def test_messages_name_the_bounds_in_full(options, said):
    with pytest.raises(OptionError) as caught:
        from_mapping(SamplingConfig, options)
    assert str(caught.value) == said

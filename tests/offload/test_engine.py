"""The engine with layers on a device: what it keeps, what binds its answers, its process, and what `auto` chooses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.engine.engine import Engine
from selar_local.llama.devices import backend_devices, offload_devices

#: Whole chunks of a prompt are kept: small ones, so that there are some.
SETTINGS: dict[str, Any] = {"gpu_layers": "all", "ctx_size": 512, "parallel": 2, "batch_size": 16}
PROMPT = "Name three colours of the rainbow, then three animals that live in the sea, then three trees."


@pytest.fixture(scope="module")
def engine(small: Path) -> Iterator[Engine]:
    with sl.load(small, **SETTINGS) as opened:
        yield opened


def test_selar_explores(engine: Engine) -> None:
    result = engine.generate(PROMPT, method=sl.Selar(tau=0.1), max_tokens=6, seed=1)
    assert result.usage.completion_tokens == 6 and result.text.strip()
    assert result.usage.explored_steps > 0


def test_a_prompt_that_was_read_before_is_not_read_again(engine: Engine) -> None:
    first, second = (engine.generate(PROMPT, method="cot-greedy", max_tokens=5) for _ in range(2))
    assert second.tokens == first.tokens
    assert second.usage.cached_tokens > second.usage.prompt_tokens / 2


def test_a_grammar_binds(engine: Engine) -> None:
    result = engine.generate("Is the sky blue?", method="cot", grammar='root ::= "yes" | "no"', max_tokens=8, seed=1)
    assert result.text in ("yes", "no") and result.finish_reason == "stop"


def test_a_process_of_its_own_says_the_same(engine: Engine, small: Path) -> None:
    here = engine.generate(PROMPT, method="cot-greedy", max_tokens=5)
    with sl.load(small, **SETTINGS, isolated=True) as isolated:
        assert isolated.generate(PROMPT, method="cot-greedy", max_tokens=5).tokens == here.tokens


def test_layers_that_are_left_to_the_cpu_one_way_or_another(small: Path) -> None:
    texts = set()
    for options in ({"device": "none"}, {"gpu_layers": 0}, {"gpu_layers": "all", "kv_offload": False}):
        with sl.load(small, ctx_size=256, **options) as opened:
            texts.add(opened.generate("One, two, three,", raw=True, method="cot-greedy", max_tokens=5).text)
    assert len(texts) == 1


def test_auto_takes_all_where_it_fits(small: Path) -> None:
    with sl.load(small, ctx_size=512) as opened:
        assert "all 31 layers on" in str(opened.info.placement)


def test_experts_stay_with_the_cpu(family_model: object) -> None:
    path = family_model("qwen3moe")  # type: ignore[operator]
    answers = []
    for count in (0, 1):
        with sl.load(path, ctx_size=64, gpu_layers="all", n_cpu_moe=count) as opened:
            assert opened.info.injection_max_abs_diff == 0.0
            answers.append(opened.generate("ab", raw=True, method="cot-greedy", max_tokens=4, ignore_eos=True).tokens)
    assert answers[0] == answers[1]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "selar_local", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_a_context_that_does_not_fit_leaves_layers_to_the_cpu(small: Path) -> None:
    (device, *_) = offload_devices(backend_devices())
    tokens = 2 * device.memory_total // (30 * 2 * 2 * 192)  # twice what its KV cache could have there
    if tokens > 400_000:
        pytest.skip("a card so large needs another model")
    done = run("run", small, "-p", "One, two, three,", "--raw", "-n", 4, "-c", tokens, "--method", "cot-greedy")
    assert done.returncode == 0, done.stderr
    assert f" of 31 layers on {device.name}" in done.stderr and "all 31" not in done.stderr
    assert done.stdout.strip()


def test_the_doctor_names_the_device(small: Path) -> None:
    done = run("doctor", small, "--json", "-c", 256)
    report = json.loads(done.stdout)
    (card,) = [one for one in report["devices"] if one["type"] != "cpu"]
    assert report["gpu_offload"] and "gpu_hint" not in report
    assert {"CPU", "Vulkan"} <= set(report["backends"]) or len(report["backends"]) > 1
    assert 0 < card["fits"] < card["memory_total"]
    assert card["name"] in report["model"]["placement"]


def test_devices_are_listed() -> None:
    done = run("run", "--list-devices")
    assert done.returncode == 0 and " MiB free)" in done.stdout


def test_options_that_do_not_fit_the_machine(small: Path) -> None:
    for options, said in (
        ({"device": "CUDA9"}, "device must be among"),
        ({"split_mode": "none", "main_gpu": 9}, "main_gpu must be below"),
        ({"tensor_split": "1,1,1,1"}, "tensor_split has 4 shares"),
    ):
        with pytest.raises(sl.errors.OptionError, match=said):
            Engine(small, EngineConfig(ctx_size=256, **options))

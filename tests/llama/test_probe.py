"""The probe: files over which llama.cpp stops its process are refused, and this process lives."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.raw_gguf import tensor
from support.tiny_gguf import tiny_vocabulary, write_tiny_gguf

from selar_local import cache
from selar_local.config import EngineConfig
from selar_local.engine.child_process import CHILD_ARGUMENT
from selar_local.errors import ModelFileError, SelarError, UnsupportedModel
from selar_local.llama import probe
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.library import binding_version
from selar_local.llama.probe import Probe
from selar_local.llama.probe_process import LATE, STAGES
from selar_local.llama.runtime import LlamaRuntime
from selar_local.llama.vocabulary import read_vocabulary

ROOT = Path(__file__).resolve().parents[2]
TinyModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the probes that were started, instead of read from the cache."""
    commands: list[list[str]] = []
    original = subprocess.Popen

    def popen(command: list[str], *more: Any, **options: Any) -> Any:
        commands.append(command)
        return original(command, *more, **options)

    monkeypatch.setattr(probe.subprocess, "Popen", popen)
    return commands


def load(path: Path, **options: Any) -> None:
    """Open as an engine does. Its error is one line that begins with the file's name."""
    try:
        LlamaRuntime(path, EngineConfig(threads=1, ctx_size=64, gpu_layers=0, **options)).close()
    except SelarError as error:
        assert str(error).startswith(f"{path.name}")
        assert "\n" not in str(error)
        raise


def survive(path: Path, stage: str = "rows", build: str = "1", **options: Any) -> None:
    with Probe(path, "llama", build, **options) as running:
        running.survives(stage)


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "values", "words"),
    [
        ("llama", {"block_count": 0}, "n_layer_all > 0"),
        ("llama", {"block_count": 513}, "n_layer_all <= LLAMA_MAX_LAYERS"),
        ("llama", {"nextn_predict_layers": 2}, "wrong number of tensors"),
        ("llama", {"attention.layer_norm_rms_epsilon": -1e-5}, "eps >= 0.0f"),
        ("llama", {"attention.layer_norm_rms_epsilon": float("nan")}, "eps >= 0.0f"),
        ("llama", {"rope.scaling.type": "spiral"}, "ROPE_SCALING_TYPE_UNSPECIFIED"),
        ("llama", {"rope.dimension_count": 8}, "invalid n_rot: 8, expected 16"),
        ("llama", {"attention.head_count": 0}, "wrong shape"),
        ("llama", {"attention.head_count_kv": 3}, "wrong shape"),
        ("llama", {"attention.value_length": 8}, "wrong shape"),
        ("llama", {"expert_count": 1025}, "n_expert <= LLAMA_MAX_EXPERTS"),
        ("llama", {"expert_count": 4}, "n_expert_used_max > 0"),
        ("llama", {"expert_used_count": 1}, "n_expert_used_max <= hparams.n_expert"),
        ("llama", {"expert_group_count": 1}, "n_expert_groups == 0"),
        ("qwen3", {"rope.dimension_count": 0}, "n_embd_head == n_rot"),
        ("gemma3", {"rope.dimension_count_swa": 31}, "n_dims % 2 == 0"),
        ("gemma3", {"attention.sliding_window_pattern": 1}, "is_swa_any"),
        ("gemma3", {"attention.sliding_window_pattern": [False, False]}, "is_swa_any"),
        ("qwen2vl", {"rope.dimension_sections": [0, 0, 0, 8]}, "sections[0] > 0"),
        ("qwen2vl", {"rope.dimension_sections": [90, 0, 0, 0]}, "sect_dims <= ne0"),
    ],
)
def test_values_that_llama_cpp_stops_over(
    tmp_path: Path, architecture: str, values: dict[str, Any], words: str
) -> None:
    named = {f"{architecture}.{name}": value for name, value in values.items()}
    path = write_tiny_gguf(tmp_path / "m.gguf", architecture=architecture, metadata=named)
    with pytest.raises(ModelFileError, match=re.escape(words)):
        load(path)


TOKENS = tiny_vocabulary().tokens


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        ({"tokens": [*TOKENS[:-1], TOKENS[0]]}, "id_to_token.size() == token_to_id.size()"),
        ({"model": "llama", "scores": [0.0] * len(TOKENS)}, "unordered_map::at"),  # it has no <0x..> tokens
    ],
)
def test_vocabularies_that_llama_cpp_stops_over(tmp_path: Path, tokenizer: dict[str, Any], words: str) -> None:
    named = {f"tokenizer.ggml.{name}": value for name, value in tokenizer.items()}
    path = write_tiny_gguf(tmp_path / "m.gguf", metadata=named)
    with pytest.raises(ModelFileError, match=re.escape(words)):
        load(path)


def test_reading_the_vocabulary_alone(tmp_path: Path) -> None:
    tokens = {"tokenizer.ggml.tokens": [*TOKENS[:-1], TOKENS[0]]}
    path = write_tiny_gguf(tmp_path / "m.gguf", metadata=tokens)
    with pytest.raises(ModelFileError, match=r"^m\.gguf is damaged, or this llama\.cpp cannot run it"):
        read_vocabulary(path, [0])


@pytest.mark.parametrize(("name", "kind"), [("output_norm", 26), ("token_embd", 26), ("token_embd", 24)])
def test_tensor_types_that_llama_cpp_stops_over(tmp_path: Path, tiny: TinyModel, name: str, kind: int) -> None:
    """26 is i32, of the same size; 24 is i8."""
    raw = bytearray(tiny().read_bytes())
    shape = open_gguf(tiny()).tensors[f"{name}.weight"].shape
    entry = tensor(f"{name}.weight", shape)[: -struct.calcsize("<IQ")]
    at = bytes(raw).index(entry) + len(entry)
    raw[at : at + 4] = struct.pack("<I", kind)
    (tmp_path / "m.gguf").write_bytes(raw)
    with pytest.raises(ModelFileError):
        load(tmp_path / "m.gguf")


def test_an_architecture_that_stops_over_embeddings(tiny: TinyModel) -> None:
    """GLM-4 decodes tokens; fed rows, llama.cpp aborts."""
    path = tiny(architecture="glm4")
    refusal = pytest.raises(UnsupportedModel, match=r"takes no vectors: llama.cpp stops when architecture glm4 is fed")
    with Probe(path, "glm4", binding_version) as probed, refusal:
        probed.survives("rows")
    load(path)
    with Probe(path, "glm4", binding_version) as known:  # a verdict about rows is none about the vocabulary
        known.survives("ids")
    assert read_vocabulary(path, [0]).n_vocab == len(TOKENS)


@pytest.mark.parametrize("architecture", ["dream", "llada"])
def test_a_diffusion_model(tiny: TinyModel, architecture: str) -> None:
    sizes = {
        key.removeprefix("llama."): value
        for key, value in open_gguf(tiny()).metadata.items()
        if key.startswith("llama.")
    }
    named = {f"{architecture}.{key}": value for key, value in sizes.items()}
    with pytest.raises(UnsupportedModel, match="is a diffusion model"):
        load(tiny(metadata={"general.architecture": architecture, **named}))


@pytest.mark.parametrize("tokenizer", ["none", "no_vocab"])
def test_a_model_without_a_tokenizer(tmp_path: Path, tokenizer: str) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", metadata={"tokenizer.ggml.model": tokenizer})
    with pytest.raises(UnsupportedModel, match=r"^m\.gguf has no tokenizer"):
        load(path)


@pytest.mark.skipif(sys.platform == "win32", reason="every mutation runs in a forked process")
@pytest.mark.parametrize("options", [["--architecture", "llama"], ["--architecture", "gemma3", "--sentencepiece"]])
def test_damage_never_kills_the_process(options: list[str]) -> None:
    """A few of the thousands of mutations that scripts/fuzz_gguf.py tries, from opening to text."""
    command = [sys.executable, str(ROOT / "scripts" / "fuzz_gguf.py"), "--mutations", "40", "--seed", "7", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40  mutations" in done.stdout


# -- what is started, and what is remembered ---------------------------------------------------


def test_one_probe_for_each_file_and_build(tiny: TinyModel, started: list[list[str]]) -> None:
    survive(tiny())
    survive(tiny())
    assert len(started) == 1
    survive(tiny(), build="2")
    survive(tiny(seed=1))
    survive(tiny(), again=True)
    assert len(started) == 4


def test_a_death_is_remembered(tiny: TinyModel, started: list[list[str]]) -> None:
    for _ in range(2):
        with pytest.raises(UnsupportedModel, match="glm4"):
            survive(tiny(architecture="glm4"))
    assert len(started) == 1


@pytest.mark.parametrize("entry", [{}, {"reached": "never"}, {"reached": 7}, {"x": 1}])
def test_a_cache_entry_that_is_not_sound(
    tiny: TinyModel, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]
) -> None:
    monkeypatch.setattr(cache, "read", lambda _key: entry)
    survive(tiny())
    assert len(started) == 1


def pretend(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A probe that does something else."""
    monkeypatch.setattr(probe, "_command", lambda: [sys.executable, "-c", code])


def test_one_that_never_ends(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, f"print('open'); raise SystemExit({LATE})")
    with pytest.raises(ModelFileError, match="it never ends"):
        survive(tiny())


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "kept"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGFPE, True)])
def test_a_signal(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch, started: list[list[str]], number: int, kept: bool
) -> None:
    """One from outside says nothing about the file."""
    pretend(monkeypatch, f"import os; print('open', flush=True); os.kill(os.getpid(), {int(number)})")
    for _ in range(2):
        with pytest.raises(ModelFileError, match=f"signal {int(number)}"):
            survive(tiny())
    assert len(started) == 2 - kept


@pytest.mark.parametrize("command", [[sys.executable, "-c", "1/0"], [sys.executable, "-c", ""], ["", "x"]])
def test_one_that_cannot_start_holds_nobody_up(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: list[str]
) -> None:
    """A Python inside another program has no interpreter of its own to start."""
    monkeypatch.setattr(probe, "_command", lambda: command)
    load(tiny())
    assert "is opened without a probe" in caplog.text


def test_a_frozen_app_is_started_only_where_it_knows_the_word(
    tiny: TinyModel, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    load(tiny())
    assert started == []
    monkeypatch.setattr(sys, "argv", [sys.argv[0], CHILD_ARGUMENT])
    assert probe._command() == [sys.executable, probe.PROBE_ARGUMENT]


def test_a_frozen_app_becomes_the_probe(tiny: TinyModel) -> None:
    code = "import selar_local as sl; sl.run_child_if_asked()"
    words = [sys.executable, "-c", code, probe.PROBE_ARGUMENT, str(tiny())]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == list(STAGES)


def test_it_says_that_it_waits_and_can_be_given_up(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import time; print('open', flush=True); time.sleep(60)")

    def give_up() -> None:
        raise KeyboardInterrupt

    running = Probe(tiny(), "llama", "1")
    with pytest.raises(KeyboardInterrupt), running:
        running.survives("open", on_wait=give_up)
    assert running._process is not None and running._process.returncode != 0


def test_the_app_is_not_imported_again(tmp_path: Path, tiny: TinyModel) -> None:
    """Not the program's own module, and none of the folder it runs in."""
    app = "import selar_local as sl\nprint('app')\nsl.load({!r}, threads=1, ctx_size=64).close()\n"
    (tmp_path / "app.py").write_text(app.format(str(tiny())), encoding="utf-8")
    if sys.version_info >= (3, 11):
        (tmp_path / "queue.py").write_text("raise ImportError('the folder of the app')\n", encoding="utf-8")
    words = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "app.py"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert done.stdout == "app\n"
    (verdict,) = [text for text in verdicts(tmp_path / "cache") if "reached" in text]
    assert verdict["reached"] == "end"


def verdicts(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in folder.iterdir()]

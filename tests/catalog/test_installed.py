"""The list of models: every store, one row a model, and names that `resolve` takes."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from support.raw_gguf import STRING, U32, key, text

from selar_local import catalog
from selar_local.catalog import bundled
from selar_local.catalog.bundled import Bundled
from selar_local.errors import ModelNotFound
from selar_local.llama import gguf_reader

from .conftest import model_bytes, write


def listed():
    return [entry.name for entry in catalog.installed_models()]


def refusal(reference):
    with pytest.raises(ModelNotFound) as caught:
        catalog.resolve(reference)
    return str(caught.value)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No name of the list may need the network, or huggingface_hub."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def test_nothing_on_a_new_machine(monkeypatch):
    monkeypatch.setattr(bundled, "BUNDLED", {"small": Bundled("no_such_package", "s.gguf", "x", "")})
    assert listed() == []
    assert refusal("lmstudio:a/b") == "there is no model of LM Studio's on this machine"
    assert refusal("llamacpp:a/b") == "there is no model of llama.cpp's on this machine"


def test_the_cache_of_the_hub(machine, monkeypatch, tmp_path):
    machine.hub_file("o/r", "old-Q4_K_M.gguf", commit="a" * 40)
    first = machine.hub_file("o/r", "m-Q8_0.gguf", model_bytes("old"), commit="a" * 40)
    newest = machine.hub_file("o/r", "m-Q8_0.gguf", model_bytes("newer"))
    os.utime(first.parent, (2**31, 2**31))  # main counts, not the clock
    for file in ("mmproj-F16.gguf", "imatrix.gguf", "README.md", "big-00001-of-00002.gguf"):
        machine.hub_file("o/r", file)
    machine.hub_file("o/r", "projector.gguf", model_bytes("", key("general.type", STRING, text("mmproj"))))
    parts = [machine.hub_file("other/deep", f"Q4/x-0000{i}-of-00002.gguf", model_bytes(str(i))) for i in (1, 2)]
    write(machine.hub / "models--gpt2" / "snapshots" / "x" / "m.gguf")  # an old repository without an owner
    write(machine.hub / "datasets--o--d" / "snapshots" / "x" / "m.gguf")
    assert listed() == ["hf:o/r:m-Q8_0.gguf", "hf:o/r:old-Q4_K_M.gguf", "hf:other/deep:Q4/x-00001-of-00002.gguf"]
    assert catalog.resolve("hf:o/r:m-Q8_0.gguf") == newest
    assert catalog.resolve("hf:other/deep:Q4/x-00001-of-00002.gguf") == parts[0]
    deep = list(catalog.installed_models())[-1]
    assert deep.size == sum(part.stat().st_size for part in parts) > newest.stat().st_size
    for variable, folder in (("HF_HUB_CACHE", "a"), ("HF_HOME", "b/hub"), ("XDG_CACHE_HOME", "c/huggingface/hub")):
        write(tmp_path / folder / "models--p--q" / "snapshots" / "s" / "m.gguf")
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(tmp_path / folder.split("/")[0]))
            assert listed() == ["hf:p/q:m.gguf"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_links_of_the_cache_that_lead_nowhere(machine):
    path = machine.hub_file("o/r", "m.gguf")
    path.unlink()
    path.symlink_to(path.parent / "missing")
    (path.parent / "loop").symlink_to(path.parent)
    (path.parent / "self.gguf").symlink_to(path.parent / "self.gguf")
    assert listed() == []


def test_lm_studio(machine, tmp_path):
    base = machine.home / ".lmstudio" / "models"
    only = write(base / "lmstudio-community" / "Qwen3-4B-GGUF" / "Qwen3-4B-Q4_K_M.gguf", model_bytes(file_type=15))
    write(base / "lmstudio-community" / "Qwen3-4B-GGUF" / "mmproj-x.gguf")
    two = [write(base / "p" / "m" / f"m-{quant}.gguf") for quant in ("Q4_K_M", "Q8_0")]
    deeper = write(base / "p" / "deep" / "sub" / "x.gguf")
    loose = write(base / "loose.gguf")
    older = write(machine.home / ".cache" / "lm-studio" / "models" / "old" / "m" / "m.gguf")
    assert listed() == [
        "lmstudio:lmstudio-community/Qwen3-4B-GGUF", "lmstudio:loose.gguf", "lmstudio:old/m", "lmstudio:p/deep",
        "lmstudio:p/m:m-Q4_K_M.gguf", "lmstudio:p/m:m-Q8_0.gguf",
    ]  # fmt: skip
    assert catalog.resolve("lmstudio:LMStudio-Community/qwen3-4b-gguf") == only
    assert catalog.resolve("lmstudio:p/m") == catalog.resolve("lmstudio:p/m:q4_k_m") == two[0]
    assert catalog.resolve("lmstudio:p/m:m-Q8_0.gguf") == two[1]
    assert catalog.resolve("lmstudio:loose.gguf") == loose and catalog.resolve("lmstudio:old/m") == older
    assert catalog.resolve("lmstudio:p/deep") == catalog.resolve("lmstudio:p/deep:x.gguf") == deeper
    assert "did you mean 'lmstudio:lmstudio-community/Qwen3-4B-GGUF'" in refusal("lmstudio:lmstudio-community/Qwen3-4B")
    assert "p/m has no model 'Q2_K'; it has: m-Q4_K_M.gguf, m-Q8_0.gguf" in refusal("lmstudio:p/m:Q2_K")
    assert "it has: " in refusal("lmstudio:something else")
    with pytest.raises(ModelNotFound, match="lms get a/b"):
        catalog.pull("lmstudio:a/b")


@pytest.mark.parametrize(
    "settings", ["", "{", "[]", '{"downloadsFolder": 5}', '{"downloadsFolder": "a\\u0000b"}', "\xff"]
)
def test_settings_of_lm_studio_that_say_nothing(machine, settings):
    write(machine.home / ".lmstudio" / "settings.json", settings.encode("latin-1"))
    write(machine.home / ".lmstudio" / "models" / "p" / "m" / "m.gguf")
    assert listed() == ["lmstudio:p/m"]


def test_settings_of_lm_studio_name_a_folder(machine, tmp_path):
    write(tmp_path / "moved" / "p" / "m" / "m.gguf")
    write(machine.home / ".lmstudio" / "settings.json", json.dumps({"downloadsFolder": str(tmp_path / "moved")}))
    assert listed() == ["lmstudio:p/m"]
    write(tmp_path / "pointed" / "models" / "q" / "m" / "m.gguf")
    write(machine.home / ".lmstudio-home-pointer", f"{tmp_path / 'pointed'}\n")
    assert listed() == ["lmstudio:p/m", "lmstudio:q/m"]


def llama_cpp_folder(machine):
    if sys.platform == "darwin":
        return machine.home / "Library" / "Caches" / "llama.cpp"
    return machine.home / ".cache" / "llama.cpp"


@pytest.mark.skipif(sys.platform == "win32", reason="there it needs LOCALAPPDATA")
def test_the_cache_of_llama_cpp(machine):
    folder = llama_cpp_folder(machine)
    write(folder / "manifest=ggml-org=gemma-3-1b-it-GGUF=latest.json", "not JSON, and not read")
    gemma = write(folder / "ggml-org_gemma-3-1b-it-GGUF_gemma-3-1b-it-Q4_K_M.gguf")
    write(folder / "ggml-org_gemma-3-1b-it-GGUF_mmproj-model-f16.gguf")
    for tag in ("Q4_K_M", "Q8_0"):
        write(folder / f"manifest=o=r={tag}.json", "{}")
    two = [write(folder / f"o_r_m-{tag}.gguf") for tag in ("Q4_K_M", "Q8_0")]
    loose = write(folder / "from-a-url.gguf")
    write(folder / "half.gguf.downloadInProgress")
    assert listed() == [
        "llamacpp:from-a-url.gguf", "llamacpp:ggml-org/gemma-3-1b-it-GGUF", "llamacpp:o/r:m-Q4_K_M.gguf",
        "llamacpp:o/r:m-Q8_0.gguf",
    ]  # fmt: skip
    assert catalog.resolve("llamacpp:ggml-org/gemma-3-1b-it-GGUF") == gemma
    assert catalog.resolve("llamacpp:ggml-org/gemma-3-1b-it-GGUF:Q4_K_M") == gemma
    assert [catalog.resolve(f"llamacpp:o/r:{tag}") for tag in ("q4_k_m", "Q8_0")] == two
    assert catalog.resolve("llamacpp:from-a-url.gguf") == loose
    assert "did you mean 'llamacpp:from-a-url.gguf'" in refusal("llamacpp:from-url.gguf")


def test_llama_cache_names_a_folder(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "cache"))
    flat = write(tmp_path / "cache" / "m.gguf")
    newer = write(tmp_path / "cache" / "models--o--r" / "snapshots" / "s" / "x-Q8_0.gguf")
    assert listed() == ["llamacpp:m.gguf", "llamacpp:o/r"]
    assert catalog.resolve("llamacpp:m.gguf") == flat and catalog.resolve("llamacpp:o/r:Q8_0") == newer


@pytest.mark.skipif(sys.platform != "win32", reason="Windows has another place")
def test_llama_cpp_on_windows(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    write(tmp_path / "llama.cpp" / "m.gguf")
    assert listed() == ["llamacpp:m.gguf"]


def test_the_own_folder(machine, monkeypatch, tmp_path):
    folder = tmp_path / "models"
    monkeypatch.setenv("SELAR_LOCAL_MODELS", str(folder))
    path = write(folder / "Some-7B-Q5_K_M.gguf")
    below = write(folder / "sub" / "x.gguf")
    write(folder / ".hidden" / "y.gguf")
    write(folder / "bad.gguf", b"<html>")
    if os.name == "posix":
        write(folder / "no\nname.gguf")
    small = Bundled("no_such_package", "small.gguf", "x", "")
    monkeypatch.setattr(bundled, "BUNDLED", {"small": small})
    assert listed() == ["Some-7B-Q5_K_M.gguf", "sub/x.gguf"]
    some = next(iter(catalog.installed_models()))
    assert (some.quantisation, some.parameters, some.source) == ("Q5_K_M", "7B", "models folder")
    assert catalog.resolve("Some-7B-Q5_K_M.gguf") == path and catalog.resolve("sub/x.gguf") == below
    assert "did you mean 'Some-7B-Q5_K_M.gguf'?" in refusal("some-7b-q5_k_m")
    own = write(folder / "small.gguf")
    assert listed() == ["small", "Some-7B-Q5_K_M.gguf", "sub/x.gguf"]
    assert catalog.resolve("small") == catalog.resolve(None) == own
    monkeypatch.chdir(folder / "sub")
    local = write(Path("Some-7B-Q5_K_M.gguf"))
    assert catalog.resolve("Some-7B-Q5_K_M.gguf") == local  # a file here comes first


@pytest.mark.parametrize("seed", range(40))
def test_every_name_of_the_list_opens_what_it_says(machine, monkeypatch, tmp_path, seed):
    """Random files in all stores at once: whole models are listed once, and each name leads to its file."""
    chance = random.Random(seed)
    monkeypatch.setenv("SELAR_LOCAL_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    words = ["m", "Qwen3-4B", "x.y", "a_b", "mmproj-a", "deep/m", "M", "m:Q8" if os.name == "posix" else "m"]
    endings = ["-Q4_K_M.gguf", "-Q8_0.gguf", ".gguf", ".GGUF", ".txt", "-00001-of-00002.gguf", "-00002-of-00002.gguf"]

    def file():
        return chance.choice(words) + chance.choice(endings)

    for number in range(chance.randrange(25)):
        data = model_bytes(str(number)) if chance.random() < 0.9 else b"no model"
        place = chance.randrange(5)
        if place == 0:
            machine.hub_file(chance.choice(["o/r", "o/r.x", "p/r"]), file(), data, chance.choice("ab") * 40)
        elif place == 1:
            tag = chance.choice(["latest", "8b", "Q4_K_M"])
            machine.ollama_model(f"registry.ollama.ai/library/{chance.choice(['a', 'b'])}/{tag}", data)
        elif place == 2:
            write(machine.home / ".lmstudio" / "models" / chance.choice(["", "p", "p/m", "q/m"]) / file(), data)
        elif place == 3:
            write(tmp_path / "llama" / chance.choice(["", "models--o--r/snapshots/s", "o_r_"]) / file(), data)
        else:
            write(tmp_path / "models" / file(), data)
    entries = list(catalog.installed_models())
    assert len({entry.name for entry in entries}) == len(entries)
    for entry in entries:
        assert catalog.resolve(entry.name) == entry.path, entry.name
        assert entry.size > 0 and entry.path.read_bytes()[:4] == b"GGUF"


@pytest.mark.parametrize(
    ("general_name", "file", "shown"),
    [
        ("Qwen2.5 Coder 0.5B Instruct AWQ", "qwen.gguf", "Qwen2.5 Coder 0.5B Instruct"),
        ("Qwen2.5 Coder 1.5B Instruct GGUF", "qwen.gguf", "Qwen2.5 Coder 1.5B Instruct"),
        ("Gemma 3 270m", "g.gguf", "Gemma 3 270m"),
        ("Smollm2 135M 8k Lc100K Mix1 Ep2", "SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1"),
        ("  Two \n lines ", "x.gguf", "Two lines"),
        ("models", "x-Q4_K_M.gguf", "x-Q4_K_M"),
        ("LLaMA v2", "mistral-7b.gguf", "mistral-7b"),
        ("c1899de289a04d12100db370d81485cdf75e47ca", "x.gguf", "x"),
        ("/home/me/models/out", "x.gguf", "x"),
        ("Qwen/Qwen3-4B", "x.gguf", "x"),
        (".", "x.gguf", "x"),
        ("", "x.gguf", "x"),
        (None, "big-Q8_0-00001-of-00003.gguf", "big-Q8_0"),
        (5, "no-ending", "no-ending"),
        ("\x1b[31mred\x1b[0m", "x.gguf", "x"),
        ("n" * 300, "x.gguf", "x"),
        ("Deepseek-R1", "x.gguf", "Deepseek-R1"),
        ("Phi-4", "x.gguf", "Phi-4"),
    ],
)
def test_the_name_that_a_person_reads(general_name, file, shown):
    assert catalog.model_name(Path("folder") / file, general_name) == shown


def test_no_model_is_read_beyond_its_beginning(machine, monkeypatch):
    head = model_bytes(
        "", key("general.file_type", U32, struct.pack("<I", 15)), key("tokenizer.ggml.model", STRING, text("x"))
    )
    path = machine.hub_file("o/r", "m.gguf", head + bytes(1 << 20))
    reached = []
    take = gguf_reader._Walker.take
    monkeypatch.setattr(
        gguf_reader._Walker, "take", lambda self, size: reached.append(self.position + size) or take(self, size)
    )
    (entry,) = catalog.installed_models()
    assert entry.size == path.stat().st_size and entry.quantisation == "Q4_K_M"
    assert 0 < max(reached) <= len(head)


def test_the_list_needs_no_heavy_library():
    heavy = {"llama_cpp", "huggingface_hub", "gguf", "requests", "httpx", "tqdm", "jinja2"}
    code = "import sys; from selar_local import catalog; list(catalog.installed_models())"
    code += f"; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "set()"

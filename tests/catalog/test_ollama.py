"""Ollama's store: names as Ollama reads them, hostile manifests, and what people are told."""

from __future__ import annotations

import json
import os
import random
import string
from pathlib import Path

import pytest

from selar_local import catalog
from selar_local.catalog.ollama import OllamaName, parse_name
from selar_local.errors import ModelFileError, ModelNotFound, SelarError, UnsupportedModel

from .conftest import model_bytes, write

LIBRARY = "registry.ollama.ai/library"


def refusal(reference, kind=ModelNotFound):
    with pytest.raises(kind) as caught:
        catalog.resolve(reference)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("qwen3", ("registry.ollama.ai", "library", "qwen3", "latest")),
        ("qwen3:8b", ("registry.ollama.ai", "library", "qwen3", "8b")),
        (
            "qwen2.5-coder:0.5b-instruct-q4_K_M",
            ("registry.ollama.ai", "library", "qwen2.5-coder", "0.5b-instruct-q4_K_M"),
        ),
        ("me/model", ("registry.ollama.ai", "me", "model", "latest")),
        ("hf.co/Qwen/Qwen3-4B-GGUF:Q4_K_M", ("hf.co", "Qwen", "Qwen3-4B-GGUF", "Q4_K_M")),
        ("localhost:5000/library/m", ("localhost:5000", "library", "m", "latest")),
        ("localhost:5000/library/m:t", ("localhost:5000", "library", "m", "t")),
    ],
)
def test_names_are_completed(text, full):
    assert parse_name(text) == OllamaName(*full)


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", ":b", "/a", "a/", "a//b", "a/b/c/d", "../a", "a/../b", "..", ".", "a:..", "a b", "a\0b", "a:b:c",
     "-a", "é", "a" * 81, "a:" + "b" * 81, "a\\b"],
)  # fmt: skip
def test_what_is_no_name(text):
    assert parse_name(text) is None and parse_name(text + "\n") is None
    assert "not of the form ollama:model" in refusal(f"ollama:{text}")


def test_a_name_reads_as_it_is_shown():
    chance = random.Random(0)

    def word(signs):
        first = chance.choice(string.ascii_letters + string.digits + "_")
        return first + "".join(chance.choices(string.ascii_letters + string.digits + signs, k=chance.randrange(12)))

    for _ in range(200):
        host = chance.choice(["registry.ollama.ai", "hf.co", "localhost:5000", word("_-.:")])
        owner, tag = chance.choice(["library", word("_-")]), chance.choice(["latest", word("_-.")])
        name = OllamaName(host, owner, word("_-."), tag)
        assert parse_name(str(name)) == name


def test_names_lead_to_blobs(machine):
    first = machine.ollama_model(f"{LIBRARY}/qwen3/8b", model_bytes("a"))
    second = machine.ollama_model(f"{LIBRARY}/qwen3/latest", model_bytes("b"))
    third = machine.ollama_model("hf.co/Qwen/Qwen3-4B-GGUF/Q4_K_M", model_bytes("c"))
    fourth = machine.ollama_model("registry.ollama.ai/me/mine/latest", model_bytes("d"))
    assert catalog.resolve("ollama:qwen3:8b") == catalog.resolve("ollama:QWEN3:8B") == first
    assert catalog.resolve("ollama:qwen3") == catalog.resolve(f"ollama:{LIBRARY}/qwen3") == second
    assert catalog.resolve("ollama:hf.co/Qwen/Qwen3-4B-GGUF:Q4_K_M") == third
    assert catalog.resolve("ollama:me/mine") == fourth
    assert first.suffix == "" and first.name.startswith("sha256-")
    assert catalog.resolve(first) == first  # the path of a blob is a path


def test_upper_and_lower_case_may_name_two_models(machine):
    if (machine.home / "HOME").exists() or (machine.home.parent / "HOME").exists():
        pytest.skip("the file system knows no upper case")
    upper = machine.ollama_model("hf.co/A/M/Q4", model_bytes("a"))
    lower = machine.ollama_model("hf.co/a/m/q4", model_bytes("b"))
    assert (catalog.resolve("ollama:hf.co/A/M:Q4"), catalog.resolve("ollama:hf.co/a/m:q4")) == (upper, lower)


def test_other_places(machine, monkeypatch, tmp_path):
    blob = machine.ollama_model(f"{LIBRARY}/m/latest")
    moved = tmp_path / "elsewhere"
    machine.ollama.rename(moved)
    assert "no model of Ollama's" in refusal("ollama:m")
    monkeypatch.setattr("selar_local.catalog.ollama._SERVICES", (str(moved),))
    assert catalog.resolve("ollama:m").name == blob.name
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "none"))
    assert "ollama pull m" in refusal("ollama:m")
    monkeypatch.setenv("OLLAMA_MODELS", str(moved))
    assert catalog.resolve("ollama:m") == moved / "blobs" / blob.name
    # Older versions of Ollama: a colon in the blob's name. Windows has no such names.
    if os.name == "posix":
        (moved / "blobs" / blob.name).rename(moved / "blobs" / blob.name.replace("-", ":"))
        assert catalog.resolve("ollama:m").name == blob.name.replace("-", ":")


def test_near_misses(machine):
    machine.ollama_model(f"{LIBRARY}/qwen3/8b")
    machine.ollama_model(f"{LIBRARY}/llama3.2/latest")
    assert "did you mean 'ollama:qwen3:8b'? Else get it with: ollama pull qwen3:9b" in refusal("ollama:qwen3:9b")
    assert "machine, only: llama3.2:latest, qwen3:8b; get it with: ollama pull gemma3:latest" in refusal(
        "ollama:gemma3"
    )
    assert "did you mean 'ollama:qwen3:8b'? Else get it with: ollama pull qwen3:latest" in refusal("ollama:qwen3")
    machine.ollama_model(f"{LIBRARY}/qwen3/14b")
    assert "machine, only: qwen3:14b, qwen3:8b; get" in refusal("ollama:qwen3")
    # the name alone, as one types it for Ollama
    assert "did you mean 'ollama:qwen3:8b'?" in refusal("qwen3:8b")
    assert "did you mean 'ollama:llama3.2:latest'?" in refusal("llama3.2")


HOSTILE = {
    "no JSON": b"{",
    "no object": b"[]",
    "no layers": b"{}",
    "layers of text": b'{"layers": "x"}',
    "a layer of text": b'{"layers": ["x"]}',
    "no media type": b'{"layers": [{"digest": "sha256:00"}]}',
    "a number as media type": b'{"layers": [{"mediaType": 5}]}',
    "not UTF-8": b'{"layers": "\xff\xfe"}',
    "nested deeply": b'{"layers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "empty": b"",
    "too large": b'{"layers": [' + b" " * (1 << 22) + b"]}",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_damaged_manifests(machine, kind):
    good = machine.ollama_model(f"{LIBRARY}/good/latest")
    machine.manifest(f"{LIBRARY}/bad/latest", HOSTILE[kind])
    assert "manifest of bad:latest is damaged; get it with: ollama pull bad:latest" in refusal(
        "ollama:bad", ModelFileError
    )
    assert [entry.name for entry in catalog.installed_models()] == ["ollama:good:latest"]
    assert catalog.file_label(good) == "ollama:good:latest"


def layer(digest, kind="model"):
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest}


@pytest.mark.parametrize(
    "digest",
    ["sha256:" + "0" * 64, "sha256:../../../secret", "../../secret.gguf", "sha256-" + "../" * 21 + "x", "", None, 5, [],
     "sha256:" + "g" * 64, "sha256:" + "0" * 63, "md5:" + "0" * 64, "/etc/passwd", "sha256:" + "0" * 64 + "/../../x"],
)  # fmt: skip
def test_digests_lead_nowhere_else(machine, digest):
    for place in (machine.ollama, machine.ollama / "blobs", machine.home):
        write(place / "secret.gguf")
        write(place / "secret")
    machine.manifest(f"{LIBRARY}/m/latest", json.dumps({"layers": [layer(digest)]}))
    assert "is missing, or cannot be read; get it with: ollama pull m:latest" in refusal("ollama:m")
    assert list(catalog.installed_models()) == []


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "may run on Ollama's servers"),
        ([layer("sha256:" + "0" * 64, "tensor")] * 3, "stored as safetensors"),
        ([layer("sha256:" + "0" * 64)] * 2, "several files"),
        ([layer("sha256:" + "0" * 64), layer("sha256:" + "1" * 64, "adapter")], "an adapter"),
    ],
)
def test_models_that_are_no_gguf_file(machine, layers, words):
    machine.manifest(f"{LIBRARY}/m/latest", json.dumps({"layers": layers}))
    assert words in refusal("ollama:m", UnsupportedModel)
    assert list(catalog.installed_models()) == []


def test_any_manifest_ends_in_a_file_of_the_store_or_in_one_line(machine):
    chance = random.Random(0)
    digest, blob = machine.ollama_blob(model_bytes("x"))
    values = [
        None, 5, "x", [], {}, digest, "sha256:../x", layer(digest), layer(digest, "template"), layer("x"),
        [layer(digest)],
    ]  # fmt: skip

    def value():
        return chance.choice(values)

    for _ in range(200):
        content = {name: value() for name in ("config", "layers", "schemaVersion") if chance.random() < 0.9}
        if chance.random() < 0.6:
            content["layers"] = [value() for _ in range(chance.randrange(4))]
        machine.manifest(f"{LIBRARY}/m/latest", json.dumps(content))
        try:
            assert catalog.resolve("ollama:m") == blob
        except SelarError as error:
            assert "\n" not in str(error) and "m:latest" in str(error)
        assert {entry.path for entry in catalog.installed_models()} <= {blob}


def test_folders_and_odd_names_among_the_manifests(machine):
    machine.ollama_model(f"{LIBRARY}/good/latest")
    (machine.ollama / "manifests" / LIBRARY / "folder" / "latest").mkdir(parents=True)
    for odd in (
        "registry.ollama.ai/stray",
        f"{LIBRARY}/a b/latest",
        f"{LIBRARY}/.hidden/latest",
        f"{LIBRARY}/m/l\u00e9",
    ):
        machine.manifest(odd, "{}")
    assert [entry.name for entry in catalog.installed_models()] == ["ollama:good:latest"]
    assert "cannot be read" in refusal("ollama:folder", ModelFileError) or os.name == "nt"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions bind only other users than root")
def test_a_store_that_may_not_be_read(machine):
    machine.ollama_model(f"{LIBRARY}/m/latest")
    (machine.ollama / "blobs").chmod(0)
    try:
        assert "cannot be read" in refusal("ollama:m")
        assert list(catalog.installed_models()) == []
    finally:
        (machine.ollama / "blobs").chmod(0o755)


def test_sizes_and_facts_come_from_ollamas_own_words(machine):
    config = {"model_format": "gguf", "model_type": "8.2B", "file_type": "Q4_K_M"}
    data = model_bytes(file_type=7)
    machine.ollama_model(f"{LIBRARY}/qwen3/8b", data, config)
    machine.ollama_model(
        f"{LIBRARY}/other/latest", model_bytes("b", file_type=7), {"model_type": 5, "file_type": "x" * 99}
    )
    other, qwen = catalog.installed_models()
    assert (qwen.quantisation, qwen.parameters, qwen.size, qwen.source) == ("Q4_K_M", "8.2B", len(data), "Ollama")
    assert (other.quantisation, other.parameters) == ("Q8_0", None)


def test_labels_of_blobs(machine, tmp_path):
    data = model_bytes("Some Model 7B")
    blob = machine.ollama_model(f"{LIBRARY}/qwen3/latest", data, template=b"x", params=b"{}")
    assert catalog.file_label(blob) == catalog.file_stem(blob) == "ollama:qwen3:latest"
    machine.ollama_model(f"{LIBRARY}/qwen3/8b", data)
    assert catalog.file_label(blob) == catalog.model_name(blob, "Some Model 7B") == "ollama:qwen3:8b"
    assert catalog.unused_parts(blob) == ["template", "params"]
    unknown = write(tmp_path / "blobs" / f"sha256-{'0' * 64}")
    assert catalog.file_label(unknown) == unknown.name and catalog.unused_parts(unknown) == []
    assert catalog.file_label(Path("a/m.gguf")) == "m.gguf" and catalog.unused_parts(Path("a/m.gguf")) == []
    assert catalog.file_stem(Path("a/qwen2.5:7b.x.gguf")) == "qwen2.5:7b.x"


def test_pull_says_what_to_do(machine):
    with pytest.raises(ModelNotFound, match=r"with Ollama: ollama pull qwen3:8b$"):
        catalog.pull("ollama:qwen3:8b")

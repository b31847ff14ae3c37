"""`selar-local doctor`: the machine, a model's facts, the injection check."""

from __future__ import annotations

import json

import llama_cpp
import pytest

from selar_local import __version__


def test_the_machine_alone(cli):
    report = json.loads(cli("doctor", "--json").out)
    assert report["selar_local"] == __version__
    assert report["llama_cpp_python"] == llama_cpp.__version__
    assert any(device["type"] == "cpu" for device in report["devices"])
    assert report["gpu_offload"] == ("gpu_hint" not in report)
    assert "smollm2-135m" in report["bundled_models"] and "model" not in report


def test_a_model_and_its_injection_check(tiny, cli):
    path = tiny(architecture="qwen2", weight_type="Q8_0")
    done = cli("doctor", path, "--json", "-t", "1", "-c", "512")
    report = json.loads(done.out)
    model = report["model"]
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert report["injection_max_abs_diff"] == model["injection_max_abs_diff"] == 0
    assert (model["architecture"], model["embedding_type"], model["input_scale"]) == ("qwen2", "q8_0", 1.0)
    assert (model["size"], model["threads"], model["ctx_size"]) == (path.stat().st_size, 1, 512)


def test_the_input_scale_of_gemma(tiny, cli):
    report = json.loads(cli("doctor", tiny(architecture="gemma3"), "--json", "-t", "1").out)
    assert report["model"]["input_scale"] == pytest.approx(8.0)  # the root of its width, 64


def test_a_page_that_a_person_reads(model, cli):
    done = cli("doctor", model, "-t", "1")
    facts = dict(line.split(":", 1) for line in done.out.splitlines() if ":" in line)
    assert done.code == 0 and done.err == ""
    assert facts["selar-local"].strip() == __version__
    assert facts["architecture"].strip() == "llama"
    assert facts["size"].strip() == f"{model.stat().st_size:,} bytes"
    assert facts["chat_template"].strip() == "no"
    assert facts["injection check"].startswith(" exact")


def test_a_model_that_takes_ids_alone(family_model, cli):
    page = cli("doctor", family_model("glm4"), "-t", "1")
    assert page.code == 0
    assert "soft methods cannot be used, the others can: " in page.out
    assert "the file lacks glm4.rope.dimension_sections" in page.out
    report = json.loads(cli("doctor", family_model("gemma3n"), "--json", "-t", "1").out)
    assert report["injection_max_abs_diff"] is None
    assert "takes no vectors" in report["model"]["no_vectors"] and "hint" not in report["model"]
    with_sections = json.loads(cli("doctor", family_model("glm4v"), "--json", "-t", "1").out)
    assert with_sections["injection_max_abs_diff"] == 0 and with_sections["model"]["no_vectors"] is None


def test_what_makes_answers_worse(tiny, cli):
    done = cli("doctor", tiny(metadata={"tokenizer.ggml.pre": None}), "-t", "1", "-c", "512")
    assert (
        "warnings:" in done.out and "does not name its pre-tokenizer" in done.out and done.err.startswith("warning: ")
    )

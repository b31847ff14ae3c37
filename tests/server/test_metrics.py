"""/metrics, /health, /v1/models and the request log."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.ollama_store import put_model

import selar_local as sl
from selar_local.server.app import create_app
from selar_local.server.config import ServerConfig
from selar_local.server.metrics import Metrics

from .conftest import Api, sample

SAMPLE = re.compile(r'^selar_local_[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+$')


def test_everything_is_counted(api):
    first = api.chat(selar={"tau": 0, "symbol_guard": False}).json()["usage"]
    second = api.text(stream=True, n=2)
    assert second.status_code == 200
    api.chat(messages=[])
    api.text("a b " * 2000)
    api.chat(grammar="no grammar")
    api.get("/no/such/path")
    metric = api.metric
    assert metric('requests_total{endpoint="/v1/chat/completions",status="200"}') == 1
    assert metric('requests_total{endpoint="/v1/chat/completions",status="400"}') == 2
    assert metric('requests_total{endpoint="/v1/completions",status="200"}') == 1
    assert metric('requests_total{endpoint="other",status="404"}') == 1
    assert metric('generations_total{finish_reason="length"}') == 3
    with pytest.raises(KeyError):  # what was refused is no generation
        metric('generations_total{finish_reason="error"}')
    assert metric("completion_tokens_total") == 24
    assert metric("prompt_tokens_total") > first["prompt_tokens"]
    assert metric("exploration_steps_total") >= 8
    assert metric("requests_running") == metric("requests_waiting") == 0
    for name in ("time_to_first_token_seconds", "time_per_token_seconds", "request_seconds"):
        assert metric(f"{name}_count") == metric(name + '_bucket{le="+Inf"}') == 3
        assert metric(f"{name}_sum") > 0


def test_it_is_prometheus_text(api):
    api.chat()
    response = api.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.endswith("\n")
    described = set()
    for line in response.text.splitlines():
        if line.startswith("# "):
            described.add(line.split()[2])
            continue
        assert SAMPLE.match(line), line
        name = re.sub(r"_(bucket|sum|count)$", "", re.split(r"[{ ]", line)[0])
        assert name in described or re.split(r"[{ ]", line)[0] in described


def test_a_bucket_holds_what_is_below_it():
    metrics = Metrics()
    for seconds in (0.004, 0.005, 0.02, 700.0):
        metrics.generation(None, seconds, None)
    text = metrics.text(0, 0)
    counts = [sample(text, f'request_seconds_bucket{{le="{bound}"}}') for bound in ("0.005", "0.01", "0.025", "+Inf")]
    assert counts == [2, 2, 3, 4]
    assert sample(text, "request_seconds_sum") == pytest.approx(700.029) and sample(text, "request_seconds_count") == 4


def test_the_model_is_listed(api, engine):
    (model,) = api.get("/v1/models").json()["data"]
    assert model["id"] == Path(engine.info.path).stem and model["object"] == "model"
    assert model["selar"]["ctx_size"] == engine.info.ctx_size
    assert api.get(f"/v1/models/{model['id']}").json() == model
    named = Api(create_app(engine, ServerConfig(model_name="org/my model")))
    assert named.get("/v1/models").json()["data"][0]["id"] == "org/my model"
    assert named.get("/v1/models/org/my model").json()["id"] == "org/my model"
    assert named.chat(model="org/my model").json()["model"] == "org/my model"


def test_a_model_of_ollamas_is_listed_by_its_name(model, tmp_path):
    blob = put_model(tmp_path / "models", "tiny", "8b", model)
    with sl.load(blob, threads=1, ctx_size=256) as opened:
        api = Api(create_app(opened, ServerConfig(strict_model_name=True)))
        assert api.get("/v1/models").json()["data"][0]["id"] == "ollama:tiny:8b"
        for name in ("ollama:tiny:8b", "tiny:8b", blob.name):
            assert api.chat(model=name, max_tokens=1).json()["model"] == "ollama:tiny:8b"
        assert api.chat(model="tiny", max_tokens=1).status_code == 404


def test_health(api):
    assert api.get("/health").json() == {"status": "ok"}


def test_the_log_line_holds_no_prompt(engine, caplog):
    lines = []
    api = Api(create_app(engine, on_request=lines.append))
    api.chat([{"role": "user", "content": "my secret"}])
    api.get("/v1/models", params={"key": "my secret"})
    assert [(line.method, line.path, line.status) for line in lines] == [
        ("POST", "/v1/chat/completions", 200), ("GET", "/v1/models", 200),
    ]  # fmt: skip
    assert all(line.seconds > 0 for line in lines)
    assert "secret" not in repr(lines) + caplog.text

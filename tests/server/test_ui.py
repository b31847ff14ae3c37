"""The chat page's files and what a page can learn of the options; the page at work is tested in tests/browser."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from hashlib import sha256
from pathlib import Path

import pytest

import selar_local as sl
from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods import METHODS
from selar_local.options import described
from selar_local.presets import PRESETS
from selar_local.server import ui
from selar_local.server.app import create_app
from selar_local.server.config import Defaults, ServerConfig

from .conftest import CHAT, HELLO, Api, sample, until

FOLDER = Path(ui.__file__).parent
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".css", ".js", ".svg"))
KATEX = FOLDER / "vendor" / "katex"
VENDORED = sorted(
    path.relative_to(FOLDER).as_posix() for path in KATEX.rglob("*") if path.suffix in (".css", ".js", ".woff2")
)
PATHS = ["/", *(f"/ui/{name}" for name in (*FILES, *VENDORED))]


@pytest.fixture
def paged(engine):
    return Api(create_app(engine, ServerConfig(ui=True)))


def test_the_page_is_there_only_when_asked(api, paged):
    assert api.get("/ui/main.js").status_code == 404
    plain = api.get("/")
    assert plain.status_code == 200 and plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert "--ui" in plain.text and "/v1" in plain.text
    response = paged.get("/")
    assert response.status_code == 200 and response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!doctype html>")
    assert paged.get("/ui/").status_code == paged.get("/ui/index.html").status_code == 404
    assert paged.get("/ui/__init__.py").status_code == paged.get("/ui/../config.py").status_code == 404
    assert paged.post("/").status_code == 405


@pytest.mark.parametrize("path", PATHS)
def test_the_headers_of_its_files(paged, path):
    response = paged.get(path)
    assert response.status_code == 200 and response.content
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "woff2": "font/woff2"}
    assert response.headers["content-type"].startswith(kinds.get(path.rpartition(".")[2], "text/html"))
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["font-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers


def test_a_file_that_is_known_is_not_sent_again(paged):
    first = paged.get("/ui/main.js")
    again = paged.get("/ui/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    assert paged.get("/ui/main.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert paged.request("HEAD", "/").status_code == 200


def test_the_metrics_know_the_page(paged):
    paged.get("/")
    paged.get("/nowhere")
    text = paged.get("/metrics").text
    assert sample(text, 'requests_total{endpoint="/",status="200"}') == 1
    assert sample(text, 'requests_total{endpoint="other",status="404"}') == 1


@pytest.mark.parametrize("name", ["index.html", *FILES])
def test_nothing_comes_from_elsewhere_and_nothing_becomes_markup(name):
    text = (FOLDER / name).read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "://" not in text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function", text)
    assert not re.search(r"<style|<script(?! type=\"module\" src=\"ui/)|\son\w+=|style=", text)
    assert len(text.splitlines()) < 300


def test_every_file_is_used():
    texts = {name: (FOLDER / name).read_text("utf-8") for name in ("index.html", *FILES)}
    for name in FILES:
        assert any(f"ui/{name}" in text or f"./{name}" in text for text in texts.values()), name


def test_the_files_of_others_are_unchanged_and_complete():
    sums = dict(reversed(line.split("  ")) for line in (KATEX / "SHA256SUMS").read_text("utf-8").splitlines())
    assert sums == {name: sha256((KATEX / name).read_bytes()).hexdigest() for name in sums}
    found = {path.relative_to(KATEX).as_posix() for path in KATEX.rglob("*") if path.is_file()}
    assert found == {*sums, "README.md", "SHA256SUMS"}
    wanted = re.findall(r"url\((fonts/[^)]*\.woff2)\)", (KATEX / "katex.min.css").read_text("utf-8"))
    assert len(wanted) == 20 and set(wanted) == {name for name in found if name.startswith("fonts/")}
    version = re.search(r'version:"([\d.]+)"', (KATEX / "katex.min.js").read_text("utf-8"))[1]
    assert f"# KaTeX {version}\n" in (KATEX / "README.md").read_text("utf-8")


def test_the_package_has_all_files_of_the_pages():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11")
    root = FOLDER.parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    package = root / "selar_local"
    packed = {path for pattern in settings["package-data"]["selar_local"] for path in package.glob(pattern)}
    for folder in (FOLDER, package / "analysis" / "page"):
        files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
        assert len(files) > 3 and files <= packed


@pytest.fixture
def locked(engine):
    return Api(create_app(engine, ServerConfig(ui=True, api_keys=("k",))))


def test_the_files_need_no_key_and_the_api_does(locked):
    for path in PATHS:
        assert locked.get(path).status_code == 200
    unpaged = Api(create_app(locked.service.engine, ServerConfig(api_keys=("k",))))
    assert unpaged.get("/").status_code == 200 and unpaged.get("/v1/models").status_code == 401
    for path in ("/v1/selar", "/v1/models", "/metrics", "/nowhere", "/ui/nowhere"):
        assert locked.get(path).status_code == 401
    assert locked.get("/v1/selar", headers={"Authorization": "Bearer k"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("192.0.2.7:8080", "http://192.0.2.7:8080", 200), ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080", 200),
        ("192.0.2.7:8080", "http://192.0.2.8:8080", 403), ("192.0.2.7:8080", "http://192.0.2.7:9090", 403),
        ("box.lan:8080", "http://box.lan:8080", 200),  # the name it was told to listen on
        # A stranger's name that was made to lead here: address and origin agree, and it is foreign all the same.
        ("evil.example:8080", "http://evil.example:8080", 403), ("127.0.0.1:8080", "http://evil.example:8080", 403),
        ("192.0.2.7.evil.example", "http://192.0.2.7.evil.example", 403), ("x", "null", 403),
        ("192.0.2.7:8080", "http://192.0.2.7:8080@evil.example", 403),
    ],
)  # fmt: skip
def test_whose_pages_may_post_without_a_key(engine, host, origin, status):
    body = {"messages": HELLO, "max_tokens": 1}
    headers = {"Host": host, "Origin": origin}
    paged = Api(create_app(engine, ServerConfig(ui=True, host="box.lan", insecure=True)))
    assert paged.request("POST", CHAT, json=body, headers=headers).status_code == status
    without = Api(create_app(engine, ServerConfig(host="box.lan", insecure=True)))
    assert without.request("POST", CHAT, json=body, headers=headers).status_code == 403


def test_the_option_must_be_a_switch():
    with pytest.raises(OptionError, match="ui"):
        ServerConfig(ui="yes")


def test_the_model_file_has_its_hash(api, engine):
    facts = api.get("/v1/selar/model").json()
    assert facts["model_sha256"] == sha256(Path(engine.info.path).read_bytes()).hexdigest()
    assert (facts["parallel"], facts["ctx_size"]) == (engine.config.parallel, engine.info.ctx_size)
    assert facts["thinks"] is True or facts["thinks"] is False


def test_defaults_that_change_answers_are_among_the_facts(api, engine):
    assert api.get("/v1/selar/model").json()["defaults"] == {}
    defaults = Defaults(generation=GenerationConfig(max_tokens=9, stop=("a",), keep_form=False), thinking=False)
    facts = Api(create_app(engine, None, defaults)).get("/v1/selar/model").json()
    assert facts["defaults"] == {"max_tokens": 9, "stop": ["a"], "keep_form": False, "thinking": False}


def test_all_options_are_offered_as_they_are_declared(api):
    offer = api.get("/v1/selar").json()
    assert offer["object"] == "selar.options" and offer["method"] == "selar" and offer["thinking"] is None
    assert offer["model"] == api.get("/v1/models").json()["data"][0]["id"]
    assert [method["name"] for method in offer["methods"]] == list(METHODS)
    for told, cls in zip(offer["methods"], METHODS.values(), strict=True):
        assert (told["summary"], told["source"], told["entropy_unit"]) == (cls.summary, cls.source, cls.entropy_unit)
        known = [row for row in described(cls) if row.flags]  # what the command line has, and requests may set
        own = [(o["name"], o["type"], o["default"], tuple(o.get("choices", ())), o["help"]) for o in told["options"]]
        assert own == [(row.name, row.kind, row.default, row.choices, row.help) for row in known]
        plain = cls().sampling({})
        assert told["sampling"] == json.loads(
            json.dumps({f.name: getattr(plain, f.name) for f in fields(SamplingConfig)})
        )
    assert [(o["name"], o["type"]) for o in offer["sampling"]] == [(r.name, r.kind) for r in described(SamplingConfig)]
    assert [(o["name"], o["type"], o["default"]) for o in offer["generation"]] == [
        ("max_tokens", "integer", None), ("stop", "texts", []), ("thinking_budget", "integer", None),
        ("reasoning_effort", "text", None),
    ]  # fmt: skip


def test_the_defaults_are_those_of_this_server(engine):
    defaults = Defaults(
        sl.Selar(tau=0.3, scope="thinking"), {"temperature": 0.8, "seed": 7},
        GenerationConfig(max_tokens=9, stop=("a", "b\n")), False,
    )  # fmt: skip
    offer = Api(create_app(engine, ServerConfig(), defaults)).get("/v1/selar").json()
    methods = {method["name"]: method for method in offer["methods"]}
    values = {o["name"]: o["default"] for o in methods["selar"]["options"]}
    assert (values["tau"], values["scope"], values["k"]) == (0.3, "thinking", 3)
    assert methods["selar"]["sampling"]["temperature"] == methods["soft-thinking"]["sampling"]["temperature"] == 0.8
    assert methods["soft-thinking"]["sampling"]["top_k"] == 30 and methods["selar"]["sampling"]["seed"] == 7
    assert [o["default"] for o in offer["generation"]] == [9, ["a", "b\n"], None, None] and offer["thinking"] is False


def test_presets_say_what_differs_from_this_server(engine, api):
    def offered(defaults):
        offer = Api(create_app(engine, ServerConfig(), defaults)).get("/v1/selar").json()
        return {one["name"]: (one["method"], one["options"]) for one in offer["presets"]}

    assert list(offered(Defaults())) == [one.name for one in PRESETS]
    assert offered(Defaults()) == {one.name: (one.method, dict(one.options)) for one in PRESETS}
    other = offered(Defaults(sl.Selar(anchor=0.5, tau=0.3)))
    assert other["SeLaR, clean text"] == ("selar", {"tau": 0.5, "contrast": 0})
    assert other["SeLaR, as published"] == ("selar", {"tau": 0.5, "anchor": 1.0})
    for one in PRESETS:
        assert api.chat(selar={"method": one.method, **one.options}, max_tokens=2).status_code == 200


def test_a_default_that_some_methods_take_otherwise(engine):
    offer = Api(create_app(engine, None, Defaults(sl.CoT(), {"temperature": 0}))).get("/v1/selar").json()
    sampling = {method["name"]: method["sampling"] for method in offer["methods"]}
    assert offer["method"] == "cot" and sampling["cot"]["temperature"] == 0
    assert sampling["selar"]["temperature"] == 0.6 and sampling["selar"]["greedy"] is True


def test_what_is_offered_is_accepted(api):
    offer = api.get("/v1/selar").json()
    for method in offer["methods"]:
        own = {o["name"]: o["default"] for o in method["options"] if o["default"] is not None}
        plain = {name: value for name, value in method["sampling"].items() if value is not None and name != "greedy"}
        response = api.chat(selar={"method": method["name"], **own}, **{**plain, "max_tokens": 2})
        assert response.status_code == 200, response.text


def test_the_command_tells_the_address_and_can_open_the_page(cli, model, monkeypatch):
    from selar_local.server import lifecycle

    opened = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or False)

    class Ready:
        def __init__(self, app, bound, on_ready):
            self.on_ready = on_ready

        def run(self):
            self.on_ready()

    monkeypatch.setattr(lifecycle, "Server", Ready)
    common = ("serve", model, "--port", 0, "-t", 1, "-c", 256, "--no-isolated")
    plain = cli(*common)
    assert plain.code == 0 and "chat page" not in plain.err and opened == []
    paged = cli(*common, "--ui")
    lines = [line for line in paged.err.splitlines() if "http" in line]
    address = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)", lines[0])[1]
    assert lines[1:] == [f"serving {model.stem} at {address}/v1", f"chat page: {address}/"] and opened == []
    everywhere = cli(*common, "--open", "--host", "0.0.0.0", "--insecure", "--model-name", "it")
    assert re.search(r"^serving it at http://127\.0\.0\.1:\d+/v1$", everywhere.err, re.MULTILINE)
    assert re.search(r"^chat page: http://127\.0\.0\.1:\d+/$", everywhere.err, re.MULTILINE)
    assert until(lambda: len(opened) == 1) and opened[0].startswith("http://127.0.0.1:")

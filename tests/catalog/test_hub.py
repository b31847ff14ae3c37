"""``hf:`` references: the real huggingface_hub, in fresh processes, against a server of our own."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .conftest import model_bytes

SPLIT = [f"big/big-Q8_0-{i:05d}-of-00002.gguf" for i in (1, 2)]

FILES = {
    "o/one": {"m-Q4_K_M.gguf": b"GGUF four", "mmproj-F16.gguf": b"GGUF no"},
    "o/split": {SPLIT[0]: b"GGUF 1", SPLIT[1]: b"GGUF 2"},
    "o/half": {SPLIT[0]: b"GGUF 1"},
    "o/gated": {"m.gguf": b"GGUF"},
    "o/broken": {"m.gguf": b"GGUF"},
    "o/large": {"large-Q4_K_M.gguf": model_bytes() + random.Random(1).randbytes(25_000_000)},
    "o/parts": {SPLIT[0]: model_bytes("one"), SPLIT[1]: model_bytes("two")},
}
#: Those whose files the hub gives sizes and SHA-256 of, as it does for all large files.
WITH_DIGESTS = ("o/large", "o/parts")


class Hub(BaseHTTPRequestHandler):
    """The hub's API as far as a download needs it.

    gets: what was asked for of files: (Range header, bytes sent). cuts: the bytes after which the next answers break.
    wrong: bytes that come instead of a file's own.
    """

    protocol_version = "HTTP/1.1"
    gets: list[tuple[str | None, int]]
    cuts: list[int]
    wrong: bytes | None
    pause: float

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
            siblings = [self.sibling(repo, name) for name in FILES[repo]]
            return self.answer(200, json.dumps({"id": repo, "sha": "c" * 40, "siblings": siblings}).encode())
        repo, _, file = path.replace(f"/resolve/{'c' * 40}/", "/resolve/main/").partition("/resolve/main/")
        data = FILES.get(repo, {}).get(file)
        if data is None:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "c" * 40})
        if repo == "o/gated":
            return self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask"})
        tag = hashlib.sha256(data).hexdigest() if repo in WITH_DIGESTS else f"{hash(file) & 0xFFFF:x}"
        return self.file(data, {"ETag": f'"{tag}"', "X-Repo-Commit": "c" * 40, "Accept-Ranges": "bytes"})

    def sibling(self, repo, name):
        data = FILES[repo][name]
        if repo not in WITH_DIGESTS:
            return {"rfilename": name}
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return {"rfilename": name, "size": len(data), "lfs": lfs, "blobId": "b" * 40}

    def file(self, data, headers):
        """The file from where the client has it; the connection may break on the way."""
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if self.command == "HEAD":
            return self.answer(200, data, headers)
        rest = (Hub.wrong or data)[start:]
        cut = Hub.cuts.pop(0) if Hub.cuts else len(rest)
        Hub.gets.append((asked, min(cut, len(rest))))
        self.send_response(206 if asked else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[:cut])
        if cut < len(rest):
            self.wfile.flush()
            time.sleep(Hub.pause)
            self.close_connection = True
            self.connection.close()

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
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(endpoint, tmp_path):
    """The environment of a client; the server begins without faults."""
    pytest.importorskip("huggingface_hub")
    Hub.gets, Hub.cuts, Hub.wrong, Hub.pause = [], [], None, 0
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return clean | own | {"TQDM_POSITION": "-1"}  # the library's switch for bars where there is no terminal


@pytest.fixture
def hub(settings):
    """Resolves references in a fresh process; gives back "path" or "Kind: message" for each."""
    program = (
        "import sys\nfrom selar_local import catalog\nfrom selar_local.errors import SelarError\n"
        "for name in sys.argv[2:]:\n"
        "    try: print(catalog.resolve(name, progress=sys.argv[1] == 'bar'))\n"
        "    except SelarError as e: print(f'{type(e).__name__}: {e}')\n"
    )

    def run(*names, bar=False, **more):
        command = [sys.executable, "-c", program, "bar" if bar else "", *names]
        done = subprocess.run(command, env=settings | more, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout.splitlines(), done.stderr

    return run


def test_hub_downloads_then_works_offline(hub):
    (one, split), errors = hub("hf:o/one", "hf:o/split:q8_0")
    assert Path(one).read_bytes() == b"GGUF four"
    assert Path(split).read_bytes() == b"GGUF 1"
    assert Path(split).with_name(Path(SPLIT[1]).name).read_bytes() == b"GGUF 2"
    assert ".gguf" not in errors
    for unreachable in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        lines, _ = hub("hf:o/one:m-Q4_K_M.gguf", "hf:o/split", "hf:o/one:Q2_K", "hf:o/new", **unreachable)
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


# -- selar-local pull ------------------------------------------------------------------------------------


@pytest.fixture
def pull(settings):
    """Runs `selar-local pull`: exit code, standard output, standard error."""
    program = "from selar_local.cli.main import main; main()"

    def run(*words, **more):
        command = [sys.executable, "-c", program, "pull", *words]
        done = subprocess.run(command, env=settings | more, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


LARGE = FILES["o/large"]["large-Q4_K_M.gguf"]
_HALF = 12_000_000  # more than huggingface_hub writes at once: newer versions lose what came of the last 10 MiB


def test_pull_prints_the_path_alone_and_a_second_one_downloads_nothing(pull):
    code, out, err = pull("hf:o/large")
    assert err == ""
    path = Path(out.removesuffix("\n"))
    assert code == 0 and path.read_bytes() == LARGE and path.name == "large-Q4_K_M.gguf"
    assert Hub.gets == [(None, len(LARGE))]
    assert pull("hf:o/large:q4_k_m")[:2] == (0, out)
    assert len(Hub.gets) == 1
    code, out, _ = pull("hf:o/parts:Q8_0")
    assert code == 0 and [Path(out.strip()).read_bytes()] == [model_bytes("one")]
    assert Path(out.strip()).with_name(Path(SPLIT[1]).name).read_bytes() == model_bytes("two")


def test_a_connection_that_breaks_is_resumed_at_once(pull):
    Hub.cuts = [_HALF, _HALF]
    code, out, _ = pull("hf:o/large")
    assert code == 0 and Path(out.strip()).read_bytes() == LARGE
    first, *later = [asked for asked, _ in Hub.gets]
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in later]
    assert first is None and 0 < starts[0] <= _HALF and starts == sorted(starts)


def test_a_killed_download_is_resumed_by_the_next_pull(pull, settings):
    Hub.cuts, Hub.pause = [_HALF], 60
    command = [sys.executable, "-c", "from selar_local.cli.main import main; main()", "pull", "hf:o/large"]
    process = subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    blobs = Path(settings["HF_HOME"]) / "hub" / "models--o--large" / "blobs"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(part.stat().st_size for part in blobs.glob("*.incomplete")):
            time.sleep(0.05)
    finally:
        process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait(30)
    (part,) = blobs.glob("*.incomplete")
    kept = part.stat().st_size
    assert 0 < kept <= _HALF and part.read_bytes() == LARGE[:kept]
    code, out, _ = pull("hf:o/large")
    assert code == 0 and Path(out.strip()).read_bytes() == LARGE
    assert Hub.gets[-1] == (f"bytes={kept}-", len(LARGE) - kept)
    assert not list(blobs.glob("*.incomplete"))


def test_a_download_that_broke_off_says_so_and_goes_on_later(pull):
    Hub.cuts = [_HALF, *[0] * 20]
    code, out, err = pull("hf:o/large")
    last = err.splitlines()[-1]
    assert (code, out) == (1, "")
    assert re.match(
        r"error: the download of large-Q4_K_M\.gguf broke off at 1\d\.\d of 25\.0 MB; the same command", last
    )
    Hub.cuts.clear()
    asked = len(Hub.gets)
    code, out, _ = pull("hf:o/large")
    assert code == 0 and Path(out.strip()).read_bytes() == LARGE
    ((start, sent),) = Hub.gets[asked:]
    assert start is not None and 0 < sent <= len(LARGE) - 10 * 1024 * 1024


def test_a_damaged_download_is_found_by_its_digest(pull):
    Hub.wrong = bytes(len(LARGE))
    code, out, err = pull("hf:o/large")
    assert (code, out) == (1, "") and "SHA-256 is not the hub's" in err
    Hub.wrong = None
    code, out, _ = pull("hf:o/large")
    assert code == 0 and Path(out.strip()).read_bytes() == LARGE and Hub.gets[-1][0] is None


def test_a_part_that_is_longer_than_the_file_is_not_continued(pull, settings):
    blobs = Path(settings["HF_HOME"]) / "hub" / "models--o--large" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(LARGE).hexdigest()}.incomplete").write_bytes(LARGE + b"more")
    code, out, _ = pull("hf:o/large")
    assert code == 0 and Path(out.strip()).read_bytes() == LARGE


def test_a_bar_on_request_only(hub):
    (path,), errors = hub("hf:o/large", bar=True)
    assert "large-Q4_K_M.gguf" in errors and Path(path).read_bytes() == LARGE


def test_what_is_cached_opens_without_the_network_and_without_the_library(hub, tmp_path):
    (path,), _ = hub("hf:o/large")
    asked = len(Hub.gets)
    missing = tmp_path / "without" / "huggingface_hub.py"
    missing.parent.mkdir()
    missing.write_text("raise ImportError('not here')")
    search = os.pathsep.join([str(missing.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    lines, _ = hub("hf:o/large:large-Q4_K_M.gguf", "hf:o/large", "hf:o/large:q4_k_m", "hf:o/one", PYTHONPATH=search)
    assert lines[:3] == [path] * 3 and len(Hub.gets) == asked
    assert lines[3].startswith("MissingExtra: hf: needs the package huggingface_hub; ")

"""Workers: places, what is said where none answers, and what this build cannot do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.errors import OptionError, SelarError, WorkerUnavailable
from selar_local.llama import rpc
from selar_local.llama.ggml import symbol

needs_no_rpc = pytest.mark.skipif(
    symbol("ggml_backend_rpc_add_server", None, []) is not None, reason="this build of llama.cpp has RPC"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        return int(place.getsockname()[1])


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The workers that llama.cpp would get, in a build with RPC."""
    found: list[str] = []
    monkeypatch.setattr(rpc, "require_rpc", lambda: None)
    monkeypatch.setattr(rpc, "_register", found.append)
    monkeypatch.setattr(rpc, "_registered", set())
    monkeypatch.setattr(rpc, "_PATIENCE", 0.2)
    yield found


def answering(answer: bytes) -> str:
    """A server that says this to its first client, who has nothing to say, and ends."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server, server.accept()[0] as client:
            client.recv(1)
            client.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_places():
    config = EngineConfig(rpc="10.0.0.1:50052, worker.lan:50053")
    assert config.workers == ("10.0.0.1:50052", "worker.lan:50053")
    assert EngineConfig().workers == ()


def test_a_worker_that_is_not_there_is_named(registered):
    place = f"127.0.0.1:{free_port()}"
    with pytest.raises(WorkerUnavailable, match=f"no worker answers at {place}: connection refused"):
        rpc.connect([place])
    with pytest.raises(WorkerUnavailable, match="no worker answers at nowhere"):
        rpc.connect(["nowhere.invalid:50052"])


def test_a_free_worker_is_greeted_once(registered):
    place = answering(b"")
    rpc.connect([place, place])
    rpc.connect([place])
    assert registered == [place]


def test_a_worker_that_another_engine_has_does_not_hang(registered):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, as the system does, and never answers
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(WorkerUnavailable, match=f"the worker at {place} does not answer; another engine"):
            rpc.connect([place])
    assert registered == []


def test_another_program_is_no_worker(registered):
    with pytest.raises(WorkerUnavailable, match="is another program"):
        rpc.connect([answering(b"SSH-2.0")])
    assert registered == []


def test_a_machine_that_does_not_answer_at_all(registered, monkeypatch):
    def lost(address: tuple[str, int], patience: float) -> socket.socket:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", lost)
    with pytest.raises(WorkerUnavailable, match=r"no worker answers at 10\.0\.0\.9:50052: timed out"):
        rpc.connect(["10.0.0.9:50052"])
    assert registered == []


@needs_no_rpc
def test_a_build_without_rpc_says_so():
    with socket.create_server(("127.0.0.1", 0)) as place, pytest.raises(WorkerUnavailable, match="GGML_RPC=on"):
        rpc.connect([f"127.0.0.1:{place.getsockname()[1]}"])
    with pytest.raises(WorkerUnavailable, match="GGML_RPC=on"):
        rpc.serve("127.0.0.1", free_port(), 1, [])


def test_llama_cpp_must_be_in_another_process(tiny):
    with pytest.raises(OptionError, match="rpc needs isolated=True"):
        sl.load(tiny(), rpc="127.0.0.1:50052")


def test_the_error_crosses_the_process(tiny):
    place = f"127.0.0.1:{free_port()}"
    with pytest.raises(SelarError) as caught:
        sl.load(tiny(), rpc=place, isolated=True, threads=1)
    named = "has no RPC" if symbol("ggml_backend_rpc_add_server", None, []) is None else place
    assert type(caught.value) is WorkerUnavailable and named in str(caught.value)

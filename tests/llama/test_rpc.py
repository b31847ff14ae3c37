"""Workers: places, what is said where none answers, and what this build cannot do."""

from __future__ import annotations

import socket

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


def test_places():
    config = EngineConfig(rpc="10.0.0.1:50052, worker.lan:50053")
    assert config.workers == ("10.0.0.1:50052", "worker.lan:50053")
    assert EngineConfig().workers == ()


def test_a_worker_that_is_not_there_is_named():
    place = f"127.0.0.1:{free_port()}"
    with pytest.raises(WorkerUnavailable, match=f"no worker answers at {place}: connection refused"):
        rpc.connect([place])
    with pytest.raises(WorkerUnavailable, match="no worker answers at nowhere"):
        rpc.connect(["nowhere.invalid:50052"])


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
    assert type(caught.value) is WorkerUnavailable and place in str(caught.value)

"""A model on two workers of this machine: the same tokens, and what happens when one is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import selar_local as sl
from selar_local.errors import EngineCrashed, WorkerUnavailable

from .conftest import model_file

PROMPT = "Name three colours of the rainbow, then three animals that live in the sea."


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        return int(place.getsockname()[1])


class Worker:
    """`selar-local worker` on the CPU of this machine."""

    def __init__(self) -> None:
        self.port = free_port()
        self.place = f"127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "selar_local", "worker", "--port", str(self.port), "--device", "none"]
        self.process = subprocess.Popen([*command, "-t", "1"], env=environment, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None, "the worker has ended"
                time.sleep(0.1)
        raise TimeoutError(self.place)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    both = [Worker(), Worker()]
    yield both
    for worker in both:
        worker.kill()


def load(path: Path, workers: list[Worker]) -> sl.IsolatedEngine:
    places = ",".join(worker.place for worker in workers)
    return sl.load(path, ctx_size=512, threads=1, rpc=places, device="RPC0,RPC1", gpu_layers="all", isolated=True)


@pytest.mark.parametrize("name", ["SmolLM2", "Qwen2.5"])
def test_two_workers_say_what_one_process_says(workers: list[Worker], models_dir: Path, name: str) -> None:
    path = model_file(models_dir, name)
    # workers have no repacked weights, whose rounding differs
    with sl.load(path, ctx_size=512, threads=1, device="none", repack=False) as local, load(path, workers) as remote:
        assert remote.info.injection_max_abs_diff == 0.0
        for method in ("cot-greedy", sl.Selar(tau=0.4)):
            answers = [one.generate(PROMPT, method=method, max_tokens=24, seed=1) for one in (local, remote)]
            assert answers[0].tokens == answers[1].tokens


def test_a_worker_that_dies_ends_the_answer_and_not_the_app(workers: list[Worker], small: Path) -> None:
    with load(small, workers) as engine:
        whole = engine.generate(PROMPT, method="cot-greedy", max_tokens=12).tokens
        with pytest.raises(EngineCrashed, match=rf"a worker \({workers[0].place}, {workers[1].place}\) is lost"):
            for event in engine.stream(PROMPT, method="cot-greedy", max_tokens=400, ignore_eos=True):
                if event.index == 3:
                    workers[1].kill()
        with pytest.raises(WorkerUnavailable, match=f"no worker answers at {workers[1].place}"):
            engine.generate(PROMPT, method="cot-greedy", max_tokens=12)
        workers[1].start()
        assert engine.generate(PROMPT, method="cot-greedy", max_tokens=12).tokens == whole


def test_auto_fills_the_workers(workers: list[Worker], small: Path) -> None:
    places = ",".join(worker.place for worker in workers)
    with sl.load(small, ctx_size=512, rpc=places, isolated=True) as engine:
        assert "all 31 layers on RPC0" in str(engine.info.placement) and "RPC1" in str(engine.info.placement)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")
def test_ctrl_c_ends_a_worker(workers: list[Worker]) -> None:
    workers[0].process.send_signal(signal.SIGINT)
    assert workers[0].process.wait(10) == 130


def test_a_port_that_is_taken(workers: list[Worker]) -> None:
    command = [sys.executable, "-m", "selar_local", "worker", "--port", str(workers[0].port), "--device", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and f"error: cannot listen on 127.0.0.1:{workers[0].port}" in done.stderr

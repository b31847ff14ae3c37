"""`selar-local worker`, `--rpc` and the list of devices, as far as a CPU build goes."""

from __future__ import annotations

import pytest

from selar_local.cli import worker
from selar_local.llama.devices import backend_devices
from selar_local.llama.ggml import address_of


def rpc_is_missing() -> bool:
    return address_of("ggml_backend_rpc_start_server") is None


def test_devices_are_listed(cli):
    for command in ("run", "serve", "worker"):
        done = cli(command, "--list-devices")
        assert done.code == 0 and done.out.startswith("Available devices:\n  ") and done.err == ""


def test_the_worker_says_what_it_serves_and_why_it_ends(cli, monkeypatch):
    def serve(host, port, threads, devices):
        assert (host, port, threads) == ("127.0.0.1", 50052, 3) and [one.kind for one in devices] == ["cpu"]
        raise worker.SelarError("cannot listen")

    monkeypatch.setattr("selar_local.llama.rpc.require_rpc", lambda: None)
    monkeypatch.setattr("selar_local.llama.rpc.serve", serve)
    monkeypatch.setattr("selar_local.llama.devices.offload_devices", lambda *_: [])
    done = cli("worker", "-t", "3")
    assert done.code == 1 and done.out == ""
    assert "GiB free" in done.err and "serving at 127.0.0.1:50052" in done.err and "warning" not in done.err
    assert done.err.endswith("error: cannot listen\n")


@pytest.mark.parametrize(("host", "warned"), [("localhost", False), ("127.0.0.2", False), ("0.0.0.0", True)])
def test_a_worker_that_others_reach_warns(cli, monkeypatch, host, warned):
    monkeypatch.setattr("selar_local.llama.rpc.require_rpc", lambda: None)
    monkeypatch.setattr("selar_local.llama.rpc.serve", lambda *_: None)
    done = cli("worker", "--host", host)
    assert done.code == 0 and ("warning:" in done.err and "trusted networks only" in done.err) == warned


def test_a_build_without_rpc_serves_nothing(cli, monkeypatch):
    monkeypatch.setattr("selar_local.llama.rpc.address_of", lambda _: None)
    done = cli("worker")
    assert done.code == 1 and "serving" not in done.err and "has no RPC" in done.err


def test_workers_that_do_not_answer(cli, model):
    done = cli("run", model, "hello", "--rpc", "127.0.0.1:1")
    said = "this build of llama.cpp has no RPC" if rpc_is_missing() else "no worker answers at 127.0.0.1:1"
    assert done.code == 1 and f"error: {said}" in done.err


def test_rpc_needs_the_process_of_its_own(cli, model):
    done = cli("serve", model, "--rpc", "127.0.0.1:1", "--no-isolated")
    assert done.code == 2 and "--no-isolated" in done.err


def test_a_wrong_option_names_its_flag(cli, model):
    takes_layers = any(device.takes_layers for device in backend_devices())
    for flags, said in (
        (("--rpc", "host"), "--rpc must be places"),
        (("-ts", "1,x"), "--tensor-split must be numbers"),
        (("-ngl", "some"), "--gpu-layers must be a whole number or auto or all"),
        (("--device", "CUDA7"), f"device must be {'among ' if takes_layers else 'none, since'}"),
    ):
        done = cli("run", model, "hello", *flags)
        assert done.code == 2 and said in done.err

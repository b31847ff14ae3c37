"""One server against replicas on Ray, all on this machine: the same plain requests, so many under way.

    python scripts/bench_ray.py MODEL [--requests 32] [--tokens 48] [--clients 8] [--rounds 3] [--replicas 2]

The servers take turns: `selar-local serve` with a thread a core and all clients together, one replica with the same
engine, and the replicas, which share the cores. Needs the extra `ray`. It measures what Ray costs on one machine. What
more machines bring, one machine cannot show.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import click
import httpx

import selar_local as sl
from selar_local.server.lifecycle import bind, url_of

PROMPT = "Tell a very long story about traveller number {} and a bicycle, with all details of the journey."
_PATIENCE = 300.0


@contextmanager
def served(model: str, threads: int, clients: int) -> Iterator[str]:
    """The URL of `selar-local serve`."""
    port = _free_port()
    words = [sys.executable, "-m", "selar_local", "serve", model, "-q", "--port", str(port), "-t", str(threads)]
    words += ["--parallel", str(clients), "--no-prompt-cache"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url)
            yield url
        finally:
            process.terminate()


@contextmanager
def on_ray(model: str, threads: int, clients: int, replicas: int) -> Iterator[str]:
    """The URL of so many replicas, on a cluster that is started before."""
    from ray import serve

    from selar_local.server.ray import build

    each = {"model": model, "method": "cot", "threads": threads, "num_cpus": 0, "parallel": clients, "drain": 0}
    with bind("127.0.0.1", 0) as free:
        url = url_of("127.0.0.1", free)
    serve.start(http_options={"port": httpx.URL(url).port}, proxy_location="HeadOnly")
    app = build({**each, "prompt_cache": False, "min_replicas": replicas, "max_replicas": replicas})
    serve.run(app)
    try:
        yield url
    finally:
        serve.shutdown()


def speed(url: str, requests: int, clients: int, tokens: int) -> float:
    """Tokens/s over all requests."""

    def ask(number: int) -> int:
        body = {"messages": [{"role": "user", "content": PROMPT.format(number)}], "max_tokens": tokens, "seed": number}
        more = {"ignore_eos": True, "selar": {"method": "cot"}}
        answer = httpx.post(f"{url}/v1/chat/completions", json={**body, **more}, timeout=_PATIENCE)
        answer.raise_for_status()
        return int(answer.json()["usage"]["completion_tokens"])

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        made = sum(pool.map(ask, range(requests)))
    return made / (time.perf_counter() - begun)


def _free_port() -> int:
    with bind("127.0.0.1", 0) as free:
        return int(free.getsockname()[1])


def _wait(url: str) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            httpx.get(f"{url}/health", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"no server at {url}")


@click.command()
@click.argument("model", type=click.Path(exists=True))
@click.option("--requests", default=32, help="requests in a round")
@click.option("--tokens", default=48, help="tokens of each answer")
@click.option("--clients", default=8, help="requests under way")
@click.option("--rounds", default=3, help="rounds of each server")
@click.option("--replicas", default=2, help="replicas, which share the cores and the clients")
def main(model: str, requests: int, tokens: int, clients: int, rounds: int, replicas: int) -> None:
    """Print the median tokens/s of each, and its rounds."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    import ray

    cores = len(os.sched_getaffinity(0))
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    servers: dict[str, Callable[[], AbstractContextManager[str]]] = {
        "selar-local serve": lambda: served(model, cores, clients),
        "1 replica": lambda: on_ray(model, cores, clients, 1),
        f"{replicas} replicas": lambda: on_ray(model, max(1, cores // replicas), max(1, clients // replicas), replicas),
    }
    found: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, opening in servers.items():
            with opening() as url:
                speed(url, clients, clients, 8)
                found[name].append(speed(url, requests, clients, tokens))
    click.echo(f"selar-local {sl.__version__}: {requests} requests of {tokens} tokens, {clients} at once")
    for name, speeds in found.items():
        rounded = " ".join(f"{one:.1f}" for one in speeds)
        click.echo(f"{name:20} {statistics.median(speeds):7.1f} tokens/s  ({rounded})")
    ray.shutdown()


if __name__ == "__main__":
    main()

"""A server under load, rude clients and a killed engine: what must hold afterwards.

    python scripts/soak_server.py MODEL [--clients 32] [--minutes 10] [--files 256] [--seed N] [--json out.json]

Starts ``selar-local serve MODEL`` on a free port of 127.0.0.1 and lets clients ask at random: both endpoints, all
methods, streamed or not, half of the streams left in the middle, some requests that are none. A fifth of the clients
sends nothing, on 40 connections each, and a fifth reads nothing of long streams; first the others are alone for a
while, to compare their time to the first token. Half-way the process that runs llama.cpp is killed. Exit code 0:
everything in the report's list of checks holds. For POSIX, with ``ps``.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
from server_process import Command
from soak_garbage import TEXT
from soak_requests import WORDS, Outcome, ask, random_request, throw
from soak_rude import be_deaf, be_silent

METHODS = ("selar", "cot", "cot-greedy", "soft-thinking", "swir", "coconut")
WARM = 16  # requests, and pieces of garbage, of each client before the time begins
NOTICED = 1.0  # seconds in which a request may still meet the process that was just killed


class Soak:
    """The clients and what they have seen."""

    def __init__(self, server: Command, patience: float) -> None:
        self.server = server
        self.patience = patience
        self.outcomes: list[Outcome] = []
        self.methods = list(METHODS)

    def client(self) -> httpx.Client:
        """A client of its own, which does not wait for ever."""
        return httpx.Client(base_url=self.server.url, timeout=self.patience)

    def references(self) -> dict[str, str]:
        """What some requests give that are asked alone. Methods that the model does not know are left out later."""
        found: dict[str, str] = {}
        with self.client() as client:
            for method in self.methods:
                number = METHODS.index(method)  # the same request, whichever methods were left out meanwhile
                body = {"prompt": " ".join(WORDS[: 5 + number]), "seed": number, "max_tokens": 48, "stream": False}
                outcome = ask(client, TEXT, {**body, "selar": {"method": method}})
                if outcome.kind == "done":
                    found[method] = outcome.text
        return found

    def warm_up(self, clients: int) -> None:
        """Short requests and garbage from as many clients, before anything is counted.

        The allocator's arenas fill with the first thousands of requests (some 5 % of the server's memory) and stay so.
        """

        def one(number: int) -> None:
            draw = random.Random(number)
            with self.client() as client:
                for _ in range(WARM):
                    path, body = random_request(draw, self.methods)
                    ask(client, path, {**body, "max_tokens": 1})
                    throw(self.server.url, draw)

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(one, range(clients)))

    def run_client(self, seed: int, until: float) -> None:
        """One client, until the time is up."""
        draw = random.Random(seed)
        with self.client() as client:
            while time.monotonic() < until:
                if draw.random() < 0.1:
                    self.outcomes.append(throw(self.server.url, draw))
                    continue
                path, body = random_request(draw, self.methods)
                leaves = body["stream"] and draw.random() < 0.5
                outcome = ask(client, path, body, draw.randint(0, 40) if leaves else None)
                self.outcomes.append(outcome)
                if outcome.kind.startswith("no answer"):
                    time.sleep(0.5)  # a server that is gone must not make us spin

    def idle_within(self, seconds: float) -> bool:
        """Whether nothing runs or waits any more."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            lines = httpx.get(self.server.url + "/metrics", timeout=self.patience).text.splitlines()
            gauges = [line for line in lines if line.startswith("selar_local_requests_") and "{" not in line]
            if [float(line.split()[-1]) for line in gauges] == [0, 0]:
                return True
            time.sleep(0.1)
        return False


def growth(samples: list[tuple[float, int]]) -> float:
    """The last quarter's median against the second quarter's: the first one is still filling caches."""
    begun, span = samples[0][0], samples[-1][0] - samples[0][0]
    early = [size for at, size in samples if 0.25 <= (at - begun) / (span or 1) <= 0.5]
    late = [size for at, size in samples if (at - begun) / (span or 1) >= 0.75]
    return statistics.median(late) / statistics.median(early) - 1 if early and late else 0.0


def started(run: Soak, polite: int, rude: int, seconds: float, seed: int) -> list[threading.Thread]:
    """The clients, at work. rude: so many of either kind."""
    until, url = time.monotonic() + seconds, run.server.url
    jobs = [partial(run.run_client, seed * 1000 + i, until) for i in range(polite)]
    jobs += [partial(kind, url, until) for kind in (be_silent, be_deaf) for _ in range(rude)]
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    return threads


def to_first_token(outcomes: list[Outcome]) -> float:
    """The median time to the first token of the streams."""
    return statistics.median([o.first for o in outcomes if o.first is not None] or [0.0])


def soak(run: Soak, clients: int, seconds: float, seed: int) -> tuple[dict[str, bool], dict[str, Any]]:
    """Everything: the checks with their verdicts, and the figures."""
    before = run.references()
    run.methods = list(before)
    rude = clients // 5
    polite = clients - 2 * rude
    run.warm_up(clients)
    for thread in started(run, polite, 0, min(60.0, seconds / 4), seed + 1):
        thread.join()
    alone, run.outcomes = run.outcomes, []
    begun = time.monotonic()
    threads = started(run, polite, rude, seconds, seed)
    server_memory: list[tuple[float, int]] = []
    child_memory: list[tuple[float, int]] = []
    killed, victims = 0.0, set[int]()
    while (now := time.monotonic()) < begun + seconds:
        own, children = run.server.resident()
        server_memory.append((now, own))
        child_memory += [(now, size) for pid, size in children.items() if killed and pid not in victims]
        if not killed and now > begun + seconds / 2 and children:
            victims, killed = set(children), time.monotonic()
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
        time.sleep(min(1.0, seconds / 200))
    for thread in threads:
        thread.join(max(0.0, begun + seconds + 2 * run.patience - time.monotonic()))
    stuck = sum(thread.is_alive() for thread in threads)
    kinds = Counter(outcome.kind for outcome in run.outcomes)
    crashed = [o for o in run.outcomes if o.kind == "crashed"]
    idle = run.idle_within(60)
    healthy = httpx.get(run.server.url + "/health", timeout=run.patience).json() == {"status": "ok"}
    after = run.references()
    grown = {"server": growth(server_memory), "child": growth(child_memory) if child_memory else 1.0}
    faults = {kind: count for kind, count in kinds.items() if kind not in ("done", "left", "crashed", "garbage")}
    first = to_first_token(run.outcomes)
    checks = {
        "the server is healthy": healthy,
        "no client waits for ever": not stuck,
        "nothing runs or waits afterwards": idle,
        "every completed answer is intact, every refusal is one": not faults and kinds["done"] > 0,
        "the same requests give the same texts, before and after": bool(before) and before == after,
        "the child was killed and another came": bool(killed) and bool(child_memory),
        "only what ran then has failed": all(o.begun <= killed + NOTICED and o.ended >= killed for o in crashed),
        "first tokens come at most half as fast as without the rude ones": first <= 2 * to_first_token(alone),
        "the log is shorter than 1 MB": run.server.logged < 1_000_000,
    }
    figures = {
        "seconds": seconds, "clients": clients, "seed": seed, "methods": run.methods, "outcomes": dict(kinds),
        "faults": faults, "memory_growth": grown, "logged": run.server.logged,
        "first_token_seconds": {"alone": to_first_token(alone), "with rude clients": first},
        "memory_kib": {"server": server_memory[-1][1], "child": child_memory[-1][1] if child_memory else None},
    }  # fmt: skip
    return checks, figures


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option("--clients", default=32, show_default=True)
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--parallel", default=3, show_default=True, help="beyond 3, texts may differ by rounding")
@click.option("--threads", default=2, show_default=True)
@click.option("--files", default=256, show_default=True, help="that the server may have open")
@click.option("--ctx-size", default=512, show_default=True, help="of each request")
@click.option("--patience", default=120.0, show_default=True, help="seconds after which an answer is missing")
@click.option("--max-growth", default=0.05, show_default=True, help="of the memory, as a share")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the report to this file")
def main(
    model: str, clients: int, minutes: float, seed: int, parallel: int, threads: int, files: int, ctx_size: int,
    patience: float, max_growth: float, json_path: str | None,
) -> None:  # fmt: skip
    """Let rude clients at a server of MODEL and see what is left of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    server = Command(
        model, "--parallel", parallel, "-t", threads, "-c", ctx_size, "--queue-size", max(256, 4 * clients)
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    code: int | None = None
    try:
        checks, figures = soak(Soak(server, patience), clients, minutes * 60, seed)
        children = set(server.resident()[1])
    finally:
        code = server.stop()
    grown = figures["memory_growth"]
    checks[f"memory grows by no more than {max_growth:.0%}"] = max(grown.values()) <= max_growth
    checks["it ends when told to, and its child with it"] = code == 0 and not any(map(lives, children))
    report = {"model": Path(model).name, "checks": checks, **figures}
    click.echo(json.dumps({**figures, "memory_growth": {k: round(v, 4) for k, v in grown.items()}}, indent=1))
    for name, holds in checks.items():
        click.echo(f"{'ok  ' if holds else 'FAIL'} {name}")
    if json_path:
        Path(json_path).write_text(json.dumps(report, indent=1) + "\n")
    if not all(checks.values()):
        click.echo("".join(server.said), err=True)
        sys.exit(1)


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()

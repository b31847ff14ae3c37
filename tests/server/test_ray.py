"""The server on a Ray cluster of two nodes on this machine: a replica is killed under load, a node goes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.errors import OptionError
from selar_local.server.config import PARALLEL
from selar_local.server.lifecycle import bind, url_of

from .conftest import CHAT, HELLO, TEMPLATE, TEXT, Api, create_app, events, sample, until

pytestmark = pytest.mark.ray

openai = pytest.importorskip("openai")
ray = pytest.importorskip("ray")
serve = pytest.importorskip("ray.serve")
from selar_local.server.ray import ScaleConfig, Setup, build  # noqa: E402

NODES = 2
REQUESTS, CLIENTS = 200, 16
LONG = {"prompt": "the end", "seed": 1, "max_tokens": 30000}


@dataclass(frozen=True)
class Running:
    """A cluster with the application on it. node: the one that may be removed."""

    cluster: Any
    node: Any
    url: str


@pytest.fixture(scope="module")
def model(tiny: Callable[..., Path]) -> Path:
    """Slow enough that a replica always has something to do."""
    return tiny(n_ctx_train=32768, n_layer=4, n_embd=128, n_ff=512, chat_template=TEMPLATE, weight_type="Q8_0")


@pytest.fixture(scope="module")
def running(model: Path) -> Iterator[Running]:
    """A replica on each node. The proxy is on the first one."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            node = cluster.add_node(num_cpus=1)
            ray.init(address=cluster.address, log_to_driver=False)
            with bind("127.0.0.1", 0) as free:
                url = url_of("127.0.0.1", free)
            serve.start(proxy_location="HeadOnly", http_options={"port": httpx.URL(url).port})
            each = {"model": str(model), "threads": "1", "ctx_size": "32768", "drain": 0}
            serve.run(build({**each, "min_replicas": NODES, "max_replicas": NODES}))
            yield Running(cluster, node, url)
        finally:
            serve.shutdown()
            ray.shutdown()
            cluster.shutdown()


@dataclass(frozen=True)
class Asked:
    """One request of a load: when it began and ended, and its error."""

    begun: float
    ended: float
    error: Exception | None


class Load:
    """Requests by OpenAI's own client, so many at once, which go on until `results`."""

    def __init__(self, url: str, **client: Any) -> None:
        self.done = 0
        self._client = openai.OpenAI(base_url=url + "/v1", api_key="any", timeout=60, **client)
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._asked = [self._pool.submit(self._ask, number) for number in range(REQUESTS)]

    def _ask(self, number: int) -> Asked:
        begun, error = time.monotonic(), None
        tokens = 16 + number * 7 % 32  # texts of one length would end together, and leave a replica empty
        try:
            answer = self._client.chat.completions.create(
                model="default", messages=HELLO, seed=number, max_tokens=tokens, extra_body={"ignore_eos": True}
            )
            assert answer.usage.completion_tokens == tokens
        except openai.APIError as failure:
            error = failure
        self.done += 1
        return Asked(begun, time.monotonic(), error)

    def results(self) -> list[Asked]:
        with self._pool, self._client:
            return [one.result() for one in self._asked]


def replicas() -> list[int]:
    """The ids of their processes."""
    found = ray.util.list_named_actors(all_namespaces=True)
    names = [one["name"] for one in found if one["name"].startswith("SERVE_REPLICA")]
    asked = [ray.get_actor(name, namespace="serve").__ray_call__.remote(lambda _: os.getpid()) for name in names]
    return ray.get(asked, timeout=60)


def are_running(number: int, app: str = "default") -> bool:
    (deployment,) = serve.status().applications[app].deployments.values()
    return deployment.replica_states.get("RUNNING") == number


def kill(process: int) -> float:
    """At once, without a chance to finish; the time when it happened."""
    os.kill(process, signal.SIGKILL)
    return time.monotonic()


def test_the_answers_are_the_engine_s(running, model):
    body = {"messages": HELLO, "seed": 3, "max_tokens": 12, "logprobs": True}
    body |= {"selar": {"method": "selar", "events": True}}
    with sl.load(model, threads=1, ctx_size=32768, parallel=PARALLEL) as engine:
        alone = Api(create_app(engine))
        whole, streamed = alone.post(CHAT, **body), alone.post(CHAT, **body, stream=True)
    there = httpx.post(running.url + CHAT, json=body, timeout=60)
    assert there.status_code == 200 and there.json()["choices"] == whole.json()["choices"]
    pieces = events(httpx.post(running.url + CHAT, json={**body, "stream": True}, timeout=60).text)
    assert [one["choices"] for one in pieces[:-1]] == [one["choices"] for one in events(streamed.text)[:-1]]


def test_steps_come_one_by_one(running):
    with httpx.stream("POST", running.url + TEXT, json={**LONG, "stream": True}, timeout=60) as response:
        lines = (line for line in response.iter_lines() if line)
        begun = time.monotonic()
        first = [next(lines) for _ in range(20)]
        assert all(line.startswith("data: ") for line in first)
        assert time.monotonic() - begun < 10  # all 30,000 steps take longer
        assert until(lambda: load_of(running) == 1)
    assert until(lambda: load_of(running) == 0)


def load_of(running: Running) -> int:
    """Generations that run on any replica: each scrape is answered by one of them."""
    scrapes = [httpx.get(running.url + "/metrics", timeout=60).text for _ in range(8 * NODES)]
    return int(max(sample(text, "requests_running") for text in scrapes))


def test_who_may_ask(running):
    """As on a server of one's own: no name that could be somebody else's, and no page from elsewhere."""
    models = running.url + "/v1/models"
    assert httpx.get(models, headers={"host": "localhost:8000"}).status_code == 200
    assert httpx.get(models, headers={"host": "192.0.2.1:8000"}).status_code == 200
    assert httpx.get(models, headers={"host": "evil.example"}).json()["error"]["code"] == "host_not_allowed"
    page = {"origin": "https://evil.example"}
    assert httpx.post(running.url + TEXT, json={}, headers=page).json()["error"]["code"] == "origin_not_allowed"


def test_a_killed_replica_takes_its_own_requests_along_and_no_other(running):
    process, other = replicas()
    load = Load(running.url, max_retries=0)
    assert until(lambda: load.done >= REQUESTS // 4, 60)
    killed = kill(process)
    results = load.results()
    failed = [one for one in results if one.error is not None]
    assert 1 <= len(failed) <= PARALLEL
    assert all(one.begun < killed < one.ended + 1 for one in failed)
    assert all(isinstance(one.error, openai.InternalServerError) for one in failed)  # the client may ask again
    assert until(lambda: are_running(NODES) and process not in replicas(), 60)
    assert other in replicas()


def test_a_client_that_asks_again_gets_all_its_answers(running):
    process = replicas()[0]
    load = Load(running.url)
    assert until(lambda: load.done >= REQUESTS // 4, 60)
    kill(process)
    assert [one.error for one in load.results() if one.error] == []
    assert until(lambda: are_running(NODES) and process not in replicas(), 60)


def test_replicas_come_with_the_queue(running, model):
    each = {"model": str(model), "threads": 1, "num_cpus": 0, "parallel": 1, "ctx_size": 4096, "drain": 0}
    serve.run(build({**each, "min_replicas": 1, "max_replicas": 2}), name="queue", route_prefix="/queue")
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            httpx.post(running.url + "/queue" + TEXT, json={**LONG, "max_tokens": 200}, timeout=60)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(ask)
        try:
            assert are_running(1, "queue")
            assert until(lambda: are_running(2, "queue"), 100)
        finally:
            ended.set()
    serve.delete("queue")


def test_a_node_that_goes_stops_no_load(running):
    """The last test of this cluster: the node does not come back."""
    load = Load(running.url)
    assert until(lambda: load.done >= REQUESTS // 4, 60)
    running.cluster.remove_node(running.node)
    assert [one.error for one in load.results() if one.error] == []
    assert are_running(1)


def test_arguments_are_the_options_of_serve(monkeypatch):
    monkeypatch.setenv("SELAR_LOCAL_API_KEY", "b,c")
    given = {"model": "m.gguf", "tau": "0.3", "symbol_guard": "off", "temperature": "0.7", "max_tokens": "9"}
    given |= {"ctx_size": 512, "api_keys": "a", "thinking": "false", "num_gpus": "0.5", "aliases": ["x", "y"]}
    setup = Setup.of(given)
    assert setup.model == "m.gguf" and setup.method == sl.Selar(tau=0.3, symbol_guard=False)
    assert setup.engine == EngineConfig(ctx_size=512, parallel=PARALLEL)
    assert setup.server.api_keys == ("a", "b", "c") and setup.server.aliases == ("x", "y")
    assert (setup.sampling, setup.generation.max_tokens) == ({"temperature": 0.7}, 9)
    assert setup.thinking is False and setup.scale == ScaleConfig(num_gpus=0.5)
    assert Setup.of({}).method is None and Setup.of({"method": "cot"}).method == sl.CoT()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tua": "1"}, "unknown argument tua"),
        ({"method": "cot", "tau": "1"}, "unknown argument tau with method cot"),
        ({"tau": "much"}, "tau must be"),
        ({"parallel": "1.5"}, "parallel must be a whole number"),
        ({"host": "0.0.0.0"}, "host is not for the replicas: Ray Serve has http_options"),
        ({"min_replicas": "5"}, "min_replicas must be at most max_replicas"),
        ({"temperature": "-1"}, "temperature must be"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_starts(arguments, message):
    with pytest.raises(OptionError, match=message):
        build(arguments)

"""Running servers that decode a study's answers, each on its own machine: ours, or any with OpenAI's API for `cot`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from selar_local.engine.file_facts import ENGINE_SETTINGS
from selar_local.errors import MissingExtra, OptionError, SelarError
from selar_local.install_hint import install_hint

_MODEL = ("model", "model_sha256", "quantisation", "architecture", "template_hash")
_SECONDS = 600  # the first answer of ours reads its whole model file


@dataclass(frozen=True, eq=False)
class Server:
    """One server. url: with /v1. model: its name in requests. parallel: answers that it gets at once. facts: what ours
    says of its model and itself, None of another program.
    """

    url: str
    model: str
    parallel: int
    facts: Mapping[str, Any] | None = None

    @property
    def host(self) -> str:
        """Its address, as in notes and logs."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


class Servers:
    """All servers of a study; they have the same model. key: the API key for all."""

    def __init__(self, servers: Sequence[Server], key: str | None = None) -> None:
        """Raises OptionError where the models differ, or are not known to be the same."""
        hashes = {server.host: (server.facts or {}).get("model_sha256") for server in servers}
        if len(set(hashes.values())) > 1:
            found = ", ".join(f"{host} {digest or 'unknown'}" for host, digest in hashes.items())
            raise OptionError(f"the servers have different models (SHA-256): {found}")
        self.all, self.key = tuple(servers), key
        self._running = dict.fromkeys(self.all, 0)
        self._lost: dict[Server, str] = {}

    @property
    def ours(self) -> bool:
        """Whether they are of selar-local: any method, any option."""
        return self.all[0].facts is not None

    @property
    def parallel(self) -> int:
        """Answers that all of them get at once."""
        return sum(server.parallel for server in self.all)

    @property
    def thinks(self) -> bool:
        """Whether the model is known to think before it answers."""
        return bool((self.all[0].facts or {}).get("thinks"))

    def settings(self) -> dict[str, Any]:
        """What must be the same in all logs of a study; several values where the servers' own differ."""
        every = [server.facts or {"model": server.model, "parallel": server.parallel} for server in self.all]
        found = {name: every[0].get(name) for name in _MODEL}
        for name in ENGINE_SETTINGS:
            values = list(dict.fromkeys(one.get(name) for one in every))
            found[name] = values[0] if len(values) == 1 else sorted(values, key=str)
        return found

    def records(self) -> list[dict[str, Any]]:
        """What a log says of each."""
        names = ("version", "model_sha256")
        return [{"server": one.host, **{name: (one.facts or {}).get(name) for name in names}} for one in self.all]

    @contextlib.contextmanager
    def place(self) -> Iterator[Server]:
        """The server with the most room. Raises SelarError where all are lost."""
        left = [server for server in self.all if server not in self._lost]
        if not left:
            reasons = "; ".join(f"{server.host}: {reason}" for server, reason in self._lost.items())
            raise SelarError(f"no server is left ({reasons})")
        server = min(left, key=lambda one: self._running[one] / one.parallel)
        self._running[server] += 1
        try:
            yield server
        finally:
            self._running[server] -= 1

    def lose(self, server: Server, reason: str) -> None:
        """It gets no more requests: those that ran there go to the others."""
        self._lost.setdefault(server, reason)

    @property
    def lost(self) -> Mapping[Server, str]:
        """Those that failed, and why."""
        return self._lost

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, Inspect's models that answer through servers use these."""
        global _IN_USE
        _IN_USE = self
        try:
            yield
        finally:
            _IN_USE = None


_IN_USE: Servers | None = None


def servers_in_use() -> Servers:
    """Those of the study that is being made. Raises OptionError outside of one: logs record no addresses to ask."""
    if _IN_USE is None:
        raise OptionError("this model answers through servers: selar-local eval --url goes on with it")
    return _IN_USE


def find_servers(urls: Sequence[str], model: str | None, parallel: int, key: str | None = None) -> Servers:
    """Ask every server who it is.

    model: the name that requests give, else what the server lists first. parallel: answers that another program's
    server gets at once; ours say it themselves. Raises SelarError for one that cannot be reached, OptionError for
    different models, and for a server that changes answers by defaults of its own.
    """
    try:
        import httpx
    except ImportError as error:
        raise MissingExtra(f"an evaluation on servers needs {error.name}; {install_hint('eval')}") from None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(headers=headers, timeout=httpx.Timeout(_SECONDS, connect=10)) as client:

        def get(url: str) -> dict[str, Any] | None:
            try:
                answer = client.get(url)
                if answer.status_code == httpx.codes.NOT_FOUND:
                    return None
                body = answer.raise_for_status().json()
            except (httpx.HTTPError, ValueError) as error:
                raise SelarError(f"{url} cannot be asked: {_why(error)}") from None
            return body if isinstance(body, dict) else None

        return Servers(
            [_found(base, get(f"{base}/selar/model"), get, model, parallel) for base in map(_base, urls)], key
        )


def _found(base: str, facts: dict[str, Any] | None, get: Any, model: str | None, parallel: int) -> Server:
    if facts is not None and facts.get("object") == "selar.model":
        if facts.get("sampling"):  # a study's methods have their own
            raise OptionError(f"{base} begins with the sampling of its model file: start it with --no-model-sampling")
        own = sorted(set(facts.get("defaults", ())) - {"max_tokens"})  # every request has its own max_tokens
        if own:
            raise OptionError(f"{base} has its own defaults for {', '.join(own)}: start it without them")
        return Server(base, model or "default", int(facts["parallel"]), facts)
    listed = [one["id"] for one in (get(f"{base}/models") or {}).get("data", ())]
    if model is None and not listed:
        raise SelarError(f"{base} lists no model: name it")
    return Server(base, model or listed[0], parallel)


def _base(url: str) -> str:
    """The base URL: /v1 where only the host is given. Raises OptionError."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise OptionError(f"url must be like http://host:port, not {url!r}")
    return url.strip().rstrip("/") + ("" if parts.path.strip("/") else "/v1")


def _why(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"it refuses the API key ({status}); give --api-key, or SELAR_LOCAL_API_KEY"
    return str(error).splitlines()[0] if str(error) else type(error).__name__

"""Who may come in: keys, web origins."""

from __future__ import annotations

import pytest

from selar_local.errors import OptionError
from selar_local.server.app import create_app
from selar_local.server.config import ServerConfig

from .conftest import CHAT, HELLO, Api

PATHS = [("POST", CHAT), ("POST", "/v1/completions"), ("GET", "/v1/models"), ("GET", "/metrics"), ("GET", "/nowhere")]


@pytest.fixture
def locked(engine):
    return Api(create_app(engine, ServerConfig(api_keys=("one", "two"))))


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer onetwo", "Bearer on", "Basic one", "one", "Bearer \xe9"]
)
def test_without_a_key_nothing_is_told(locked, method, path, header):
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    response = locked.request(method, path, headers=headers, content=b"{")
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer one"}, {"Authorization": "bearer two"}, {"Authorization": "Bearer  one "},
        {"X-Api-Key": "two"}, {"x-api-key": "one", "Authorization": "Bearer other"},
    ],
)  # fmt: skip
def test_each_key_opens(locked, headers):
    assert locked.get("/v1/models", headers=headers).status_code == 200
    assert locked.get("/metrics", headers=headers).status_code == 200
    body = {"messages": HELLO, "max_tokens": 1}
    assert locked.request("POST", CHAT, json=body, headers=headers).status_code == 200


def test_health_is_open(locked):
    assert locked.get("/health").json() == {"status": "ok"}


def test_keys_are_not_shown():
    assert "secret" not in repr(ServerConfig(api_keys=("secret",)))
    for keys in (("secret", ""), "secret", ("secret", "a b"), b"secret"):
        with pytest.raises(OptionError, match=r"^api_keys must be ") as caught:
            ServerConfig(api_keys=keys)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_beyond_this_machine_a_key_is_needed(host):
    with pytest.raises(OptionError, match="--api-key"):
        ServerConfig(host=host)
    assert ServerConfig(host=host, api_keys=("k",)).host == ServerConfig(host=host, insecure=True).host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_needs_none(host):
    assert ServerConfig(host=host).api_keys == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1}, {"port": 70000}, {"api_keys": ("",)}, {"api_keys": ("a b",)},
        {"api_keys": ("\xe9",)}, {"host": ""},
        {"cors_origins": ("example.org",)}, {"cors_origins": ("https://a.example/path",)}, {"max_body_bytes": 0},
        {"request_timeout": 0}, {"grace": -1}, {"model_name": " "}, {"max_prompt_tokens": 0},
    ],
)  # fmt: skip
def test_bad_settings(wrong):
    with pytest.raises(OptionError):
        ServerConfig(**wrong)


def test_cors_is_off(api):
    for origin in ("http://localhost:3000", "https://evil.example"):
        for response in (
            api.get("/v1/models", headers={"Origin": origin}),
            api.request("POST", CHAT, json={"messages": HELLO, "max_tokens": 1}, headers={"Origin": origin}),
            api.request("OPTIONS", CHAT, headers={"Origin": origin, "Access-Control-Request-Method": "POST"}),
        ):
            assert not [name for name in response.headers if name.startswith("access-control")]
    assert response.status_code == 405


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403), ("http://evil.example:8080", 403), ("null", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://", 403), ("http://[bad", 403),
        ("http://localhost:3000", 200), ("http://127.0.0.1:8080", 200),
        ("app://obsidian.md", 200), ("vscode-webview://x", 200),
    ],
)  # fmt: skip
def test_web_pages_from_elsewhere_cannot_post(api, origin, status):
    """A browser sends such a request without asking first; only reading the answer would be forbidden."""
    body = b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}'
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    assert api.request("POST", CHAT, content=body, headers=headers).status_code == status


PAGES = ("/", "/v1/models", "/metrics", "/health", "/nowhere")


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1:8080", True), ("localhost", True), ("LOCALHOST.:8080", True), ("[::1]:8080", True), ("", True),
        ("192.0.2.7:8080", True), ("chat.localhost:80", True), ("host.docker.internal:8080", True),
        ("evil.example", False), ("evil.example:8080", False), ("localhost.evil.example", False), ("[bad", False),
        ("127.0.0.1.evil.example", False), ("evil-localhost", False), ("@localhost.evil.example", False),
    ],
)  # fmt: skip
def test_a_name_that_was_made_to_lead_here_gets_nothing(api, host, here):
    for path in PAGES:
        refused = api.get(path, headers={"Host": host}).status_code == 403
        assert refused != here, path
    asked = api.request("POST", CHAT, json={"messages": HELLO, "max_tokens": 1}, headers={"Host": host})
    assert asked.status_code == 200 if here else asked.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    "config", [{"allowed_hosts": ("box.example",)}, {"allowed_hosts": ("*",)}, {"api_keys": ("k",)}]
)
def test_names_that_are_allowed(engine, config):
    api = Api(create_app(engine, ServerConfig(**config)))
    headers = {"Host": "Box.example:8080", "Authorization": "Bearer k"}
    assert api.get("/v1/models", headers=headers).status_code == 200


def test_a_server_for_other_machines_has_any_name(engine):
    api = Api(create_app(engine, ServerConfig(host="0.0.0.0", insecure=True)))
    assert api.get("/v1/models", headers={"Host": "box.example"}).status_code == 200


@pytest.mark.parametrize(
    ("site", "mode", "path", "status"),
    [
        ("cross-site", "no-cors", "/v1/models", 403), ("cross-site", "navigate", "/v1/models", 403),
        ("cross-site", "no-cors", "/", 403), ("cross-site", "navigate", "/", 200),
        ("same-origin", "cors", "/v1/models", 200), ("same-site", "no-cors", "/v1/models", 200),
        ("none", "navigate", "/v1/models", 200),
    ],
)  # fmt: skip
def test_what_another_site_embeds_gets_nothing(api, site, mode, path, status):
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    assert api.get(path, headers=headers).status_code == status
    body = {"messages": HELLO, "max_tokens": 1}
    posted = api.request("POST", CHAT, json=body, headers=headers).status_code
    assert posted == (403 if site == "cross-site" else 200)


def test_cors_for_the_origins_that_were_named(engine):
    api = Api(create_app(engine, ServerConfig(cors_origins=("https://app.example",), api_keys=("k",))))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    ours = api.request("OPTIONS", CHAT, headers={"Origin": "https://app.example", **asked})
    assert ours.status_code == 200 and ours.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in ours.headers
    theirs = api.request("OPTIONS", CHAT, headers={"Origin": "https://evil.example", **asked})
    assert theirs.status_code == 400 and "access-control-allow-origin" not in theirs.headers
    refused = api.request("POST", CHAT, json={}, headers={"Origin": "https://app.example"})
    assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == "https://app.example"

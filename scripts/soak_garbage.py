"""What is no request, as bytes: for `soak_server.py`."""

from __future__ import annotations

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def raw(path: str, body: bytes, declared: int | None = None) -> bytes:
    """The bytes of a POST. declared: the length that it claims to have."""
    length = len(body) if declared is None else declared
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode() + body


GARBAGE = (
    raw(CHAT, b"{"),
    raw(CHAT, b"[" * 50_000),
    raw(CHAT, b'{"messages": 3}'),
    raw(CHAT, b'{"messages": [{"role": "user", "content": [1, {}]}], "max_tokens": "many"}'),
    raw(CHAT, b'{"messages": [{"role": "user", "content": "a"}], "selar": {"tau": {}}}'),
    raw(CHAT, b'{"messages": [{"role": "user", "content": "\xff\xfe\x80"}]}'),
    raw(TEXT, b'{"prompt": [1, 2]}'),
    raw(TEXT, b'{"prompt": "a", "n": 99999999999999999999}'),
    raw(TEXT, b'{"prompt": "' + b"a " * 100_000 + b'"}'),
    raw(TEXT, b" " * 100_000, 1 << 40),
    raw(TEXT, b"{" + b" " * (9 << 20) + b"}"),
    raw(TEXT, b'{"prompt": "ha', 500),
    raw("/v1/nothing", b"{}"),
    b"POST /v1/completions HTT",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    b"",
)

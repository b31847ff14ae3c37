"""Puts the page together: template, style, script and data in one file, and nothing may be added to it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from selar_local._version import __version__
from selar_local.analysis.page.payload import payload
from selar_local.analysis.token_texts import TokenTexts
from selar_local.errors import SelarError
from selar_local.trace import Trace

#: Stands in the first lines of every page: what has it may be overwritten by another page.
MARK = '<meta name="generator" content="selar-local trace page'
_FOLDER = "selar_local.analysis.page"
#: In this order they are one script: each uses what stands before it.
_SCRIPTS = (
    "dom.js",
    "data.js",
    "layout.js",
    "text.js",
    "axis.js",
    "drawing.js",
    "curve.js",
    "panel.js",
    "section.js",
    "main.js",
)
_SHOWN_NAMES = 3  # in the title


def trace_page(traces: Sequence[Trace], texts: TokenTexts) -> bytes:
    """The page for these traces as UTF-8. texts: of their tokens, see `token_texts`. Raises SelarError for none."""
    if not traces:
        raise SelarError("there is no trace to show")
    style = _source("page.css")
    script = "(() => {\n'use strict';\n" + "\n".join(map(_source, _SCRIPTS)) + "})();\n"
    parts = {
        "mark": f'{MARK} {__version__}">',
        "policy": _policy(style, script),
        "title": escape(_title(traces)),
        "style": style,
        "script": script,
        "data": _json(payload(traces, texts)),
    }
    page = _source("page.html")
    for name in ("mark", "policy", "title", "style"):
        page = page.replace(f"<!-- {name} -->", parts[name])
    # The two that hold anything at all come last, and are not looked through again.
    before, _, rest = page.partition("<!-- data -->")
    between, _, after = rest.partition("<!-- script -->")
    return "".join([before, parts["data"], between, parts["script"], after]).encode("utf-8", "backslashreplace")


def _source(name: str) -> str:
    return files(_FOLDER).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _policy(style: str, script: str) -> str:
    """No request, this style and this script only, and no text can become markup: the script makes elements."""
    return "; ".join([
        "default-src 'none'", f"style-src '{_hash(style)}'", f"script-src '{_hash(script)}'", "base-uri 'none'",
        "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
    ])  # fmt: skip


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that ends no script element, whatever texts are in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _title(traces: Sequence[Trace]) -> str:
    names = [trace.name for trace in traces[:_SHOWN_NAMES]]
    more = len(traces) - len(names)
    return ", ".join(names).encode("utf-8", "replace").decode() + (f" and {more} more" if more else "")

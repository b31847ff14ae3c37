"""Text into files and pipes is UTF-8, whatever the code page; a terminal keeps its encoding."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TEXT = "π → √2, 日本, 😀"
SCRIPT = f"""
import sys
from selar_local.cli.streams import print_json, repair
repair()
print({TEXT!r})
print_json({{"text": {TEXT!r}}})
print({TEXT!r}, file=sys.stderr)
"""


def printed(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, env=environment, timeout=60, check=True)
    return done.stdout.decode().splitlines(), done.stderr.decode().splitlines()


@pytest.mark.parametrize("encoding", ["cp1252", "cp932:strict", "latin-1", "utf-8"])
def test_into_a_pipe(encoding):
    assert printed(encoding) == ([TEXT, f'{{"text": "{TEXT}"}}'], [TEXT])


def test_who_asks_for_ascii_gets_it():
    (text, as_json), _ = printed("ascii")
    assert text.isascii() and as_json.isascii() and "\\u65e5" in as_json

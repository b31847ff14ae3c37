"""The log of the server: bounded, and never in the way of what it is about."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import pytest

from selar_local.cli.server_log import ServerLog, Sparing

FULL = Path("/dev/full")


def test_a_flood_of_messages_is_cut_and_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sparing = Sparing(most=3, seconds=60)

    def passed(text):
        record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", (text,), None)
        return record.getMessage() if sparing.filter(record) else None

    now[0] = 100.0
    assert [passed("a") for _ in range(5)] == ["a", "a", "a", None, None]
    now[0] = 161.0
    assert [passed("b"), passed("c")] == ["(2 messages were left out)\nb", "c"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are of another kind")
def test_nobody_waits_for_a_standard_error_that_nobody_reads(monkeypatch):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        begun = time.monotonic()
        with ServerLog().attached() as log:
            for _ in range(5000):
                log.say("x" * 100)
        assert time.monotonic() - begun < 5


def test_lines_and_warnings_come_in_order_before_the_end(capfd):
    with ServerLog().attached() as log:
        log.say("listening")
        logging.getLogger("some.library").warning("it is %s", "late")
        log.say("done")
    assert capfd.readouterr().err == "listening\nit is late\ndone\n"
    assert not [handler for handler in logging.getLogger().handlers if isinstance(handler, ServerLog)]


@pytest.mark.skipif(not FULL.exists(), reason="no full device")
def test_a_full_device_is_no_error(monkeypatch):
    with FULL.open("w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with ServerLog().attached() as log:
            log.say("listening")
        monkeypatch.undo()

"""The cache of facts about model files."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

import pytest

from selar_local import cache
from selar_local.errors import ModelNotFound


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_folder(monkeypatch, tmp_path, folder):
    assert cache.cache_dir() == folder
    monkeypatch.delenv("SELAR_LOCAL_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "selar-local"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_dir() == tmp_path / ".cache" / "selar-local"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.cache_dir() == tmp_path / "Library" / "Caches" / "selar-local"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.cache_dir() == tmp_path / "local" / "selar-local"


def test_key_changes_with_the_file(tmp_path):
    file = tmp_path / "a.gguf"
    file.write_bytes(b"one")
    key = cache.file_key(file, "x")
    assert key == cache.file_key(file, "x") != cache.file_key(file, "y")
    link = tmp_path / "link.gguf"
    link.symlink_to(file)
    assert cache.file_key(link, "x") == key
    os.utime(file, ns=(1, 1))
    assert cache.file_key(file, "x") != key
    with pytest.raises(ModelNotFound, match="cannot look at"):
        cache.file_key(tmp_path / "none.gguf")


def test_write_read_and_damage(folder):
    assert cache.read("k") is None
    cache.write("k", {"a": [1, "é"]})
    assert cache.read("k") == {"a": [1, "é"]}
    assert [f.name for f in folder.iterdir()] == ["k.json"]
    for damage in (b"", b'{"a": ', b"[1]", b"\xff", b"[" * 100_000):
        (folder / "k.json").write_bytes(damage)
        assert cache.read("k") is None
    cache.write("../../etc/x", {"a": 1})
    assert cache.read("../../etc/x") == {"a": 1}
    assert all(f.parent == folder for f in folder.iterdir())


def test_failures_are_silent(monkeypatch, tmp_path, folder):
    cache.write("k", {"a": object()})
    assert cache.read("k") is None
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "file" / "below"))
    cache.write("k", {"a": 1})
    assert cache.read("k") is None


def test_a_failed_write_leaves_no_rubbish(monkeypatch, folder):
    def fail(self, target):
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    cache.write("k", {"a": 1})
    assert list(folder.iterdir()) == []


def test_sha256(tmp_path, folder, monkeypatch):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"x" * 3_000_000)
    wanted = hashlib.sha256(file.read_bytes()).hexdigest()
    assert cache.sha256_of(file) == wanted
    before = file.stat()
    file.write_bytes(b"y" * 3_000_000)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.sha256_of(file) == wanted  # the same path, size and time: not read again
    os.utime(file, ns=(5, 5))
    assert cache.sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_sha256_can_be_cancelled_and_then_keeps_nothing(tmp_path, folder):
    file = tmp_path / "m.gguf"
    file.write_bytes(b"x")
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError):
        cache.sha256_of(file, cancelled=stop.is_set)
    assert not folder.exists()
    with pytest.raises(ModelNotFound):
        cache.sha256_of(tmp_path / "none")

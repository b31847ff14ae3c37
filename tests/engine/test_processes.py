"""What only a process of its own can show: Ctrl-C, and an end of the interpreter in the middle of the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

START = """
import os, signal, sys, threading, time
import selar_local as sl
engine = sl.load(sys.argv[1], threads=1, ctx_size=32768)
"""
SECONDS = 60
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on POSIX")


def run(code: str, model: Path, start: str = START) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", start + code, str(model)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment,
        check=False,
    )


@posix
def test_ctrl_c_during_generate_leaves_the_engine_usable(long_model):
    code = """
first = engine.generate("Hello", raw=True, max_tokens=5, method="cot-greedy").tokens
for prompt in ("Hello", "ab cd " * 4000):
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    begun = time.perf_counter()
    try:
        engine.generate(prompt, raw=True, method="cot-greedy")
        print("not interrupted")
    except KeyboardInterrupt:
        print("interrupted", time.perf_counter() - begun < 3)
    print(engine.generate("Hello", raw=True, max_tokens=5, method="cot-greedy").tokens == first)
engine.close()
"""
    done = run(code, long_model)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["interrupted", "True", "True"] * 2, "")


@posix
def test_an_uncaught_ctrl_c_ends_the_process_as_usual(long_model):
    code = """
threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
for event in engine.stream("Hello", raw=True, method="cot-greedy"):
    pass
"""
    done = run(code, long_model)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("", id="idle"),
        pytest.param("stream = engine.stream('Hello', raw=True); next(stream)", id="running stream"),
        pytest.param("stream = engine.stream('ab cd ' * 4000, raw=True); time.sleep(0.2)", id="long prompt"),
        pytest.param("engine.stream('Hello', raw=True); sys.exit(0)", id="dropped stream"),
        pytest.param("engine.close(); engine.close()", id="closed"),
        pytest.param("other = sl.load(sys.argv[1], threads=1); stream = other.stream('a', raw=True)", id="two engines"),
    ],
)
def test_the_interpreter_ends_cleanly(long_model, code):
    done = run(code, long_model)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_engines_are_closed_at_exit(long_model):
    start = "import atexit\natexit.register(lambda: print(engine._worker.alive()))" + START
    done = run("stream = engine.stream('Hello', raw=True)", long_model, start)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_the_interpreter_ends_cleanly_under_daemon_threads(long_model):
    code = """
def read():
    try:
        for event in engine.stream("Hello", raw=True):
            pass
    except sl.errors.EngineClosed:
        pass
threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
time.sleep(0.2)
"""
    done = run(code, long_model)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_interpreter_waits_for_other_threads(long_model):
    code = """
def read():
    print(engine.generate("Hello", raw=True, max_tokens=300, method="cot-greedy").usage.completion_tokens)
threading.Thread(target=read).start()
"""
    done = run(code, long_model)
    assert (done.returncode, done.stdout, done.stderr) == (0, "300\n", "")


def test_a_load_given_up_does_not_outlive_the_interpreter(long_model):
    start = "import sys\nimport selar_local as sl\n"
    code = """
def stop(share):
    raise KeyboardInterrupt
try:
    sl.load(sys.argv[1], threads=1, on_progress=stop)
except KeyboardInterrupt:
    print("given up")
"""
    done = run(code, long_model, start)
    assert (done.returncode, done.stdout, done.stderr) == (0, "given up\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_that_the_engine_is_not_there(long_model):
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
first = engine.generate("Hello", raw=True, max_tokens=5, method="cot-greedy").tokens
child = os.fork()
if child == 0:
    try:
        engine.generate("Hello", raw=True, max_tokens=5)
    except sl.errors.EngineClosed:
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(engine.generate("Hello", raw=True, max_tokens=5, method="cot-greedy").tokens == first)
"""
    done = run(code, long_model)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["7", "True"], "")


@pytest.mark.parametrize("name", ["queue", "random", "logging", "json", "numpy", "types"])
def test_modules_in_the_current_folder_are_not_run(name, model, tmp_path):
    (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n", "utf-8")
    # As the console script does, which never looks for modules in the current folder.
    code = f"""
        import sys
        sys.path = [path for path in sys.path if path]
        import selar_local as sl
        with sl.load({str(model)!r}, isolated=True, threads=1) as engine:
            print(len(engine.generate("a", raw=True, max_tokens=2).tokens))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr[-500:]
    assert not (tmp_path / "ran").exists()

"""Ctrl-C: at every moment it ends the program with exit code 130, and no traceback is seen."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from cli.conftest import COMMAND

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent SIGINT alone on Windows")


def interrupted(words, delay, twice=None):
    """The exit code and standard error of a command that is interrupted after `delay` seconds, maybe twice."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for pause in (delay, twice):
        if pause is not None:
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1].decode()
    return process.returncode, error


def started_after(seconds):
    """The program, told when it has the process: the interpreter's own start is not in its hands."""
    code = f"""
        import os, signal, sys, threading, time
        from selar_local.cli import entry
        def press():
            time.sleep({seconds})
            os.kill(os.getpid(), signal.SIGINT)
        take_over = entry.take_over
        def taken_over():
            take_over()
            threading.Thread(target=press, daemon=True).start()
        entry.take_over = taken_over
        entry.main()
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


@pytest.mark.parametrize("milliseconds", [*range(0, 100, 10), *range(100, 700, 50), 1000, 1500])
def test_at_any_moment_of_the_start(milliseconds, model):
    words = [*started_after(milliseconds / 1000), "run", str(model), "Hello", "-t", "1", "-c", "30000", "--raw"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    error = done.stderr.decode()
    assert done.returncode == 130, error
    assert "Traceback" not in error and "Exception ignored" not in error and "Error" not in error
    assert error.strip(), "it says that it was interrupted, or how far it came"


@pytest.mark.parametrize("command", ["eval", "serve", "calibrate", "compare", "doctor"])
def test_while_other_commands_start(command, model):
    more = ("-p", "Hello") if command == "compare" else ("--port", "0") if command == "serve" else ()
    for seconds in (0.05, 0.3, 0.8):
        words = [*started_after(seconds), command, str(model), *more]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        error = done.stderr.decode()
        assert done.returncode in (0, 130), error  # the server stops, doctor may have ended
        assert "Traceback" not in error and "Exception ignored" not in error


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.02, 0.1])
def test_pressed_twice(pause, model):
    words = [*COMMAND, "run", str(model), "Hello", "-t", "1", "-c", "30000", "--raw"]
    code, error = interrupted(words, 1.0, twice=pause)
    assert code in (130, -signal.SIGINT), error
    assert "Traceback" not in error and "Exception ignored" not in error


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_imports_end_the_program_and_work_does_not():
    code = """
        import signal
        from selar_local.cli.interrupt import importing, raise_interrupts, take_over
        take_over()
        raise_interrupts()
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("caught", flush=True)
        with importing():
            signal.raise_signal(signal.SIGINT)
        print("never")
    """
    assert run(code) == (130, "caught\n", "interrupted\n")


def test_after_the_imports_it_is_as_before():
    code = """
        import signal
        from selar_local.cli.interrupt import importing, raise_interrupts, take_over
        take_over()
        raise_interrupts()
        with importing():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """
    assert run(code) == (0, "", "")


def test_an_interrupt_that_nobody_can_catch_comes_again():
    code = """
        import os, signal, time
        from selar_local.cli.interrupt import raise_interrupts, take_over
        class Dying:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
        take_over()
        raise_interrupts()
        try:
            Dying()
            time.sleep(100)  # `run` does not wait that long
            print("never")
        except KeyboardInterrupt:
            print("caught")
    """
    assert run(code) == (0, "caught\n", "")


def test_other_errors_that_nobody_can_catch_are_still_shown():
    code = """
        from selar_local.cli.interrupt import take_over
        take_over()
        class Dying:
            def __del__(self):
                raise ValueError("shown")
        Dying()
    """
    assert "ValueError: shown" in run(code)[2]


def test_a_process_that_ignores_ctrl_c_goes_on_to():
    code = """
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from selar_local.cli.interrupt import leave_at_once, raise_interrupts, take_over
        take_over(); leave_at_once(); raise_interrupts()
        signal.raise_signal(signal.SIGINT)
        print("goes on")
    """
    assert run(code) == (0, "goes on\n", "")


def test_python_code_that_calls_a_command_keeps_its_own_handling(cli):
    before = signal.getsignal(signal.SIGINT)
    assert cli("--version").code == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_on_a_terminal_leaves_the_process_of_an_isolated_engine_alone(model):
    code = """
        import os, sys
        import selar_local as sl
        with sl.load(sys.argv[1], isolated=True, threads=1) as engine:
            print(os.getsid(engine.process_id) != os.getsid(0))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(model)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "True"


def test_the_terminal_is_put_back_before_it_leaves():
    code = """
        import signal
        from selar_local.cli.interrupt import last_words, take_over
        take_over()
        with last_words(b"first"):
            pass
        with last_words(b"a"), last_words(b"b"):
            signal.raise_signal(signal.SIGINT)
    """
    assert run(code) == (130, "ba", "interrupted\n")

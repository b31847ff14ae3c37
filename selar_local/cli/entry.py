"""Where the program starts: Ctrl-C is taken over before anything that takes time is imported."""

from __future__ import annotations

from selar_local.cli.interrupt import leave, leave_at_once, take_over


def main() -> None:
    """Run the command line and exit with its code."""
    take_over()
    try:
        from selar_local.cli.main import main as command_line

        command_line()
    except KeyboardInterrupt:  # another one, while the first was answered
        leave()
    finally:  # the interpreter's own end takes time, too
        leave_at_once()

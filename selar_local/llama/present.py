"""Whether llama-cpp-python is there at all, asked before anything is imported that needs it."""

from __future__ import annotations

from selar_local.errors import SelarError


def require_llama_cpp() -> None:
    """Raises SelarError where llama-cpp-python is missing or its library does not load."""
    try:
        import selar_local.llama.native  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise SelarError(f"llama-cpp-python does not work here: {error}") from error

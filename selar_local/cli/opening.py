"""From the MODEL argument to the open engine, with progress and with errors that help."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from selar_local.catalog import file_label, resolve, unused_parts
from selar_local.cli.display import Display
from selar_local.cli.interrupt import importing
from selar_local.cli.streams import is_terminal
from selar_local.config import LLAMA_LOG, EngineConfig
from selar_local.errors import ModelNotFound
from selar_local.llama.present import require_llama_cpp

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine


def find(model: str | None) -> Path:
    """The file of MODEL, which may be a question in the wrong place. Raises ModelNotFound, MissingExtra."""
    try:
        return resolve(model, progress=is_terminal(sys.stderr))
    except ModelNotFound as error:
        if model is None or len(model.split()) < 2 or Path(model).suffix.lower() == ".gguf":
            raise
        raise ModelNotFound(f"there is no model {model!r}; if that is the prompt, give it by -p") from error


def open_engine(path: Path, config: EngineConfig, display: Display, *, check_again: bool = False) -> Engine:
    """The engine on this file, with a bar on the terminal while it loads."""
    _show_log(config)
    with display.progress(f"loading {file_label(path)}") as report:
        with importing():
            require_llama_cpp()
            from selar_local.engine.engine import Engine

        engine = Engine(path, config, on_progress=report, check_again=check_again)
    _say_what_matters(engine, path, display)
    return engine


def open_isolated(path: Path, config: EngineConfig, display: Display) -> IsolatedEngine:
    """The same in a process of its own."""
    _show_log(config)
    with display.progress(f"loading {file_label(path)}") as report:
        with importing():
            require_llama_cpp()
            from selar_local.engine.isolated import IsolatedEngine

        engine = IsolatedEngine(path, config, on_progress=report)
    _say_what_matters(engine, path, display)
    return engine


def _show_log(config: EngineConfig) -> None:
    """With --verbose llama.cpp's log goes to standard error."""
    logger = logging.getLogger(LLAMA_LOG)
    if config.verbose and not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        logger.setLevel(logging.DEBUG)
        logger.addHandler(logging.StreamHandler())


def _say_what_matters(engine: Engine | IsolatedEngine, path: Path, display: Display) -> None:
    """What was put on which GPU, warnings about the model, and a chat template that only Ollama can read."""
    if engine.info.placement is not None:
        display.note(engine.info.placement)
    for warning in engine.info.warnings:
        display.warn(warning)
    if not engine.info.chat_template and "template" in unused_parts(path):
        display.note(
            f"{engine.info.name} has no chat template in its GGUF file; Ollama's own template is of another format "
            "and is not used"
        )

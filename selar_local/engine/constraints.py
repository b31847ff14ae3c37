"""What binds the text of a request: a grammar or a JSON schema."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from selar_local.config import GenerationConfig
from selar_local.llama.grammar import Grammar
from selar_local.llama.json_schema import SchemaCompiler, SchemaGrammar
from selar_local.llama.model import LlamaModel

Constraint = Grammar | SchemaGrammar


class Constraints:
    """Makes the constraints of one model's requests. Thread-safe."""

    def __init__(self, model: Callable[[], AbstractContextManager[LlamaModel]]) -> None:
        """model: gives the open model, which others wait for meanwhile."""
        self._model = model
        self._lock = threading.Lock()
        self._compiler: SchemaCompiler | None = None

    def of(self, generation: GenerationConfig) -> Constraint | None:
        """The constraint of a new text. Raises OptionError for a grammar or a schema that cannot be kept to."""
        if generation.json_schema is not None:
            return self._schemas().grammar(generation.json_schema)
        if generation.grammar is None:
            return None
        with self._model() as model:
            return Grammar(model, generation.grammar)

    def _schemas(self) -> SchemaCompiler:
        """The compiler, which the first schema makes: most models never get one."""
        with self._lock:
            if self._compiler is None:
                with self._model() as model:
                    pieces, ends = model.vocabulary()
                self._compiler = SchemaCompiler(pieces, ends)
            return self._compiler

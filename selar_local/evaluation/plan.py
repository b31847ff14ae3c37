"""A study that is to be made: its problems, methods and settings, and who answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selar_local.catalog import file_stem
from selar_local.config import EngineConfig
from selar_local.engine.file_facts import ENGINE_SETTINGS, model_facts
from selar_local.evaluation import facts
from selar_local.evaluation.config import EvaluationConfig, MethodSpec
from selar_local.evaluation.problems import Problem
from selar_local.evaluation.servers import Servers


@dataclass(frozen=True)
class Evaluation:
    """A study that is to be made: all that decides its answers.

    config: with max_tokens and limit filled in. sampling: what was given of it. model: the file, or servers with
    engines of their own.
    """

    config: EvaluationConfig
    specs: tuple[MethodSpec, ...]
    problems: tuple[Problem, ...]
    model: Path | Servers
    engine: EngineConfig
    sampling: Mapping[str, Any]
    stop: tuple[str, ...] = ()
    thinking: bool | None = None

    @property
    def answers(self) -> int:
        """Answers of one method."""
        return len(self.problems) * self.config.samples

    def settings(self) -> dict[str, Any]:
        """What must be the same in all logs of the study, and the facts about the model file."""
        return {
            "task": self.config.name,
            **{name: getattr(self.config, name) for name in ("level", "samples", "seed", "max_tokens")},
            "stop": list(self.stop),
            "sampling_given": dict(self.sampling),
            "thinking": self.thinking,
            **facts.data_facts(self.config.data),
            **self._of_model(),
            "problems": len(self.problems),
            "problems_sha256": facts.problems_sha256(self.problems),
        }

    def _of_model(self) -> dict[str, Any]:
        if isinstance(self.model, Servers):
            return self.model.settings()
        return {
            **{name: getattr(self.engine, name) for name in ENGINE_SETTINGS},
            **model_facts(self.model, self.engine.chat_template),
        }

    @property
    def parallel(self) -> int:
        """Answers that are decoded together."""
        return self.model.parallel if isinstance(self.model, Servers) else self.config.parallel


@dataclass(frozen=True)
class Observer:
    """What the runner calls as it goes on.

    note: a line for the person. begin: (label, answers there already, answers in all) of what is generated next. end:
    all is generated.
    """

    note: Callable[[str], None] = lambda text: None
    begin: Callable[[str, int, int], None] = lambda label, done, total: None
    end: Callable[[], None] = lambda: None


def default_folder(evaluation: Evaluation) -> Path:
    """Where the logs go by default: the same settings find them again."""
    settings = evaluation.settings()
    written = repr(sorted((name, settings[name]) for name in facts.SETTINGS))
    if shared := {name: value for spec in evaluation.specs for name, value in spec.shared.items()}:
        written += repr(sorted(shared.items()))
    key = hashlib.sha256(written.encode()).hexdigest()[:8]
    name = settings["model"] if isinstance(evaluation.model, Servers) else file_stem(evaluation.model)
    model = name.removesuffix(".gguf").replace("/", "-").replace(":", "-")  # as in ollama:qwen3:8b
    return Path("selar-eval") / f"{Path(evaluation.config.name).stem}-{model}-{key}"

"""How much a logit lens asks of the model."""

from __future__ import annotations

from dataclasses import dataclass

from selar_local.config import opt, whole

__all__ = ["LensConfig"]


@dataclass(frozen=True)
class LensConfig:
    """What is looked at."""

    max_tokens: int = opt(256, "most tokens of an answer", "-n", "--max-tokens")
    max_steps: int = opt(
        8, "exploration steps looked at in each answer, which ends with the last (0: all)", "--max-steps"
    )
    limit: int | None = opt(None, "use only the first prompts, this many (default: all)", "--limit")
    overlap_k: int = opt(10, "most probable tokens that are compared, beside the whole distributions", "--overlap-k")
    seed: int = opt(0, "seed of the draws: that of the first prompt, the next one has the next", "-s", "--seed")

    def __post_init__(self) -> None:
        whole("max_tokens", self.max_tokens, 1)
        whole("max_steps", self.max_steps, 0)
        if self.limit is not None:
            whole("limit", self.limit, 1)
        whole("overlap_k", self.overlap_k, 1, 1000)
        whole("seed", self.seed, 0, 2**62)

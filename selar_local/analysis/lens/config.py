"""How much a logit lens asks of the model."""

from __future__ import annotations

from dataclasses import dataclass

from selar_local.config import opt
from selar_local.options import Options


@dataclass(frozen=True)
class LensConfig(Options):
    """What is looked at."""

    max_tokens: int = opt(256, "most tokens of an answer", "-n", "--max-tokens", low=1)
    max_steps: int = opt(
        8, "exploration steps looked at in each answer, which ends with the last (0: all)", "--max-steps", low=0
    )
    limit: int | None = opt(None, "use only the first prompts, this many (default: all)", "--limit", low=1)
    overlap_k: int = opt(
        10, "most probable tokens that are compared, beside the whole distributions", "--overlap-k", low=1, high=1000
    )
    seed: int = opt(0, "seed of the first prompt; the next prompt has the next seed", "-s", "--seed", low=0, high=2**62)

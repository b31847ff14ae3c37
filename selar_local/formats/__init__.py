"""What models write: thinking, content and calls, separated while the text streams in; one file a family.

`format_of` finds a family's format by its chat template. This room knows no llama.cpp and no model.
"""

from __future__ import annotations

from selar_local.formats.apertus import APERTUS
from selar_local.formats.cohere import COHERE
from selar_local.formats.deepseek import DEEPSEEK
from selar_local.formats.deltas import Call, Delta, Parsed
from selar_local.formats.dsml import DSML
from selar_local.formats.format import Format, Thinking
from selar_local.formats.functionary import FUNCTIONARY, FUNCTIONARY_3_2
from selar_local.formats.gemma4 import GEMMA_4
from selar_local.formats.general import GENERAL
from selar_local.formats.glm import GLM, HUNYUAN_3
from selar_local.formats.harmony import HARMONY
from selar_local.formats.hermes import HERMES
from selar_local.formats.json_fence import JsonFence
from selar_local.formats.json_lists import (
    APRIEL,
    COMMAND_R,
    GIGACHAT,
    GRANITE,
    HUNYUAN,
    NEMOTRON_NANO,
    PHI,
    TOOL_CALLS,
)
from selar_local.formats.kimi_k2 import KIMI_K2
from selar_local.formats.kimi_k3 import KIMI_K3
from selar_local.formats.lfm2 import LFM2
from selar_local.formats.llama import LLAMA, LLAMA_4
from selar_local.formats.loose_calls import LooseCalls
from selar_local.formats.minimax import MINICPM_5, MINIMAX_M2, MINIMAX_M3
from selar_local.formats.mistral import MISTRAL
from selar_local.formats.muse import MUSE
from selar_local.formats.qwen_coder import QWEN_CODER, SEED_OSS
from selar_local.formats.reader import TAGS, Reader
from selar_local.formats.solar import SOLAR

__all__ = [
    "FORMATS",
    "GENERAL",
    "HERMES",
    "TAGS",
    "Call",
    "Delta",
    "Format",
    "JsonFence",
    "LooseCalls",
    "Parsed",
    "Reader",
    "Thinking",
    "format_of",
]

#: The families, in the order in which they are looked for. The last fits every template.
FORMATS: tuple[Format, ...] = (
    HARMONY,
    MUSE,
    GEMMA_4,
    KIMI_K3,
    KIMI_K2,
    MINIMAX_M3,
    MINIMAX_M2,
    DSML,
    DEEPSEEK,
    LFM2,
    COHERE,
    COMMAND_R,
    APERTUS,
    SOLAR,
    HUNYUAN_3,
    SEED_OSS,
    GLM,
    QWEN_CODER,
    MINICPM_5,
    MISTRAL,
    APRIEL,
    HUNYUAN,
    HERMES,
    TOOL_CALLS,
    NEMOTRON_NANO,
    GRANITE,
    PHI,
    GIGACHAT,
    FUNCTIONARY_3_2,
    FUNCTIONARY,
    LLAMA_4,
    LLAMA,
    GENERAL,
)


def format_of(template: str) -> Format:
    """The format of the models that have this chat template (its source)."""
    return next(form for form in FORMATS if form.fits(template)).with_tags_of(template)

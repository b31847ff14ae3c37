"""What a request changes in the logits, in the tokens of its model."""

from __future__ import annotations

import math

from selar_local.config import GenerationConfig, SamplingConfig, require
from selar_local.llama.breakers import breakers_of
from selar_local.llama.model import LlamaModel
from selar_local.methods.adjustment import Breakers, Changes


class LogitChanges:
    """Makes the changes of one model's requests. It keeps the breakers of the last request that had DRY."""

    def __init__(self) -> None:
        self._breakers: dict[tuple[str, ...], Breakers] = {}

    def of(self, sampling: SamplingConfig, generation: GenerationConfig, model: LlamaModel) -> Changes:
        """Raises OptionError for a token that the model does not have."""
        bias = sampling.biases()
        for name, tokens in (("logit_bias", bias), ("stop_token_ids", generation.stop_token_ids)):
            for token in tokens:
                require(token < model.n_vocab, f"{name} has token {token}, the model has {model.n_vocab} tokens")
        ends = model.end_tokens if generation.ignore_eos or generation.min_tokens else ()
        if generation.ignore_eos:
            bias |= dict.fromkeys(ends, -math.inf)
        forbidden = sum(value == -math.inf for value in bias.values())
        require(forbidden < model.n_vocab, "logit_bias forbids every token of the model")
        return Changes(
            bias=bias,
            ends=(*ends, *generation.stop_token_ids),
            not_before=generation.min_tokens,
            breakers=self._breakers_of(sampling, model) if sampling.dry_multiplier > 0 else {},
        )

    def _breakers_of(self, sampling: SamplingConfig, model: LlamaModel) -> Breakers:
        texts = () if sampling.dry_sequence_breakers == ("none",) else sampling.dry_sequence_breakers
        if texts not in self._breakers:
            self._breakers = {texts: breakers_of(model, texts)}
        return self._breakers[texts]

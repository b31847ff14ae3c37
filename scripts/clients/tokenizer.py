"""The byte-level BPE tokenizer of a GGUF file, written as Hugging Face's for lm-eval. argv: the file, the folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

CONTROL = 3

fields = GGUFReader(sys.argv[1]).fields
texts = fields["tokenizer.ggml.tokens"].contents()
merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"].contents()]
tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, merges))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
kinds = fields["tokenizer.ggml.token_type"].contents()
tokenizer.add_special_tokens([AddedToken(t) for t, kind in zip(texts, kinds, strict=True) if kind == CONTROL])
folder = Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
tokenizer.save(str(folder / "tokenizer.json"))
end = texts[fields["tokenizer.ggml.eos_token_id"].contents()]
config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": end, "model_max_length": 2048}
(folder / "tokenizer_config.json").write_text(json.dumps(config))

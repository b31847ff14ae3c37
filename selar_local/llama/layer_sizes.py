"""How many bytes of weights each layer has, read from the header: what a card must hold to take the layer."""

from __future__ import annotations

import re
from typing import NamedTuple

from selar_local.llama.gguf_file import GgufFile

#: Tensors that hold the experts of a layer, as llama.cpp's ``--n-cpu-moe`` picks them.
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
_LAYER = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(EXPERTS)
_INPUT = ("token_embd.", "per_layer_token_embd.", "token_types.", "position_embd.")


class LayerSize(NamedTuple):
    """Bytes of one layer: of its experts, and of all its other tensors."""

    dense: int
    experts: int


class LayerSizes(NamedTuple):
    """Bytes of the layers, and of what follows the last one (which counts as one more layer)."""

    layers: tuple[LayerSize, ...]
    output: int

    @property
    def offered(self) -> int:
        """The most layers that a card can take: all of them and the output."""
        return len(self.layers) + 1

    @property
    def has_experts(self) -> bool:
        return any(layer.experts for layer in self.layers)


def layer_sizes(gguf: GgufFile) -> LayerSizes:
    """The sizes of a model. The embedding matrix stays with the CPU; an output that shares it is a copy on the card."""
    declared = gguf.metadata.get(f"{gguf.architecture}.block_count", 0)
    dense: dict[int, int] = {}
    experts: dict[int, int] = {}
    output = 0
    for name, tensor in gguf.tensors.items():
        if layer := _LAYER.match(name):
            kind = experts if _EXPERTS.search(name) else dense
            kind[int(layer[1])] = kind.get(int(layer[1]), 0) + tensor.nbytes
        elif not name.startswith(_INPUT):
            output += tensor.nbytes
    if "output.weight" not in gguf.tensors and (shared := gguf.tensors.get("token_embd.weight")):
        output += shared.nbytes
    count = max(int(declared), *(number + 1 for number in (*dense, *experts, -1)))
    return LayerSizes(tuple(LayerSize(dense.get(i, 0), experts.get(i, 0)) for i in range(count)), output)

"""`-ngl auto`: how much of real models goes to real cards, and what is left to the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.model_shapes import SHAPES, write_shape

from selar_local.llama.fit import Needs, Plan, budget, card_of, fit, taken
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.layer_sizes import LayerSize, LayerSizes, layer_sizes

GIB = 1 << 30
#: Of layers that a card of so many GiB takes: at Q4_K, 8192 tokens of context in F16, 300 MiB of buffers.
BUFFERS = 300 << 20
CARDS = (8, 12, 16, 24)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LayerSizes]:
    folder = tmp_path_factory.mktemp("shapes")
    return {name: layer_sizes(open_gguf(write_shape(folder / name, shape))) for name, shape in SHAPES.items()}


def needs(name: str, tokens: int = 8192) -> Needs:
    return Needs(SHAPES[name].cache(tokens), BUFFERS)


def total(name: str, sizes: LayerSizes) -> int:
    return sum(layer.dense + layer.experts for layer in sizes.layers) + sizes.output + needs(name).cache + BUFFERS


def test_the_sizes_are_those_of_the_files(sizes: dict[str, LayerSizes]) -> None:
    weights = {name: sum(map(sum, one.layers)) + one.output for name, one in sizes.items()}
    # the models' parameters, in billions, without the embedding matrix; 4.5 bits each, a little more in the output
    for name, parameters in {"llama-8b": 7.5, "llama-70b": 69.5, "mixtral-8x7b": 46.6, "qwen-30b-a3b": 30.2}.items():
        assert weights[name] / 1e9 == pytest.approx(parameters * 4.5 / 8, rel=0.04)
    assert sizes["mixtral-8x7b"].has_experts and not sizes["llama-70b"].has_experts
    experts = [layer.experts / sum(layer) for layer in sizes["qwen-30b-a3b"].layers]
    assert min(experts) > 0.9


@pytest.mark.parametrize("gib", CARDS)
@pytest.mark.parametrize("name", SHAPES)
def test_the_plan_fits_and_one_layer_more_does_not(sizes: dict[str, LayerSizes], name: str, gib: int) -> None:
    model, card = sizes[name], budget(gib * GIB, gib * GIB)
    plan = fit(model, needs(name), [card])
    assert plan.gpu_layers > 0 and plan.split == ()
    assert taken(model, needs(name), 1, (1.0,), plan)[0] <= card < gib * GIB
    if plan == Plan(model.offered):
        assert total(name, model) <= card
        return
    assert total(name, model) > card
    if plan.gpu_layers < model.offered:
        more = plan._replace(gpu_layers=plan.gpu_layers + 1)
        assert plan.n_cpu_moe == (len(model.layers) if model.has_experts else 0)
    else:
        more = plan._replace(n_cpu_moe=plan.n_cpu_moe - 1)
    assert taken(model, needs(name), 1, (1.0,), more)[0] > card


def test_what_people_have(sizes: dict[str, LayerSizes]) -> None:
    def on(name: str, gib: int) -> Plan:
        return fit(sizes[name], needs(name), [budget(gib * GIB, gib * GIB)])

    # docs/GPU.md has these
    assert [on("llama-8b", card) for card in CARDS] == [Plan(33)] * 4
    assert [on("qwen-14b", card).gpu_layers for card in CARDS] == [35, 49, 49, 49]
    assert [on("qwen-32b", card).gpu_layers for card in CARDS] == [22, 36, 50, 65]
    assert [on("llama-70b", card).gpu_layers for card in CARDS] == [13, 21, 29, 46]
    assert [on("mixtral-8x7b", card) for card in CARDS] == [Plan(33, left) for left in (26, 20, 15, 4)]
    assert [on("qwen-30b-a3b", card) for card in CARDS] == [Plan(49, left) for left in (30, 17, 5, 0)]


def test_the_context_counts(sizes: dict[str, LayerSizes]) -> None:
    card = [budget(8 * GIB, 8 * GIB)]
    short, long = (fit(sizes["llama-8b"], needs("llama-8b", tokens), card) for tokens in (4096, 65536))
    assert long.gpu_layers < short.gpu_layers == 33


def test_two_cards_share_by_what_they_have(sizes: dict[str, LayerSizes]) -> None:
    model, cards = sizes["llama-70b"], [budget(24 * GIB, 24 * GIB), budget(12 * GIB, 12 * GIB)]
    plan = fit(model, needs("llama-70b"), cards)
    used = taken(model, needs("llama-70b"), 2, plan.split, plan)
    assert all(0.75 * card < size <= card for size, card in zip(used, cards, strict=True))
    alone = fit(model, needs("llama-70b"), cards[:1])
    assert plan.gpu_layers > 1.3 * alone.gpu_layers


def test_a_split_of_the_user_is_kept(sizes: dict[str, LayerSizes]) -> None:
    cards = [budget(24 * GIB, 24 * GIB)] * 2
    plan = fit(sizes["qwen-32b"], needs("qwen-32b"), cards, split=(1.0, 3.0))
    used = taken(sizes["qwen-32b"], needs("qwen-32b"), 2, plan.split, plan)
    assert plan.split == (1.0, 3.0) and used[1] > 2 * used[0]


def test_experts_that_the_user_leaves_to_the_cpu(sizes: dict[str, LayerSizes]) -> None:
    plan = fit(sizes["mixtral-8x7b"], needs("mixtral-8x7b"), [budget(24 * GIB, 24 * GIB)], n_cpu_moe=10)
    assert plan == Plan(33, 10)


def test_a_full_card_takes_nothing() -> None:
    model = LayerSizes((LayerSize(100, 0),) * 4, 50)
    assert fit(model, Needs(40, 10), [0]) == Plan(0)
    assert fit(model, Needs(40, 10), [100]) == Plan(1)  # the output alone
    assert fit(model, Needs(40, 10), [170]) == Plan(2)


def test_less_and_less_ends_at_nothing() -> None:
    mixture = LayerSizes((LayerSize(10, 90),) * 6, 50)
    plan, seen = Plan(7, 2), []
    while plan.gpu_layers:
        plan = plan.less(mixture)
        seen.append((plan.gpu_layers, plan.n_cpu_moe))
    assert seen == [(7, 6), (3, 6), (1, 6), (0, 6)]


def test_layers_go_to_cards_as_in_llama_cpp() -> None:
    assert [card_of(number, 8, (3.0, 1.0)) for number in range(8)] == [0, 0, 0, 0, 0, 0, 1, 1]
    assert [card_of(number, 3, (0.0, 1.0)) for number in range(3)] == [1, 1, 1]


@pytest.mark.gguf
def test_an_output_that_shares_the_embedding_matrix_is_a_copy(smollm2: Path) -> None:
    gguf = open_gguf(smollm2)
    assert "output.weight" not in gguf.tensors
    assert layer_sizes(gguf).output > gguf.tensors["token_embd.weight"].nbytes

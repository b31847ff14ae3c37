"""What about a model or its options makes answers worse is said when it is opened."""

from __future__ import annotations

import pytest

import selar_local as sl


@pytest.mark.parametrize(
    ("metadata", "ctx_size", "said"),
    [
        ({}, 512, []),
        ({}, 1024, ["the context of 1024 tokens is longer than the 512 "]),
        ({"tokenizer.ggml.pre": None}, 512, ["the file does not name its pre-tokenizer"]),
        (
            {"tokenizer.ggml.pre": None},
            1024,
            ["the file does not name its pre-tokenizer", "the context of 1024 tokens"],
        ),
    ],
)
@pytest.mark.parametrize("isolated", [False, True])
def test_warnings(tiny, metadata, ctx_size, said, isolated):
    if isolated and len(said) != 1:
        pytest.skip("one of them is enough")
    with sl.load(tiny(metadata=metadata), threads=1, ctx_size=ctx_size, isolated=isolated) as engine:
        warnings = engine.info.warnings
    assert len(warnings) == len(said)
    assert all(warning.startswith(begin) for warning, begin in zip(warnings, said, strict=True))

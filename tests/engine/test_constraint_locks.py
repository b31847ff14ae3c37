"""A schema is compiled while others use the model."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from selar_local.config import GenerationConfig
from selar_local.engine.constraints import Constraints
from selar_local.errors import OptionError

VOCABULARY = ([bytes([byte]) for byte in range(256)] + [b""], [256])


def test_only_the_first_schema_takes_the_model():
    taken = []

    @contextmanager
    def model():
        taken.append(True)
        yield SimpleNamespace(vocabulary=lambda: VOCABULARY)

    constraints = Constraints(model)
    assert constraints.of(GenerationConfig()) is None and taken == []
    for schema in ({"type": "string", "pattern": "^((a?){0,40}){0,40}$"}, {"type": "object"}, {"not": {}}):
        try:
            assert constraints.of(GenerationConfig(json_schema=schema)) is not None
        except OptionError:
            assert "not" in schema
    assert taken == [True]


def test_a_model_that_could_not_be_read_is_tried_again():
    failing = True

    @contextmanager
    def model():
        if failing:
            raise OSError
        yield SimpleNamespace(vocabulary=lambda: VOCABULARY)

    constraints = Constraints(model)
    with pytest.raises(OSError):
        constraints.of(GenerationConfig(json_schema={}))
    failing = False
    assert constraints.of(GenerationConfig(json_schema={})) is not None

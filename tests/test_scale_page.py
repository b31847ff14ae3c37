"""The figures on paper of docs/SCALE.md follow from its formulas."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "SCALE.md").read_text("utf-8")
BITS = {"Q4_K_M": 4.9, "Q8_0": 8.5, "F16": 16.0}
WORKERS, PROMPT, SPEED, GBIT = 2, 4000, 10, 120e6


def rows(heading: str) -> list[list[str]]:
    table = PAGE[PAGE.index(heading) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def numbers(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"[\d.]+", text)]


MEMORY = rows("| model | parameters |")
NETWORK = rows("| model | a crossing |")


@pytest.mark.parametrize("row", MEMORY, ids=lambda row: row[0])
def test_memory(row):
    _, parameters, shape, *weights, token, context, slots = row
    (billions,), (layers, _, heads, size) = numbers(parameters), numbers(shape)
    for cell, bits in zip(weights, BITS.values(), strict=True):
        assert numbers(cell)[0] == pytest.approx(billions * bits / 8, abs=0.051)
    kib = 2 * layers * heads * size * 2 / 2**10
    assert numbers(token) == [kib]
    assert numbers(context) == [kib * 8192 / 2**20]
    assert numbers(slots) == [kib * 8192 * 8 / 2**20]


@pytest.mark.parametrize("row", NETWORK, ids=lambda row: row[0])
def test_network(row):
    name, crossing, answers, prompt, seconds = row
    hidden = {numbers(shape)[1] for other, _, shape, *_ in MEMORY if other.rpartition(" ")[2] in name}
    (size,) = {4 * one for one in hidden}
    assert numbers(crossing) == [size / 2**10]
    assert numbers(answers)[0] == pytest.approx(size * 2 * WORKERS * SPEED / 2**20, abs=0.051)
    assert numbers(prompt)[0] == pytest.approx(size * PROMPT / 2**20, abs=0.051)
    assert numbers(seconds)[0] == pytest.approx(size * PROMPT / GBIT, abs=0.051)


def test_both_tables_are_read():
    assert len(MEMORY) == 4 and len(NETWORK) == 3

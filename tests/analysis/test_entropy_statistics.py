"""What is made of traces: whole ones, broken ones, and those of methods that count in nats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selar_local.analysis.entropy_statistics import PARTS, EntropyStatistics, TraceEntropies, pooled
from selar_local.analysis.token_classes import CLASSES
from selar_local.analysis.valley import certain_entropy
from selar_local.errors import SelarError
from selar_local.trace import Trace, load_trace

Steps = list[tuple[str, float | None, bool]]

SOME: Steps = [
    ("The", 0.0, False), (" sky", 0.6, True), (" is", 0.1, False), (" 42", 0.55, False), (".", 0.3, False),
    ("\n", 0.0, False), (" A", 0.9, True), ("lso", 0.2, False), (" not", 0.7, True), ("", 0.1, False),
]  # fmt: skip


def write(path: Path, steps: Steps, *, tau: Any = 0.5, method: str = "selar", end: bool = True, **run: Any) -> Path:
    options = {"k": 3, "tau": tau, "gate_on": "filtered"} if method == "selar" else {}
    records: list[dict[str, Any]] = [{"type": "run", "method": method, "options": options, "new": {"field": 1}, **run}]
    for i, (text, entropy, explored) in enumerate(steps):
        records.append({"type": "step", "i": i, "token": i, "text": text, "entropy": entropy, "explored": explored})
    if end:
        records.append({"type": "end", "finish_reason": "stop"})
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read(path: Path) -> Trace:
    return load_trace(path, str(path))


def told(tmp_path: Path, *traces: Any) -> EntropyStatistics:
    """Of traces given as steps, or as (steps, arguments of `write`)."""
    paths = []
    for number, trace in enumerate(traces):
        steps, more = trace if isinstance(trace, tuple) else (trace, {})
        paths.append(write(tmp_path / f"{number}.jsonl", steps, **more))
    return pooled([read(path) for path in paths])


def test_a_threshold_of_the_largest_probability_is_not_one_of_the_entropy(tmp_path):
    options = {"k": 3, "tau": 0.5, "gate_on": "filtered", "invert_gate": True, "gate_by": "p-max"}
    found = told(tmp_path, (SOME, {"options": options}))
    assert (found.traces[0].tau, found.taus, found.reached) == (None, (), None)


def test_a_trace(tmp_path):
    found = told(tmp_path, SOME)
    (trace,) = found.traces
    assert (trace.method, trace.tau, trace.k, trace.gate_on, trace.unit) == ("selar", 0.5, 3, "filtered", "normalised")
    assert trace.finished and trace.normalised and found.taus == (0.5,)
    assert (found.all.steps, found.all.explored, found.all.share) == (10, 3, 0.3)
    assert found.all.mean_entropy == pytest.approx(0.345)
    assert found.reached == 4  # the guard kept one of them
    assert found.entropies.tolist() == [entropy for _, entropy, _ in SOME]
    assert [count.steps for count in found.by_part] == [1] * PARTS
    assert [count.explored for count in found.by_part] == [int(explored) for *_, explored in SOME]
    classes = {name: (count.steps, count.explored) for name, count in found.by_class.items()}
    assert classes == {
        "word start": (5, 3), "word continuation": (1, 0), "number": (1, 0), "symbol": (1, 0), "white space": (1, 0),
        "special": (1, 0),
    }  # fmt: skip
    assert list(found.by_class) == list(CLASSES)
    assert found.valley.at is None and "50 are needed" in found.valley.reason


@pytest.mark.parametrize("n", [1, 3, 10, 17, 1000])
def test_parts_are_in_order_and_as_long_as_each_other(tmp_path, n):
    found = told(tmp_path, [("x", i / n, False) for i in range(n)])
    sizes = [count.steps for count in found.by_part]
    assert sum(sizes) == n and max(sizes) - min(sizes) <= 1
    means = [count.mean_entropy for count in found.by_part if count.mean_entropy is not None]
    assert means == sorted(means)
    if n >= 10:
        assert min(sizes) >= 1 and means[0] < 0.1 and means[-1] >= 0.9 - 1e-9
    else:
        assert found.by_part[-1].share is None or found.by_part[-1].steps


def test_several_are_pooled_each_by_its_own_parts_and_tau(tmp_path):
    short: Steps = [("a", 0.35, True), ("b", 0.1, False)]
    found = told(tmp_path, SOME, (short, {"tau": 0.3}))
    assert (found.all.steps, found.all.explored, found.taus) == (12, 4, (0.3, 0.5))
    assert found.reached == 5
    assert [count.steps for count in found.by_part] == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    assert sum(count.steps for count in found.by_class.values()) == 12


def test_nats_are_not_mixed_in(tmp_path):
    nats: Steps = [("a", 3.5, True), ("b", 0.2, False)]
    found = told(tmp_path, SOME, (nats, {"method": "swir", "entropy_unit": "nats"}))
    assert len(found.entropies) == 10 and found.entropies.max() == 0.9
    assert [trace.method for trace in found.left_out] == ["swir"]
    assert (found.all.steps, found.all.explored) == (12, 4)
    assert found.all.mean_entropy == pytest.approx(0.345), "means of two units were mixed"
    assert found.traces[1].count.mean_entropy == pytest.approx(1.85)
    alone = told(tmp_path, (nats, {"method": "swir", "entropy_unit": "nats"}))
    assert len(alone.entropies) == 0 and alone.reached is None and alone.taus == ()
    assert alone.all.mean_entropy == pytest.approx(1.85)


def test_methods_without_entropies(tmp_path):
    found = told(tmp_path, ([("a", None, False), ("b", None, False)], {"method": "cot"}))
    assert len(found.entropies) == 0 and found.all.mean_entropy is None and found.all.share == 0.0
    assert found.reached is None and found.traces[0].tau is None
    mixed = told(tmp_path, [("a", None, False), ("b", 0.4, False)])
    assert mixed.entropies.tolist() == [0.4] and mixed.all.steps == 2


def test_a_trace_that_breaks_off(tmp_path):
    path = write(tmp_path / "t.jsonl", SOME, end=False)
    with path.open("a") as file:
        file.write('{"type":"step","i":10,"tex')
    trace = TraceEntropies(read(path))
    assert not trace.finished and len(trace.entropies) == 10


def test_traces_without_steps(tmp_path):
    found = told(tmp_path, [], SOME)
    assert found.traces[0].count.steps == 0 and found.traces[0].count.share is None and found.all.steps == 10
    with pytest.raises(SelarError, match=r"there is no step in .*0\.jsonl, .*1\.jsonl"):
        told(tmp_path, [], [])


def test_unknown_and_missing_fields(tmp_path):
    path = tmp_path / "t.jsonl"
    lines = ['{"type":"run"}', '{"type":"step","token":1}', '{"type":"later"}']
    lines.append('{"type":"step","token":2,"explored":1,"text":"x","more":[]}')
    path.write_text("\n".join(lines) + "\n")
    found = pooled([read(path)])
    assert (found.all.steps, found.all.explored, found.traces[0].method) == (2, 0, "unknown")
    odd = write(tmp_path / "odd.jsonl", SOME, options=["none"])
    assert TraceEntropies(read(odd)).tau is None and TraceEntropies(read(odd)).k is None
    for tau in ("auto", True, None, 10**400, float("inf"), float("nan")):
        assert TraceEntropies(read(write(tmp_path / "tau.jsonl", SOME, tau=tau))).tau is None


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"entropy": 1.5}, "the entropy of step 0 is 1.5, not between 0 and 1"),
        ({"entropy": -0.1}, "not between 0 and 1"),
        ({"entropy": float("nan")}, "is nan, not between"),
        ({"entropy": "0.5"}, "is '0.5', not between"),
        ({"entropy": True}, "is True, not between"),
        ({"text": 7}, "step 0 has a wrong text"),
    ],
)
def test_steps_that_are_none(tmp_path, step, message):
    path = tmp_path / "t.jsonl"
    path.write_text(
        json.dumps({"type": "run"}) + "\n" + json.dumps({"type": "step", "i": 0, "token": 5, **step}) + "\n"
    )
    with pytest.raises(SelarError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_the_valley_is_that_of_the_pooled_entropies(tmp_path):
    random = np.random.default_rng(0)
    values = np.clip(np.concatenate((random.beta(0.2, 6, 3000), random.normal(0.63, 0.08, 600))), 0, 1)
    random.shuffle(values)
    steps: Steps = [("x", float(value), bool(value >= 0.5)) for value in values]
    found = told(tmp_path, steps[:1000], steps[1000:])
    assert found.valley.at == pytest.approx(0.42, abs=0.04) and found.valley.floor == certain_entropy(3)
    five = {"options": {"k": 5, "tau": 0.5}}
    assert told(tmp_path, (steps, five)).valley.floor == certain_entropy(5)

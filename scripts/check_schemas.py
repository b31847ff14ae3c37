"""How well JSON schemas are kept to: the JSON Schema Test Suite, and random schemas; and what a step costs.

    git clone https://github.com/json-schema-org/JSON-Schema-Test-Suite
    python scripts/check_schemas.py suite JSON-Schema-Test-Suite
    python scripts/check_schemas.py random [--schemas 500] [--model model.gguf]
    python scripts/check_schemas.py mask model.gguf

suite: every test of the required part of a draft. A text that must not be valid must not be possible. A valid one may
be impossible (the order of properties is fixed, numbers have one spelling): counted. Refused schemas are counted by
their reason. random: texts that random tokens make under random schemas, with the tokens of a vocabulary or of bytes;
with --model answers of that model. Each finished one must validate. mask: the time of a mask with the vocabulary of a
model, at each step of an answer. Exit code 1 where something is wrong.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import jsonschema
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.schemas import random_text, schemas, validate

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.errors import DecodeError, OptionError
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.json_schema import SchemaCompiler
from selar_local.llama.model import LlamaModel

PIECES = [bytes([byte]) for byte in range(256)] + [b""]


def possible(compiler: SchemaCompiler, schema: Any, text: str) -> bool:
    """Whether the grammar of the schema allows the text."""
    grammar = compiler.grammar(schema)
    for token in [*text.encode("utf-8", "surrogatepass"), 256]:
        if not np.isfinite(grammar.mask(np.zeros(257, np.float32))[token]):
            return False
        grammar.accept(token)
    return True


@click.group()
def main() -> None:
    """Check that JSON schemas are kept to."""


@main.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--draft", default="draft2020-12")
def suite(folder: Path, draft: str) -> None:
    """Run the test suite in FOLDER."""
    compiler = SchemaCompiler(PIECES, [256])
    counts: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for path in sorted((folder / "tests" / draft).glob("*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")):
            for test in case["tests"]:
                try:
                    found = possible(compiler, case["schema"], json.dumps(test["data"], ensure_ascii=False))
                except OptionError as error:
                    counts["refused"] += 1
                    refused[f"{path.stem}: {error}"[:120]] += 1
                    continue
                counts[_KINDS[test["valid"], found]] += 1
                if found and not test["valid"]:
                    click.echo(f"wrong: {path.stem}: {case['description']}: {test['description']}")
    for reason, count in sorted(refused.items()):
        click.echo(f"{count:5} refused, {reason}")
    for kind, count in counts.items():
        click.echo(f"{count:5} {kind}")
    sys.exit(counts[_KINDS[False, True]] > 0)


_KINDS = {
    (True, True): "valid and possible",
    (True, False): "valid and impossible",
    (False, False): "not valid and impossible",
    (False, True): "WRONG: not valid and possible",
}


@main.command(name="random")
@click.option("--schemas", "n", default=500)
@click.option("--start", default=1, help="seed of the schemas")
@click.option("--model", type=click.Path(exists=True, path_type=Path))
@click.option("--max-tokens", default=200)
def random_schemas(n: int, start: int, model: Path | None, max_tokens: int) -> None:
    """Texts under random schemas."""
    found = _schemas(n, start)
    counts: Counter[str] = Counter()
    engine = None if model is None else sl.load(model, ctx_size=2048)
    compiler = SchemaCompiler(PIECES, [256])
    for i, schema in enumerate(found):
        try:
            text = (
                random_text(compiler.grammar(schema), PIECES, i)
                if engine is None
                else _answer(engine, schema, i, max_tokens)
            )
        except OptionError as error:
            counts["refused"] += 1
            counts[f"  {str(error)[:70]}"] += 1
            continue
        except DecodeError:
            counts["ended by an error: the vocabulary cannot write a text of the schema"] += 1
            continue
        if text is None:
            counts["unfinished"] += 1
            continue
        try:
            validate(text, schema)
            counts["finished and valid"] += 1
        except (ValueError, jsonschema.ValidationError) as error:
            counts["WRONG"] += 1
            click.echo(f"wrong: {json.dumps(schema)[:500]}\n  {text[:300]}\n  {str(error)[:200]}")
    for kind, count in sorted(counts.items(), key=lambda one: one[0].startswith(" ")):
        click.echo(f"{count:5} {kind}")
    sys.exit(counts["WRONG"] > 0)


@main.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", default=50)
def mask(model: Path, rounds: int) -> None:
    """Microseconds of a mask under a plain schema, with the vocabulary of MODEL. The first round is not counted."""
    opened = LlamaModel(open_gguf(model), EngineConfig())
    compiler = SchemaCompiler(*opened.vocabulary())
    tokens = opened.tokenize(json.dumps(_PERSON), special=False)
    logits, took = np.zeros(opened.n_vocab, np.float32), []
    for _ in range(rounds + 1):
        grammar = compiler.grammar(_PERSON_SCHEMA)
        for token in tokens:
            began = time.perf_counter()
            allowed = grammar.mask(logits)
            took.append(time.perf_counter() - began)
            assert np.isfinite(allowed[token])
            grammar.accept(token)
    micros = np.array(took[len(tokens) :]) * 1e6
    shares = ", ".join(f"{share} % {np.percentile(micros, share):.0f}" for share in (50, 90, 99))
    click.echo(f"{opened.n_vocab} tokens, {len(micros)} masks: mean {micros.mean():.0f} us; {shares}")


_PERSON = {
    "name": "Ada Lovelace", "age": 36, "email": "ada@example.org", "role": "admin",
    "tags": ["analyst", "programmer"], "address": {"street": "12 St James's Square", "city": "London"},
}  # fmt: skip
_TEXT = {"type": "string"}
_PERSON_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 80},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": _TEXT,
        "role": {"enum": ["admin", "user"]},
        "tags": {"type": "array", "items": _TEXT, "maxItems": 5},
        "address": {"type": "object", "properties": {"street": _TEXT, "city": _TEXT}, "required": ["street", "city"]},
    },
    "required": ["name", "age", "email", "role", "tags", "address"],
    "additionalProperties": False,
}


def _schemas(n: int, start: int) -> list[Any]:
    found: list[Any] = []

    @seed(start)
    @settings(max_examples=n, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(schemas)
    def take(schema: Any) -> None:
        found.append(schema)

    take()
    return random.Random(start).sample(found, len(found))


def _answer(engine: Any, schema: Any, i: int, max_tokens: int) -> str | None:
    prompt = "Write some JSON. " + json.dumps(schema)[:500]
    result = engine.generate(prompt, json_schema=schema, seed=i, max_tokens=max_tokens, method="cot")
    return result.text if result.finish_reason == "stop" else None


if __name__ == "__main__":
    main()

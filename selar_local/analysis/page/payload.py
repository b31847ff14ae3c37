"""The data in the page: what its script shows, as compact JSON types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from selar_local.analysis.page.facts import COLUMNS, all_facts, line, method_of
from selar_local.analysis.token_texts import Piece, Pieces, TokenTexts
from selar_local.formats import HERMES, TAGS
from selar_local.methods.entropy import candidate_entropy
from selar_local.trace import Step, Trace


class Group(NamedTuple):
    """Traces of one prompt, by their place in the list. partings: by pair of places, None where two are the same."""

    members: tuple[int, ...]
    partings: dict[tuple[int, int], int | None]

    @property
    def first_parting(self) -> int | None:
        """The first step at which not all of them agree."""
        return min((step for step in self.partings.values() if step is not None), default=None)


def grouped(traces: Sequence[Trace]) -> list[Group]:
    """Traces of the same prompt tokens (in vocabularies of the same size) together, in the order given."""
    found: dict[Any, list[int]] = {}
    for place, trace in enumerate(traces):
        found.setdefault((trace.prompt, trace.model.get("n_vocab")) if trace.prompt else place, []).append(place)
    return [
        Group(
            tuple(members),
            {(a, b): parting(traces[a].steps, traces[b].steps) for a in members for b in members if a < b},
        )
        for members in found.values()
    ]


def parting(one: Sequence[Step], other: Sequence[Step]) -> int | None:
    """The first step at which they differ in the token or in whether it explored.

    Where one is the beginning of the other: the first step that it lacks. None where they are the same.
    """
    for i, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine.token != theirs.token or mine.explored != theirs.explored:
            return i
    return None if len(one) == len(other) else min(len(one), len(other))


#: Numbers are whole multiples of these: short in JSON, and finer than the page shows them.
ENTROPY_UNIT, PROBABILITY_UNIT, WEIGHT_UNIT = 1e-4, 1e-5, 1e-4
_MOST = 30  # candidates of a step that are shown, and rows of a mix beside them
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TAGS = {*(tag for pair in TAGS for tag in pair), *HERMES.markers}


def payload(traces: Sequence[Trace], texts: TokenTexts) -> dict[str, Any]:
    """Everything the page shows of these traces. texts: of their tokens, see `token_texts`."""
    pairs = zip(traces, texts.pieces, strict=True)
    return {
        "units": {"entropy": ENTROPY_UNIT, "probability": PROBABILITY_UNIT, "weight": WEIGHT_UNIT},
        "columns": COLUMNS,
        "traces": [_trace(place, trace, pieces) for place, (trace, pieces) in enumerate(pairs)],
        "groups": [_group(group, traces, texts.pieces) for group in grouped(traces)],
        "notes": [*texts.notes, *(_breaks_off(trace) for trace in traces if trace.end is None)],
    }


def _trace(place: int, trace: Trace, pieces: Pieces) -> dict[str, Any]:
    method, steps = method_of(trace), trace.steps
    own = any(step.entropy is not None for step in steps)
    entropies = [step.entropy if own else candidate_entropy(step.top) for step in steps]
    unit = trace.unit if own else "normalised"
    threshold = None if method is None else method.threshold
    return {
        "letter": letter(place),
        "name": trace.name,
        "line": line(trace, entropies, computed=not own),
        "facts": all_facts(trace),
        "unit": unit,
        "computed": not own,
        "top": 1 if unit == "normalised" else _ceiling(entropies),
        "mark": None if threshold is None else {"at": threshold[0], "label": threshold[1]},
        "entropies": [_whole(value, ENTROPY_UNIT) for value in entropies],
        "tokens": [step.token for step in steps],
        "texts": [step.text for step in steps],
        "names": _names(steps, pieces),
        "modes": _changes([step.mode for step in steps]),
        "drawn": {i: step.drawn for i, step in enumerate(steps) if step.drawn != step.token},
        "kept": {i: step.kept for i, step in enumerate(steps) if step.kept is not None},
        "pieces": {token: piece.text if piece.kind == "text" else list(piece) for token, piece in pieces.items()},
        **_candidates(steps),
        "explored": [i for i, step in enumerate(steps) if step.explored],
        "fed": [_fed(step) for step in steps if step.explored],
    }


def letter(place: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    turn, at = divmod(place, len(_LETTERS))
    return _LETTERS[at] + (str(turn + 1) if turn else "")


def _group(group: Group, traces: Sequence[Trace], pieces: Sequence[Pieces]) -> dict[str, Any]:
    first = group.members[0]
    prompt = traces[first].prompt
    spelled = [piece for token in prompt if (piece := pieces[first].get(token)) is not None]
    return {
        "traces": group.members,
        "partings": [[a, b, step] for (a, b), step in group.partings.items()],
        "first": group.first_parting,
        "prompt_tokens": len(prompt),
        "prompt": _joined(spelled) if spelled else None,
    }


def _joined(pieces: Sequence[Piece]) -> str:
    """The text of a prompt. A character in several tokens comes out whole."""
    data = b"".join(
        bytes.fromhex(piece.text) if piece.kind == "bytes" else piece.text.encode("utf-8", "replace")
        for piece in pieces
    )
    return data.decode("utf-8", "replace")


def _names(steps: Sequence[Step], pieces: Pieces) -> dict[int, str]:
    """The names of control tokens and tags, by step. (The text of other steps without text comes with a later step.)"""
    names: dict[int, str] = {}
    for i, step in enumerate(steps):
        piece = pieces.get(step.token)
        if not step.text and piece is not None and (piece.kind == "control" or piece.text in _TAGS):
            names[i] = piece.text
    return names


def _candidates(steps: Sequence[Step]) -> dict[str, Any]:
    """Ids and probabilities of all steps in a row, how many each step has, and a summary of those left out."""
    counts = [min(len(step.top), _MOST) for step in steps]
    shown = [candidate for step in steps for candidate in step.top[:_MOST]]
    rest = {
        i: [len(step.top) - _MOST, _whole(sum(p for _, p in step.top[_MOST:]), PROBABILITY_UNIT)]
        for i, step in enumerate(steps)
        if len(step.top) > _MOST
    }
    return {
        "counts": counts[0] if counts and len(set(counts)) == 1 else counts,
        "ids": [token for token, _ in shown],
        "probabilities": [_whole(p, PROBABILITY_UNIT) for _, p in shown],
        "rest": rest,
    }


def _fed(step: Step) -> dict[str, Any] | None:
    """What an exploration step fed; None where the trace does not say.

    weights: one for each candidate shown, None for those that were not fed. others: [id, weight] of further rows, the
    heaviest first. rest: how many more rows there are, and their weight together.
    """
    if step.fed is None:
        return None
    weights: dict[int, float] = {}
    for token, weight in step.fed:  # an id may stand there twice
        weights[token] = weights.get(token, 0.0) + weight
    shown = [weights.pop(token, None) for token, _ in step.top[:_MOST]]
    others = sorted(weights.items(), key=lambda row: -abs(row[1]))
    left = others[_MOST:]
    return {
        "weights": [_whole(weight, WEIGHT_UNIT) for weight in shown],
        "others": [[token, _whole(weight, WEIGHT_UNIT)] for token, weight in others[:_MOST]],
        **({"rest": [len(left), _whole(sum(weight for _, weight in left), WEIGHT_UNIT)]} if left else {}),
    }


def _changes(modes: Sequence[str | None]) -> list[tuple[int, str | None]]:
    """The steps at which the mode changes, with the new one; nothing where there are no modes."""
    changes = [(i, mode) for i, mode in enumerate(modes) if i == 0 or mode != modes[i - 1]]
    return [] if all(mode is None for _, mode in changes) else changes


def _ceiling(entropies: Sequence[float | None]) -> float:
    """The top of the scale, in nats: a round number."""
    largest = max((value for value in entropies if value is not None), default=0.0)
    return max(math.ceil(largest * 2) / 2, 1.0)


def _whole(value: float | None, unit: float) -> int | None:
    return None if value is None else round(value / unit)


def _breaks_off(trace: Trace) -> str:
    return f"{trace.name} breaks off after {len(trace.steps)} steps: the run was killed, or it is still going on."

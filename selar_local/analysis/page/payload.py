"""The data in the page: what its script shows, as compact JSON types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from selar_local.analysis.mixtures import candidate_entropy, method_of, mixer
from selar_local.analysis.page.facts import COLUMNS, all_facts, line
from selar_local.analysis.token_texts import Pieces, TokenTexts
from selar_local.analysis.traces import Group, Step, Trace, grouped
from selar_local.methods import Selar, SoftThinking
from selar_local.methods.base import Method
from selar_local.thinking import TAGS, TOOL_CALL_TAGS

__all__ = ["ENTROPY_UNIT", "PROBABILITY_UNIT", "WEIGHT_UNIT", "payload"]

#: Numbers are whole multiples of these: short in JSON, and finer than the page shows them.
ENTROPY_UNIT, PROBABILITY_UNIT, WEIGHT_UNIT = 1e-4, 1e-5, 1e-4
_MOST_CANDIDATES = 30  # shown of a step
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TAGS = {tag for pair in (*TAGS, TOOL_CALL_TAGS) for tag in pair}


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
    method = method_of(trace.method, trace.options)
    own = any(step.entropy is not None for step in trace.steps)
    computed = None if own else [candidate_entropy(step) for step in trace.steps]
    entropies = [step.entropy for step in trace.steps] if computed is None else computed
    unit = trace.unit if own else "normalised"
    return {
        "letter": letter(place),
        "name": trace.name,
        "line": line(trace, computed),
        "facts": all_facts(trace),
        "unit": unit,
        "computed": not own,
        "top": 1 if unit == "normalised" else _ceiling(entropies),
        "mark": _mark(method),
        "entropies": [_whole(value, ENTROPY_UNIT) for value in entropies],
        "tokens": [step.token for step in trace.steps],
        "texts": [step.text for step in trace.steps],
        "names": _names(trace.steps, pieces),
        "modes": _changes([step.mode for step in trace.steps]),
        "pieces": {token: piece.text if piece.kind == "text" else list(piece) for token, piece in pieces.items()},
        **_candidates(trace.steps),
        **_explored(trace.steps, method),
        **_kept_certain(trace, method),
    }


def letter(place: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    turn, at = divmod(place, len(_LETTERS))
    return _LETTERS[at] + (str(turn + 1) if turn else "")


def _group(group: Group, traces: Sequence[Trace], pieces: Sequence[Pieces]) -> dict[str, Any]:
    first = group.members[0]
    prompt = traces[first].prompt
    spelled = [pieces[first].get(token) for token in prompt]
    return {
        "traces": group.members,
        "partings": [[a, b, step] for (a, b), step in group.partings.items()],
        "first": group.first_parting,
        "prompt_tokens": len(prompt),
        "prompt": _joined(spelled) if any(spelled) else None,
    }


def _joined(pieces: Sequence[Any]) -> str:
    """The text of a prompt. Characters whose parts are several tokens come out whole."""
    data = b"".join(
        b""
        if piece is None
        else bytes.fromhex(piece.text)
        if piece.kind == "bytes"
        else piece.text.encode("utf-8", "replace")
        for piece in pieces
    )
    return data.decode("utf-8", "replace")


def _names(steps: Sequence[Step], pieces: Pieces) -> dict[int, str]:
    """Of the steps that add no text by their nature: what their token is called. (Others are only held back.)"""
    names: dict[int, str] = {}
    for i, step in enumerate(steps):
        piece = pieces.get(step.token)
        if not step.text and piece is not None and (piece.kind == "control" or piece.text in _TAGS):
            names[i] = piece.text
    return names


def _candidates(steps: Sequence[Step]) -> dict[str, Any]:
    """Ids and probabilities of all steps in a row; how many each has; what is not shown of the long ones."""
    counts = [min(len(step.top), _MOST_CANDIDATES) for step in steps]
    shown = [candidate for step in steps for candidate in step.top[:_MOST_CANDIDATES]]
    rest = {
        i: [len(step.top) - _MOST_CANDIDATES, _whole(sum(p for _, p in step.top[_MOST_CANDIDATES:]), PROBABILITY_UNIT)]
        for i, step in enumerate(steps)
        if len(step.top) > _MOST_CANDIDATES
    }
    return {
        "counts": counts[0] if counts and len(set(counts)) == 1 else counts,
        "ids": [token for token, _ in shown],
        "probabilities": [_whole(p, PROBABILITY_UNIT) for _, p in shown],
        "rest": rest,
    }


def _explored(steps: Sequence[Step], method: Method | None) -> dict[str, Any]:
    """The exploration steps and what each fed: a weight for every candidate shown, and one more for the step's own
    token where it is none of them; or the place of the reason why that is not known.
    """
    mix = mixer(method)
    reasons: list[str] = []
    explored: list[int] = []
    weights: list[int | list[int | None]] = []
    for i, step in enumerate(steps):
        if not step.explored:
            continue
        explored.append(i)
        mixture = mix(step)
        if isinstance(mixture, str):
            if mixture not in reasons:
                reasons.append(mixture)
            weights.append(reasons.index(mixture))
            continue
        by_token = dict(zip(mixture.ids.tolist(), mixture.weights.tolist(), strict=True))
        told = [by_token.get(token) for token, _ in step.top[:_MOST_CANDIDATES]]
        if step.token in by_token and all(token != step.token for token, _ in step.top):
            told.append(by_token[step.token])
        weights.append([_whole(weight, WEIGHT_UNIT) for weight in told])
    return {"explored": explored, "weights": weights, "reasons": reasons}


def _kept_certain(trace: Trace, method: Method | None) -> dict[str, Any]:
    """SeLaR's steps at which the gate opened and that were certain ones all the same, and what may have kept them."""
    if not isinstance(method, Selar) or not isinstance(method.tau, (int, float)):
        return {"kept": [], "kept_by": ""}
    kept = []
    for i, step in enumerate(trace.steps):
        if step.entropy is not None and not step.explored:
            opens = step.entropy > method.tau if method.strict_gate else step.entropy >= method.tau
            if opens != method.invert_gate:
                kept.append(i)
    causes = ["the symbol guard"] if method.symbol_guard else []
    causes += ["the scope"] if method.scope == "thinking" else []
    causes += ["max_share"] if method.max_share < 1 else []
    return {"kept": kept, "kept_by": " or ".join([*causes, "the end of the text or a grammar"])}


def _mark(method: Method | None) -> dict[str, Any] | None:
    """The threshold that the curve shows as a line."""
    if isinstance(method, Selar) and isinstance(method.tau, (int, float)):
        return {"at": method.tau, "label": f"tau {method.tau:g}"}
    if isinstance(method, SoftThinking) and method.cold_stop_entropy > 0:
        return {"at": method.cold_stop_entropy, "label": f"cold stop {method.cold_stop_entropy:g}"}
    return None


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
    return f"{trace.name} breaks off after {len(trace.steps)} steps: the run was killed, or is still going on."

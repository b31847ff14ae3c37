"""Short reasoning questions, for a calibration or the lens without prompts of the user's. Written for this package."""

from __future__ import annotations

from importlib.resources import files

#: Word problems, number sense, logic, common sense and planning in turns, so that the first few are a fair sample too.
QUESTIONS = tuple(files("selar_local.analysis").joinpath("questions.txt").read_text(encoding="utf-8").splitlines())

"""The commands of ``selar-local`` in the order of ``--help``: what is used most comes first."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Where a command is, and its line in ``--help``."""

    module: str
    attribute: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "run": Entry("selar_local.cli.run", "run", "One answer, or a chat."),
    "serve": Entry("selar_local.cli.serve", "serve", "An OpenAI-compatible server."),
    "models": Entry("selar_local.cli.models", "models", "The models on this machine."),
    "pull": Entry("selar_local.cli.pull", "pull", "Download a model."),
    "compare": Entry("selar_local.cli.compare", "compare", "One prompt under several methods, side by side."),
    "eval": Entry("selar_local.cli.eval", "evaluation_command", "Methods compared on the same problems."),
    "report": Entry("selar_local.cli.report", "report", "Tables and plots of evaluations."),
    "calibrate": Entry("selar_local.cli.calibrate", "calibrate", "A threshold from the model's own entropies."),
    "trace": Entry("selar_local.cli.trace", "trace", "Look at traces."),
    "analyze": Entry("selar_local.cli.analyze", "analyze", "Entropies of traces; the logit lens."),
    "methods": Entry("selar_local.cli.methods", "methods", "The decoding methods and their options."),
    "worker": Entry("selar_local.cli.worker", "worker", "This machine's devices, for a model on another one."),
    "config": Entry("selar_local.cli.config_command", "config", "The defaults in force, and where they come from."),
    "doctor": Entry("selar_local.cli.doctor", "doctor", "Versions, backends, devices; facts about a model."),
}

"""Every error this package raises on purpose, with messages fit for a user's eyes."""

from __future__ import annotations


class SelarError(Exception):
    """Base of all errors of selar-local. ``str(error)`` is one clear line."""


class ModelFileError(SelarError):
    """The model file is damaged, truncated, incomplete or not a GGUF file."""


class ModelNotFound(SelarError):
    """No model stands where the caller pointed."""


class UnsupportedModel(SelarError):
    """A sound model that this package cannot decode (encoder-only, ...), or not by the method that was asked for."""


class OptionError(SelarError, ValueError):
    """An option is unknown, out of range, or belongs to another method."""


class NotCalibrated(SelarError):
    """``tau="auto"`` has nothing to go by: the model was not calibrated, or its entropies show no valley."""


class PromptTooLong(SelarError):
    """The prompt has more tokens than the context holds."""

    def __init__(self, message: str, tokens: int = 0, room: int = 0) -> None:
        """tokens: of the prompt, at least. room: tokens that the context holds."""
        super().__init__(message)
        self.tokens = tokens
        self.room = room


class TemplateError(SelarError):
    """The model's chat template is missing, does not parse or refuses the messages."""


class DecodeError(SelarError):
    """llama.cpp failed during a decode, or the model produced logits that are not numbers."""


class EngineBusy(SelarError):
    """As many requests run and wait as the engine was opened for: try again later."""


class EngineClosed(SelarError):
    """The engine was closed while, or before, it was used."""


class EngineCrashed(SelarError):
    """The process that runs llama.cpp has died. The next request starts another."""


class WorkerUnavailable(SelarError):
    """A worker on another machine does not answer, or this build of llama.cpp knows no workers."""


class ConversationBusy(SelarError):
    """A turn of this conversation is still being answered: finish or close its stream first."""


class ConversationFileError(SelarError):
    """The file is missing, or it is not a saved conversation."""


class MissingExtra(SelarError):
    """An optional package is needed; the message names the extra that brings it."""

"""Modes and buffers of modules, and modules that are copies of trained ones."""

from gradaudit.schema import ModelStateFacts

MODEL_STATE = "modes, buffers and copies of modules"  # the observer


class ModelState:
    """What is known so far. Used under the recording's lock."""

    def facts(self) -> ModelStateFacts:
        """What goes into run.json."""
        return ModelStateFacts()

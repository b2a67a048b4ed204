"""The list of served models."""

from __future__ import annotations

from pydantic import Field, field_validator

from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings
from embedder.settings.tree import Settings

MODEL_DEPLOYMENTS = ("Ingress", "Tokenizer", "Encoder")
"""The deployments whose ``user_config`` is the list of served models."""


class ModelList(Settings):
    """The models that are served: what ``user_config`` of the deployments holds.

    Serve applies a changed ``user_config`` to running replicas, so a model is added, swapped or
    taken away without a restart. The first model answers where a request names none.
    """

    models: tuple[ModelSettings, ...] = Field(
        (ModelSettings(),), min_length=1, validate_default=True
    )

    @field_validator("models")
    @classmethod
    def _check(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        """Tell the models apart by name, and pin the first."""
        firsts = [model_names(model)[0] for model in models]
        twice = sorted({name for name in firsts if firsts.count(name) > 1})
        if twice:
            raise ValueError(f"several models are called {twice[0]!r}; give each an alias")
        return (models[0].model_copy(update={"pinned": True}), *models[1:])

    @property
    def pinned(self) -> tuple[ModelSettings, ...]:
        """Return the models that are always loaded: the first, and those that say so."""
        return tuple(model for model in self.models if model.pinned)

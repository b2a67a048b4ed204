"""The list of served models."""

from __future__ import annotations

from pydantic import Field, field_validator

from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings
from embedder.settings.tree import Settings


class ModelList(Settings):
    """The served models: the content of ``user_config`` of the deployments.

    Serve applies a changed ``user_config`` to running replicas, so models are added, swapped or
    removed without a restart. A request that names no model gets the first one with its task.
    """

    models: tuple[ModelSettings, ...] = Field(
        (ModelSettings(),), min_length=1, validate_default=True
    )

    @field_validator("models")
    @classmethod
    def _check(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        """Refuse two models with the same name, and pin the first model."""
        main_names = [model_names(model)[0] for model in models]
        repeated = sorted({name for name in main_names if main_names.count(name) > 1})
        if repeated:
            raise ValueError(f"several models are called {repeated[0]!r}; give each an alias")
        return (models[0].model_copy(update={"pinned": True}), *models[1:])

    @property
    def pinned(self) -> tuple[ModelSettings, ...]:
        """Return the models that are always loaded: the first one and those with ``pinned``."""
        return tuple(model for model in self.models if model.pinned)

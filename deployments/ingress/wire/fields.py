"""The fields that every route which embeds shares, and what they ask of the pipeline.

Knows nothing of inputs or answers.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.ingress.door.visit import Visit
from embedder.request import EmbedOptions
from embedder.types import InputType, Priority, Truncate

PriorityName = Literal["interactive", "bulk"]


class Body(BaseModel):
    """Base of the bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class ModelField(Body):
    """Which model is meant."""

    model: str | None = Field(None, description="a served model; the first one where left out")


class PromptFields(ModelField):
    """What is put in front of texts, and what is cut from them."""

    input_type: InputType | None = Field(
        None, description="what texts are for: puts the model's prompt for that in front"
    )
    prompt_name: str | None = Field(
        None, description="puts the model's prompt of that name in front; not beside input_type"
    )
    truncate: Truncate = Field(
        Truncate.END, description="which end of a text above the model's limit is cut; none refuses"
    )
    priority: PriorityName = Field(
        "interactive", description="bulk lets others go first for a while, and is refused later"
    )

    def options(
        self, visit: Visit, *, dimensions: int | None = None, normalize: bool = True
    ) -> EmbedOptions:
        """Return what these fields ask of the pipeline, within the request's time."""
        return EmbedOptions(
            prompt_name=self.prompt_name,
            input_type=self.input_type,
            truncate=self.truncate,
            dimensions=dimensions,
            normalize=normalize,
            priority=Priority[self.priority.upper()],
            timeout_s=visit.remaining_s(),
        )

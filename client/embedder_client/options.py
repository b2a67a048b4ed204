"""The options of embeddings, with the names of `embedder.EmbedOptions`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

InputType = Literal["query", "document", "classification", "clustering"]


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """Options of a call; None leaves the choice to the service.

    At most one of ``prompt_name`` (in the model's table) and ``input_type`` selects the prompt in
    front of every text. ``truncate`` names the end of a text above the model's limit that is cut,
    or "none" to refuse it. ``timeout_s`` counts from the call, for each batch of it.
    """

    prompt_name: str | None = None
    input_type: InputType | None = None
    truncate: Literal["end", "start", "none"] | None = None
    dimensions: int | None = None
    normalize: bool | None = None
    priority: Literal["interactive", "bulk"] | None = None
    timeout_s: float | None = None

    def for_input_type(self, kind: InputType) -> EmbedOptions:
        """Return the options with the prompt of an input type, unless they select another."""
        return self if self.prompt_name is not None else replace(self, input_type=kind)

    def fields(self) -> dict[str, Any]:
        """Return the fields of a request that are not left to the service."""
        values = {
            "prompt_name": self.prompt_name,
            "input_type": self.input_type,
            "truncate": self.truncate,
            "dimensions": self.dimensions,
            "normalize": self.normalize,
            "priority": self.priority,
        }
        return {name: value for name, value in values.items() if value is not None}

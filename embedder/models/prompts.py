"""Select the prompt that is put in front of the texts of a request."""

from __future__ import annotations

from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import ModelInfo

EVERY_MODEL_HAS = ("query", "document")
"""The prompts that sentence-transformers gives a model without them, empty.

So it never uses ``passage`` or ``corpus`` unless a request names them.
"""


def select_prompt(options: EmbedOptions, model: ModelInfo) -> str:
    """Return the prompt for the texts of a request.

    A request may give a prompt, a prompt's name or an input type. If it gives none of them, the
    model's default prompt is used. The prompt for an input type is empty if the model has none.

    Raises:
        InvalidInput: the request gives two of them, or the model has no prompt of that name.
    """
    if options.prompt is options.prompt_name is options.input_type is None:
        return model.prompts[model.default_prompt] if model.default_prompt else ""
    choices = ("prompt", "prompt_name", "input_type")
    given = [name for name in choices if getattr(options, name) is not None]
    if len(given) > 1:
        raise InvalidInput(given[1], f"cannot stand beside {given[0]!r}")
    if options.prompt is not None:
        return options.prompt
    if options.prompt_name is not None:
        if options.prompt_name not in model.prompts:
            raise InvalidInput(
                "prompt_name",
                f"is {options.prompt_name!r}; this model has: {', '.join(model.prompts) or 'none'}",
            )
        return model.prompts[options.prompt_name]
    assert options.input_type is not None
    return model.prompts.get(options.input_type.value, "")

"""Which prompt goes in front of a request's texts: the caller's wish against the model's table.

A pure function of options and model. Knows nothing of tokens.
"""

from __future__ import annotations

from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, ModelInfo

NAMES = {InputType.QUERY: "query", InputType.DOCUMENT: "document"}
"""The name of the prompt of each kind of input.

sentence-transformers gives every model an empty prompt ``document`` if its files have none, and
therefore never takes ``passage`` or ``corpus`` unless they are named.
"""


def select_prompt(options: EmbedOptions, model: ModelInfo) -> str:
    """Return the text that goes in front of every text of a request.

    A prompt goes before a name, and a name before a kind of input; the model's default prompt is
    for requests that say nothing. A model without a prompt for a kind of input has an empty one.

    Raises:
        InvalidInput: two of them are given, or the model has no prompt of that name.
    """
    given = [name for name in ("prompt", "prompt_name", "input_type") if _said(options, name)]
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
    if options.input_type is not None:
        return model.prompts.get(NAMES[options.input_type], "")
    return model.prompts[model.default_prompt] if model.default_prompt else ""


def _said(options: EmbedOptions, name: str) -> bool:
    return getattr(options, name) is not None

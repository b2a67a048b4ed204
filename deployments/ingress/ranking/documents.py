"""Documents to rank, as Cohere's and Jina's APIs take them: texts, or objects with a text."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.inputs import TEXT, check_count
from embedder.core.errors import InvalidInput
from embedder.core.outputs import Task

CHARACTERS_PER_TOKEN = 16
"""Characters of a document that are tokenized for each token to keep; most tokens have fewer."""


def to_documents(value: Any) -> list[str]:
    """Return the texts of a list of documents.

    Raises:
        InvalidInput: it is no list, or an item is neither a text nor an object with a text.
    """
    if not isinstance(value, list):
        raise InvalidInput("documents", "must be a list of texts, or of objects with a text")
    texts = []
    for row, item in enumerate(value):
        text = item.get("text") if isinstance(item, dict) else item
        if not isinstance(text, str):
            raise InvalidInput(f"documents[{row}]", "must be a text, or an object with a 'text'")
        texts.append(text)
    return texts


_DOCUMENT = {"type": "object", "properties": {"text": TEXT}, "required": ["text"]}

DocumentsField = Annotated[
    list[str],
    PlainValidator(to_documents),
    WithJsonSchema(
        {
            "description": "Texts, or objects with a text; their other fields are not read.",
            "type": "array",
            "items": {"oneOf": [TEXT, _DOCUMENT]},
            "minItems": 1,
        }
    ),
]


async def shortened(
    service: Service,
    context: RequestContext,
    texts: list[str],
    most: int | None,
    model: str | None,
    task: Task,
) -> list[str]:
    """Return the documents, each up to the end of its token number ``most``; None: as they are.

    The tokens are those of the model, or of the first one with the task.
    A document of unusually long words may keep more tokens.

    Raises:
        LimitExceeded: there are more documents than a request may have.
        EmbedderError: as `ServedModels.get`, or the tokenizer does not answer.
    """
    check_count("documents", len(texts), service.settings.limits.max_inputs)
    if most is None:
        return texts
    connection = await service.models.get(model, context.deadline, task=task)
    if most >= connection.info.max_tokens:
        return texts  # the model reads no more
    rows = await connection.tokenizer.tokenize_with_offsets(
        [text[: most * CHARACTERS_PER_TOKEN] for text in texts],
        add_special_tokens=False,
        deadline=context.deadline,
    )
    kept = []
    for text, row in zip(texts, rows, strict=True):
        tokens = await row.unpickled()
        kept.append(text[: tokens[most - 1].stop] if len(tokens) > most else text)
    return kept

"""Documents to rank, as Cohere's and Jina's APIs take them: texts, or objects with a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.service import Service
from deployments.ingress.wire.inputs import TEXT
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.outputs import Task

CHARACTERS_PER_TOKEN = 16
"""Characters of a document that are tokenized for each token that is kept."""


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
) -> list[str]:
    """Return the texts, each up to the end of its token number ``most``; None: as they are.

    Raises:
        EmbedderError: as `ServedModels.get`, or the tokenizer does not answer.
    """
    if most is None:
        return texts
    connection = await service.models.get(model, context.deadline, task=Task.RERANK)
    if most >= connection.info.max_tokens:
        return texts  # the model reads no more
    # Most tokens have fewer characters; a text with longer ones is tokenized as a whole.
    kept = [text[: most * CHARACTERS_PER_TOKEN] for text in texts]
    ends = await _ends(connection, kept, most, context.deadline)
    unclear = [
        row for row, end in enumerate(ends) if end is None and len(kept[row]) < len(texts[row])
    ]
    wholes = [texts[row] for row in unclear]
    ends_of_wholes = await _ends(connection, wholes, most, context.deadline) if wholes else []
    ends_by_row = {**dict(enumerate(ends)), **dict(zip(unclear, ends_of_wholes, strict=True))}
    return [text[: ends_by_row[row]] for row, text in enumerate(texts)]


async def _ends(
    connection: Connection, texts: Sequence[str], most: int, deadline: Deadline
) -> list[int | None]:
    """Return where token number ``most`` of each text ends; None if it has no more tokens."""
    rows = await connection.tokenizer.tokenize_with_offsets(
        texts, add_special_tokens=False, deadline=deadline
    )
    tokens = [await row.unpickled() for row in rows]
    return [row[most - 1].stop if len(row) > most else None for row in tokens]

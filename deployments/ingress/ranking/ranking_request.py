"""What a request to rank texts asks for, in whichever API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embedder.core.request import EmbedOptions

MethodName = Literal["cross-encoder", "bi-encoder"]
"""How texts are scored: read together with the query, or by the cosine of vectors."""

METHOD = "bi-encoder compares the vectors of an embedding model; their scores have another scale"
"""The description of the field with the method."""


@dataclass(frozen=True, slots=True)
class RankingRequest:
    """A query, and the texts to rank by it.

    ``field`` is the client's name of the texts. ``raw`` asks for scores without an activation:
    numbers of any size from a cross-encoder, cosines from a bi-encoder; else they are in [0, 1].
    """

    query: str
    texts: Sequence[str]
    field: str
    options: EmbedOptions
    model: str | None = None
    method: MethodName = "cross-encoder"
    raw: bool = False

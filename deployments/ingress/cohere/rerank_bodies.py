"""The bodies of Cohere's and Jina's rerank APIs: requests and responses."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from deployments.ingress.ranking.documents import DocumentsField
from deployments.ingress.ranking.ranking_request import METHOD, MethodName
from deployments.ingress.wire.fields import Body, Usage, examples

MOST_PRIORITY = 999
"""The largest number that Cohere's API takes as a priority."""


class _RerankFields(Body):
    model: str | None = Field(
        None, description="a served model; default: the first one that can rank"
    )
    query: str = Field(json_schema_extra={"minLength": 1})
    documents: DocumentsField
    top_n: int | None = Field(
        None, ge=1, strict=True, description="return only the best; default: all"
    )
    method: MethodName = Field("cross-encoder", description=f"{METHOD} (neither API has it)")


class CohereRerankBody(_RerankFields):
    """The body of ``POST /v2/rerank``."""

    model_config = examples({"query": "pets", "documents": ["A cat sleeps.", "Share prices fell."]})

    max_tokens_per_doc: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="tokens after which a document is cut; default: as many as the model reads",
    )
    priority: int = Field(
        0,
        ge=0,
        le=MOST_PRIORITY,
        strict=True,
        description="above 0: let other requests go first for a while, and be refused later",
    )


class JinaRerankBody(_RerankFields):
    """The body of ``POST /v1/rerank``."""

    model_config = examples(
        {"query": "pets", "documents": [{"text": "A cat sleeps."}, "Share prices fell."]},
        {"query": "pets", "documents": ["A cat sleeps."], "top_n": 1, "return_documents": False},
    )

    return_documents: bool = Field(
        True, strict=True, description="return the text of each result too"
    )


class CohereResult(BaseModel):
    """One document of a ranking: its number in the request, and its score from 0 to 1."""

    index: int
    relevance_score: float


class ApiVersion(BaseModel):
    """The version of Cohere's API whose shape a response has."""

    version: Literal["1", "2"]


class BilledUnits(BaseModel):
    """What Cohere would count: a unit for each 100 documents, begun ones too."""

    search_units: int


class Tokens(BaseModel):
    """Tokens of all pairs of the query and a document."""

    input_tokens: int


class Meta(BaseModel):
    """The costs of a request in Cohere's form."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: Tokens


class CohereRanking(BaseModel):
    """The response of ``POST /v2/rerank``, the best document first."""

    id: str
    results: list[CohereResult]
    meta: Meta


class Document(BaseModel):
    """A document that was sent."""

    text: str


class JinaResult(CohereResult):
    """One document of a ranking, with its text."""

    document: Document | None = Field(None, description="absent without return_documents")


class JinaRanking(BaseModel):
    """The response of ``POST /v1/rerank``, the best document first."""

    id: str
    object: Literal["list"]
    model: str
    usage: Usage
    results: list[JinaResult]
    meta: Meta

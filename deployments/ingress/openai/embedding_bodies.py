"""The bodies of OpenAI's embeddings route: requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field

from deployments.ingress.openai.jina_fields import JinaFields
from deployments.ingress.wire.chunking import Chunking, ChunkRange
from deployments.ingress.wire.fields import Usage, examples
from deployments.ingress.wire.inputs import InputField
from embedder.core.outputs import OutputKind

OutputType = Literal["dense", "sparse", "multi_vector"]

KINDS: Mapping[OutputType, OutputKind] = {
    "dense": OutputKind.DENSE,
    "sparse": OutputKind.SPARSE,
    "multi_vector": OutputKind.TOKENS,
}
"""What a model computes for each type of output."""


class EmbeddingsRequest(JinaFields):
    """The body of ``POST /v1/embeddings``."""

    model_config = examples(
        {"model": "all-MiniLM-L6-v2", "input": "hello world"},
        {"input": ["one", "two"], "input_type": "document", "output_dtype": "int8"},
        {"input": "a long text", "chunking": {"size": 64, "boundaries": "sentences"}},
        {"input": "hello world", "output_types": ["dense"]},
    )

    input: InputField
    output_types: list[OutputType] | None = Field(
        None,
        min_length=1,
        description="which results each input gets, from one pass: a dense vector, sparse weights, "
        "a vector for each token; the model must compute all of them; default: dense",
    )
    chunking: Chunking | None = Field(
        None, description="split each text into chunks, of which each gets a vector; JSON only"
    )
    user: str | None = Field(None, description="accepted and not used")


class InputChunk(ChunkRange):
    """The chunk of a vector; ``input`` is the number of its text in the request."""

    input: int


class SparseEmbedding(BaseModel):
    """The ids of the model's vocabulary with a weight above 0, ascending, and their weights."""

    indices: list[int]
    values: list[float]


class _Row(BaseModel):
    object: Literal["embedding"]
    index: int
    chunk: InputChunk | None = Field(None, description="only if the request has chunking")


class Embedding(_Row):
    """One vector of a response, as numbers or as base64 of its little-endian bytes."""

    embedding: list[float] | str


class EmbeddingOutputs(_Row):
    """The results of one input in a response to ``output_types``, each only if it is named."""

    embedding: list[float] | str | None = None
    sparse_embedding: SparseEmbedding | None = None
    multi_vector: list[list[float]] | list[str] | None = Field(
        None, description="a vector for each token, as numbers or as base64, as the dense vector"
    )


class EmbeddingsResponse(BaseModel):
    """The response of ``POST /v1/embeddings``."""

    object: Literal["list"]
    data: list[Embedding | EmbeddingOutputs]
    model: str
    usage: Usage

"""The calls that return more of an input than one vector: chunks, sparse weights, token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from embedder_client import answers
from embedder_client.batches import Input
from embedder_client.embedding import Embedding
from embedder_client.options import EmbedOptions
from embedder_client.results import ChunkEmbeddings, OutputRows, SparseVector, Vectors

Inputs = Input | Sequence[Input]
"""One text, or a sequence of texts and of lists of token ids."""

OutputType = Literal["dense", "sparse", "multi_vector"]
"""A kind of result of an input."""


class OutputCalls:
    """The calls, each of which sends one request."""

    _embedding: Embedding

    async def embed_chunks(
        self,
        texts: str | Sequence[str],
        options: EmbedOptions | None = None,
        *,
        size: int | None = None,
        overlap: int | None = None,
        boundaries: Literal["tokens", "sentences"] = "tokens",
        late: bool = False,
    ) -> list[ChunkEmbeddings]:
        """Split every text into chunks, and return the chunks of each with their vectors.

        ``size`` is the most tokens of a chunk and ``overlap`` the most that it shares with the
        chunk before; None leaves both to the service. With ``late`` a vector is the mean of the
        chunk's tokens after the model has read the text around it. All texts travel in one request.

        Raises:
            ClientError: as `Transport.send`.
        """
        chunking = {"size": size, "overlap": overlap, "boundaries": boundaries}
        given = {name: value for name, value in chunking.items() if value is not None}
        given |= {"late": True} if late else {}
        body = {"input": rows_of(texts), "encoding_format": "base64", "chunking": given}
        return answers.chunk_embeddings(await self._embeddings(body, options))

    async def embed_sparse(
        self, inputs: Inputs, options: EmbedOptions | None = None
    ) -> list[SparseVector]:
        """Return the sparse weights of every input, in order.

        Raises:
            ClientError: as `Transport.send`.
        """
        return (await self.embed_outputs(inputs, ["sparse"], options)).sparse or []

    async def embed_tokens(
        self, inputs: Inputs, options: EmbedOptions | None = None
    ) -> list[Vectors]:
        """Return float32[k, width] for every input of k tokens, in order.

        Raises:
            ClientError: as `Transport.send`.
        """
        return (await self.embed_outputs(inputs, ["multi_vector"], options)).tokens or []

    async def embed_outputs(
        self,
        inputs: Inputs,
        output_types: Sequence[OutputType],
        options: EmbedOptions | None = None,
    ) -> OutputRows:
        """Return several kinds of results of every input, which the model computes in one pass.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = {
            "input": rows_of(inputs),
            "encoding_format": "base64",
            "output_types": list(output_types),
        }
        return answers.outputs(await self._embeddings(body, options))

    async def _embeddings(self, body: dict[str, Any], options: EmbedOptions | None) -> Any:
        options = options or EmbedOptions()
        return await self._embedding.post(
            "v1/embeddings", body | options.fields(), options.timeout_s
        )


def rows_of(inputs: Any) -> list[Any]:
    """Return one input, or a collection of inputs, as a list."""
    if isinstance(inputs, str):
        return [inputs]
    rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in inputs]
    return [rows] if rows and isinstance(rows[0], int) else rows

"""Writes sparse weights and token vectors: for JSON, and the bytes that they take there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from deployments.ingress.wire.answer_size import ITEM_BYTES, check_size
from deployments.ingress.wire.formats import EncodingFormat, rows_of
from deployments.ingress.wire.quantization import OutputDtype, quantize
from deployments.settings.service import IngressLimits
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Input, ModelInfo, Rows
from embedder.pipeline.token_estimate import TokenEstimate

WEIGHT_BYTES = 19
"""An id and its weight, in two lists: ``12345,`` and ``0.123456789,``."""

INDEX_VALUE_BYTES = 36
"""A weight as an object: ``{"index":12345,"value":0.123456789},``."""

VECTOR_BYTES = 3
"""Bytes around one token vector: brackets and a comma."""


MARGIN = 2
"""Times the limit from which a response is refused by an estimate, which may be wrong by less."""


@dataclass(frozen=True, slots=True)
class OutputBytes:
    """The bytes of a component of dense vectors and of token vectors, and of a sparse weight."""

    component: float
    weight: int = WEIGHT_BYTES

    def of(self, kind: OutputKind, count: int, entries: int, width: int) -> float:
        """Return the bytes of ``count`` rows with so many entries in all, each of a width."""
        if kind is OutputKind.SPARSE:
            return count * ITEM_BYTES + entries * self.weight
        around = VECTOR_BYTES if kind is OutputKind.TOKENS else 0
        return count * ITEM_BYTES + entries * (width * self.component + around)

    def of_rows(self, rows: Mapping[OutputKind, Rows]) -> float:
        """Return the bytes of computed rows of every kind."""
        return sum(
            self.of(kind, len(found), len(found.values), found.width)
            if isinstance(found, RaggedRows)
            else self.of(kind, len(found), *found.shape)
            for kind, found in rows.items()
        )


def sparse_objects(rows: RaggedRows) -> Iterator[Mapping[str, Any]]:
    """Yield for each row its ids, ascending, and their weights."""
    for row in rows.split():
        yield {"indices": row.ids, "values": row.values[:, 0]}


def index_values(rows: RaggedRows) -> Iterator[orjson.Fragment]:
    """Yield for each row the JSON of a list with an object for each weight, by ascending ids."""
    for row in rows.split():
        assert row.ids is not None
        pairs = zip(row.ids.tolist(), row.values[:, 0], strict=True)
        weights = [{"index": index, "value": value} for index, value in pairs]
        yield orjson.Fragment(orjson.dumps(weights, option=orjson.OPT_SERIALIZE_NUMPY))


def token_vectors(
    rows: RaggedRows,
    dtype: OutputDtype = OutputDtype.FLOAT32,
    encoding: EncodingFormat = "float",
) -> Iterator[Any]:
    """Yield for each row its token vectors: numbers [tokens, width], or a base64 text for each."""
    codes = quantize(rows.values, dtype)
    for vectors in np.split(codes, rows.offsets[1:-1]):
        yield vectors if encoding == "float" else rows_of(vectors, encoding)


def check_expected(
    model: ModelInfo,
    kinds: Collection[OutputKind],
    inputs: Sequence[Input],
    sizes: OutputBytes,
    field: str,
    limits: IngressLimits,
) -> None:
    """Refuse token vectors of several times the limit before they are computed.

    Their number is estimated from characters. A response is measured once it has been computed.

    Raises:
        LimitExceeded: the expected size is above `MARGIN` times ``max_response_bytes``.
    """
    if OutputKind.TOKENS not in kinds:
        return
    tokens = TokenEstimate(model.max_tokens).tokens_of(inputs)
    size = sizes.of(OutputKind.TOKENS, len(inputs), tokens, model.token_width)
    if size > MARGIN * limits.max_response_bytes:
        check_size(field, size, limits)

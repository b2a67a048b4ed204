"""Load the heads of a model: one for each kind of result that its layout has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.checkpoint import Linear
from embedder.backends.heads.classifier import ClassifierHead, ComputedScores
from embedder.backends.heads.dense import DenseHead
from embedder.backends.heads.multi_vector import MultiVectorHead
from embedder.backends.heads.splade import SpladeHead
from embedder.backends.heads.token_weights import TokenWeightsHead
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, TokenBatch, Vectors
from embedder.models.heads.sparse import TokenWeights

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles

VectorHead = DenseHead | ClassifierHead | ComputedScores
"""Returns one row of a fixed width for each input, on the device."""

RaggedHead = SpladeHead | TokenWeightsHead | MultiVectorHead
"""Returns rows of different lengths, in memory."""

AnyHead = VectorHead | RaggedHead
Heads = Mapping[OutputKind, AnyHead]


def load_heads(
    files: ModelFiles,
    hidden_width: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
    faster: Callable[[Linear], Any] = lambda linear: linear,
) -> Heads:
    """Load the heads of a model in float32, the default one first.

    The vocabulary of a masked language model is in ``dtype``; ``faster`` returns its linear map as
    the device computes it.

    Raises:
        UnsupportedModel: a head is not computed here, or its weights are missing or do not fit.
    """
    layout = files.layout
    heads: dict[OutputKind, AnyHead] = {}
    for kind in layout.outputs:
        if kind is OutputKind.DENSE:
            heads[kind] = DenseHead(layout, hidden_width=hidden_width, device=device)
        elif kind is OutputKind.SCORES:
            heads[kind] = ClassifierHead.load(files, device=device)
        elif kind is OutputKind.TOKENS:
            heads[kind] = MultiVectorHead.load(files, hidden_width=hidden_width, device=device)
        elif isinstance(layout.sparse, TokenWeights):
            heads[kind] = TokenWeightsHead.load(
                files, layout.sparse, hidden_width=hidden_width, device=device
            )
        else:
            heads[kind] = SpladeHead.load(files, dtype=dtype, device=device, faster=faster)
    return heads


def head_rows(head: AnyHead, hidden: torch.Tensor, tokens: TokenBatch) -> Rows:
    """Return the result of a head in memory, of hidden states float[total, hidden_width].

    A head for vectors returns one for each span, if the tokens have spans.
    """
    if not isinstance(head, VectorHead):
        return head(hidden, tokens)
    if tokens.spans is None:
        return _vectors(head, hidden, tokens.lengths)
    bounds = tokens.span_bounds()
    counts = bounds[:, 1] - bounds[:, 0]
    # The tokens of all spans, end to end.
    rows = np.repeat(bounds[:, 1] - np.cumsum(counts), counts) + np.arange(counts.sum())
    taken = hidden[torch.from_numpy(rows).to(hidden.device)]
    return RaggedRows.of(_vectors(head, taken, counts), np.array(list(map(len, tokens.spans))))


def _vectors(head: VectorHead, hidden: torch.Tensor, lengths: NDArray[np.integer]) -> Vectors:
    counts = torch.from_numpy(lengths.astype(np.int64)).to(hidden.device)
    vectors: Vectors = head(hidden, counts).to("cpu", torch.float32).numpy()
    return vectors


def no_rows(head: AnyHead) -> Rows:
    """Return the result of a batch without inputs."""
    width = 1 if head.kind is OutputKind.SPARSE else head.width
    values = np.empty((0, width), np.float32)
    if isinstance(head, VectorHead):
        return values
    ids = np.empty(0, np.int32) if head.kind is OutputKind.SPARSE else None
    return RaggedRows.of(values, np.empty(0, np.int64), ids)

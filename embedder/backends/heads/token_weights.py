"""The sparse weights of BGE-M3: each token weighs its own id (Chen et al., arXiv 2402.03216, 3.1).

A weight is relu(w · h + b) of the token's hidden state h. An id that occurs repeatedly gets the
largest of its weights, and special tokens get none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.backends.checkpoint import Linear, tensor_bytes
from embedder.backends.heads.dense import load_linear
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import TokenBatch
from embedder.models.heads.sparse import TokenWeights

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles


class TokenWeightsHead:
    """Maps hidden states to sparse weights; its own weights take ``memory_bytes``."""

    kind = OutputKind.SPARSE

    def __init__(self, linear: Linear, ignored: NDArray[np.int32], vocabulary: int) -> None:
        """``ignored`` are the ids without a weight."""
        self.width = vocabulary
        self.memory_bytes = tensor_bytes(linear)
        self._linear = linear
        self._ignored = ignored

    @classmethod
    def load(
        cls, files: ModelFiles, head: TokenWeights, *, hidden_width: int, device: torch.device
    ) -> TokenWeightsHead:
        """Load the linear map in float32.

        Raises:
            UnsupportedModel: it is damaged or has another size.
        """
        linear = load_linear([head.file], "", device)
        if linear.weight.shape != (1, hidden_width):
            raise UnsupportedModel(
                f"{head.file} has a weight of {tuple(linear.weight.shape)}; expected: "
                f"(1, {hidden_width})"
            )
        ignored = np.array(files.tokenizer_files.ids_of(head.ignored), np.int32)
        return cls(linear, ignored, files.vocabulary_size)

    def __call__(self, hidden: torch.Tensor, tokens: TokenBatch) -> RaggedRows:
        """Return the ids and weights of each input, of hidden states float[total, hidden_width]."""
        weights = self._linear(hidden.float()).relu()[:, 0].cpu().numpy()
        inputs = np.repeat(np.arange(len(tokens)), tokens.lengths)
        # A weight that is not a number stays, so that the checks of the results find it.
        kept = (weights != 0) & ~np.isin(tokens.ids, self._ignored)
        inputs, ids, weights = inputs[kept], tokens.ids[kept], weights[kept]
        # The last one of equal ids of an input is the largest.
        order = np.lexsort((weights, ids, inputs))
        inputs, ids, weights = inputs[order], ids[order], weights[order]
        last = np.ones(len(ids), np.bool_)
        last[:-1] = (ids[1:] != ids[:-1]) | (inputs[1:] != inputs[:-1])
        lengths = np.bincount(inputs[last], minlength=len(tokens))
        return RaggedRows.of(weights[last][:, None], lengths, ids[last])

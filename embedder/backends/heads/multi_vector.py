"""The token vectors of a multi-vector model: a projection of each hidden state that has a vector.

ColBERT (Khattab and Zaharia, arXiv 2004.12832) projects all tokens of a query, and those of a
document without its punctuation; the tokenizer marks the tokens without a vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as functional

from embedder.backends.checkpoint import Linear, tensor_bytes
from embedder.backends.heads.dense import ACTIVATIONS, Activation, load_dense, load_linear
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.pairs import NO_VECTOR
from embedder.core.types import TokenBatch

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles


class MultiVectorHead:
    """Maps hidden states to token vectors; its weights take ``memory_bytes``."""

    kind = OutputKind.TOKENS

    def __init__(
        self,
        layers: list[tuple[Linear, Activation]],
        *,
        hidden_width: int,
        normalizes: bool,
        skips_first: bool = False,
    ) -> None:
        """``skips_first`` gives the first token of an input no vector."""
        self.width = hidden_width
        for linear, _ in layers:
            rows, columns = linear.weight.shape
            if columns != self.width:
                raise UnsupportedModel(
                    f"a projection takes token vectors of {columns} components; the layer before "
                    f"it has {self.width}"
                )
            self.width = rows
        self.memory_bytes = tensor_bytes([linear for linear, _ in layers])
        self._layers = layers
        self._normalizes, self._skips_first = normalizes, skips_first

    @classmethod
    def load(cls, files: ModelFiles, *, hidden_width: int, device: torch.device) -> MultiVectorHead:
        """Load the projections in float32.

        Raises:
            UnsupportedModel: a file is missing or damaged, or the sizes do not fit.
        """
        layout = files.layout
        described, identity = layout.multi_vector, ACTIVATIONS["identity"]
        if described is not None and described.file is not None:
            layers = [(load_linear([described.file], "", device), identity)]
            normalizes = True
        else:
            layers = [load_dense(dense, device) for dense in layout.dense]
            normalizes = layout.normalizes
        if described is not None and described.inline:
            layers.append((load_linear(files.weights, "linear.", device), identity))
        return cls(
            layers,
            hidden_width=hidden_width,
            normalizes=normalizes,
            skips_first=described is not None and described.skips_first,
        )

    def __call__(self, hidden: torch.Tensor, tokens: TokenBatch) -> RaggedRows:
        """Return the vectors of each input, of hidden states float[total, hidden_width]."""
        kept = np.ones(len(tokens.ids), np.bool_)
        if tokens.types is not None:
            kept = tokens.types != NO_VECTOR
        if self._skips_first:
            kept[np.cumsum(tokens.lengths, dtype=np.int64) - tokens.lengths] = False
        rows = hidden[torch.from_numpy(kept).to(hidden.device)].float()
        for linear, activation in self._layers:
            rows = activation(linear(rows))
        if self._normalizes:
            rows = functional.normalize(rows, dim=-1)
        inputs = np.repeat(np.arange(len(tokens)), tokens.lengths)
        lengths = np.bincount(inputs[kept], minlength=len(tokens))
        return RaggedRows.of(rows.cpu().numpy(), lengths)

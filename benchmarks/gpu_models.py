"""Encoders of published shapes with weights that are drawn, and the vectors that are theirs.

Needs torch, transformers and numpy, and of this library the forward pass alone. The weights are
drawn wider than BERT's, so that attention distinguishes tokens and vectors of different inputs
differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from embedder.backends.checkpoint import Checkpoint
from embedder.backends.heads.pooling import mean
from embedder.backends.precision import LONG_LENGTHS, Agreement, reference_batch
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.kernels import PLAIN, fast_kernels, select_kernels
from embedder.backends.torch.launcher import CopyStream, Launcher, StartCopy, to_device
from embedder.backends.torch.packed import PackedForward
from embedder.core.outputs import OutputKind
from embedder.core.types import TokenBatch, Vectors

POSITIONS = 512
_SPREAD = 0.05

SHAPES: Mapping[str, Mapping[str, int]] = {
    "minilm-l6": {"layers": 6, "heads": 12, "width": 384, "inner": 1536, "words": 30_522},
    "bert-base": {"layers": 12, "heads": 12, "width": 768, "inner": 3072, "words": 30_522},
    "bge-large": {"layers": 24, "heads": 16, "width": 1024, "inner": 4096, "words": 30_522},
    "tiny": {"layers": 2, "heads": 4, "width": 64, "inner": 128, "words": 500},
}


@dataclass(frozen=True)
class Model:
    """A transformers BERT in float32, evaluated eagerly, on the device that is measured."""

    name: str
    eager: Any
    device: torch.device

    @classmethod
    def draw(cls, name: str, device: torch.device) -> Model:
        """Draw the weights of one of `SHAPES`, the same at every call."""
        from transformers import BertConfig, BertModel

        shape = SHAPES[name]
        config = BertConfig(
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            hidden_size=shape["width"],
            intermediate_size=shape["inner"],
            vocab_size=shape["words"],
            max_position_embeddings=POSITIONS,
            initializer_range=_SPREAD,
            attn_implementation="eager",
        )
        torch.manual_seed(0)
        return cls(name, BertModel(config, add_pooling_layer=False).eval().to(device), device)

    @property
    def parameters(self) -> int:
        """Return how many weights it has."""
        return sum(weight.numel() for weight in self.eager.parameters())

    @property
    def products(self) -> list[tuple[int, int]]:
        """Return how many components leave and enter each matrix of all layers."""
        shape = SHAPES[self.name]
        width, inner = shape["width"], shape["inner"]
        layer = [(3 * width, width), (width, width), (inner, width), (width, inner)]
        return layer * shape["layers"]

    @property
    def flop(self) -> int:
        """Return the operations of one token in all linear layers; attention is not counted."""
        return 2 * sum(rows * columns for rows, columns in self.products)

    @torch.inference_mode()
    def exact(self, tokens: TokenBatch) -> Vectors:
        """Return the mean of each input's hidden states, computed for each input alone."""
        vectors = []
        for row in tokens.rows():
            ids = torch.from_numpy(row.astype(np.int64))[None].to(self.device)
            vectors.append(self.eager(input_ids=ids).last_hidden_state[0].mean(0))
        exact: Vectors = torch.stack(vectors).float().cpu().numpy()
        return exact


@dataclass(frozen=True)
class Encoder:
    """The library's forward pass with a model's weights, and how far it agrees with float32.

    ``apart`` is the mean cosine of two different inputs' vectors: what agreement is to be
    compared with. ``kernels`` says which ones compute.
    """

    launcher: Launcher
    kernels: str
    cosine: float
    apart: float

    @classmethod
    def of(cls, model: Model, dtype: torch.dtype, *, plain: bool = False) -> Encoder:
        """Take over a model's weights; leave kernels that fail or do not agree, as the service."""
        shape = EncoderShape.read(model.eager.config.to_dict())
        weights = Checkpoint(model.eager.state_dict(), "", dtype, model.device)
        kernels = PLAIN if plain else fast_kernels(shape, dtype, model.device)
        forward = PackedForward(shape, weights, kernels)
        launcher = Launcher(partial(_pooled, forward), _fetch(model.device))
        batch = reference_batch(SHAPES[model.name]["words"], POSITIONS, LONG_LENGTHS)
        exact = model.exact(batch)
        selection = select_kernels(
            lambda: Agreement.of(
                {OutputKind.DENSE: exact}, {OutputKind.DENSE: launcher.encode(batch)}
            ),
            forward.use_plain_kernels,
        )
        named = _named(forward)
        if selection.why_plain is not None:
            named += f"; with the fast kernels, {selection.why_plain} ({selection.error})"
        return cls(launcher, named, selection.agreement.value, agreement_of_others(exact))


def agreement_of_others(vectors: Vectors) -> float:
    """Return the mean cosine of two rows that are not the same."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    count = len(unit)
    return float(((unit @ unit.T).sum() - count) / (count * (count - 1)))


def _named(forward: PackedForward) -> str:
    attention = "in blocks" if forward.kernels.attention is None else "in one call"
    activation = "in the product" if forward.kernels.fused_gelu else "by itself"
    return f"attention {attention}, activation {activation}"


@torch.inference_mode()
def _pooled(forward: PackedForward, tokens: TokenBatch) -> torch.Tensor:
    lengths = to_device(tokens.lengths.astype(np.int64), forward.device)
    return mean(forward(tokens), lengths)


def _fetch(device: torch.device) -> StartCopy:
    if device.type == "cuda":
        return CopyStream(device)

    def fetch(vectors: torch.Tensor) -> Any:
        return vectors.float().cpu().numpy

    return fetch

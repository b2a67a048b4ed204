"""Encoders of published shapes with weights that are drawn, and the vectors that are theirs.

Needs torch, transformers and numpy, and of this library the forward pass alone. The weights are
drawn wider than BERT's, so that attention distinguishes tokens and vectors of different inputs
differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embedder.backends.checkpoint import Checkpoint
from embedder.backends.heads.pooling import Pool, last, mean
from embedder.backends.precision import LONG_LENGTHS, Agreement, reference_batch
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.kernels import PLAIN, fast_kernels, select_kernels
from embedder.backends.torch.launcher import CopyStream, Launcher, StartCopy, to_device
from embedder.backends.torch.packed import PackedForward
from embedder.core.outputs import OutputKind
from embedder.core.types import TokenBatch, Vectors

if TYPE_CHECKING:
    from embedder.backends.pretrained import PaddedForward

    Forward = PackedForward | PaddedForward

POSITIONS = 512
_SPREAD = 0.05

SHAPES: Mapping[str, Mapping[str, int]] = {
    "minilm-l6": {"layers": 6, "heads": 12, "width": 384, "inner": 1536, "words": 30_522},
    "bert-base": {"layers": 12, "heads": 12, "width": 768, "inner": 3072, "words": 30_522},
    "bge-large": {"layers": 24, "heads": 16, "width": 1024, "inner": 4096, "words": 30_522},
    "bge-m3": {
        "layers": 24,
        "heads": 16,
        "width": 1024,
        "inner": 4096,
        "words": 250_002,
        "positions": 8194,
    },
    "qwen3-0.6b": {
        "layers": 28,
        "heads": 16,
        "width": 1024,
        "inner": 3072,
        "words": 151_669,
        "key_heads": 8,
        "head_width": 128,
    },
}
"""BERT's architecture, or with ``key_heads`` Qwen3's, of which transformers computes the layers."""

TINY: Mapping[str, Mapping[str, int]] = {
    "tiny": {"layers": 2, "heads": 4, "width": 64, "inner": 128, "words": 500},
    "tiny-qwen3": {
        "layers": 2,
        "heads": 4,
        "width": 64,
        "inner": 128,
        "words": 500,
        "key_heads": 2,
        "head_width": 16,
    },
}
"""Shapes that show on any machine that the measurement runs."""


def shape_of(name: str) -> Mapping[str, int]:
    """Return one of `SHAPES` or `TINY`."""
    return {**SHAPES, **TINY}[name]


@dataclass(frozen=True)
class Model:
    """A transformers model in float32, evaluated eagerly, on the device that is measured."""

    name: str
    eager: Any
    device: torch.device

    @classmethod
    def draw(cls, name: str, device: torch.device) -> Model:
        """Draw the weights of one of `SHAPES`, the same at every call."""
        torch.manual_seed(0)
        return cls(name, _network(_config(shape_of(name))).eval().to(device), device)

    @property
    def decodes(self) -> bool:
        """Return whether it is a Qwen3, whose vectors are those of the last tokens."""
        return "key_heads" in shape_of(self.name)

    def narrowed(self, dtype: torch.dtype) -> Any:
        """Return the same model in another number format, with torch's fused attention."""
        config = type(self.eager.config)(**self.eager.config.to_dict())
        config._attn_implementation = "sdpa"
        narrow = _network(config).eval().requires_grad_(False)
        narrow.load_state_dict(self.eager.state_dict())
        return narrow.to(self.device, dtype)

    def pooled(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return float32[n, width] of the hidden states [n, tokens, width] of a block."""
        return hidden[:, -1].float() if self.decodes else hidden.float().mean(1)

    @property
    def parameters(self) -> int:
        """Return how many weights it has."""
        return sum(weight.numel() for weight in self.eager.parameters())

    @property
    def products(self) -> list[tuple[int, int]]:
        """Return how many components leave and enter each matrix of all layers."""
        shape = shape_of(self.name)
        width, inner = shape["width"], shape["inner"]
        layer = [(3 * width, width), (width, width), (inner, width), (width, inner)]
        if self.decodes:
            queries = shape["heads"] * shape["head_width"]
            keys = shape["key_heads"] * shape["head_width"]
            layer = [(queries, width), (keys, width), (keys, width), (width, queries)]
            layer += [(inner, width), (inner, width), (width, inner)]
        return layer * shape["layers"]

    @property
    def flop(self) -> int:
        """Return the operations of one token in all linear layers; attention is not counted."""
        return 2 * sum(rows * columns for rows, columns in self.products)

    @torch.inference_mode()
    def exact(self, tokens: TokenBatch) -> Vectors:
        """Return the vector of each input, computed for each input alone."""
        vectors = []
        for row in tokens.rows():
            ids = torch.from_numpy(row.astype(np.int64))[None].to(self.device)
            vectors.append(self.pooled(self.eager(input_ids=ids).last_hidden_state))
        exact: Vectors = torch.cat(vectors).cpu().numpy()
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
        if model.decodes:
            return _through_transformers(model, dtype)
        shape = EncoderShape.read(model.eager.config.to_dict())
        weights = Checkpoint(model.eager.state_dict(), "", dtype, model.device)
        kernels = PLAIN if plain else fast_kernels(shape, dtype, model.device)
        forward = PackedForward(shape, weights, kernels)
        launcher = Launcher(partial(_pooled, forward, mean), _fetch(model.device))
        batch = reference_batch(shape_of(model.name)["words"], POSITIONS, LONG_LENGTHS)
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


def _through_transformers(model: Model, dtype: torch.dtype) -> Encoder:
    """Compute as the service does what has no padding-free forward pass."""
    from embedder.backends.pretrained import PaddedForward

    forward = PaddedForward(model.narrowed(dtype))
    launcher = Launcher(partial(_pooled, forward, last), _fetch(model.device))
    batch = reference_batch(shape_of(model.name)["words"], POSITIONS, LONG_LENGTHS)
    exact, found = model.exact(batch), launcher.encode(batch)
    agreement = Agreement.of({OutputKind.DENSE: exact}, {OutputKind.DENSE: found})
    named = "layers by transformers, in blocks"
    return Encoder(launcher, named, agreement.value, agreement_of_others(exact))


def _config(shape: Mapping[str, int]) -> Any:
    from transformers import BertConfig, Qwen3Config

    numbers: dict[str, Any] = {
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "hidden_size": shape["width"],
        "intermediate_size": shape["inner"],
        "vocab_size": shape["words"],
        "max_position_embeddings": shape.get("positions", POSITIONS),
        "initializer_range": _SPREAD,
        "attn_implementation": "eager",
    }
    if "key_heads" not in shape:
        return BertConfig(**numbers)
    numbers |= {"num_key_value_heads": shape["key_heads"], "head_dim": shape["head_width"]}
    return Qwen3Config(**numbers, use_cache=False)


def _network(config: Any) -> Any:
    from transformers import BertModel, Qwen3Model

    if config.model_type == "qwen3":
        return Qwen3Model(config)
    return BertModel(config, add_pooling_layer=False)


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
def _pooled(forward: Forward, pool: Pool, tokens: TokenBatch) -> torch.Tensor:
    lengths = to_device(tokens.lengths.astype(np.int64), forward.device)
    return pool(forward(tokens), lengths)


def _fetch(device: torch.device) -> StartCopy:
    if device.type == "cuda":
        return CopyStream(device)

    def fetch(vectors: torch.Tensor) -> Any:
        return vectors.float().cpu().numpy

    return fetch

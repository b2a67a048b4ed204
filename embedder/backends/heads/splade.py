"""The sparse weights of SPLADE: the pooled logits of a masked language model, for each input.

A weight is log(1 + relu(logit)), pooled over the tokens of an input (Formal et al., arXiv
2109.10086, equations 1 and 5). One row of logits has as many components as the vocabulary, so they
are computed for a block of tokens at a time, and only weights above 0 are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from embedder.backends.checkpoint import Checkpoint, Linear, Norm, tensor_bytes
from embedder.core.errors import UnsupportedModel
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import TokenBatch

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles

MAX_LOGITS = 2**24
"""The most logits at once, 64 MiB in float32, unless a single token has more."""

Rows = Callable[[torch.Tensor], torch.Tensor]

_WORDS = "embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of the layers before the vocabulary, of its matrix and of its bias."""

    transform: str
    norm: str
    decoder: str
    bias: str
    activation: str | None = None
    """The key of the activation in ``config.json``; None: GELU."""


_ROBERTA = _Names("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias")
_NAMES = {
    "BertForMaskedLM": _Names(
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.decoder",
        "cls.predictions.bias",
        "hidden_act",
    ),
    "CamembertForMaskedLM": _ROBERTA,
    "DistilBertForMaskedLM": _Names(
        "vocab_transform",
        "vocab_layer_norm",
        "vocab_projector",
        "vocab_projector.bias",
        "activation",
    ),
    "MPNetForMaskedLM": _ROBERTA,
    "RobertaForMaskedLM": _ROBERTA,
    "XLMRobertaForMaskedLM": _ROBERTA,
}

_ACTIVATIONS: dict[str, Rows] = {
    "gelu": functional.gelu,
    "gelu_new": lambda rows: functional.gelu(rows, approximate="tanh"),
    "gelu_pytorch_tanh": lambda rows: functional.gelu(rows, approximate="tanh"),
    "relu": functional.relu,
}


class SpladeHead:
    """Maps hidden states to sparse weights; its own weights take ``memory_bytes``."""

    kind = OutputKind.SPARSE

    def __init__(
        self, transform: Rows, decoder: Rows, vocabulary: int, *, pooling: str, twice: bool
    ) -> None:
        """``decoder`` maps the rows of ``transform`` to ``vocabulary`` logits each."""
        self.width = vocabulary
        self.memory_bytes = tensor_bytes(transform, decoder)
        self._transform, self._decoder = transform, decoder
        self._sums = pooling == "sum"
        self._twice = twice

    @classmethod
    def load(
        cls,
        files: ModelFiles,
        *,
        dtype: torch.dtype,
        device: torch.device,
        faster: Callable[[Linear], Any],
    ) -> SpladeHead:
        """Load the head; ``faster`` returns the vocabulary's linear map as the device computes it.

        Raises:
            UnsupportedModel: the logits of its class are not computed here, or a tensor is missing.
        """
        splade = files.layout.sparse
        names = _NAMES.get(getattr(splade, "name", ""))
        if splade is None or names is None:
            name = getattr(splade, "name", None)
            raise UnsupportedModel(
                f"no sparse weights are computed with {name!r}; supported: {', '.join(_NAMES)}"
            )
        encoder = Checkpoint.open(files.weights, dtype=torch.float32, device=device)
        whole = replace(encoder, prefix="")
        transform = _Transform(
            whole.linear(names.transform),
            _activation(files.config, names.activation),
            whole.norm(names.norm, _epsilon(files.config)),
            dtype,
        )
        narrow = replace(whole, dtype=dtype)
        if files.config.get("tie_word_embeddings", True):
            words, bias = replace(encoder, dtype=dtype).tensor(_WORDS), narrow.tensor(names.bias)
        else:
            words = narrow.tensor(f"{names.decoder}.weight")
            bias = narrow.tensor(f"{names.decoder}.bias")
        decoder = faster(Linear(words, bias))
        pooling, twice = getattr(splade, "pooling", "max"), bool(getattr(splade, "twice", False))
        return cls(transform, decoder, len(words), pooling=pooling, twice=twice)

    def __call__(self, hidden: torch.Tensor, tokens: TokenBatch) -> RaggedRows:
        """Return the ids and weights of each input, of hidden states float[total, hidden_width]."""
        blocks = _blocks(tokens.lengths, self._step)
        return RaggedRows.concatenate(
            [_above_zero(self._weights(hidden[span], lengths)) for span, lengths in blocks]
        )

    @property
    def _step(self) -> int:
        return max(1, MAX_LOGITS // self.width)

    def _weights(self, hidden: torch.Tensor, lengths: NDArray[np.int32]) -> torch.Tensor:
        """Return float32[n, vocabulary] of some inputs; only a single one has several steps."""
        pooled = torch.zeros(len(lengths), self.width, device=hidden.device)
        for at in range(0, len(hidden), self._step):
            logits = self._decoder(self._transform(hidden[at : at + self._step]))
            parts = _split(logits, lengths) if len(lengths) > 1 else [logits]
            for input_logits, out in zip(parts, pooled, strict=True):
                self._pool(input_logits, out)
        return pooled if self._sums else self._scaled(pooled)

    def _pool(self, logits: torch.Tensor, pooled: torch.Tensor) -> None:
        if self._sums:
            pooled += self._scaled(logits.float().relu_()).sum(0)
        else:
            # The logarithm grows with its argument, so it is taken of the largest logit alone.
            torch.maximum(pooled, logits.amax(0).float(), out=pooled)

    def _scaled(self, positive: torch.Tensor) -> torch.Tensor:
        positive = positive.log1p_()
        return positive.log1p_() if self._twice else positive


@dataclass(frozen=True, slots=True)
class _Transform:
    """The layers of a masked language model before its vocabulary, in float32."""

    dense: Linear
    activation: Rows
    norm: Norm
    dtype: torch.dtype

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return self.norm(self.activation(self.dense(rows.float()))).to(self.dtype)


def _activation(config: Mapping[str, Any], key: str | None) -> Rows:
    name = "gelu" if key is None else config.get(key, "gelu")
    if name not in _ACTIVATIONS:
        raise UnsupportedModel(f"no sparse weights are computed with {key!r} = {name!r}")
    return _ACTIVATIONS[name]


def _epsilon(config: Mapping[str, Any]) -> float:
    fixed = config.get("model_type") == "distilbert"
    return 1e-12 if fixed else float(config.get("layer_norm_eps", 1e-12))


def _blocks(lengths: NDArray[np.int32], most: int) -> Iterator[tuple[slice, NDArray[np.int32]]]:
    """Yield rows and lengths of consecutive inputs, at most ``most`` tokens or one input."""
    ends = np.cumsum(lengths, dtype=np.int64)
    first, start = 0, 0
    while first < len(lengths):
        after = max(first + 1, int(np.searchsorted(ends, start + most, side="right")))
        yield slice(start, int(ends[after - 1])), lengths[first:after]
        first, start = after, int(ends[after - 1])


def _split(logits: torch.Tensor, lengths: NDArray[np.int32]) -> list[torch.Tensor]:
    """Return the rows of each input."""
    ends = np.cumsum(lengths).tolist()
    return [logits[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def _above_zero(weights: torch.Tensor) -> RaggedRows:
    """Return the components above 0 of each row, with their numbers."""
    dense = weights.cpu().numpy()
    rows, ids = np.nonzero(dense)
    lengths = np.bincount(rows, minlength=len(dense))
    return RaggedRows.of(dense[rows, ids][:, None], lengths, ids.astype(np.int32))

"""The torch backend: padding-free on a CPU or a GPU, in float32, bfloat16 or float16.

Chooses device and number format, runs the forward pass and the pooling, and translates torch's
errors. Knows nothing of texts, queues or caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from embedder.backends.attention import group_by_length
from embedder.backends.bert import Bert, BertShape
from embedder.config import BackendSettings, PoolingName
from embedder.errors import ConfigurationError, OutOfMemory, UnsupportedModel
from embedder.models.files import ModelFiles, number
from embedder.pooling import POOLS
from embedder.types import TokenBatch, Vectors

PROBE_COSINE = 0.999
"""``dtype: auto`` leaves float32 only where every probe vector agrees at least this well."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchBackend:
    """A model on one torch device."""

    name = "torch"
    padded = False

    def __init__(self, bert: Bert, *, pooling: PoolingName, dtype: str) -> None:
        self.device = str(bert.device)
        self.dtype = dtype
        self.width = bert.shape.width
        self.max_batch_tokens = 2048 if bert.device.type == "cpu" else 32_768
        self._bert = bert
        self._pool = POOLS[pooling]

    @classmethod
    def load(cls, files: ModelFiles, settings: BackendSettings) -> TorchBackend:
        """Load a model's weights.

        Raises:
            ConfigurationError: the device is not there.
            UnsupportedModel: the architecture has no forward pass here.
        """
        device = _device(settings.device)
        shape = _shape(files.config)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        tensors = _strip_prefix(load_file(files.weights))

        def build(dtype: str) -> TorchBackend:
            bert = Bert(shape, tensors, dtype=_DTYPES[dtype], device=device)
            return cls(bert, pooling=files.pooling, dtype=dtype)

        if settings.dtype != "auto":
            return build(settings.dtype)
        exact = build("float32")
        if not _computes_bfloat16(device):
            return exact
        fast = build("bfloat16")
        return fast if _agreement(exact, fast, files) >= PROBE_COSINE else exact

    @torch.inference_mode()
    def encode(self, tokens: TokenBatch) -> Vectors:
        """Return float32[n, width] of the packed inputs, in order."""
        starts = np.cumsum(tokens.lengths) - tokens.lengths
        positions = np.arange(len(tokens.ids)) - np.repeat(starts, tokens.lengths)
        try:
            hidden = self._bert(
                self._put(tokens.ids), self._put(positions), group_by_length(tokens.lengths)
            )
            pooled = self._pool(hidden, self._put(tokens.lengths))
            vectors: Vectors = pooled.to("cpu", torch.float32).numpy()
        except RuntimeError as error:
            # On a CPU, torch has no class of its own for this.
            if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
                raise OutOfMemory(str(error)) from error
            raise
        return vectors

    def _put(self, array: np.ndarray[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self._bert.device)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= seen:
            raise ConfigurationError(f"backend.device is {name!r}; torch sees {seen} CUDA devices")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigurationError("backend.device is 'mps', but torch sees no Metal device")
    return torch.device(name)


def _computes_bfloat16(device: torch.device) -> bool:
    """Tell whether bfloat16 runs in hardware: emulated, it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False


def _shape(config: Mapping[str, Any]) -> BertShape:
    """Read a BERT's shape from its ``config.json``.

    Raises:
        UnsupportedModel: it is not a BERT with absolute positions and a GELU.
    """
    gelu = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
    activation = config.get("hidden_act", "gelu")
    positions = config.get("position_embedding_type", "absolute")
    if config.get("model_type") != "bert" or activation not in gelu or positions != "absolute":
        raise UnsupportedModel(
            f"model type {config.get('model_type')!r} with activation {activation!r} and "
            f"{positions} positions has no forward pass here; 'bert' with absolute positions has"
        )
    return BertShape(
        layers=number(config, "num_hidden_layers"),
        heads=number(config, "num_attention_heads"),
        width=number(config, "hidden_size"),
        norm_epsilon=config.get("layer_norm_eps", 1e-12),
        gelu=gelu[activation],
    )


def _strip_prefix(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drop the ``bert.`` that checkpoints with a task head carry in front of every name."""
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


def _agreement(exact: TorchBackend, fast: TorchBackend, files: ModelFiles) -> float:
    """Return the least cosine between two backends over a fixed probe of many lengths.

    Tokens are drawn with a fixed seed: no text is needed, and every load decides alike.
    """
    random = np.random.default_rng(0)
    sizes = [min(size, files.max_tokens) for size in (4, 9, 17, 33, 65, 120)]
    rows = [random.integers(0, files.vocabulary_size, size=size) for size in sizes]
    probe = TokenBatch.of([row.astype(np.int32) for row in rows])
    a, b = exact.encode(probe), fast.encode(probe)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / norms).min())

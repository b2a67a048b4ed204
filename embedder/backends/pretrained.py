"""A transformer as the transformers library has it, loaded from verified files and nothing else.

No code of a repository's own is run, no pickle is read, and no weight is left at random. Knows
nothing of batches or pooling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    LongT5EncoderModel,
    MT5EncoderModel,
    PreTrainedModel,
    T5EncoderModel,
    UMT5EncoderModel,
)
from transformers.utils import logging

from embedder.backends.checkpoint import custom_code_error
from embedder.core.errors import UnsupportedModel
from embedder.models.files import ModelFiles

_ENCODERS_OF_PAIRS = {
    "t5": T5EncoderModel,
    "mt5": MT5EncoderModel,
    "umt5": UMT5EncoderModel,
    "longt5": LongT5EncoderModel,
}
"""Architectures of an encoder and a decoder, of which embeddings want the encoder alone."""

_OTHER_POSITIONS = {"esm", "granitemoehybrid"}
"""Architectures of which transformers computes other positions than absolute ones."""

_REFUSALS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    OSError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises at files that it does not understand."""


def load_pretrained(
    files: ModelFiles, *, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """Load the transformer of a model, ready to infer.

    Raises:
        UnsupportedModel: transformers does not have the architecture, or weights are missing.
    """
    folder, kind = files.layout.transformer, files.config.get("model_type")
    _check_positions(files.config, folder)
    try:
        with _quietly():
            model, report = _load(folder, str(kind), dtype)
    except _REFUSALS as error:
        code = " without the code of its 'auto_map', which is never run" * files.has_custom_code
        raise UnsupportedModel(
            f"{folder} holds a {kind!r}, which transformers does not load{code}: {error}"
        ) from error
    missing = [name for name in sorted(report["missing_keys"]) if "pooler" not in name]
    wrong = [*missing, *(str(key[0]) for key in sorted(report["mismatched_keys"]))]
    if wrong:
        raise UnsupportedModel(
            f"the weights in {folder} lack, or have in another shape: {', '.join(wrong[:3])}"
        )
    unknown = sorted(name for name in report["unexpected_keys"] if "pooler" not in name)
    if files.has_custom_code and unknown:
        raise custom_code_error(folder, unknown)
    loaded: PreTrainedModel = model.to(device).eval().requires_grad_(False)
    return loaded


def _load(folder: Path, kind: str, dtype: torch.dtype) -> tuple[Any, Mapping[str, Any]]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if getattr(config, "is_encoder_decoder", False) and kind not in _ENCODERS_OF_PAIRS:
        raise ValueError("of an encoder and a decoder, no encoder is known to stand alone")
    config.get_text_config().use_cache = False  # keys and values are kept for generating texts
    model, report = _ENCODERS_OF_PAIRS.get(kind, AutoModel).from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        # They are refused by name above, like what is missing.
        ignore_mismatched_sizes=True,
    )
    return model, report


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence progress bars, and what transformers says of task heads: these are left out."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _check_positions(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse positions that transformers would compute as absolute ones."""
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute" and config.get("model_type") not in _OTHER_POSITIONS:
        raise UnsupportedModel(
            f"{folder} has the position_embedding_type {positions!r}, which is not computed"
        )

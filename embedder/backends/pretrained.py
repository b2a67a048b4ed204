"""A transformer of the transformers library, loaded from verified safetensors files.

No code of a repository is run, no pickle is read, and no weight is initialized at random.
"""

from __future__ import annotations

from collections.abc import Mapping
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

from embedder.backends.checkpoint import custom_code_error
from embedder.core.errors import UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.models.transformers_tokenizer import silenced

_ENCODERS = {
    "t5": T5EncoderModel,
    "mt5": MT5EncoderModel,
    "umt5": UMT5EncoderModel,
    "longt5": LongT5EncoderModel,
}
"""Encoder-decoder architectures, of which only the encoder is loaded."""

_OTHER_POSITIONS = {"esm", "granitemoehybrid"}
"""Architectures whose positions transformers computes although they are not absolute."""

_LOADING_ERRORS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    OSError,
    SafetensorError,
    StrictDataclassError,
)
"""The errors that transformers raises for files it cannot load."""


def load_pretrained(
    files: ModelFiles, *, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """Load the transformer of a model in evaluation mode.

    Raises:
        UnsupportedModel: transformers lacks the architecture, or weights are missing or have
            another shape.
    """
    folder, kind = files.layout.transformer, files.config.get("model_type")
    _check_positions(files.config, folder)
    try:
        with silenced():
            model, report = _load(folder, str(kind), dtype)
    except _LOADING_ERRORS as error:
        code = " without the code of its 'auto_map', which is never run" * files.has_custom_code
        raise UnsupportedModel(
            f"{folder} holds a {kind!r}, which transformers does not load{code}: {error}"
        ) from error
    missing = [name for name in sorted(report["missing_keys"]) if "pooler" not in name]
    invalid = [*missing, *(str(key[0]) for key in sorted(report["mismatched_keys"]))]
    if invalid:
        raise UnsupportedModel(
            f"the weights in {folder} lack, or have in another shape: {', '.join(invalid[:3])}"
        )
    unexpected = sorted(name for name in report["unexpected_keys"] if "pooler" not in name)
    if files.has_custom_code and unexpected:
        raise custom_code_error(folder, unexpected)
    loaded: PreTrainedModel = model.to(device).eval().requires_grad_(False)
    return loaded


def _load(folder: Path, kind: str, dtype: torch.dtype) -> tuple[Any, Mapping[str, Any]]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if getattr(config, "is_encoder_decoder", False) and kind not in _ENCODERS:
        raise ValueError("this encoder-decoder architecture has no encoder class of its own")
    config.get_text_config().use_cache = False  # the key-value cache is for generation
    model, report = _ENCODERS.get(kind, AutoModel).from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        # load_pretrained refuses them with their names.
        ignore_mismatched_sizes=True,
    )
    return model, report


def _check_positions(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse position types that transformers would silently compute as absolute positions."""
    positions = config.get("position_embedding_type") or "absolute"
    if positions != "absolute" and config.get("model_type") not in _OTHER_POSITIONS:
        raise UnsupportedModel(
            f"{folder} has the position_embedding_type {positions!r}, which is not supported"
        )

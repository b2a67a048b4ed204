"""A transformer of the transformers library, loaded from verified safetensors files.

No code of a repository is run, no pickle is read, and no weight is initialized at random. It
computes padded blocks of inputs of similar length; its hidden states are returned packed, without
those of padding.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    LongT5EncoderModel,
    MT5EncoderModel,
    PreTrainedModel,
    T5EncoderModel,
    UMT5EncoderModel,
)

from embedder.backends.checkpoint import custom_code_error
from embedder.backends.grouping import Group, attended_rows, group_by_length
from embedder.core.errors import UnsupportedModel
from embedder.core.types import TokenBatch
from embedder.models.tokenizer.token_types import TokenTypes
from embedder.models.tokenizer.transformers_tokenizer import silenced

if TYPE_CHECKING:
    # The GPU benchmark runs where pydantic is not installed.
    from embedder.models.files import ModelFiles

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
    files: ModelFiles, *, dtype: torch.dtype, device: torch.device, scores: bool = False
) -> PreTrainedModel:
    """Load the transformer of a model in evaluation mode, with ``scores`` with its classifier.

    Raises:
        UnsupportedModel: transformers lacks the architecture, or weights are missing or have
            another shape.
    """
    folder, kind = files.layout.transformer, files.config.get("model_type")
    _check_positions(files.config, folder)
    try:
        with silenced():
            model, report = _load(folder, str(kind), dtype, scores)
    except _LOADING_ERRORS as error:
        code = " without the code of its 'auto_map', which is never run" * files.has_custom_code
        raise UnsupportedModel(
            f"{folder} holds a {kind!r}, which transformers does not load{code}: {error}"
        ) from error
    missing = [name for name in sorted(report["missing_keys"]) if scores or "pooler" not in name]
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


def _load(
    folder: Path, kind: str, dtype: torch.dtype, scores: bool
) -> tuple[Any, Mapping[str, Any]]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if getattr(config, "is_encoder_decoder", False) and (scores or kind not in _ENCODERS):
        raise ValueError("this encoder-decoder architecture has no encoder class of its own")
    config.get_text_config().use_cache = False  # the key-value cache is for generation
    chosen = AutoModelForSequenceClassification if scores else _ENCODERS.get(kind, AutoModel)
    model, report = chosen.from_pretrained(
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


class PaddedForward:
    """A transformer in one number format on one device."""

    def __init__(self, model: PreTrainedModel, types: TokenTypes | None = None) -> None:
        """``types=None`` passes no token types to the model."""
        self.device: torch.device = model.device
        self.width = int(model.config.get_text_config().hidden_size)
        self.memory_bytes = int(model.get_memory_footprint())
        self._model = model
        takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
        self._types = types if takes_types else None

    @classmethod
    def load(cls, files: ModelFiles, *, dtype: torch.dtype, device: torch.device) -> PaddedForward:
        """Load the weights of a model.

        Raises:
            UnsupportedModel: transformers lacks the architecture, or weights are missing.
        """
        return cls(load_pretrained(files, dtype=dtype, device=device), files.token_types)

    def __call__(self, tokens: TokenBatch) -> torch.Tensor:
        """Return the last hidden states, one row per token: ``dtype[total, width]``."""
        out = torch.empty(len(tokens.ids), self.width, dtype=self._model.dtype, device=self.device)
        for group in group_by_length(tokens.lengths, attended_rows(tokens)):
            rows = torch.from_numpy(group.rows).to(self.device)
            valid = torch.from_numpy(group.valid).to(self.device)
            hidden = self._model(**self._arguments(tokens, group)).last_hidden_state
            out[rows[valid]] = hidden[valid].to(out.dtype)
        return out

    def _arguments(self, tokens: TokenBatch, group: Group) -> dict[str, torch.Tensor]:
        # Padding repeats the first token of its input: a masked token may be any valid one.
        ids = torch.from_numpy(tokens.ids[group.rows]).long().to(self.device)
        mask = torch.from_numpy(group.attended).to(self.device)
        arguments = {"input_ids": ids, "attention_mask": mask.long()}
        if self._types is not None:
            types = torch.from_numpy(self._types.of_batch(tokens)[group.rows])
            arguments["token_type_ids"] = types.to(self.device)
        return arguments


class PaddedClassifier(PaddedForward):
    """A transformer with its classifier: ``width`` scores for each input."""

    def __init__(self, model: PreTrainedModel, types: TokenTypes | None = None) -> None:
        super().__init__(model, types)
        self.width = int(model.config.num_labels)

    @classmethod
    def load(
        cls, files: ModelFiles, *, dtype: torch.dtype, device: torch.device
    ) -> PaddedClassifier:
        """Load the weights of a model for sequence classification.

        Raises:
            UnsupportedModel: transformers lacks the architecture, weights are missing, or it finds
                the end of a text by a padding id that the files do not state.
        """
        model = load_pretrained(files, dtype=dtype, device=device, scores=True)
        decodes = "use_cache" in files.config or "ForCausalLM" in str(files.config)
        if decodes and model.config.get_text_config().pad_token_id is None:
            raise UnsupportedModel(
                f"{files.layout.transformer / 'config.json'} has no 'pad_token_id', by which the "
                "scores of this architecture find the end of a text"
            )
        return cls(model, files.token_types)

    def __call__(self, tokens: TokenBatch) -> torch.Tensor:
        """Return the scores, float32[n, width], in order."""
        out = torch.empty(len(tokens), self.width, device=self.device)
        starts = np.cumsum(tokens.lengths, dtype=np.int64) - tokens.lengths
        padding = self._model.config.get_text_config().pad_token_id
        for group in group_by_length(tokens.lengths):
            arguments = self._arguments(tokens, group)
            if padding is not None:
                arguments["input_ids"][arguments["attention_mask"] == 0] = int(padding)
            inputs = torch.from_numpy(np.searchsorted(starts, group.rows[:, 0]))
            out[inputs.to(self.device)] = self._model(**arguments).logits.float()
        return out

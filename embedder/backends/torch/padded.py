"""Any transformer of the transformers library, in padded blocks of inputs of similar length.

The hidden states are returned packed, without those of padding.
"""

from __future__ import annotations

import inspect

import torch
from transformers import PreTrainedModel

from embedder.backends.grouping import group_by_length
from embedder.backends.pretrained import load_pretrained
from embedder.core.token_types import TokenTypes
from embedder.core.types import TokenBatch
from embedder.models.files import ModelFiles


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
        types = None if self._types is None else torch.from_numpy(self._types.of_batch(tokens))
        for group in group_by_length(tokens.lengths):
            # Padding repeats the first token of its input: a masked token may be any valid one.
            ids = torch.from_numpy(tokens.ids[group.rows]).long().to(self.device)
            rows = torch.from_numpy(group.rows).to(self.device)
            valid = torch.from_numpy(group.valid).to(self.device)
            arguments = {"input_ids": ids, "attention_mask": valid.long()}
            if types is not None:
                arguments["token_type_ids"] = types[group.rows].to(self.device)
            hidden = self._model(**arguments).last_hidden_state
            out[rows[valid]] = hidden[valid].to(out.dtype)
        return out

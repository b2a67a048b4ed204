"""Texts to token ids, by the model's own Rust tokenizer: batched, unpadded, truly truncated.

Truncation cuts the text's own tokens and keeps the special ones. Knows nothing of models beyond
their ``tokenizer.json``, and decodes nothing: ids that come in are passed through.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.normalizers import BertNormalizer, Lowercase, Normalizer
from tokenizers.normalizers import Sequence as NormalizerSequence

from embedder.errors import ConfigurationError, UnsupportedModel
from embedder.types import Input, TokenBatch, Tokenized, Truncate


class Tokenizer:
    """The tokenizer of one model; safe to use from several threads at once."""

    def __init__(self, rust: RustTokenizer, *, max_tokens: int) -> None:
        special = rust.num_special_tokens_to_add(is_pair=False)
        if max_tokens <= special:
            raise ConfigurationError(
                f"model.max_tokens is {max_tokens}; the tokenizer adds {special} special tokens"
            )
        rust.no_padding()
        rust.no_truncation()
        self.max_tokens = max_tokens
        # Truncation is state of the Rust object, so each way of cutting has an object of its own.
        self._by_truncate = {Truncate.NONE: rust}
        for truncate, direction in ((Truncate.END, "right"), (Truncate.START, "left")):
            cutting = RustTokenizer.from_str(rust.to_str())
            cutting.enable_truncation(max_tokens, direction=direction)
            self._by_truncate[truncate] = cutting

    @classmethod
    def load(cls, path: Path, *, max_tokens: int, lower_case: bool = False) -> Tokenizer:
        """Load a ``tokenizer.json``; ``lower_case`` puts texts into lower case, whatever it says.

        Raises:
            UnsupportedModel: there is none; slow (Python) tokenizers are not run.
            ConfigurationError: the limit leaves no room beside the special tokens.
        """
        if not path.is_file():
            raise UnsupportedModel(f"{path} does not exist; only fast tokenizers run")
        try:
            rust = RustTokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises nothing narrower
            raise UnsupportedModel(f"{path} is not a tokenizer: {error}") from error
        if lower_case and not _lowers(rust.normalizer):
            own = [] if rust.normalizer is None else [rust.normalizer]
            rust.normalizer = NormalizerSequence([Lowercase(), *own])
        return cls(rust, max_tokens=max_tokens)

    def encode(self, inputs: Sequence[Input], *, truncate: Truncate) -> Tokenized:
        """Return the token ids of every input, special tokens included.

        With ``Truncate.NONE`` nothing is cut and the answer may exceed ``max_tokens``.
        """
        rows: list[Sequence[int]] = [()] * len(inputs)
        truncated: NDArray[np.bool_] = np.zeros(len(inputs), np.bool_)
        texts = [(row, item) for row, item in enumerate(inputs) if isinstance(item, str)]
        encodings = self._by_truncate[truncate].encode_batch_fast([text for _, text in texts])
        for (row, _), encoding in zip(texts, encodings, strict=True):
            rows[row] = encoding.ids
            truncated[row] = bool(encoding.overflowing)
        for row, item in enumerate(inputs):
            if not isinstance(item, str):
                rows[row] = self._cut(item, truncate)
                truncated[row] = len(rows[row]) < len(item)
        return Tokenized(TokenBatch.of(rows), truncated)

    def _cut(self, ids: Sequence[int], truncate: Truncate) -> Sequence[int]:
        if truncate is Truncate.END:
            return ids[: self.max_tokens]
        if truncate is Truncate.START:
            return ids[-self.max_tokens :]
        return ids


def _lowers(normalizer: Normalizer | None) -> bool:
    """Tell whether a normalizer puts texts into lower case."""
    if isinstance(normalizer, NormalizerSequence):
        return any(_lowers(normalizer[at]) for at in range(len(normalizer)))
    if isinstance(normalizer, BertNormalizer):
        return bool(normalizer.lowercase)
    return isinstance(normalizer, Lowercase)

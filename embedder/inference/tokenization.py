"""Texts to token ids, by the model's own Rust tokenizer: batched, unpadded, truly truncated.

Truncation cuts the text's own tokens and keeps the special ones. Ids that come in are passed
through, and only decoded for those who ask for it. Knows nothing of models beyond their
``tokenizer.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.normalizers import BertNormalizer, Lowercase, Normalizer
from tokenizers.normalizers import Sequence as NormalizerSequence

from embedder.core.errors import BackendFailure, ConfigurationError, InvalidInput, UnsupportedModel
from embedder.core.types import Input, PromptedText, TokenBatch, Tokenized, Truncate
from embedder.inference.special_tokens import SpecialTokens
from embedder.inference.truncation_window import tokenizes_words_independently, truncation_window

_LARGEST_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class OffsetToken:
    """One token of a text, and where it is there.

    ``start`` and ``stop`` count characters, and ``text`` is what is between them; tokens that are
    smaller than a character share it. A ``special`` token was added, so that it is nowhere: its
    text is its name.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class FastTokenizer:
    """The tokenizer of one model; safe to use from several threads at once."""

    def __init__(self, rust: RustTokenizer, *, max_tokens: int) -> None:
        special = rust.num_special_tokens_to_add(is_pair=False)
        if max_tokens <= special:
            raise ConfigurationError(
                "model.max_tokens (else max_seq_length in sentence_bert_config.json, else "
                f"model_max_length in tokenizer_config.json) is {max_tokens}; the tokenizer adds "
                f"{special} special tokens"
            )
        rust.no_padding()
        rust.no_truncation()
        self.max_tokens = max_tokens
        self._special_tokens = SpecialTokens.of(rust)
        self._words_are_independent = tokenizes_words_independently(rust)
        # Truncation is state of the Rust object, so each way of cutting has an object of its own.
        self._by_truncate = {Truncate.NONE: rust}
        for truncate, direction in ((Truncate.END, "right"), (Truncate.START, "left")):
            cutting = RustTokenizer.from_str(rust.to_str())
            cutting.enable_truncation(max_tokens, direction=direction)
            self._by_truncate[truncate] = cutting

    @classmethod
    def load(cls, state: str, *, max_tokens: int, lower_case: bool = False) -> FastTokenizer:
        """Load the content of a ``tokenizer.json``.

        ``lower_case`` puts texts into lower case, whatever it says.

        Raises:
            UnsupportedModel: it is no tokenizer.
            ConfigurationError: the limit leaves no room beside the special tokens.
        """
        try:
            rust = RustTokenizer.from_str(state)
        except Exception as error:  # the Rust library raises nothing narrower
            raise UnsupportedModel(f"tokenizer.json is not a tokenizer: {error}") from error
        if lower_case and not _lowers(rust.normalizer):
            own = [] if rust.normalizer is None else [rust.normalizer]
            rust.normalizer = NormalizerSequence([Lowercase(), *own])
        return cls(rust, max_tokens=max_tokens)

    def encode(self, inputs: Sequence[Input], *, truncate: Truncate) -> Tokenized:
        """Return the token ids of every input, special tokens included.

        With ``Truncate.NONE`` nothing is cut and the answer may exceed ``max_tokens``.

        Raises:
            InvalidInput: a prompt that must stay leaves no room for its text.
            BackendFailure: the vocabulary has no token for a part of a text.
        """
        rows: list[Sequence[int]] = [()] * len(inputs)
        truncated: NDArray[np.bool_] = np.zeros(len(inputs), np.bool_)
        texts = [(row, item) for row, item in enumerate(inputs) if isinstance(item, str)]
        encodings = self._cut_encodings([text for _, text in texts], truncate)
        for (row, text), encoding in zip(texts, encodings, strict=True):
            rows[row] = encoding.ids
            truncated[row] = bool(encoding.overflowing)
            if truncated[row] and isinstance(text, PromptedText):
                rows[row] = self._cut_behind_prompt(text)
        for row, item in enumerate(inputs):
            if not isinstance(item, str):
                rows[row] = self._special_tokens.cut(item, self.max_tokens, truncate)
                truncated[row] = len(rows[row]) < len(item)
        return Tokenized(TokenBatch.of(rows), truncated)

    def _cut_encodings(self, texts: list[str], truncate: Truncate) -> list[Encoding]:
        """Encode texts, of long ones only the part that is not cut off anyway."""
        parts = [self._first_part(text, truncate) or text for text in texts]
        encodings = self._encodings(parts, truncate)
        for at, text in enumerate(texts):
            if parts[at] is not text and not encodings[at].overflowing:
                (encodings[at],) = self._encodings([text], truncate)
        return encodings

    def _first_part(self, text: str, truncate: Truncate) -> str | None:
        if (
            truncate is Truncate.NONE
            or not self._words_are_independent
            or isinstance(text, PromptedText)
        ):
            return None
        return truncation_window(text, self.max_tokens, from_end=truncate is Truncate.START)

    def tokenize_with_offsets(
        self, texts: Sequence[str], *, add_special_tokens: bool = True
    ) -> list[list[OffsetToken]]:
        """Return every token of every text with its place; nothing is cut."""
        whole = self._by_truncate[Truncate.NONE]
        encodings = whole.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        return [_offset_tokens(text, one) for text, one in zip(texts, encodings, strict=True)]

    def decode(
        self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool = True
    ) -> list[str]:
        """Return the text of every row of ids, as near as the tokens allow.

        Raises:
            InvalidInput: an id is not of the vocabulary; the error names it ``ids[row][place]``.
        """
        whole = self._by_truncate[Truncate.NONE]
        for row, ids in enumerate(rows):
            for at, token in enumerate(ids):
                if not 0 <= token <= _LARGEST_ID or whole.id_to_token(token) is None:
                    raise InvalidInput(
                        f"ids[{row}][{at}]", f"is {token}, which is no id of this model's tokenizer"
                    )
        return whole.decode_batch(
            [list(ids) for ids in rows], skip_special_tokens=skip_special_tokens
        )

    def _encodings(self, texts: list[str], truncate: Truncate) -> list[Encoding]:
        try:
            return self._by_truncate[truncate].encode_batch_fast(texts)
        except Exception as error:  # as a vocabulary without an unknown token raises
            raise BackendFailure(f"the tokenizer fails: {error}") from error

    def _cut_behind_prompt(self, text: PromptedText) -> list[int]:
        """Cut the start of the text that follows a prompt."""
        encoding = self._by_truncate[Truncate.NONE].encode(text)
        # Opening tokens are at character 0, and so are closing ones, behind the text.
        places = takewhile(lambda place: place[0] < text.prompt_length, encoding.offsets)
        kept = max(sum(1 for _ in places), len(self._special_tokens.opening))
        room = self.max_tokens - kept
        if room <= len(self._special_tokens.closing):
            raise InvalidInput(
                "prompt",
                f"has {kept} tokens, which leave no room for a text; "
                f"the model reads {self.max_tokens}",
            )
        ids: list[int] = encoding.ids
        return ids[:kept] + ids[len(ids) - room :]


def _offset_tokens(text: str, encoding: Encoding) -> list[OffsetToken]:
    columns = (encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets)
    return [
        OffsetToken(token, name, True, None, None)
        if special
        else OffsetToken(token, text[start:stop], False, start, stop)
        for token, name, special, (start, stop) in zip(*columns, strict=True)
    ]


def _lowers(normalizer: Normalizer | None) -> bool:
    """Tell whether a normalizer puts texts into lower case."""
    if isinstance(normalizer, NormalizerSequence):
        return any(_lowers(normalizer[at]) for at in range(len(normalizer)))
    if isinstance(normalizer, BertNormalizer):
        return bool(normalizer.lowercase)
    return isinstance(normalizer, Lowercase)

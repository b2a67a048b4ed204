"""Convert texts to token ids with the model's Rust tokenizer, in batches without padding.

Truncation removes tokens of the text and keeps the special tokens. Inputs that are ids already are
truncated but not decoded.
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
from embedder.core.pairs import ChunkTokens, Pair, PairRow
from embedder.core.request import PromptedText
from embedder.core.types import Input, TokenBatch, Tokenized, Truncate
from embedder.inference.tokenizer.multi_vector import (
    MultiVectorInputs,
    MultiVectorTokens,
    add_markers,
)
from embedder.inference.tokenizer.pairs import PairTokenizer
from embedder.inference.tokenizer.special_tokens import SpecialTokens
from embedder.inference.tokenizer.truncation_window import CHARACTERS_PER_TOKEN, TruncationWindows

_LARGEST_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class OffsetToken:
    """One token of a text with its offsets.

    ``start`` and ``stop`` are character offsets, and ``text`` is the text between them. Tokens that
    are parts of one character have the same offsets. A ``special`` token was added by the
    tokenizer: it has no offsets, and its text is its name.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class FastTokenizer:
    """The Rust tokenizer of one model; several threads may use it at the same time."""

    def __init__(self, rust: RustTokenizer, *, max_tokens: int, pairs: bool = False) -> None:
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
        self._truncation_windows = TruncationWindows(rust)
        # Truncation is state of the Rust object, so each truncation mode has its own object.
        self._by_truncate = {Truncate.NONE: rust}
        for truncate, direction in ((Truncate.END, "right"), (Truncate.START, "left")):
            truncating = RustTokenizer.from_str(rust.to_str())
            truncating.enable_truncation(max_tokens, direction=direction)
            self._by_truncate[truncate] = truncating
        self._multi_vector: MultiVectorTokens | None = None
        self._pairs = PairTokenizer(rust, max_tokens=max_tokens) if pairs else None

    @classmethod
    def load(
        cls,
        state: str,
        *,
        max_tokens: int,
        lower_case: bool = False,
        pairs: bool = False,
        multi_vector: MultiVectorInputs | None = None,
    ) -> FastTokenizer:
        """Load the content of a ``tokenizer.json``.

        ``lower_case`` puts texts into lower case before the tokenizer's own steps. ``pairs`` is
        for a model that reads pairs, ``multi_vector`` for one that tells queries from documents.

        Raises:
            UnsupportedModel: the content is no tokenizer, or makes no pairs.
            ConfigurationError: ``max_tokens`` leaves no room beside the special tokens.
        """
        try:
            rust = RustTokenizer.from_str(state)
        except Exception as error:  # the Rust library raises no narrower type
            raise UnsupportedModel(f"tokenizer.json is not a tokenizer: {error}") from error
        if lower_case and not _lowercases(rust.normalizer):
            own = [] if rust.normalizer is None else [rust.normalizer]
            rust.normalizer = NormalizerSequence([Lowercase(), *own])
        if multi_vector is not None:
            add_markers(rust, multi_vector.described.markers)
        tokenizer = cls(rust, max_tokens=max_tokens, pairs=pairs)
        if multi_vector is not None:
            closing = tokenizer._special_tokens.closing
            tokenizer._multi_vector = MultiVectorTokens.of(
                rust, multi_vector, max_tokens=max_tokens, closing=closing
            )
        return tokenizer

    def encode(self, inputs: Sequence[Input], *, truncate: Truncate) -> Tokenized:
        """Return the token ids of every input, special tokens included.

        With ``Truncate.NONE`` the rows may exceed ``max_tokens``.

        Raises:
            InvalidInput: the text must be cut at its start, and its prompt leaves no room for it.
            BackendFailure: the vocabulary has no token for some characters of a text.
        """
        rows: list[Sequence[int] | PairRow] = [()] * len(inputs)
        truncated: NDArray[np.bool_] = np.zeros(len(inputs), np.bool_)
        texts = {row: item for row, item in enumerate(inputs) if isinstance(item, str)}
        encodings = self._encode_windows(list(texts.values()), truncate)
        for (row, text), encoding in zip(texts.items(), encodings, strict=True):
            rows[row] = encoding.ids
            truncated[row] = bool(encoding.overflowing)
            if truncated[row] and isinstance(text, PromptedText):
                rows[row] = self._truncate_after_prompt(text)
        if self._pairs is not None:
            pairs = {row: item for row, item in enumerate(inputs) if isinstance(item, Pair)}
            encoded = self._pairs.encode(list(pairs.values()), truncate)
            for row, (tokens, cut) in zip(pairs, encoded, strict=True):
                rows[row], truncated[row] = tokens, cut
        for row, item in enumerate(inputs):
            if not isinstance(item, (str, Pair, ChunkTokens)):
                rows[row] = self._special_tokens.truncate(item, self.max_tokens, truncate)
                truncated[row] = len(rows[row]) < len(item)
        if self._multi_vector is not None:
            self._multi_vector.replace(rows, truncated, texts, truncate)
        return Tokenized(TokenBatch.of(rows), truncated)

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """Return each token as the vocabulary writes it; "" for an id without a token."""
        return [self._by_truncate[Truncate.NONE].id_to_token(one) or "" for one in ids]

    def _encode_windows(self, texts: list[str], truncate: Truncate) -> list[Encoding]:
        """Encode texts, of long ones only a window if that already exceeds the limit."""
        if max(map(len, texts), default=0) <= self.max_tokens * CHARACTERS_PER_TOKEN:
            return self._encodings(texts, truncate)
        windows = [self._window(text, truncate) or text for text in texts]
        encodings = self._encodings(windows, truncate)
        for at, text in enumerate(texts):
            if windows[at] is not text and not encodings[at].overflowing:
                (encodings[at],) = self._encodings([text], truncate)
        return encodings

    def _window(self, text: str, truncate: Truncate) -> str | None:
        if truncate is Truncate.NONE or isinstance(text, PromptedText):
            return None
        from_end = truncate is Truncate.START
        return self._truncation_windows.cut(text, self.max_tokens, from_end=from_end)

    def tokenize_with_offsets(
        self, texts: Sequence[str], *, add_special_tokens: bool = True
    ) -> list[list[OffsetToken]]:
        """Return every token of every text with its offsets, without truncation."""
        whole = self._by_truncate[Truncate.NONE]
        encodings = whole.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        return [_offset_tokens(*pair) for pair in zip(texts, encodings, strict=True)]

    def decode(
        self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool = True
    ) -> list[str]:
        """Return the text of every row of ids, as close to the original as the tokens allow.

        Raises:
            InvalidInput: an id is not in the vocabulary; the error names it ``ids[row][column]``.
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
        except Exception as error:  # for example, a vocabulary without an unknown token
            raise BackendFailure(f"the tokenizer fails: {error}") from error

    def _truncate_after_prompt(self, text: PromptedText) -> list[int]:
        """Truncate the start of the text that follows a prompt."""
        encoding = self._by_truncate[Truncate.NONE].encode(text)
        # Special tokens have the offset 0, also those after the text.
        of_prompt = takewhile(lambda span: span[0] < text.prompt_length, encoding.offsets)
        kept = max(sum(1 for _ in of_prompt), len(self._special_tokens.opening))
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


def _lowercases(normalizer: Normalizer | None) -> bool:
    """Return whether a normalizer puts texts into lower case."""
    if isinstance(normalizer, NormalizerSequence):
        return any(_lowercases(normalizer[at]) for at in range(len(normalizer)))
    if isinstance(normalizer, BertNormalizer):
        return bool(normalizer.lowercase)
    return isinstance(normalizer, Lowercase)

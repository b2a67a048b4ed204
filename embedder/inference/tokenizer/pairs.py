"""Convert pairs of a query and a text to token ids, in the template of the model's tokenizer.

Each distinct half is tokenized once: the texts of a request share their query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from embedder.core.errors import BackendFailure, ConfigurationError
from embedder.core.pairs import Pair, PairRow
from embedder.core.types import TokenRow, Truncate
from embedder.inference.tokenizer.special_tokens import PairTemplate, longest_first
from embedder.inference.tokenizer.truncation_window import TruncationWindows


class PairTokenizer:
    """The part of a tokenizer that encodes pairs.

    Raises:
        UnsupportedModel: the tokenizer does not put the query before the text.
        ConfigurationError: ``max_tokens`` leaves no room beside the special tokens.
    """

    def __init__(self, rust: RustTokenizer, *, max_tokens: int) -> None:
        """``rust`` neither truncates nor pads."""
        template = PairTemplate.of(rust)
        self._room = max_tokens - len(template)
        if self._room < 2:
            raise ConfigurationError(
                f"model.max_tokens (else the limit in the model's files) is {max_tokens}; the "
                f"tokenizer adds {len(template)} special tokens to a pair of texts"
            )
        self._template = template
        self._rust = rust
        self._max_tokens = max_tokens
        self._truncation_windows = TruncationWindows(rust)

    def encode(self, pairs: Sequence[Pair], truncate: Truncate) -> list[tuple[PairRow, bool]]:
        """Return the tokens of every pair, and whether it was truncated.

        Raises:
            BackendFailure: the vocabulary has no token for some characters.
        """
        halves = self._encode_halves(pairs, truncate)
        return [self._encode(halves[pair.query], halves[pair.text], truncate) for pair in pairs]

    def _encode(self, query: TokenRow, text: TokenRow, truncate: Truncate) -> tuple[PairRow, bool]:
        if truncate is Truncate.NONE or len(query) + len(text) <= self._room:
            return self._template.row(query, text), False
        kept = longest_first(len(query), len(text), self._room)
        if truncate is Truncate.END:
            query, text = query[: kept[0]], text[: kept[1]]
        else:
            query, text = query[len(query) - kept[0] :], text[len(text) - kept[1] :]
        return self._template.row(query, text), True

    def _encode_halves(self, pairs: Sequence[Pair], truncate: Truncate) -> dict[str, TokenRow]:
        """Return the ids of every half, of a long one perhaps only those that may be kept."""
        texts = list(dict.fromkeys(half for pair in pairs for half in (pair.query, pair.text)))
        windows = {text: self._window(text, truncate) for text in texts}
        found = self._of([windows[text] or text for text in texts])
        halves = dict(zip(texts, found, strict=True))
        cut = {text for text in texts if windows[text] is not None}
        incomplete = dict.fromkeys(
            half for pair in pairs for half in self._incomplete(pair, halves, cut)
        )
        halves |= zip(incomplete, self._of(incomplete), strict=True)
        return halves

    def _incomplete(self, pair: Pair, halves: dict[str, TokenRow], cut: set[str]) -> Iterable[str]:
        """Return the halves whose window does not show how long each half of a pair remains."""
        query, text = pair.query, pair.text
        if query in cut and text in cut:
            return (query, text)
        window, other = (query, text) if query in cut else (text, query)
        enough = len(halves[window]) > max(self._room, len(halves[other]))
        return () if window not in cut or enough else (window,)

    def _window(self, text: str, truncate: Truncate) -> str | None:
        if truncate is Truncate.NONE:
            return None
        from_end = truncate is Truncate.START
        return self._truncation_windows.cut(text, self._max_tokens, from_end=from_end)

    def _of(self, texts: Iterable[str]) -> list[TokenRow]:
        """Return the ids of texts without special tokens."""
        try:
            encodings = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        except Exception as error:  # for example, a vocabulary without an unknown token
            raise BackendFailure(f"the tokenizer fails: {error}") from error
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

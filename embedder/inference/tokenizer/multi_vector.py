"""The tokens of a multi-vector model: queries are filled up, and some tokens get no vector.

A text is a query if it begins with the model's prompt for queries, and a document otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from embedder.core.errors import InvalidInput, UnsupportedModel
from embedder.core.pairs import KNOWN_TYPE, NO_VECTOR, NOT_ATTENDED, PairRow
from embedder.core.types import Truncate
from embedder.models.heads.multi_vector import Expansion, MultiVector

_MASKS = ("[MASK]", "<mask>")
"""The mask tokens of models whose files name none."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Queries or documents: their prompt, its tokens with those before it, and what differs.

    ``limit`` are tokens, ``skipped`` ids without a vector, and ``fill`` the id that fills up.
    """

    prompt: str
    opening: int
    limit: int
    skipped: NDArray[np.int32]
    expansion: Expansion | None = None
    fill: int = 0


@dataclass(frozen=True, slots=True)
class MultiVectorInputs:
    """What the files of a model say about its tokens, its prompts by name, and its mask token."""

    described: MultiVector
    prompts: Mapping[str, str]
    mask: str | None = None


class MultiVectorTokens:
    """Turns the ids of a text into those that a multi-vector model reads, with their types."""

    def __init__(self, query: _Kind, document: _Kind, closing: Sequence[int]) -> None:
        self._query, self._document = query, document
        self._closing = list(closing)

    @classmethod
    def of(
        cls,
        rust: RustTokenizer,
        inputs: MultiVectorInputs,
        *,
        max_tokens: int,
        closing: Sequence[int],
    ) -> MultiVectorTokens:
        """Read the vocabulary of a tokenizer.

        Raises:
            UnsupportedModel: queries cannot be told from documents that are read differently, or
                no token fills queries up.
        """
        described, mask = inputs.described, inputs.mask
        words = [rust.token_to_id(word) for word in described.skipped]
        skipped = np.array([each for each in words if each is not None], np.int32)
        none = np.empty(0, np.int32)
        expansion = described.expansion
        if expansion is not None:
            expansion = replace(expansion, length=min(expansion.length, max_tokens))
        limits = [described.query_limit, described.document_limit]
        if expansion is not None:
            limits[0] = expansion.length if expansion.cuts else limits[0]
        query, document = (
            _Kind(
                prompt := inputs.prompts.get(name, ""),
                len(rust.encode(prompt).ids) - len(closing),
                min(limit or max_tokens, max_tokens),
                skipped if name in described.skipping else none,
                expansion if name == "query" else None,
                _fill(rust, expansion, mask) if name == "query" and expansion else 0,
            )
            for name, limit in zip(("query", "document"), limits, strict=True)
        )
        _check_kinds(query, document)
        return cls(query, document, closing)

    def replace(
        self,
        rows: list[Sequence[int] | PairRow],
        truncated: NDArray[np.bool_],
        texts: Mapping[int, str],
        truncate: Truncate,
    ) -> None:
        """Replace the ids of all inputs; one without a text by its row is a document.

        Raises:
            InvalidInput: as `row`.
        """
        for at, ids in enumerate(rows):
            if not isinstance(ids, PairRow):
                rows[at], cut = self.row(texts.get(at, ""), ids, truncate)
                truncated[at] |= cut

    def row(
        self, text: str, ids: Sequence[int], truncate: Truncate
    ) -> tuple[Sequence[int] | PairRow, bool]:
        """Return the tokens of a text, and whether it was cut to the limit of its kind.

        Raises:
            InvalidInput: the text is above that limit and may not be cut.
        """
        is_query = bool(self._query.prompt) and text.startswith(self._query.prompt)
        kind = self._query if is_query else self._document
        kept = self._cut(list(ids), kind, truncate)
        missing = max(0, kind.expansion.length - len(kept)) if kind.expansion else 0
        row = np.array(kept + [kind.fill] * missing, np.int32)
        types = np.full(len(row), KNOWN_TYPE, np.int8)
        types[np.isin(row, kind.skipped)] = NO_VECTOR
        if missing and kind.expansion is not None and not kind.expansion.attends:
            types[len(kept) :] = NOT_ATTENDED
        return PairRow(row, types), len(kept) < len(ids)

    def _cut(self, ids: list[int], kind: _Kind, truncate: Truncate) -> list[int]:
        if len(ids) <= kind.limit:
            return ids
        if truncate is Truncate.NONE:
            raise InvalidInput("input", f"has {len(ids)} tokens; the limit is {kind.limit}")
        if truncate is Truncate.END:
            return ids[: kind.limit - len(self._closing)] + self._closing
        return ids[: kind.opening] + ids[len(ids) - kind.limit + kind.opening :]


def _check_kinds(query: _Kind, document: _Kind) -> None:
    """Refuse kinds that are read differently and do not differ in their prompts."""
    same = query.limit == document.limit and len(query.skipped) == len(document.skipped)
    if same and query.expansion is None:
        return
    if not query.prompt or document.prompt.startswith(query.prompt):
        raise UnsupportedModel(
            "this model reads queries and documents differently, but has no prompt by which "
            "they differ; set model.prompts to one for 'query' and one for 'document'"
        )


def add_markers(rust: RustTokenizer, markers: Mapping[str, str] | None) -> None:
    """Let each prompt that the vocabulary has as a token be that token, as sentence-transformers.

    Its tokenizer splits ``[unused0]`` into several tokens otherwise.
    """
    for marker in (markers or {}).values():
        for token in (marker, *marker.split(None, 1)[:1]):
            if rust.token_to_id(token) is not None:
                rust.add_special_tokens([AddedToken(token, normalized=False, special=True)])
                break


def _fill(rust: RustTokenizer, expansion: Expansion, mask: str | None) -> int:
    for token in (mask, *_MASKS) if expansion.token is None else (expansion.token,):
        if token is not None and (number := rust.token_to_id(token)) is not None:
            return number
    raise UnsupportedModel(
        f"queries are filled up with {expansion.token or mask or 'a mask token'!r}, which the "
        "tokenizer does not have"
    )

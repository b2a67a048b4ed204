"""Compute the type of each token of a batch from the template of a tokenizer.

A model with token types was trained with those of its template, in which a text and the special
tokens around it may have different types.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import TokenBatch


@dataclass(frozen=True, slots=True)
class TokenTypes:
    """The token types of a text and of the special tokens around it.

    ``opening`` and ``closing`` are pairs of id and type. Ids from a caller that lack these special
    tokens get the type of a text. ``pair`` are the types that a pair of texts may have.
    """

    opening: tuple[tuple[int, int], ...] = ()
    text: int = 0
    closing: tuple[tuple[int, int], ...] = ()
    pair: frozenset[int] = frozenset()

    @classmethod
    def of(cls, state: str, *, pairs: bool = False) -> TokenTypes:
        """Read the types from the content of a ``tokenizer.json``, with ``pairs`` also of pairs."""
        templates = list(_templates(json.loads(state).get("post_processor")))
        types = cls._of_text(templates[-1]) if templates else cls()
        return replace(types, pair=_types_of_pair(templates)) if pairs else types

    @classmethod
    def _of_text(cls, template: Mapping[str, Any]) -> TokenTypes:
        single, special = template.get("single", ()), template.get("special_tokens", {})
        positions = [at for at, element in enumerate(single) if "Sequence" in element]
        if len(positions) != 1:
            return cls()
        (position,) = positions
        return cls(
            tuple(_ids_and_types(single[:position], special)),
            int(single[position]["Sequence"]["type_id"]),
            tuple(_ids_and_types(single[position + 1 :], special)),
        )

    @property
    def all(self) -> set[int]:
        """Return every type of the template."""
        return {self.text, *self.pair, *(kind for _, kind in (*self.opening, *self.closing))}

    def of_batch(self, tokens: TokenBatch) -> NDArray[np.int64]:
        """Return int64[total], the type of every token."""
        types = np.full(len(tokens.ids), self.text, np.int64)
        ends = np.cumsum(tokens.lengths, dtype=np.int64)
        starts = ends - tokens.lengths
        for at, pair in enumerate(self.opening):
            _set_type(types, tokens, (starts + at)[tokens.lengths > at], pair)
        for at, pair in enumerate(reversed(self.closing), 1):
            _set_type(types, tokens, (ends - at)[tokens.lengths >= at], pair)
        if tokens.types is not None:
            np.copyto(types, tokens.types, where=tokens.types >= 0)
        return types


def _set_type(
    types: NDArray[np.int64], tokens: TokenBatch, rows: NDArray[np.int64], pair: tuple[int, int]
) -> None:
    token, kind = pair
    types[rows[tokens.ids[rows] == token]] = kind


def _templates(processor: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if processor is None:
        return
    if processor.get("type") == "Sequence":
        for inner in processor.get("processors", ()):
            yield from _templates(inner)
    elif processor.get("type") == "TemplateProcessing":
        yield processor


def _types_of_pair(templates: Sequence[Mapping[str, Any]]) -> frozenset[int]:
    """Return the types of a pair; without a template the second text has the type 1."""
    if not templates:
        return frozenset((0, 1))
    elements = templates[-1].get("pair", ())
    return frozenset(int(part["type_id"]) for each in elements for part in each.values())


def _ids_and_types(
    elements: Sequence[Mapping[str, Any]], special: Mapping[str, Any]
) -> Iterator[tuple[int, int]]:
    for element in elements:
        token = element["SpecialToken"]
        for number in special[token["id"]]["ids"]:
            yield int(number), int(token["type_id"])

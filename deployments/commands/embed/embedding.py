"""Embeds the rows of a part, and finds the rows that cannot be embedded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deployments.commands.embed.input_rows import InputRow
from deployments.commands.embed.parts import Part
from embedder.core.types import Vectors

Embed = Callable[[list[str]], Vectors]
"""Returns float32[n, width] of n texts; raises `RefusedText` if one of them is refused."""


class RefusedText(Exception):
    """A text cannot be embedded; ``position`` is its place among those of the call, or unknown."""

    def __init__(self, problem: str, position: int | None) -> None:
        super().__init__(problem)
        self.position = position


def position_in(field: str) -> int | None:
    """Return the place of the input that the field of an error names, like 'input[3]'."""
    found = re.fullmatch(r"\w+\[(\d+)\].*", field, re.DOTALL)
    return int(found[1]) if found else None


def embed_rows(
    embed: Embed, rows: Sequence[InputRow], first: int, kept: Sequence[str] | None
) -> Part:
    """Return the part of these rows, of which ``first`` is the number of the first one.

    ``kept`` are the names of the fields that the output has; None: all.
    """
    problems = {row: one.problem for row, one in enumerate(rows) if one.problem}
    while True:
        left = [row for row in range(len(rows)) if row not in problems]
        texts = [rows[row].text for row in left]
        try:
            vectors = embed(texts) if texts else np.zeros((0, 0), np.float32)
            break
        except RefusedText as error:
            found = error if error.position is not None else _refused(embed, texts, error)
            problems[left[found.position or 0]] = str(found)
    return Part(
        vectors,
        np.array([first + row for row in left], np.int64),
        [_kept(rows[row].fields, kept) for row in left],
        [
            {"row": first + row, "error": problem, "fields": dict(rows[row].fields)}
            for row, problem in sorted(problems.items())
        ],
    )


def _refused(embed: Embed, texts: Sequence[str], error: RefusedText) -> RefusedText:
    """Return the error of one refused text by halving, because ``error`` names none."""
    begin, end = 0, len(texts)
    while end - begin > 1:
        middle = (begin + end) // 2
        try:
            embed(list(texts[begin:middle]))
            begin = middle
        except RefusedText as narrower:
            if narrower.position is not None:
                return RefusedText(str(narrower), begin + narrower.position)
            end, error = middle, narrower
    return RefusedText(str(error), begin)


def _kept(fields: Mapping[str, Any], kept: Sequence[str] | None) -> dict[str, Any]:
    if kept is None:
        return dict(fields)
    return {name: fields[name] for name in kept if name in fields}

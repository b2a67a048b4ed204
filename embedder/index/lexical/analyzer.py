"""The terms of a text, by which lexical search finds it.

Version 1 of the analyzer:

- A term is a run of letters, marks and digits, in any script; all other characters separate terms.
  So "don't" has the terms "don" and "t", and "snake_case" has "snake" and "case".
- A run of Han, Hiragana and Katakana, which are written without spaces, becomes its overlapping
  pairs of characters; one such character alone is a term.
- Terms are compared without case and by compatibility (NFKC and case folding), so that "CAFÉ" has
  the term of "café" in whatever way the accent is encoded.
- A run of more than `MAX_TERM` characters is cut into terms of that length.

Whatever gives texts other terms is a new version: it raises the `SCHEMA_VERSION` of both stores,
whose migration empties the table of totals, so that all texts are indexed again.

There are no stop words and no stemming: they depend on the language, and BM25 gives frequent terms
little weight. A store keeps the terms of each text that it has indexed, because a later Unicode may
know more letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import normalize

import regex

MAX_TERM = 64
"""The most characters of a term."""

_ASCII_TERM = re.compile(r"[a-z0-9]+")
# Bounded, because the normalization of a long run of marks takes quadratic time.
_RUN = regex.compile(rf"[\p{{L}}\p{{M}}\p{{N}}]{{1,{MAX_TERM}}}")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc"
_TERM = regex.compile(
    rf"(?P<unspaced>[{_UNSPACED}]+)|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]{{1,{MAX_TERM}}}",
    regex.VERSION1,
)


def terms_of(text: str) -> list[str]:
    """Return the terms of a text in order, each as often as the text has it."""
    if text.isascii():
        found: list[str] = _ASCII_TERM.findall(text.lower())
        if all(len(term) <= MAX_TERM for term in found):
            return found
    return [term for run in _RUN.findall(text) for term in _terms_of_run(_folded(run))]


def _folded(run: str) -> str:
    return normalize("NFKC", normalize("NFKC", run).casefold())


def _terms_of_run(run: str) -> Iterator[str]:
    for match in _TERM.finditer(run):
        term = match.group()
        if match["unspaced"] is None or len(term) == 1:
            yield term
        else:
            yield from (term[at : at + 2] for at in range(len(term) - 1))

"""Texts are put into lower case before every other step of a tokenizer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from unicodedata import normalize

import pytest
from tokenizers import Regex, normalizers
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from embedder.core.types import Truncate
from embedder.inference.tokenization import FastTokenizer

LIMIT = 8
CASED = [
    chr(code)
    for code in range(0x11000)
    if not 0xD800 <= code < 0xE000 and chr(code).lower() != chr(code)
]
NORMALIZERS = {
    "none": None,
    "nothing of letters": normalizers.NFC(),
    "capitals of its own": normalizers.Replace("A", "b"),
    "an empty sequence": normalizers.Sequence([]),
    "a sequence": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "case kept": normalizers.BertNormalizer(lowercase=False, strip_accents=True),
    "case lowered": normalizers.BertNormalizer(lowercase=True),
    "case lowered, accents kept": normalizers.BertNormalizer(lowercase=True, strip_accents=False),
    "lowered": normalizers.Lowercase(),
    "lowered last": normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()]),
    "lowered within": normalizers.Sequence(
        [normalizers.Sequence([normalizers.BertNormalizer()]), normalizers.NFKC()]
    ),
}
"""The tokenizer's own normalizer, before texts are put into lower case."""


def _write(own: normalizers.Normalizer | None, path: Path) -> RustTokenizer:
    """Write a tokenizer whose ids are the code points of the normalized text."""
    forms = (str, str.lower, partial(normalize, "NFD"), partial(normalize, "NFKC"))
    letters = {
        letter for form in forms for cased in CASED for letter in form(f"{cased}{cased.lower()}")
    }
    rust = RustTokenizer(
        WordLevel({letter: ord(letter) for letter in sorted({"?", *letters})}, unk_token="?")
    )
    rust.pre_tokenizer = Split(Regex("."), "isolated")
    if own is not None:
        rust.normalizer = own
    rust.save(str(path))
    return rust


@pytest.mark.parametrize("own", NORMALIZERS.values(), ids=NORMALIZERS)
@pytest.mark.parametrize("lower_case", [False, True])
def test_texts_are_put_into_lower_case_in_front_of_everything_else(
    tmp_path: Path, own: normalizers.Normalizer | None, lower_case: bool
) -> None:
    path = tmp_path / "tokenizer.json"
    oracle = _write(own, path)
    if lower_case:
        inner = [] if own is None else [own]
        oracle.normalizer = normalizers.Sequence([normalizers.Lowercase(), *inner])

    tokenizer = FastTokenizer.load(path.read_text(), max_tokens=LIMIT, lower_case=lower_case)

    expected = [encoding.ids for encoding in oracle.encode_batch(CASED)]
    for truncate in Truncate:
        answer = tokenizer.encode(CASED, truncate=truncate)
        assert [row.tolist() for row in answer.tokens.rows()] == expected

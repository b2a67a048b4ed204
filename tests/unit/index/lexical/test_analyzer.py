"""A text has the same terms in every form of its letters, and no term is long."""

from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import given

from embedder.index.lexical.analyzer import MAX_TERM, terms_of
from tests.unit.index.hostile_strings import ANY_TEXT


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        (" .,;- \0", []),
        ("The Wing's 2nd, 3.14!", ["the", "wing", "s", "2nd", "3", "14"]),
        ("snake_case", ["snake", "case"]),
        ("\ufdfa", ["صلى", "الله", "عليه", "وسلم"]),
        ("CAFÉ Straße ﬁn ½", ["café", "strasse", "fin", "1", "2"]),
        ("Ａ１ ①", ["a1", "1"]),
        ("a\u0301b", ["áb"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("中文分词 中", ["中文", "文分", "分词", "中"]),
        ("東京タワー2階", ["東京", "京タ", "タワ", "ワー", "2", "階"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("x" * MAX_TERM, ["x" * MAX_TERM]),
        ("x" * MAX_TERM + "y", ["x" * MAX_TERM, "y"]),
        ("é" * (MAX_TERM + 1), ["é" * MAX_TERM, "é"]),
    ],
)
def test_a_text_has_these_terms(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms


@given(ANY_TEXT)
def test_terms_are_short_and_have_no_separator(text: str) -> None:
    for term in terms_of(text):
        assert 1 <= len(term) <= MAX_TERM
        assert not any(one.isspace() or one == "\0" for one in term)


@given(ANY_TEXT.filter(lambda text: len(text) < MAX_TERM))
def test_the_encoding_of_accents_changes_no_term(text: str) -> None:
    assert terms_of(normalize("NFC", text)) == terms_of(normalize("NFD", text))


@given(ANY_TEXT)
def test_the_fast_path_for_ascii_finds_the_same(text: str) -> None:
    plain = text.encode("ascii", "replace").decode()

    assert terms_of(plain) == terms_of(f"{plain} é")[:-1]

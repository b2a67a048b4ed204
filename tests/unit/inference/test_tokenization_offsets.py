"""Tokens with offsets and decoded texts are those of the transformers tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer

from embedder.core.errors import InvalidInput
from embedder.inference.tokenization import FastTokenizer, OffsetToken
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

FILES = ModelFiles.open(ModelSettings(offline=True))
TOKENIZER = FastTokenizer.load(FILES.tokenizer.read_text(), max_tokens=8)
ORACLE: Any = AutoTokenizer.from_pretrained(FILES.source.directory, local_files_only=True)
VOCABULARY_SIZE = 30_522
WORDS = (
    "the",
    "unbelievable",
    "été",
    "東京",
    "🙂",
    "E\u0301",
    "İstanbul",
    "ﬁne",
    "[SEP]",
    "x" * 120,
)
TEXTS = st.lists(st.sampled_from(WORDS)).map(" ".join) | st.text(max_size=20)


def _offset_tokens(
    text: str, *, special: bool = True, tokenizer: FastTokenizer = TOKENIZER
) -> list[OffsetToken]:
    (tokens,) = tokenizer.tokenize_with_offsets([text], add_special_tokens=special)
    return tokens


@given(TEXTS)
@pytest.mark.parametrize("special", [True, False])
def test_tokens_and_offsets_are_those_of_transformers(special: bool, text: str) -> None:
    expected = ORACLE(
        text,
        add_special_tokens=special,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )

    tokens = _offset_tokens(text, special=special)

    assert [token.id for token in tokens] == expected["input_ids"]
    # The mask of transformers counts a special token that the text itself spells.
    assert [token.id for token in tokens if token.special] == ([101, 102] if special else [])
    for token, (start, stop) in zip(tokens, expected["offset_mapping"], strict=True):
        if not token.special:
            assert (token.start, token.stop) == (start, stop)
            assert token.text == text[start:stop]


def test_added_special_tokens_have_no_offsets() -> None:
    first, word, spelt, last = _offset_tokens("cat [SEP]")

    assert first == OffsetToken(101, "[CLS]", True, None, None)
    assert word == OffsetToken(4937, "cat", False, 0, 3)
    assert spelt == OffsetToken(102, "[SEP]", False, 4, 9)
    assert last == OffsetToken(102, "[SEP]", True, None, None)


def test_offsets_count_characters() -> None:
    tokens = _offset_tokens("🙂 Café cat", special=False)

    assert [(token.text, token.start, token.stop) for token in tokens] == [
        ("🙂", 0, 1),
        ("Café", 2, 6),
        ("cat", 7, 10),
    ]


def test_nothing_is_cut() -> None:
    assert len(_offset_tokens("cat " * 5000)) == 5002


def test_every_text_has_its_own_offset_tokens() -> None:
    texts = ["the cat", "", "sat", "the cat"]

    assert TOKENIZER.tokenize_with_offsets(texts) == [_offset_tokens(text) for text in texts]
    assert TOKENIZER.tokenize_with_offsets([]) == []


def _bytes_tokenizer() -> FastTokenizer:
    """Return a tokenizer of single bytes, whose ids have a gap from 100 to 199."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = [*range(100), *range(200, 356)]
    rust = RustTokenizer(BPE(dict(zip(alphabet, ids, strict=True)), []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.add_special_tokens([AddedToken("<end>")])
    return FastTokenizer.load(rust.to_str(), max_tokens=8)


def test_tokens_within_one_character_share_its_offsets(tmp_path: Path) -> None:
    tokenizer = _bytes_tokenizer()

    tokens = _offset_tokens("aé🙂", tokenizer=tokenizer)

    assert [token.text for token in tokens] == ["a", "é", "é", *["🙂"] * 4]
    assert [token.start for token in tokens] == [0, 1, 1, 2, 2, 2, 2]
    assert max(token.id for token in tokens) >= 200
    assert tokenizer.decode([[token.id for token in tokens]]) == ["aé🙂"]


@given(st.lists(st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=12), max_size=4))
@pytest.mark.parametrize("skipped", [True, False])
def test_ids_become_the_text_that_transformers_makes_of_them(
    skipped: bool, rows: list[list[int]]
) -> None:
    expected = [
        ORACLE.decode(ids, skip_special_tokens=skipped, clean_up_tokenization_spaces=False)
        for ids in rows
    ]

    assert TOKENIZER.decode(rows, skip_special_tokens=skipped) == expected


@pytest.mark.parametrize("stranger", [-1, VOCABULARY_SIZE, 2**31, 2**32, 2**64])
@pytest.mark.parametrize(("row", "at"), [(0, 0), (0, 2), (2, 1)])
def test_an_id_outside_of_the_vocabulary_is_refused_by_its_place(
    stranger: int, row: int, at: int
) -> None:
    rows = [[101, 102, 103] for _ in range(3)]
    rows[row][at] = stranger

    with pytest.raises(InvalidInput) as caught:
        TOKENIZER.decode(rows)

    assert caught.value.field == f"ids[{row}][{at}]"
    assert f"is {stranger}," in caught.value.problem


def test_an_id_in_a_gap_of_the_vocabulary_is_refused(tmp_path: Path) -> None:
    tokenizer = _bytes_tokenizer()

    for stranger in (100, 199, 1000):
        with pytest.raises(InvalidInput, match=f"is {stranger},"):
            tokenizer.decode([[stranger]])
    assert len(tokenizer.decode([[99, 200], [355]])) == 2

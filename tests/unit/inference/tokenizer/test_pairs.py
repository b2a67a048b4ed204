"""Pairs are encoded and truncated as the Rust tokenizer does it by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer

from embedder.core.errors import ConfigurationError, UnsupportedModel
from embedder.core.pairs import Pair, PairRow
from embedder.core.types import Truncate
from embedder.inference.tokenization import FastTokenizer
from embedder.inference.tokenizer.pairs import PairTokenizer
from embedder.inference.tokenizer.special_tokens import longest_first
from tests.tiny_models import SPECIAL, write_tokenizer

MAX_TOKENS = 12
SIDES = {Truncate.END: "right", Truncate.START: "left"}
WORDS = st.text("ab [SEP]é漢", max_size=30) | st.sampled_from(["a " * 300, "b c " * 200, "[SEP]"])


@pytest.fixture(scope="module", params=["[CLS] $A:0 [SEP] $B:1 [SEP]:1", "$A:0 [SEP] $B:0"])
def state(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, SPECIAL, "[CLS] $A [SEP]", request.param)
    return (folder / "tokenizer.json").read_text()


@given(WORDS, WORDS, st.sampled_from(sorted(SIDES)), st.integers(11, MAX_TOKENS))
@example("a " * 300, "b " * 250, Truncate.END, 12)
@example("a " * 250, "b " * 300, Truncate.END, 12)
@example("a " * 5, "b " * 300, Truncate.START, 12)
def test_pairs_have_the_tokens_of_the_rust_tokenizer(
    state: str, query: str, text: str, truncate: Truncate, max_tokens: int
) -> None:
    rust = RustTokenizer.from_str(state)
    rust.enable_truncation(max_tokens, direction=SIDES[truncate])
    expected = rust.encode(query, text)

    tokenizer = FastTokenizer.load(state, max_tokens=max_tokens, pairs=True)
    tokenized = tokenizer.encode([Pair(query, text)], truncate=truncate)

    (row,) = tokenized.tokens.items()
    assert isinstance(row, PairRow)
    assert (row.ids.tolist(), row.types.tolist()) == (expected.ids, expected.type_ids)
    assert tokenized.truncated.tolist() == [bool(expected.overflowing)]


def test_pairs_texts_and_ids_keep_their_rows(state: str) -> None:
    tokenizer = FastTokenizer.load(state, max_tokens=MAX_TOKENS, pairs=True)

    tokenized = tokenizer.encode(
        ["a", Pair("a", "b"), [4, 5], Pair("a", "b")], truncate=Truncate.END
    )

    text, first, ids, second = tokenized.tokens.items()
    alone = FastTokenizer.load(state, max_tokens=MAX_TOKENS).encode(["a"], truncate=Truncate.END)
    assert isinstance(text, PairRow)
    assert isinstance(ids, PairRow)
    assert text.ids.tolist() == alone.tokens.ids.tolist()
    assert set(text.types.tolist()) == {-1}
    assert ids.ids.tolist() == [4, 5]
    assert len(first) == len(second) > 2


def test_without_truncation_a_pair_keeps_all_tokens(state: str) -> None:
    tokenizer = FastTokenizer.load(state, max_tokens=MAX_TOKENS, pairs=True)

    tokenized = tokenizer.encode([Pair("a " * 300, "b")], truncate=Truncate.NONE)

    assert tokenized.tokens.lengths[0] > 300
    assert not tokenized.truncated.any()


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 40))
def test_the_shorter_half_is_cut_last(query: int, text: int, room: int) -> None:
    kept = longest_first(query, text, room)

    assert sum(kept) == min(room, query + text)
    assert kept[0] <= query
    assert kept[1] <= text
    assert kept[0] == query or kept[0] >= kept[1] - 1
    assert kept[1] == text or kept[1] >= kept[0] - 1


@pytest.mark.parametrize(("max_tokens", "fits"), [(5, True), (4, False)])
def test_a_limit_without_room_for_two_tokens_is_refused(
    tmp_path: Path, max_tokens: int, fits: bool
) -> None:
    write_tokenizer(tmp_path, SPECIAL, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]")
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    if fits:
        PairTokenizer(rust, max_tokens=max_tokens)
        return
    with pytest.raises(ConfigurationError, match="adds 3 special tokens to a pair"):
        PairTokenizer(rust, max_tokens=max_tokens)


def test_a_tokenizer_that_puts_the_text_first_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, SPECIAL, "[CLS] $A [SEP]", "$B $A")
    rust = RustTokenizer.from_file(str(tmp_path / "tokenizer.json"))

    with pytest.raises(UnsupportedModel, match="makes no pair"):
        PairTokenizer(rust, max_tokens=MAX_TOKENS)

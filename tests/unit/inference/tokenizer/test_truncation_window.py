"""Tokenizing a window of a long text gives the same tokens as truncating the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE, Unigram

from embedder.core.types import Truncate
from embedder.inference.tokenization import FastTokenizer
from embedder.inference.tokenizer import truncation_window as windows
from embedder.inference.tokenizer.truncation_window import (
    CHARACTERS_PER_TOKEN,
    tokenizes_words_independently,
    truncation_window,
)
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

LIMIT = 8
DIRECTORY = ModelFiles.open(ModelSettings(offline=True)).source.directory
BERT = (DIRECTORY / "tokenizer.json").read_text()

WORDS = st.sampled_from(
    [
        "the",
        "cat",
        "unbelievable",
        "été",
        "東京",
        "🙂",
        "x" * 200,
        "[MASK]",
        "\u0301",
        "ΟΔΟΣ",
        "\x1c",
    ]
)
SPACES = st.sampled_from([" ", "\n", "\t", "   ", " \n", "\u2003", "", "\u00a0"])
TEXTS = st.lists(st.tuples(WORDS, SPACES), max_size=40).map(
    lambda pairs: "".join(word + space for word, space in pairs)
) | st.text(max_size=80)


def _byte_level() -> str:
    """Return a tokenizer of bytes with a few merges, of GPT-2's kind."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {one: at for at, one in enumerate(sorted(alphabet))}
    merges = [("t", "h"), ("th", "e"), ("c", "a"), ("ca", "t"), ("Ġ", "c"), ("Ġ", "Ġ"), ("x", "x")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    rust = RustTokenizer(BPE(vocabulary, merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return str(rust.to_str())


STATES = {"bert": BERT, "bytes": _byte_level()}


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten windows, so that short texts have them."""
    monkeypatch.setattr(windows, "CHARACTERS_PER_TOKEN", 1)


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("truncate", [Truncate.END, Truncate.START])
@pytest.mark.parametrize("state", STATES)
def test_a_window_gives_the_tokens_of_the_whole_text(state: str, truncate: Truncate) -> None:
    tokenizer = FastTokenizer.load(STATES[state], max_tokens=LIMIT)
    whole = FastTokenizer.load(STATES[state], max_tokens=LIMIT)
    whole._words_are_independent = False
    assert tokenizer._words_are_independent

    @given(st.lists(TEXTS, min_size=1, max_size=3))
    def same(texts: list[str]) -> None:
        found = tokenizer.encode(texts, truncate=truncate)
        expected = whole.encode(texts, truncate=truncate)
        assert found.tokens.ids.tolist() == expected.tokens.ids.tolist()
        assert found.tokens.lengths.tolist() == expected.tokens.lengths.tolist()
        assert found.truncated.tolist() == expected.truncated.tolist()

    same()


@given(st.text(max_size=200), st.integers(1, 5), st.booleans())
def test_a_window_divides_no_word(text: str, tokens: int, from_end: bool) -> None:
    window = truncation_window(text, tokens, from_end=from_end)
    if window is not None:
        rest = text[: -len(window)] if from_end else text[len(window) :]
        assert text == (rest + window if from_end else window + rest)
        before, behind = (rest, window) if from_end else (window, rest)
        assert not before[-1].isspace()
        assert behind[0] in " \n\t"


def test_only_a_window_of_a_long_text_is_tokenized() -> None:
    size = LIMIT * CHARACTERS_PER_TOKEN
    text = "a cat " * 1_000_000

    for from_end in (False, True):
        window = truncation_window(text, LIMIT, from_end=from_end)
        assert window is not None
        assert abs(len(window) - size) < len("a cat ")
    assert truncation_window("x" * 1_000_000, LIMIT, from_end=False) is None
    assert truncation_window("a cat", LIMIT, from_end=False) is None


def test_tokenizers_that_merge_across_words_get_whole_texts() -> None:
    bert = RustTokenizer.from_str(BERT)
    assert tokenizes_words_independently(bert)

    unigram = RustTokenizer(Unigram([("a", 0.0)], unk_id=0))
    unigram.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    metaspace = RustTokenizer.from_str(BERT)
    metaspace.pre_tokenizer = pre_tokenizers.Metaspace()
    stripping = RustTokenizer.from_str(BERT)
    stripping.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip()])
    spaced = RustTokenizer.from_str(BERT)
    spaced.add_tokens([AddedToken("a cat")])

    for rust in (unigram, metaspace, stripping, spaced, RustTokenizer(BPE())):
        assert not tokenizes_words_independently(rust)

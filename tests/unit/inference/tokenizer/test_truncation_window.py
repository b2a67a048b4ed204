"""Tokenizing a window of a long text gives the same tokens as truncating the whole text."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE, Unigram, WordLevel
from tokenizers.normalizers import Normalizer
from tokenizers.pre_tokenizers import PreTokenizer

from embedder.core.pairs import Pair
from embedder.core.types import Tokenized, Truncate
from embedder.inference.tokenization import FastTokenizer
from embedder.inference.tokenizer import truncation_window as windows
from embedder.inference.tokenizer.truncation_window import (
    CHARACTERS_PER_TOKEN,
    TruncationWindows,
    tokenizes_words_independently,
)
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

LIMIT = 8
DIRECTORY = ModelFiles.open(ModelSettings(offline=True)).source.directory
BERT = (DIRECTORY / "tokenizer.json").read_text()

PLAIN = ["the", "cat", "x", "12345", "it's", "unbelievable", "été", "東京", "x" * 200, "ΟΔΟΣ"]
SIGNS = ["a\u0301", "🙂", "👩\u200d💻", "[MASK]", "<mask>", "\u2581", "\u2581x", "``"]
JOINING = ["\u0301", "\u0600", "\u0600x", "\u0e33", "ก\u0e33", "\uff9e", "\u0d4e", "\u1100\u1161"]
"""Marks, vowels and signs that join the space beside them."""
CHANGED = [
    "\u200b",
    "\u00ad",
    "\u3164",
    "\u037a",
    "\ufe70",
    "\ufdfa",
    "\u0640",
    "²",
    "½",
    "\x1c",
    "\x00",
]
"""Characters that normalizers remove, or make spaces or texts with spaces."""
WORDS = st.sampled_from([*PLAIN, *SIGNS, *JOINING, *CHANGED])
SPACES = st.sampled_from(
    [" ", " ", " ", "\n", "\t", "   ", " \n", "\u2003", "", "\u00a0", "\u3000"]
)
TEXTS = st.lists(st.tuples(WORDS, SPACES), max_size=40).map(
    lambda pairs: "".join(word + space for word, space in pairs)
) | st.text(max_size=80)


def _state(
    model: BPE | Unigram | WordLevel,
    pre: PreTokenizer | Sequence[PreTokenizer],
    *steps: Normalizer,
) -> str:
    rust = RustTokenizer(model)
    rust.pre_tokenizer = (
        pre if isinstance(pre, PreTokenizer) else pre_tokenizers.Sequence(list(pre))
    )
    if steps:
        rust.normalizer = normalizers.Sequence(list(steps))
    rust.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return str(rust.to_str())


def _bytes() -> BPE:
    """Return the merges of a tokenizer of bytes, of GPT-2's kind."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {one: at for at, one in enumerate(sorted(alphabet))}
    merges = [("t", "h"), ("th", "e"), ("c", "a"), ("ca", "t"), ("Ġ", "c"), ("Ġ", "Ġ"), ("x", "x")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    return BPE(vocabulary, merges)


def _unigram() -> Unigram:
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁t", "▁the", "the", "▁x"]
    pieces += ["a", "t", "c", "x", "xx", "▁▁", "ca", "at", "1", "12", "é"]
    scores = [(piece, -float(at % 7)) for at, piece in enumerate(pieces)]
    return Unigram(scores, 0, byte_fallback=True)


SENTENCEPIECE = (
    normalizers.Nmt(),
    normalizers.NFKC(),
    normalizers.Strip(left=False),
    normalizers.Replace(Regex(" {2,}"), " "),
)
SPLIT_BYTES = [
    [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
    for words in windows._WORDS
]
STATES = {
    "bert": BERT,
    "bytes": _state(_bytes(), pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "qwen": _state(_bytes(), SPLIT_BYTES[0], normalizers.NFC()),
    "llama 3": _state(_bytes(), SPLIT_BYTES[1]),
    "unigram": _state(_unigram(), pre_tokenizers.Metaspace(), *SENTENCEPIECE),
    "first": _state(_unigram(), pre_tokenizers.Metaspace(prepend_scheme="first"), *SENTENCEPIECE),
    "never": _state(_unigram(), pre_tokenizers.Metaspace(prepend_scheme="never")),
    "words": _state(
        _unigram(),
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()],
        normalizers.Replace("``", '"'),
        normalizers.NFKD(),
        normalizers.StripAccents(),
        normalizers.Lowercase(),
        *SENTENCEPIECE,
    ),
    "word level": _state(
        WordLevel({"<unk>": 0, "the": 1, "cat": 2}, "<unk>"), pre_tokenizers.Whitespace()
    ),
}


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten windows, so that short texts have them."""
    monkeypatch.setattr(windows, "CHARACTERS_PER_TOKEN", 1)
    monkeypatch.setattr("embedder.inference.tokenization.CHARACTERS_PER_TOKEN", 1)


def _whole(tokenizer: FastTokenizer) -> FastTokenizer:
    """Let a tokenizer tokenize whole texts."""
    tokenizer._truncation_windows.supported = False
    if tokenizer._pairs is not None:
        tokenizer._pairs._truncation_windows.supported = False
    return tokenizer


def _content(tokenized: Tokenized) -> tuple[list[int], list[int], list[bool]]:
    tokens = tokenized.tokens
    return tokens.ids.tolist(), tokens.lengths.tolist(), tokenized.truncated.tolist()


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("truncate", [Truncate.END, Truncate.START])
@pytest.mark.parametrize("state", STATES)
def test_a_window_gives_the_tokens_of_the_whole_text(state: str, truncate: Truncate) -> None:
    tokenizer = FastTokenizer.load(STATES[state], max_tokens=LIMIT)
    whole = _whole(FastTokenizer.load(STATES[state], max_tokens=LIMIT))
    assert tokenizer._truncation_windows.supported

    @given(st.lists(TEXTS, min_size=1, max_size=3))
    @example(["the cat x " * 9])
    @example(["the cat \u3164 \u0640 x \u200b cat \u0600x \u0301 " * 9])
    @example(["x" * 500 + " cat"])
    def same(texts: list[str]) -> None:
        found = tokenizer.encode(texts, truncate=truncate)
        assert _content(found) == _content(whole.encode(texts, truncate=truncate))

    same()


@pytest.mark.usefixtures("short_windows")
@pytest.mark.parametrize("truncate", [Truncate.END, Truncate.START])
def test_windows_of_both_halves_give_the_tokens_of_the_whole_pair(truncate: Truncate) -> None:
    tokenizer = FastTokenizer.load(BERT, max_tokens=LIMIT, pairs=True)
    whole = _whole(FastTokenizer.load(BERT, max_tokens=LIMIT, pairs=True))

    @given(TEXTS, TEXTS)
    @example("the cat x " * 9, "cat " * 40)
    def same(query: str, text: str) -> None:
        pairs = [Pair(query, text)]
        found = tokenizer.encode(pairs, truncate=truncate)
        assert _content(found) == _content(whole.encode(pairs, truncate=truncate))

    same()


@given(st.text(max_size=200) | TEXTS, st.integers(1, 5), st.booleans())
def test_a_window_ends_at_a_space_between_two_letters(
    text: str, tokens: int, from_end: bool
) -> None:
    window = TruncationWindows(RustTokenizer.from_str(BERT)).cut(text, tokens, from_end=from_end)
    if window is not None:
        rest = text[: -len(window)] if from_end else text[len(window) :]
        assert text == (rest + window if from_end else window + rest)
        before, behind = (rest, window) if from_end else (window, rest)
        assert before[-1].isalnum()
        assert behind[0] == " "
        assert behind[1].isalnum()


def test_only_a_window_of_a_long_text_is_tokenized() -> None:
    size = LIMIT * CHARACTERS_PER_TOKEN
    text = "a cat " * 1_000_000
    cut = TruncationWindows(RustTokenizer.from_str(BERT)).cut

    for from_end in (False, True):
        window = cut(text, LIMIT, from_end=from_end)
        assert window is not None
        assert abs(len(window) - size) < len("a cat ")
    assert cut("x" * 1_000_000, LIMIT, from_end=False) is None
    assert cut("a cat", LIMIT, from_end=False) is None


def test_a_letter_that_the_normalizer_removes_ends_no_window() -> None:
    """The space after it would meet the space before it."""
    rust = RustTokenizer.from_str(BERT)
    rust.normalizer = normalizers.Replace("x", "")
    text = "a x b" * LIMIT * CHARACTERS_PER_TOKEN

    assert TruncationWindows(rust).cut(text, LIMIT, from_end=False) is None


def test_tokenizers_that_merge_across_words_get_whole_texts() -> None:
    changes: dict[str, object] = {
        "pre_tokenizer": pre_tokenizers.Metaspace(split=False),
        "pre_tokenizer ": pre_tokenizers.Digits(),
        "pre_tokenizer  ": pre_tokenizers.Split(Regex(r"\s+"), "isolated"),
        "normalizer": normalizers.Sequence([normalizers.NFC(), normalizers.Strip()]),
        "normalizer ": normalizers.Prepend("x"),
        "normalizer  ": normalizers.Replace(" ", "▁"),
        "normalizer   ": normalizers.Replace(Regex("a b"), "c"),
    }
    for name, change in changes.items():
        rust = RustTokenizer.from_str(BERT)
        setattr(rust, name.strip(), change)
        assert not tokenizes_words_independently(rust)
    for token in (AddedToken("a cat"), AddedToken("<after>", rstrip=True)):
        rust = RustTokenizer.from_str(BERT)
        rust.add_tokens([token])
        assert not tokenizes_words_independently(rust)
    assert not tokenizes_words_independently(RustTokenizer(BPE()))


def test_every_state_describes_the_steps_that_it_is_named_after() -> None:
    for state in STATES.values():
        assert tokenizes_words_independently(RustTokenizer.from_str(state)), json.loads(state)

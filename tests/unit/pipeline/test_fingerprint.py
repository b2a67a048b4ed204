"""A key changes with everything that a vector depends on, and with nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from embedder.cache.store.records import KEY_BYTES, TAG_BYTES
from embedder.core.errors import InvalidInput
from embedder.core.outputs import OutputKind
from embedder.core.pairs import ChunkTokens, Pair
from embedder.core.types import Input, ModelInfo, Truncate
from embedder.pipeline.fingerprint import Fingerprinter, model_tag

MODEL = ModelInfo(
    name="tiny",
    repository="someone/tiny",
    revision="abc",
    digest="00ff",
    config_digest="22dd",
    tokenizer_digest="11ee",
    width=8,
    max_tokens=128,
    vocabulary_size=1000,
    max_batch_tokens=2048,
    pooling="mean",
    dtype="float32",
    backend="torch",
    device="cpu",
)
TEXTS = st.text(max_size=12)
IDS = st.lists(st.integers(0, 2**31 - 1), max_size=4)
INPUTS: st.SearchStrategy[Input] = TEXTS | IDS
WORDS = st.text(st.characters(codec="utf-8"), max_size=6)
IDENTITY = ("repository", "revision", "digest", "config_digest", "tokenizer_digest")
MATTERS = (*IDENTITY, "pooling", "dtype")
NUMBERS = ("width", "max_tokens")
MAKES_NO_OTHER_VECTOR = {
    "name": "alias",
    "vocabulary_size": 7,
    "max_batch_tokens": 7,
    "backend": "onnx",
    "device": "cuda:1",
    "prompts": {"query": "find "},
    "default_prompt": "query",
    "similarity": "dot",
    "matryoshka": (4,),
    "truncation": Truncate.START,
    "memory_bytes": 5,
    "notes": ("noted",),
    "outputs": (OutputKind.SCORES,),
    "labels": ("relevance",),
    "activation": "sigmoid",
    "token_width": 7,
}
"""Prompts and truncation are in the key already, as fields of their own; kinds too;
scores are stored before the activation.
"""


def _model(**changes: Any) -> ModelInfo:
    return replace(MODEL, **changes)


def _key(
    item: Input, model: ModelInfo = MODEL, prompt: str = "", truncate: Truncate = Truncate.END
) -> bytes:
    return Fingerprinter(model).keys([item], prompt=prompt, truncate=truncate)[0]


@given(st.sampled_from(MATTERS), WORDS, INPUTS)
def test_a_key_changes_with_every_word_that_describes_the_model(
    field: str, value: str, item: Input
) -> None:
    assume(value != getattr(MODEL, field))

    changed = _model(**{field: value})

    assert _key(item, changed) != _key(item)


@given(st.sampled_from(NUMBERS), st.integers(1, 10_000), INPUTS)
def test_a_key_changes_with_every_number_that_describes_the_model(
    field: str, value: int, item: Input
) -> None:
    assume(value != getattr(MODEL, field))

    assert _key(item, _model(**{field: value})) != _key(item)


@given(INPUTS, INPUTS, WORDS, st.sampled_from(Truncate))
def test_all_keys_of_a_model_begin_with_its_tag_and_no_other(
    item: Input, other: Input, revision: str, truncate: Truncate
) -> None:
    assume(revision != MODEL.revision)
    tag = model_tag(MODEL)

    assert len(tag) == TAG_BYTES
    assert _key(item)[:TAG_BYTES] == tag == _key(other, truncate=truncate, prompt="p")[:TAG_BYTES]
    assert model_tag(_model(revision=revision)) != tag


@given(INPUTS, WORDS)
def test_what_follows_the_tag_is_hashed_from_the_whole_description(
    item: Input, revision: str
) -> None:
    assume(revision != MODEL.revision)

    assert _key(item, _model(revision=revision))[TAG_BYTES:] != _key(item)[TAG_BYTES:]


@given(st.lists(WORDS, min_size=2, max_size=2, unique=True), INPUTS)
def test_a_key_changes_with_the_prompt(prompts: list[str], item: Input) -> None:
    assert _key(item, prompt=prompts[0]) != _key(item, prompt=prompts[1])


@given(INPUTS)
def test_a_key_changes_with_the_truncation(item: Input) -> None:
    assert len({_key(item, truncate=truncate) for truncate in Truncate}) == len(Truncate)


@given(INPUTS, INPUTS)
def test_a_key_changes_with_the_kind_and_dense_keys_stay_as_they_were(
    item: Input, other: Input
) -> None:
    def key(kind: OutputKind, of: Input = item) -> bytes:
        keys = Fingerprinter(MODEL).keys([of], prompt="", truncate=Truncate.END, kind=kind)
        return keys[0]

    of_kinds = {key(kind) for kind in OutputKind}

    assert len(of_kinds) == len(OutputKind)
    assert key(OutputKind.DENSE) == _key(item)
    assert key(OutputKind.SPARSE, other) not in of_kinds - {key(OutputKind.SPARSE)}


@given(INPUTS, st.sampled_from([*MAKES_NO_OTHER_VECTOR.items()]))
def test_a_key_does_not_change_with_what_no_vector_depends_on(
    item: Input, change: tuple[str, object]
) -> None:
    assert _key(item, _model(**dict([change]))) == _key(item)


def test_every_field_of_a_model_is_declared_relevant_or_irrelevant_to_keys() -> None:
    said = {*MATTERS, *NUMBERS, *MAKES_NO_OTHER_VECTOR}

    assert {field.name for field in fields(ModelInfo)} == said


@given(st.lists(INPUTS, max_size=6))
def test_inputs_share_a_key_exactly_when_they_are_the_same(items: list[Input]) -> None:
    keys = Fingerprinter(MODEL).keys(items, prompt="", truncate=Truncate.END)

    assert all(len(key) == KEY_BYTES for key in keys)
    for one, first in enumerate(items):
        for other, second in enumerate(items):
            assert (keys[one] == keys[other]) == (first == second)


@given(IDS)
def test_no_text_has_the_key_of_ids(ids: list[int]) -> None:
    """The text is made of the bytes of the ids, or of their prefixed bytes, if they are UTF-8."""
    packed = b"".join(number.to_bytes(4, "little") for number in ids)
    texts = [(tag + packed).decode(errors="ignore") for tag in (b"", b"i", b"t")]

    assert _key(ids) not in [_key(text) for text in texts]


@given(WORDS.filter(bool), WORDS, st.sampled_from([*pairwise(MATTERS)]))
def test_moving_a_letter_between_two_fields_changes_the_key(
    first: str, second: str, fields: tuple[str, str]
) -> None:
    one = _model(**{fields[0]: first, fields[1]: second})
    other = _model(**{fields[0]: first[:-1], fields[1]: first[-1] + second})

    assert _key("x", one) != _key("x", other)


@given(WORDS.filter(bool), TEXTS)
def test_moving_a_letter_from_prompt_to_text_changes_the_key(prompt: str, text: str) -> None:
    assert _key(text, prompt=prompt) != _key(prompt[-1] + text, prompt=prompt[:-1])
    assert _key(text, prompt=prompt) != _key(prompt + text)


@pytest.mark.parametrize(
    ("one", "other"),
    [("\u00e9", "e\u0301"), ("\ufb01", "fi"), ("A", "a"), ("a", "a "), ("\u2126", "\u03a9")],
)
def test_texts_that_only_look_alike_have_different_keys(one: str, other: str) -> None:
    assert _key(one) != _key(other)


@given(WORDS, st.integers(0xD800, 0xDFFF), st.integers(0, 3))
def test_a_lone_surrogate_is_refused_by_the_name_of_its_row(
    before: str, surrogate: int, row: int
) -> None:
    items = ["fine"] * row + [before + chr(surrogate)]

    with pytest.raises(InvalidInput) as caught:
        Fingerprinter(MODEL).keys(items, prompt="", truncate=Truncate.END)

    assert caught.value.field == f"input[{row}]"
    assert str(len(before)) in caught.value.problem


def test_a_lone_surrogate_in_the_prompt_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput) as caught:
        Fingerprinter(MODEL).keys([], prompt="search: \ud800", truncate=Truncate.END)

    assert caught.value.field == "prompt"


@given(WORDS, WORDS, WORDS, WORDS)
def test_pairs_share_a_key_exactly_if_both_halves_are_equal(
    query: str, text: str, other_query: str, other_text: str
) -> None:
    pair, other = Pair(query, text), Pair(other_query, other_text)

    assert (_key(pair) == _key(other)) == (pair == other)
    assert _key(pair) not in (_key(query + text), _key(query), _key(text), _key(""))


@pytest.mark.parametrize(
    ("pair", "field"), [(Pair("\ud800", "a"), "query"), (Pair("a", "\udfff"), "text")]
)
def test_a_half_that_is_no_unicode_is_named(pair: Pair, field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"'input\[0\]\.{field}' has a lone surrogate"):
        _key(pair)


@given(st.lists(st.integers(0, 9), max_size=4), st.lists(st.integers(0, 9), max_size=4))
def test_the_same_tokens_have_a_key_for_each_division(cuts: list[int], others: list[int]) -> None:
    ids = np.arange(10, dtype=np.int32)
    one, other = [ChunkTokens(ids, np.array(at, np.int32)) for at in (cuts, others)]

    assert (_key(one) == _key(other)) == (cuts == others)
    assert _key(one) != _key(ids.tolist())

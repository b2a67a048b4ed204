"""What a key may be called, and which collections it includes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deployments.settings.access import (
    MAX_KEY_NAME_CHARACTERS,
    MAX_KEYS,
    MAX_PATTERNS,
    ApiKey,
    check_keys,
)
from deployments.settings.service import ServeSettings
from embedder.index.contract.limits import MAX_NAME_CHARACTERS

DIGEST = "0" * 64


def key(**fields: Any) -> ApiKey:
    """Return a key with these fields."""
    return ApiKey.model_validate({"name": "a", "sha256": DIGEST, **fields})


def refusal(**fields: Any) -> str:
    """Return why a key cannot have these fields."""
    with pytest.raises(ValidationError) as caught:
        key(**fields)
    (problem,) = caught.value.errors()
    assert problem["loc"][0] == next(iter(fields))
    return problem["msg"]


ALPHABET = "ab.-_0Aé🙂*\n"
texts = st.text(alphabet=ALPHABET, max_size=5)
beginnings = st.from_regex(r"[ab0A][ab._-]{0,3}", fullmatch=True).filter(lambda x: ".." not in x)
patterns = st.one_of(beginnings, beginnings.map("{}*".format), st.just("*"))


def _oracle(pattern: str, name: str) -> bool:
    """Compare by a regular expression, in which only a star at the end is no character."""
    expression = "".join(".*" if one == "*" else re.escape(one) for one in pattern)
    return re.fullmatch(expression, name, re.DOTALL) is not None


@given(st.lists(patterns, max_size=4), st.one_of(texts, beginnings))
def test_a_key_includes_names_and_beginnings(included: list[str], name: str) -> None:
    limited = key(collections=included)

    assert limited.may_reach(name) == any(_oracle(pattern, name) for pattern in included)


@given(beginnings, st.text(max_size=5))
def test_a_name_includes_no_longer_one_and_a_beginning_includes_all(name: str, rest: str) -> None:
    assert key(collections=[name]).may_reach(name + rest) == (rest == "")
    assert key(collections=[f"{name}*"]).may_reach(name + rest)


@given(st.text())
def test_without_collections_a_key_includes_all_and_with_an_empty_list_none(name: str) -> None:
    assert key().may_reach(name)
    assert key(collections=["*"]).may_reach(name)
    assert not key(collections=[]).may_reach(name)


@given(texts)
def test_exactly_the_patterns_of_possible_names_are_accepted(pattern: str) -> None:
    possible = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*\*?|\*", pattern, re.ASCII)
    if possible and ".." not in pattern:
        assert key(collections=[pattern]).collections == (pattern,)
    else:
        assert refusal(collections=[pattern]).startswith("Value error, entry 1 must begin")


def test_a_refused_pattern_is_named_by_its_number() -> None:
    assert "entry 3 must begin with a letter" in refusal(collections=["a", "b*", "*b"])


@pytest.mark.parametrize("end", ["", "*"])
def test_a_pattern_may_be_as_long_as_a_name(end: str) -> None:
    key(collections=["a" * MAX_NAME_CHARACTERS + end])
    message = refusal(collections=["a" * (MAX_NAME_CHARACTERS + 1) + end])

    assert (
        f"has {MAX_NAME_CHARACTERS + 1} characters; the limit is {MAX_NAME_CHARACTERS}" in message
    )


def test_the_number_of_patterns_is_limited() -> None:
    key(collections=["a"] * MAX_PATTERNS)

    assert str(MAX_PATTERNS) in refusal(collections=["a"] * (MAX_PATTERNS + 1))


def test_the_name_of_a_key_is_limited() -> None:
    key(name="é" * MAX_KEY_NAME_CHARACTERS)

    assert str(MAX_KEY_NAME_CHARACTERS) in refusal(name="é" * (MAX_KEY_NAME_CHARACTERS + 1))
    assert "at least 1" in refusal(name="")


@given(st.text(min_size=1, max_size=MAX_KEY_NAME_CHARACTERS))
def test_the_name_of_a_key_stays_on_one_line_of_a_log(name: str) -> None:
    if name.isprintable():
        assert len(key(name=name).name.splitlines()) == 1
    else:
        assert "printable" in refusal(name=name)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[31m", "a\u2028b", "a\u202eb", "\ud800"])
def test_a_name_that_could_forge_a_line_is_refused(name: str) -> None:
    refusal(name=name)


def test_the_number_of_keys_is_limited() -> None:
    keys = [key(name=f"{row}", sha256=f"{row:064x}") for row in range(MAX_KEYS + 1)]
    check_keys(keys[:MAX_KEYS])

    with pytest.raises(ValueError, match=f"{MAX_KEYS + 1} keys; the limit is {MAX_KEYS}"):
        check_keys(keys)


def test_names_and_digests_are_unique() -> None:
    with pytest.raises(ValueError, match="same name"):
        check_keys([key(), key(sha256="1" * 64)])
    with pytest.raises(ValueError, match="same sha256"):
        check_keys([key(), key(name="b")])


def test_a_service_with_a_keys_file_requires_keys() -> None:
    assert not ServeSettings().requires_keys
    assert ServeSettings(keys_file="/keys.yaml").requires_keys
    assert ServeSettings(keys=(key(),)).requires_keys
    with pytest.raises(ValidationError, match=r"keys_file is 'keys\.yaml': must be absolute"):
        ServeSettings(keys_file="keys.yaml")

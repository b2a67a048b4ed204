"""A text that UTF-8 cannot encode is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput
from embedder.core.utf8 import encode


@given(st.text())
def test_a_text_is_encoded(text: str) -> None:
    assert encode("input", text).decode() == text


@given(st.text(), st.integers(0xD800, 0xDFFF), st.text())
def test_a_lone_surrogate_is_named_with_its_place(before: str, lone: int, after: str) -> None:
    with pytest.raises(InvalidInput) as error:
        encode("input[3]", before + chr(lone) + after)

    assert error.value.field == "input[3]"
    assert error.value.problem == f"has a lone surrogate at character {len(before)}"

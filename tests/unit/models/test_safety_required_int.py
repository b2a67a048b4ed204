"""Values of a configuration that are not integers are refused by name."""

from __future__ import annotations

import re

import pytest

from embedder.core.errors import UnsupportedModel
from embedder.models.safety import required_int


@pytest.mark.parametrize("value", [None, "5", 5.0, True, [5]])
def test_a_value_that_is_no_integer_is_refused(value: object) -> None:
    """Some architectures, such as T5, lack numbers; they are unsupported."""
    assert required_int({"vocab_size": 5}, "vocab_size") == 5

    with pytest.raises(UnsupportedModel, match=re.escape(f"'vocab_size' = {value!r}")):
        required_int({"vocab_size": value}, "vocab_size")

"""Numbers of a configuration are whole ones, or refused by their name."""

from __future__ import annotations

import re

import pytest

from embedder.core.errors import UnsupportedModel
from embedder.models.config_values import required_int


@pytest.mark.parametrize("value", [None, "5", 5.0, True, [5]])
def test_a_number_that_is_no_whole_one_is_refused_by_its_name(value: object) -> None:
    """Other architectures, T5 for one, lack numbers: unsupported, not a crash."""
    assert required_int({"vocab_size": 5}, "vocab_size") == 5

    with pytest.raises(UnsupportedModel, match=re.escape(f"'vocab_size' = {value!r}")):
        required_int({"vocab_size": value}, "vocab_size")

"""What writes cost before they are done: the bytes of everything that is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embedder.index.points import Points
from embedder.index.pricing import upsert_price


def _price(metadata: dict[str, Any]) -> int:
    return upsert_price(Points(["a"], np.ones((1, 4), np.float32), [None], [metadata]))


def test_metadata_costs_as_many_bytes_as_it_takes() -> None:
    assert _price({"k": "ж" * 1000}) - _price({"k": ""}) == 2000
    assert _price({"k": [1] * 1000}) - _price({"k": [1]}) == 2 * 999


@pytest.mark.parametrize("value", [object(), "\ud800", 2**64])
def test_what_is_no_json_has_a_price_since_the_write_itself_refuses_it(value: object) -> None:
    assert _price({"k": value}) > 0

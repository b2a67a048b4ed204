"""A row of the catalogue is immutable."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from embedder.models.catalogue_row import CatalogueRow, GoldenVector
from tests.unit.models.model_sources import ROW


@pytest.mark.parametrize("field", ["sha256", "revision", "repository"])
def test_a_row_cannot_be_changed(field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(ROW, field, "other")


def test_rows_that_say_the_same_are_the_same() -> None:
    assert replace(ROW) == ROW
    assert hash(replace(ROW)) == hash(ROW)
    assert replace(ROW, golden=(GoldenVector("a", (1.0,)),)) != ROW


def test_optional_fields_of_a_row_have_defaults() -> None:
    row = CatalogueRow(
        repository="b/a",
        revision="c",
        width=8,
        max_tokens=16,
        pooling="mean",
        parameters=1,
        licence="MIT",
    )

    assert (row.sha256, row.package) == (None, None)
    assert (row.prompts, row.matryoshka, row.golden) == ((), (), ())

"""Published vectors are compared within tolerances, if they apply to the loaded model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import ModelDrift
from embedder.core.types import TokenBatch, Vectors
from embedder.inference.loading import load_tokenizer
from embedder.inference.selftest import TOLERANCES, check_golden_vectors
from embedder.models.catalogue_row import CatalogueRow, GoldenVector
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings
from tests.tiny_models import write_layout
from tests.unit.fake_device import Device, ids

ROW = CatalogueRow(
    repository="someone/tiny",
    revision="a" * 40,
    width=4,
    max_tokens=24,
    pooling="mean",
    parameters=1,
    licence="MIT",
)
VECTOR = (0.5, -0.5, 0.5, -0.5)
TEXT = "some words"


class Fixed(Device):
    """A model that returns one fixed vector for every input."""

    def __init__(self, vector: Sequence[float] = VECTOR, dtype: str = "float32") -> None:
        super().__init__()
        self.dtype = dtype
        self._vector = vector

    def encode(self, tokens: TokenBatch) -> Vectors:
        super().encode(tokens)
        return np.array([self._vector] * len(tokens), np.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return open_files(write_layout(tmp_path_factory.mktemp("tiny")))


def open_files(directory: Path, **settings: int | str) -> ModelFiles:
    """Open a model without a catalogue row."""
    named = {"name": str(directory), **settings}
    return ModelFiles.open(ModelSettings.model_validate(named))


def published(files: ModelFiles, *golden: GoldenVector, row: CatalogueRow = ROW) -> ModelFiles:
    """Return the files as if they had a catalogue row."""
    source = replace(files.source, row=replace(row, golden=golden), revision="a" * 40)
    return replace(files, source=source)


def check(files: ModelFiles, backend: Device) -> None:
    """Compare what the backend computes."""
    check_golden_vectors(files, backend, load_tokenizer(files))


def test_the_golden_text_is_computed_unchanged(plain: ModelFiles) -> None:
    backend = Fixed()
    check(published(plain, GoldenVector(TEXT, VECTOR)), backend)

    assert backend.rows == [ids(TEXT)]


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES.items())
@pytest.mark.parametrize("component", range(4))
def test_a_vector_may_differ_within_the_tolerance_of_its_format(
    plain: ModelFiles, dtype: str, tolerance: float, component: int
) -> None:
    near, far = (
        [value + share * tolerance * (at == component) for at, value in enumerate(VECTOR)]
        for share in (0.9, 1.1)
    )
    # Computed vectors are normalized, so the published vector is changed instead.
    check(published(plain, GoldenVector(TEXT, tuple(near))), Fixed(dtype=dtype))
    with pytest.raises(ModelDrift) as caught:
        check(published(plain, GoldenVector(TEXT, tuple(far))), Fixed(dtype=dtype))

    assert (caught.value.name, caught.value.text) == (plain.name, TEXT)
    assert caught.value.difference == pytest.approx(1.1 * tolerance, rel=1e-2)
    assert caught.value.tolerance == tolerance


@given(st.floats(1e-3, 1e3))
def test_computed_vectors_are_normalized_before_the_comparison(
    plain: ModelFiles, length: float
) -> None:
    check(published(plain, GoldenVector(TEXT, VECTOR)), Fixed([length * one for one in VECTOR]))


def test_the_first_components_are_enough(plain: ModelFiles) -> None:
    check(published(plain, GoldenVector(TEXT, VECTOR[:2])), Fixed())

    with pytest.raises(ModelDrift):
        check(published(plain, GoldenVector(TEXT, (0.5, 0.5))), Fixed())


def test_a_narrower_vector_is_drift(plain: ModelFiles) -> None:
    with pytest.raises(ModelDrift, match="differs by inf"):
        check(published(plain, GoldenVector(TEXT, VECTOR)), Fixed((1.0, 0.0)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_that_is_not_finite_or_zero_is_drift(plain: ModelFiles, bad: float) -> None:
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ModelDrift),
    ):
        check(published(plain, GoldenVector(TEXT, VECTOR)), Fixed((bad,) * 4))


def test_every_published_vector_is_compared(plain: ModelFiles) -> None:
    wrong = GoldenVector("the other", (0.5, 0.5, 0.5, 0.5))
    with pytest.raises(ModelDrift, match="'the other'"):
        check(published(plain, GoldenVector(TEXT, VECTOR), wrong), Fixed())


def test_a_model_that_is_not_published_is_not_compared(plain: ModelFiles) -> None:
    backend = Fixed()
    check(plain, backend)
    check(published(plain), backend)

    assert backend.rows == []


def test_another_revision_is_not_compared(plain: ModelFiles) -> None:
    backend = Fixed((1.0, 0.0, 0.0, 0.0))
    other = replace(ROW, revision="b" * 40)
    check(published(plain, GoldenVector(TEXT, VECTOR), row=other), backend)

    assert backend.rows == []


def test_another_pooling_is_not_compared(plain: ModelFiles) -> None:
    backend = Fixed((1.0, 0.0, 0.0, 0.0))
    files = open_files(plain.source.directory, pooling="cls")
    check(published(files, GoldenVector(TEXT, VECTOR)), backend)

    assert backend.rows == []


def test_a_text_that_the_operators_limit_cuts_is_not_compared(plain: ModelFiles) -> None:
    backend = Fixed()
    files = open_files(plain.source.directory, max_tokens=len(ids("some")))
    with pytest.raises(ModelDrift, match="'some'"):
        check(
            published(files, GoldenVector(TEXT, (1.0,) * 4), GoldenVector("some", (1.0,) * 4)),
            backend,
        )

    assert backend.rows == [ids("some")]

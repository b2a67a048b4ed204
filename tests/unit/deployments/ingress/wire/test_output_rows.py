"""Sparse weights and token vectors in JSON, and the bytes that they are expected to take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.wire.answer_size import component_bytes
from deployments.ingress.wire.formats import EncodingFormat, Format
from deployments.ingress.wire.json_chunks import json_chunks
from deployments.ingress.wire.output_rows import (
    MARGIN,
    OutputBytes,
    check_expected,
    index_values,
    sparse_objects,
    token_vectors,
)
from deployments.ingress.wire.quantization import OutputDtype
from deployments.settings.service import IngressLimits
from embedder.core.errors import LimitExceeded
from embedder.core.outputs import OutputKind, RaggedRows
from tests.unit.deployments.ingress.fake_service import MODEL

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=5)


def _sparse(lengths: list[int]) -> RaggedRows:
    ids = np.concatenate([np.arange(length, dtype=np.int32) * 5000 for length in lengths])
    values = np.random.default_rng(len(ids)).random((len(ids), 1), np.float32)
    return RaggedRows.of(values, np.array(lengths), ids)


def _tokens(lengths: list[int], width: int = 8) -> RaggedRows:
    values = np.random.default_rng(1).normal(size=(sum(lengths), width)).astype(np.float32)
    return RaggedRows.of(values, np.array(lengths))


@given(LENGTHS)
def test_both_forms_of_sparse_rows_have_the_same_weights(lengths: list[int]) -> None:
    rows = _sparse(lengths)
    lists = orjson.loads(b"".join(json_chunks(sparse_objects(rows))))
    objects = orjson.loads(b"".join(json_chunks(index_values(rows))))

    assert objects == [
        [
            {"index": index, "value": value}
            for index, value in zip(row["indices"], row["values"], strict=True)
        ]
        for row in lists
    ]
    assert [len(row) for row in objects] == lengths
    weights = [value for row in lists for value in row["values"]]
    np.testing.assert_array_equal(np.array(weights, np.float32), rows.values[:, 0])


@given(LENGTHS)
def test_the_token_vectors_of_each_row_are_its_own(lengths: list[int]) -> None:
    rows = _tokens(lengths)
    found = list(token_vectors(rows))

    assert [len(vectors) for vectors in found] == lengths
    np.testing.assert_array_equal(np.concatenate(found), rows.values)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("dtype", [OutputDtype.FLOAT32, OutputDtype.UBINARY])
def test_token_vectors_take_about_the_expected_bytes(
    dtype: OutputDtype, encoding: EncodingFormat
) -> None:
    rows = _tokens([200, 0, 300], 128)
    sizes = OutputBytes(component_bytes(dtype, Format.JSON, encoding))
    written = len(b"".join(json_chunks(token_vectors(rows, dtype, encoding))))

    assert sizes.of_rows({OutputKind.TOKENS: rows}) == pytest.approx(written, rel=0.25)


def test_sparse_weights_take_about_the_expected_bytes() -> None:
    rows = _sparse([6] * 500)
    lists = len(b"".join(json_chunks(sparse_objects(rows))))
    objects = len(b"".join(json_chunks(index_values(rows))))

    assert OutputBytes(13).of_rows({OutputKind.SPARSE: rows}) == pytest.approx(lists, rel=0.5)
    expected = OutputBytes(13, 36).of_rows({OutputKind.SPARSE: rows})
    assert expected == pytest.approx(objects, rel=0.5)


def test_a_response_is_refused_by_an_estimate_from_a_multiple_of_the_limit() -> None:
    model = replace(MODEL, max_tokens=1000, token_width=128)
    ids, sizes = [[1] * 100], OutputBytes(13)
    size = round(sizes.of(OutputKind.TOKENS, 1, 100, 128))
    low = IngressLimits(max_response_bytes=size // MARGIN - 1)
    edge = IngressLimits(max_response_bytes=-(-size // MARGIN))

    check_expected(model, [OutputKind.TOKENS], ids, sizes, "input", edge)
    check_expected(model, [OutputKind.SPARSE, OutputKind.DENSE], ids, sizes, "input", low)
    with pytest.raises(LimitExceeded) as caught:
        check_expected(model, [OutputKind.TOKENS], ids, sizes, "input", low)
    assert caught.value.field == "input"
    assert caught.value.size == size

"""A document is parsed in slices as in one call, valid or not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.wire import json_slices
from deployments.ingress.wire.json_slices import MAX_DEPTH
from embedder.core.errors import LimitExceeded

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\[]{},:'))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9) | TEXT,
    lambda items: st.lists(items) | st.dictionaries(TEXT, items),
    max_leaves=40,
)


def loads_in_slices(content: bytes, *, slice_bytes: int) -> Any:
    return json_slices.loads_in_slices(content, max_containers=10_000, slice_bytes=slice_bytes)


def _whole(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return "no JSON"


def _in_slices(content: bytes, slice_bytes: int) -> Any:
    try:
        return loads_in_slices(content, slice_bytes=slice_bytes)
    except orjson.JSONDecodeError:
        return "no JSON"


@given(VALUES, st.integers(1, 64), st.booleans(), st.sampled_from([None, 1]))
def test_a_document_is_the_same_in_slices(
    value: Any, slice_bytes: int, ascii_only: bool, indent: int | None
) -> None:
    content = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()

    assert _in_slices(content, slice_bytes) == _whole(content)


@given(VALUES, st.integers(1, 64), st.data())
def test_an_invalid_document_is_refused_in_slices_as_a_whole(
    value: Any, slice_bytes: int, data: st.DataObject
) -> None:
    content = bytearray(json.dumps(value, ensure_ascii=False).encode())
    at = data.draw(st.integers(0, len(content)))
    content[at : at + data.draw(st.integers(0, 2))] = data.draw(
        st.sampled_from([b"", b",", b"[", b"]", b"{", b"}", b'"', b"\\", b":", b" ", b"\xff", b"1"])
    )

    assert _in_slices(bytes(content), slice_bytes) == _whole(bytes(content))


@pytest.mark.parametrize("slice_bytes", [1, 8, 100])
@pytest.mark.parametrize("scan_bytes", [1, 2, 7])
def test_a_block_may_end_anywhere(
    slice_bytes: int, scan_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_slices, "SCAN_BYTES", scan_bytes)
    content = rb'{"a\\": ["\"", "\\\"]", {"b": [1, 2, {"c,": "\u00e9\n"}]}], "d": 1e5}'

    assert loads_in_slices(content, slice_bytes=slice_bytes) == orjson.loads(content)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" * 600 + b'"' + b"a" * 100 + b'"' + b"]" * 600 + b"x",
        b"[1,2,]",
        b"[,1]",
        b"[1,,2]",
        b'{"a":1,}',
        b"[1}",
        b"]",
        b"",
        b" ",
        b"\xef\xbb\xbf[1]",
    ],
)
@pytest.mark.parametrize("slice_bytes", [1, 2, 50])
def test_invalid_json_is_refused(content: bytes, slice_bytes: int) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads_in_slices(content, slice_bytes=slice_bytes)


def test_deep_lists_around_large_values_are_refused_without_a_recursion_error() -> None:
    content = b"[" * 1000 + b'"' + b"a" * 100 + b'"' + b"]" * 1000

    with pytest.raises(orjson.JSONDecodeError):
        loads_in_slices(content, slice_bytes=1)


def test_an_error_names_its_place_in_the_whole_document() -> None:
    content = b'["\xc3\xa9", 1, 2, oops, 3]'

    with pytest.raises(orjson.JSONDecodeError) as caught:
        loads_in_slices(content, slice_bytes=4)

    assert "oops"[0] == content.decode()[caught.value.pos]


def test_no_call_of_the_parser_has_more_than_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer calls would block all other requests."""
    rows = np.arange(40_000).reshape(400, 100).tolist()
    content = orjson.dumps({"input": rows, "model": "a"})
    sizes = []

    class Parser:
        JSONDecodeError = orjson.JSONDecodeError

        @staticmethod
        def loads(part: bytes) -> Any:
            sizes.append(len(part))
            return orjson.loads(part)

    monkeypatch.setattr(json_slices, "orjson", Parser)

    assert loads_in_slices(content, slice_bytes=1000) == {
        "input": rows,
        "model": "a",
    }
    assert max(sizes) <= 1002
    assert len(sizes) < 2 * len(content) / 1000 + 10


@pytest.mark.parametrize("limit", [3, 4])
def test_more_lists_and_objects_than_the_limit_are_refused(limit: int) -> None:
    content = b'{"a": [[], "[[{", {}]}'

    if limit == 4:
        assert json_slices.loads_in_slices(content, max_containers=limit) == orjson.loads(content)
        return
    with pytest.raises(LimitExceeded) as caught:
        json_slices.loads_in_slices(content, max_containers=limit)
    assert (caught.value.field, caught.value.size, caught.value.limit) == ("body", 4, 3)

"""Limits of JSON files, and verification of digests."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import UnsupportedModel, WeightsMismatch
from embedder.models import safety
from embedder.models.safety import (
    check_files,
    read_json,
    read_object,
    sha256,
    verified_digest,
)
from embedder.models.weights import WEIGHTS
from tests.tiny_models import write_json
from tests.unit.models.model_sources import fill, link_into_blobs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def _nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@given(JSON)
def test_json_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = write_json(tmp_path_factory.getbasetemp() / "value.json", value)

    assert read_json(path) == value


@pytest.mark.parametrize("content", [b'\xef\xbb\xbf{"a": "\xc3\xa9"}', b'{"a": "\xc3\xa9"}'])
def test_json_is_utf8_with_a_byte_order_mark_or_without(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)

    assert read_object(path) == {"a": "é"}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\xfa", b"\x00", b'{"a": 1} b', b"9" * 5000 + b"x", b"nul"]
)
def test_a_file_that_is_not_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)

    with pytest.raises(UnsupportedModel, match=re.escape(f"{path} is not valid JSON")):
        read_json(path)


@pytest.mark.parametrize(("levels", "allowed"), [(1, True), (32, True), (33, False)])
def test_json_depth_is_limited(tmp_path: Path, levels: int, allowed: bool) -> None:
    path = tmp_path / "x.json"
    path.write_text(_nested(levels))

    if allowed:
        assert json.dumps(read_json(path)) == _nested(levels)
    else:
        with pytest.raises(UnsupportedModel, match="more than 32 levels"):
            read_json(path)


@pytest.mark.parametrize("levels", [900, 5000, 200_000])
def test_json_that_would_exhaust_the_stack_is_refused(tmp_path: Path, levels: int) -> None:
    path = tmp_path / "config.json"
    path.write_text(_nested(levels))

    with pytest.raises(UnsupportedModel, match="levels"):
        check_files(tmp_path)


def test_json_above_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_json(tmp_path / "x.json", "a" * 98)
    monkeypatch.setattr(safety, "MAX_JSON_BYTES", 100)
    assert read_json(path) == "a" * 98

    monkeypatch.setattr(safety, "MAX_JSON_BYTES", 99)

    with pytest.raises(UnsupportedModel, match="has 100 bytes; the limit is 99"):
        read_json(path)


def test_special_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    for name in ("folder", "pipe"):
        with pytest.raises(UnsupportedModel, match=f"{name} is not a file"):
            read_json(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gone.json", "has no gone.json"),
        ("dangling.json", "has no dangling.json"),
        ("loop.json", "cannot be read"),
        ("file.txt/x.json", "cannot be read"),
        ("x" * 5000, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "loop.json").symlink_to("loop.json")
    (tmp_path / "dangling.json").symlink_to("nothing")

    with pytest.raises(UnsupportedModel, match=problem) as caught:
        read_json(tmp_path / name)

    assert str(tmp_path) in str(caught.value)


def test_an_object_is_demanded_by_the_name_of_the_file(tmp_path: Path) -> None:
    for content in ([], ["auto_map"], 5, None, "auto_map", True):
        path = write_json(tmp_path / "config.json", content)

        with pytest.raises(UnsupportedModel, match=re.escape(f"{path} must hold a JSON object")):
            read_object(path)
        check_files(tmp_path)


@pytest.mark.parametrize("content", [b"", b"weights", b"x" * (2**20 + 1)])
def test_a_digest_is_the_sha256_of_the_whole_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(content)

    assert sha256(path) == verified_digest(path, None) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", ["gone", "folder"])
def test_a_digest_of_a_missing_file_or_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(UnsupportedModel, match=f"{name} cannot be read"):
        sha256(tmp_path / name)


def test_other_weights_than_are_expected_are_refused_with_both_digests(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(b"weights")
    expected, actual = (hashlib.sha256(text).hexdigest() for text in (b"weights", b"other"))
    assert verified_digest(path, expected) == expected

    path.write_bytes(b"other")

    with pytest.raises(WeightsMismatch) as caught:
        verified_digest(path, expected)
    assert caught.value.args == (str(path), expected, actual)


def test_a_blob_whose_content_does_not_match_its_name_is_refused(tmp_path: Path) -> None:
    path = link_into_blobs(fill(tmp_path / "snapshots" / "abc")) / WEIGHTS
    stated = path.resolve().name
    assert verified_digest(path, None) == stated

    path.resolve().write_bytes(b"damaged")

    actual = hashlib.sha256(b"damaged").hexdigest()
    with pytest.raises(WeightsMismatch) as caught:
        verified_digest(path, None)
    assert caught.value.args == (str(path), stated, actual)
    assert verified_digest(path, actual) == actual, "what the operator pins goes first"


@pytest.mark.parametrize("name", ["a" * 40, "z" * 64, "weights", "a" * 63, "a" * 65])
def test_a_link_target_that_is_no_sha256_states_no_digest(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"weights")
    (tmp_path / WEIGHTS).symlink_to(name)

    assert verified_digest(tmp_path / WEIGHTS, None) == hashlib.sha256(b"weights").hexdigest()


def test_the_name_of_a_regular_file_states_no_digest(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 64)
    path.write_bytes(b"weights")

    assert verified_digest(path, None) == hashlib.sha256(b"weights").hexdigest()

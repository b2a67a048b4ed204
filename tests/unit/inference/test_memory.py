"""Memory estimates follow simple formulas and are close to a real process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.memory import LIMIT, estimated, measured
from embedder.inference.memory import (
    BASE_BYTES,
    BATCH_BYTES,
    EXPORT_BYTES,
    MIB,
    NumberFormats,
    Runtime,
    batch_bytes,
    estimate,
    expected_runtime,
    weights_bytes,
)
from embedder.models.model_size import ModelShape, ModelSize
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, BatchSettings, EmbedderSettings

SHAPE = ModelShape(layers=6, heads=12, width=100, inner=400)
SIZE = ModelSize(
    shape=SHAPE,
    parameters=10_000_000,
    matrix_parameters=6_000_000,
    head_parameters=1000,
    file_bytes=40_000_000,
    tokenizer_bytes=MIB,
    tokenizer_kind="BPE",
)
BERT = {
    "model_type": "bert",
    "hidden_size": 100,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 400,
}


def _batch_bytes(config: dict[str, Any], dtype: str, tokens: int) -> int:
    return batch_bytes(ModelShape.of(config), dtype, tokens)


@pytest.mark.parametrize(
    ("runtime", "dtype", "expected"),
    [
        ("packed", "float32", 46_000_000 + 4000),
        ("packed", "bfloat16", 23_000_000 + 4000),
        ("padded", "float16", 20_000_000 + 4000),
        ("onnx", "float32", 40_000_000 + 4000),
        ("onnx", "int8", 4 * (4_000_000 + 1000) + 2 * 6_000_000),
    ],
)
def test_weights_take_their_bytes_and_the_gaps_between_copies(
    runtime: Runtime, dtype: str, expected: int
) -> None:
    assert weights_bytes(SIZE, runtime, dtype) == expected


@pytest.mark.parametrize(
    ("dtype", "element"), [("float32", 4), ("bfloat16", 2), ("float16", 2), ("int8", 4)]
)
def test_a_batch_takes_twice_what_attention_has_in_memory(dtype: str, element: int) -> None:
    grown = _batch_bytes(BERT, dtype, 1000) - BATCH_BYTES

    assert grown == 2 * 1000 * 10 * 100 * element


def test_a_wide_feed_forward_layer_takes_more_than_attention() -> None:
    wide = {**BERT, "intermediate_size": 1000}

    assert _batch_bytes(wide, "float32", 10) - BATCH_BYTES == 2 * 10 * (100 + 2000) * 4


def test_biases_by_distance_are_laid_out_for_every_pair_of_tokens() -> None:
    biased = {**BERT, "model_type": "mpnet", "max_position_embeddings": 50}

    extra = _batch_bytes(biased, "float32", 1000) - batch_bytes(
        ModelShape.of(BERT), "float32", 1000
    )

    assert extra == 1000 * 50 * 12 * 4


@pytest.mark.parametrize(
    ("runtime", "formats", "expected"),
    [
        ("packed", ("float32",), 40_000_000 + 46_004_000),
        ("packed", ("float32", "bfloat16"), 40_000_000 + 46_004_000 + 23_004_000),
        ("padded", ("float32",), 40_004_000),
        ("padded", ("bfloat16",), 40_000_000 + 20_004_000),
        ("onnx", ("float32",), 40_004_000 + 40_000_000 + EXPORT_BYTES),
    ],
)
def test_loading_holds_the_file_and_every_copy(
    runtime: Runtime, formats: tuple[str, ...], expected: int
) -> None:
    made = estimate(SIZE, runtime, NumberFormats(formats, formats[-1]), tokens=1, cache=0)

    assert made.loading == expected


def test_the_peak_is_while_loading_or_while_computing() -> None:
    formats = NumberFormats(("float32",), "float32")
    small = estimate(SIZE, "packed", formats, tokens=10, cache=7)
    large = estimate(SIZE, "packed", formats, tokens=100_000, cache=7)

    assert small.peak == BASE_BYTES["packed"] + 16 * MIB + small.loading + 7
    assert large.peak == BASE_BYTES["packed"] + 16 * MIB + large.weights + large.batch + 7


@pytest.mark.parametrize(
    ("dtype", "runtime", "bfloat16", "expected"),
    [
        ("float16", "packed", None, NumberFormats(("float16",), "float16")),
        ("auto", "packed", None, NumberFormats(("float32", "bfloat16"), "float32")),
        ("auto", "packed", True, NumberFormats(("float32", "bfloat16"), "bfloat16")),
        ("auto", "padded", False, NumberFormats(("float32",), "float32")),
        ("auto", "onnx", True, NumberFormats(("float32",), "float32")),
    ],
)
def test_auto_holds_both_formats_where_the_hardware_has_both(
    dtype: str, runtime: Runtime, bfloat16: bool | None, expected: NumberFormats
) -> None:
    assert NumberFormats.of(dtype, runtime, bfloat16=bfloat16) == expected


@pytest.mark.parametrize(
    ("config", "settings", "expected"),
    [
        ({"model_type": "bert"}, {}, "packed"),
        ({"model_type": "modernbert"}, {}, "padded"),
        ({"model_type": "bert"}, {"name": "onnx"}, "onnx"),
        ({"model_type": "bert"}, {"dtype": "int8"}, "onnx"),
    ],
)
def test_the_runtime_follows_from_settings_and_architecture(
    config: dict[str, Any], settings: dict[str, Any], expected: str
) -> None:
    assert expected_runtime(config, BackendSettings(**settings)) == expected


sizes = st.builds(
    replace,
    st.just(SIZE),
    parameters=st.integers(6_000_000, 10**9),
    file_bytes=st.integers(1, 10**9),
)
formats = st.sampled_from(
    [NumberFormats.of(d, "packed", bfloat16=True) for d in ("auto", "float32")]
)


@given(size=sizes, formats=formats, tokens=st.integers(1, 10**6), more=st.integers(0, 10**6))
def test_more_tokens_or_a_larger_cache_never_take_less(
    size: ModelSize, formats: NumberFormats, tokens: int, more: int
) -> None:
    one = estimate(size, "packed", formats, tokens=tokens, cache=0)
    longer = estimate(size, "packed", formats, tokens=tokens + more, cache=0)
    cached = estimate(size, "packed", formats, tokens=tokens, cache=more)

    assert longer.peak >= one.peak
    assert cached.peak == one.peak + more
    assert one.peak >= one.base + max(one.loading, one.weights + one.batch)


def test_a_real_process_takes_the_estimated_memory() -> None:
    settings = EmbedderSettings(
        backend=BackendSettings(dtype="float32", device="cpu"),
        batching=BatchSettings(max_tokens=2048),
        cache=CacheSettings(max_bytes=0),
    )

    assert estimated(settings, 2048) == pytest.approx(measured(settings), rel=LIMIT)

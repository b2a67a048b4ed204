"""The forward pass with fast kernels, and the fallback to plain ones if they are not accurate.

The kernels replace those of a GPU: attention is computed input by input.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from embedder.backends import precision
from embedder.backends.precision import min_cosine
from embedder.backends.torch import packed
from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.kernels import NARROW, PLAIN, Kernels
from embedder.backends.torch.packed import PackedForward
from embedder.core.errors import OutOfMemory
from embedder.core.types import TokenBatch
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import cpu_settings, load, open_files, transformers_hidden_states
from tests.unit.backends.torch.test_packed import INPUTS
from tests.unit.backends.torch.varlen_reference import attend_input_by_input

CPU = torch.device("cpu")
FAST = Kernels(attend_input_by_input, fused_gelu=True)
BATCH = TokenBatch.of(INPUTS)


def _forward(directory: Path, dtype: torch.dtype) -> PackedForward:
    return PackedForward.load(open_files(directory), dtype=dtype, device=CPU)


def _install(monkeypatch: pytest.MonkeyPatch, kernels: Kernels) -> None:
    """Give this CPU fast kernels for narrow number formats, as on a GPU."""

    def fast_kernels(shape: EncoderShape, dtype: torch.dtype, device: torch.device) -> Kernels:
        return kernels if dtype in NARROW else PLAIN

    monkeypatch.setattr(packed, "fast_kernels", fast_kernels)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(precision, "MIN_COSINE", 0.99)  # the weights are random


def _attend_nothing(*arguments: object) -> torch.Tensor:
    value = arguments[2]
    assert isinstance(value, torch.Tensor)
    return torch.zeros_like(value)


def _fail(error: Exception, *_: object) -> torch.Tensor:
    raise error


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_attention_in_one_call_gives_the_hidden_states_of_transformers(
    name: str, model_of: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "fast_kernels", lambda *_: Kernels(attend_input_by_input))
    directory = model_of(name)

    with torch.inference_mode():
        found = _forward(directory, torch.float32)(BATCH).numpy()

    np.testing.assert_allclose(
        found, transformers_hidden_states(directory, INPUTS), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("dtype", NARROW)
@torch.inference_mode()
def test_all_fast_kernels_together_are_accurate(
    tiny: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = _forward(tiny, torch.float32)(BATCH)
    _install(monkeypatch, FAST)

    found = _forward(tiny, dtype)(BATCH)

    assert found.dtype == dtype
    assert torch.cosine_similarity(found.float(), exact).min() > 0.99


@torch.inference_mode()
def test_plain_kernels_use_the_same_weights(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _forward(tiny, torch.float16)
    _install(monkeypatch, FAST)
    forward = _forward(tiny, torch.float16)
    before = forward.memory_bytes

    forward.use_plain_kernels()

    assert forward.kernels == PLAIN
    assert (forward(BATCH) == plain(BATCH)).all()
    assert forward.memory_bytes == before == plain.memory_bytes


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
def test_accurate_fast_kernels_are_selected(
    tiny: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, FAST)

    backend = load(tiny, cpu_settings(dtype))

    assert backend.has_fast_kernels
    assert not [note for note in backend.notes if "plain" in note]


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("attend", "why"),
    [
        (_attend_nothing, "the cosine to float32 is 0."),
        (partial(_fail, RuntimeError("head size 8 is not supported")), "they fail"),
        (partial(_fail, TypeError("takes 6 positional arguments")), "they fail"),
    ],
    ids=["wrong", "refused", "another signature"],
)
def test_plain_kernels_are_selected_if_fast_ones_fail_or_are_inaccurate(
    tiny: Path,
    attend: Callable[..., torch.Tensor],
    why: str,
    dtype: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _install(monkeypatch, Kernels(attend, fused_gelu=True))

    backend = load(tiny, cpu_settings(dtype))

    assert not backend.has_fast_kernels
    assert backend.dtype == ("bfloat16" if dtype == "auto" else dtype)
    assert backend.notes[0].startswith("plain kernels:")
    assert why in backend.notes[0]
    assert min_cosine(load(tiny).encode(BATCH), backend.encode(BATCH)) > 0.99


def test_the_log_has_the_error_of_the_fast_kernels(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failure = RuntimeError("head size 8 is not supported")
    _install(monkeypatch, Kernels(partial(_fail, failure)))

    with caplog.at_level(logging.WARNING):
        load(tiny, cpu_settings("bfloat16"))

    assert "the fast kernels fail: RuntimeError: head size 8 is not supported" in caplog.text


def test_out_of_memory_is_not_a_failure_of_the_kernels(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, Kernels(partial(_fail, torch.OutOfMemoryError("9 GiB"))))

    with pytest.raises(OutOfMemory) as caught:
        load(tiny, cpu_settings("bfloat16"))

    assert "9 GiB" in caught.value.reason

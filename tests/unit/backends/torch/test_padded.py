"""The padded forward pass returns packed rows without padding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.backends.pretrained import PaddedForward
from embedder.core.types import TokenBatch
from tests.tiny_architectures import ARCHITECTURES
from tests.tiny_models import PIECES
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import assert_same, load, open_files

INPUTS = st.lists(
    st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=30), min_size=1, max_size=6
)


def _forward(directory: Path) -> PaddedForward:
    return PaddedForward.load(
        open_files(directory), dtype=torch.float32, device=torch.device("cpu")
    )


def _hidden(forward: PaddedForward, inputs: list[list[int]]) -> NDArray[Any]:
    with torch.inference_mode():
        hidden: NDArray[Any] = forward(TokenBatch.of(inputs)).numpy()
    return hidden


@pytest.fixture(scope="module")
def qwen3(model_of: WriteModel) -> PaddedForward:
    return _forward(model_of("qwen3"))


@given(INPUTS)
def test_a_token_has_the_same_hidden_state_in_any_batch(
    qwen3: PaddedForward, inputs: list[list[int]]
) -> None:
    together = _hidden(qwen3, inputs)

    alone = np.concatenate([_hidden(qwen3, [ids]) for ids in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if ARCHITECTURES[name].packed])
def test_packed_architectures_have_the_same_vectors_in_padded_blocks(
    name: str, model_of: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = TokenBatch.of([[5] * length for length in (1, 2, 3, 20, 24, 30)])
    packed = load(model_of(name)).encode(tokens)
    monkeypatch.setattr(
        "embedder.backends.torch.backend.packed_unsupported_reason", lambda config: "disabled"
    )

    padded = load(model_of(name))

    assert padded.notes == ("disabled: transformers computes it in padded blocks",)
    assert_same(padded.encode(tokens), packed)

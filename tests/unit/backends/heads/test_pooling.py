"""Every pooling on packed rows, compared with a loop over the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.backends.heads.pooling import POOLS
from embedder.settings.model import PoolingName

WIDTH = 5
Table = NDArray[np.float64]


def _weighted(tokens: Table) -> Table:
    weights = np.arange(1, len(tokens) + 1)
    return np.asarray((tokens * weights[:, None]).sum(axis=0) / weights.sum())


REFERENCES: dict[PoolingName, Callable[[Table], Table]] = {
    "cls": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
    "max": lambda tokens: tokens.max(axis=0),
    "mean": lambda tokens: np.asarray(tokens.mean(axis=0)),
    "mean_sqrt_len": lambda tokens: np.asarray(tokens.sum(axis=0) / np.sqrt(len(tokens))),
    "weighted_mean": _weighted,
}

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=7)
SEEDS = st.integers(0, 2**32 - 1)


def _draw(lengths: list[int], seed: int) -> list[Table]:
    numbers = np.random.default_rng(seed)
    return [numbers.normal(size=(length, WIDTH)) for length in lengths]


def _pool(name: PoolingName, inputs: list[Table], dtype: torch.dtype) -> torch.Tensor:
    hidden = torch.from_numpy(np.concatenate(inputs)).to(dtype)
    return POOLS[name](hidden, torch.tensor([len(tokens) for tokens in inputs]))


def test_every_name_that_settings_accept_has_a_pooling() -> None:
    assert set(POOLS) == set(get_args(PoolingName)) == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
@given(lengths=LENGTHS, seed=SEEDS)
def test_packed_rows_pool_like_single_inputs(
    name: PoolingName, lengths: list[int], seed: int
) -> None:
    inputs = _draw(lengths, seed)
    expected = np.stack([REFERENCES[name](tokens) for tokens in inputs])

    pooled = _pool(name, inputs, torch.float32)

    assert pooled.dtype == torch.float32
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_hidden_states_are_pooled_in_float32(name: PoolingName, dtype: torch.dtype) -> None:
    """Only the hidden states are rounded, not the sums."""
    inputs = [
        torch.from_numpy(tokens).to(dtype).double().numpy() for tokens in _draw([1, 300, 40], 3)
    ]
    expected = np.stack([REFERENCES[name](tokens) for tokens in inputs])

    pooled = _pool(name, inputs, dtype)

    assert pooled.dtype == torch.float32
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_an_input_of_one_token_pools_to_that_token(name: PoolingName) -> None:
    inputs = _draw([1, 1, 1], 11)

    pooled = _pool(name, inputs, torch.float32)

    np.testing.assert_allclose(pooled.numpy(), np.concatenate(inputs), rtol=1e-6)

"""The oneDNN linear maps equal the plain ones, rounded less often."""

from __future__ import annotations

import pytest
import torch

from embedder.backends.checkpoint import Linear
from embedder.backends.torch.kernels import OneDnnLinear, supports_onednn

CPU = torch.device("cpu")
here = pytest.mark.skipif(
    not supports_onednn(torch.bfloat16, CPU), reason="oneDNN has no bfloat16 on this processor"
)


def _random(*size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size)))


def _maps(rows: int, width: int) -> tuple[OneDnnLinear, Linear]:
    """Return the same map in bfloat16 and in float64."""
    weight, bias = _random(rows, width).bfloat16(), _random(rows).bfloat16()
    return OneDnnLinear.of(Linear(weight, bias)), Linear(weight.double(), bias.double())


@here
@pytest.mark.parametrize("count", [1, 7, 32, 300])
@pytest.mark.parametrize(("rows", "width"), [(32, 32), (96, 40), (37, 64)])
def test_a_onednn_map_equals_the_plain_one(count: int, rows: int, width: int) -> None:
    fused, exact = _maps(rows, width)
    given = _random(count, width).bfloat16()

    found = fused(given)

    assert found.dtype == torch.bfloat16
    # One rounding to the eight bits of bfloat16.
    torch.testing.assert_close(found.double(), exact(given.double()), rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "device"),
    [
        (torch.float32, "cpu"),
        (torch.float16, "cpu"),
        (torch.bfloat16, "cuda"),
        (torch.bfloat16, "mps"),
    ],
)
def test_other_formats_and_devices_are_not_supported(dtype: torch.dtype, device: str) -> None:
    assert not supports_onednn(dtype, torch.device(device))

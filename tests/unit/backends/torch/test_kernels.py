"""Fast kernels are taken where they are there and have the shape, and compute what they should."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as functional

from embedder.backends.torch.architectures import EncoderShape
from embedder.backends.torch.kernels import PLAIN, FusedGeluLinear, fast_kernels
from tests.tiny_models import BERT_CONFIG

GPU = torch.device("cuda")
SHAPE = EncoderShape.read(BERT_CONFIG)
VARLEN = "torch.nn.attention.varlen"


@pytest.fixture(autouse=True)
def ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_gpu_computes_narrow_numbers_by_fast_kernels(dtype: torch.dtype) -> None:
    kernels = fast_kernels(SHAPE, dtype, GPU)

    assert kernels.attend is not None
    assert kernels.activates


@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.float32, "cuda"), (torch.bfloat16, "cpu"), (torch.float16, "mps")]
)
def test_exact_numbers_and_other_devices_have_plain_kernels(
    dtype: torch.dtype, device: str
) -> None:
    assert fast_kernels(SHAPE, dtype, torch.device(device)) == PLAIN


@pytest.mark.parametrize(
    "shape",
    [
        replace(SHAPE, width=4 * 12),
        replace(SHAPE, width=4 * 264),
        replace(SHAPE, names=replace(SHAPE.names, distances="relative_attention_bias.weight")),
    ],
    ids=["a head of 12", "a head of 264", "biases by distance"],
)
def test_a_shape_that_the_attention_kernel_refuses_is_left_to_blocks(shape: EncoderShape) -> None:
    assert fast_kernels(shape, torch.bfloat16, GPU).attend is None


def test_an_older_gpu_leaves_attention_to_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))

    assert fast_kernels(SHAPE, torch.float16, GPU).attend is None


def test_an_older_torch_leaves_attention_to_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, VARLEN, None)  # what an import finds that fails

    assert fast_kernels(SHAPE, torch.bfloat16, GPU).attend is None


def test_the_kernel_of_this_torch_takes_the_arguments_it_is_called_with() -> None:
    """Tensors without numbers go as far as a machine without a GPU can."""
    attend = fast_kernels(SHAPE, torch.bfloat16, GPU).attend
    assert attend is not None
    rows = torch.empty(9, 3, 4, 8, dtype=torch.bfloat16, device="meta")
    ends = torch.empty(3, dtype=torch.int32, device="meta")

    with torch.inference_mode():
        mixed = attend(rows[:, 0], rows[:, 1], rows[:, 2], ends, ends, 5, 5)

    assert (mixed.shape, mixed.dtype) == ((9, 4, 8), torch.bfloat16)


def test_an_activating_product_is_gelu_to_a_rounding_of_narrow_numbers() -> None:
    linear = FusedGeluLinear(torch.randn(48, 32), torch.randn(48))
    rows = torch.randn(50, 32)

    found = linear.gelu(rows, "none")

    expected = functional.gelu(functional.linear(rows, linear.weight, linear.bias))
    torch.testing.assert_close(found, expected, atol=6e-4, rtol=0)
    assert (found.bfloat16() == expected.bfloat16()).float().mean() > 0.5

"""Fast kernels are used where the GPU, torch and the model's shape allow them."""

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
def test_a_gpu_has_fast_kernels_for_narrow_formats(dtype: torch.dtype) -> None:
    kernels = fast_kernels(SHAPE, dtype, GPU)

    assert kernels.attention is not None
    assert kernels.fused_gelu


@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.float32, "cuda"), (torch.bfloat16, "cpu"), (torch.float16, "mps")]
)
def test_float32_and_other_devices_have_plain_kernels(dtype: torch.dtype, device: str) -> None:
    assert fast_kernels(SHAPE, dtype, torch.device(device)) == PLAIN


@pytest.mark.parametrize(
    "shape",
    [
        replace(SHAPE, width=4 * 12),
        replace(SHAPE, width=4 * 264),
        replace(SHAPE, names=replace(SHAPE.names, relative_bias="relative_attention_bias.weight")),
    ],
    ids=["a head of 12", "a head of 264", "biases by distance"],
)
def test_a_shape_that_the_attention_kernel_refuses_uses_blocks(shape: EncoderShape) -> None:
    assert fast_kernels(shape, torch.bfloat16, GPU).attention is None


def test_an_older_gpu_uses_attention_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))

    assert fast_kernels(SHAPE, torch.float16, GPU).attention is None


def test_an_older_torch_uses_attention_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, VARLEN, None)  # makes the import fail

    assert fast_kernels(SHAPE, torch.bfloat16, GPU).attention is None


def test_the_kernel_of_this_torch_accepts_the_arguments() -> None:
    """With tensors on the meta device, because there is no GPU."""
    attend = fast_kernels(SHAPE, torch.bfloat16, GPU).attention
    assert attend is not None
    rows = torch.empty(9, 3, 4, 8, dtype=torch.bfloat16, device="meta")
    ends = torch.empty(3, dtype=torch.int32, device="meta")

    with torch.inference_mode():
        mixed = attend(rows[:, 0], rows[:, 1], rows[:, 2], ends, ends, 5, 5)

    assert (mixed.shape, mixed.dtype) == ((9, 4, 8), torch.bfloat16)


def test_the_fused_gelu_is_accurate_to_the_rounding_of_narrow_formats() -> None:
    linear = FusedGeluLinear(torch.randn(48, 32), torch.randn(48))
    rows = torch.randn(50, 32)

    found = linear.gelu(rows, "none")

    expected = functional.gelu(functional.linear(rows, linear.weight, linear.bias))
    torch.testing.assert_close(found, expected, atol=6e-4, rtol=0)
    assert (found.bfloat16() == expected.bfloat16()).float().mean() > 0.5

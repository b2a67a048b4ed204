"""The errors of torch, ONNX Runtime and OpenVINO as errors of this library.

Callers depend on the class: they halve a batch on `OutOfMemory`, bisect it on other failures, and
try another encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from embedder.core.errors import BackendFailure, EmbedderError, OutOfMemory

_OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "bad allocation", "out of memory")
"""No library has an error class for the memory of a CPU, only these messages."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise the errors of a computation as errors of this library.

    Raises:
        OutOfMemory: the computation ran out of memory.
        BackendFailure: the computation raised anything else.
    """
    try:
        yield
    except EmbedderError:
        raise
    except Exception as error:
        message = str(error)
        out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
            words in message.lower() for words in _OUT_OF_MEMORY
        )
        kind = OutOfMemory if out_of_memory else BackendFailure
        raise kind(f"{type(error).__name__}: {message}") from error

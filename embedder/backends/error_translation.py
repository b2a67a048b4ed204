"""The errors of torch and ONNX Runtime as errors of this library.

Every backend computes inside `translated`, so that callers see one tree of errors: they halve a
batch that is too large, find a failing input by bisection, and ask another encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from embedder.core.errors import BackendFailure, EmbedderError, OutOfMemory

_NO_MEMORY = ("allocate memory", "bad_alloc", "bad allocation", "out of memory")
"""Neither library has a class of its own for the memory of a CPU."""


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
        sentence = str(error)
        lacks = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
            words in sentence.lower() for words in _NO_MEMORY
        )
        kind = OutOfMemory if lacks else BackendFailure
        raise kind(f"{type(error).__name__}: {sentence}") from error

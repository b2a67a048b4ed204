"""Whether a loaded model still computes the vectors that were published for it.

Catches what a digest cannot: a library, a processor or a number format that computes otherwise.
Knows nothing of how either side is computed.
"""

from __future__ import annotations

import numpy as np

from embedder.backends.protocol import Backend
from embedder.core.errors import ModelDrift
from embedder.core.types import Truncate
from embedder.core.vectors import normalize_rows
from embedder.inference.tokenization import FastTokenizer
from embedder.models.files import ModelFiles

TOLERANCES = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 5e-3, "int8": 3e-2}
"""How far a component of a unit vector may be off, by number format; published digits included."""


def check_golden_vectors(files: ModelFiles, backend: Backend, tokenizer: FastTokenizer) -> None:
    """Compute the golden texts of a model's catalogue row, where it has any.

    A pooling that the operator has chosen makes other vectors, and so does a limit of tokens that
    cuts the text; then nothing is compared.

    Raises:
        ModelDrift: a vector is further from its published one than the number format explains.
    """
    row = files.source.row
    if row is None or files.revision != row.revision or files.pooling != row.pooling:
        return
    for golden in row.golden:
        tokenized = tokenizer.encode([golden.text], truncate=Truncate.END)
        if tokenized.truncated.any():
            continue
        vector = normalize_rows(backend.encode(tokenized.tokens))[0]
        if len(vector) < len(golden.vector):
            raise ModelDrift(files.name, golden.text, float("inf"), 0.0)
        expected = np.asarray(golden.vector, np.float32)
        difference = float(np.abs(vector[: len(expected)] - expected).max())
        tolerance = TOLERANCES[backend.dtype]
        if not difference <= tolerance:  # so that NaN is drift too
            raise ModelDrift(files.name, golden.text, difference, tolerance)

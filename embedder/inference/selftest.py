"""Check that a loaded model computes the vectors that were published for it.

This detects what a digest cannot: a library, processor or number format with other results.
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
"""Maximum error of a component of a unit vector by number format, rounding included."""


def check_golden_vectors(files: ModelFiles, backend: Backend, tokenizer: FastTokenizer) -> None:
    """Compare the vectors of the golden texts in a model's catalogue row, if it has any.

    Nothing is compared if the operator has chosen another pooling or a limit that cuts the text,
    because the vectors then differ.

    Raises:
        ModelDrift: a vector differs from the published one by more than its format's tolerance.
    """
    row = files.source.row
    if row is None or (files.source.revision, files.pooling) != (row.revision, row.pooling):
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
        if not difference <= tolerance:  # NaN is drift too
            raise ModelDrift(files.name, golden.text, difference, tolerance)

"""Points for tests, made of ids, texts and metadata."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedder.index.contract.points import Points

Stored = dict[str, tuple["str | None", dict[str, Any]]]
"""The text and the metadata of each id."""


def points_of(stored: Stored, width: int = 2) -> Points:
    """Return points whose vectors have their position, from 1 on, as the first component."""
    rows = np.zeros((len(stored), width), np.float32)
    rows[:, 0] = np.arange(len(stored)) + 1
    texts = [text for text, _ in stored.values()]
    return Points(list(stored), rows, texts, [metadata for _, metadata in stored.values()])


def named(*ids: str) -> Points:
    """Return points without texts and metadata."""
    return points_of(dict.fromkeys(ids, (None, {})))

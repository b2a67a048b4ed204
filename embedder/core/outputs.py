"""What a model computes of an input."""

from __future__ import annotations

from enum import Enum
from typing import Literal

ActivationName = Literal["identity", "sigmoid", "tanh", "relu"]
"""The functions that scores may go through."""


class OutputKind(str, Enum):
    """A kind of result: ``DENSE`` vectors, or ``SCORES``, one number for each label of a model."""

    DENSE = "dense"
    SCORES = "scores"

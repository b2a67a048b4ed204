"""Services with a model for each task, and what their scores become."""

from __future__ import annotations

import math
from typing import Any

from tests.unit.deployments.ingress.fake_service import ALIAS, CLASSES, CROSS, FakeService


def service(*names: str, **limits: Any) -> FakeService:
    """Return a service of these models; none given: of vectors, of ranks and of classes."""
    return FakeService(*({"name": name} for name in names or (ALIAS, CROSS, CLASSES)), **limits)


def sigmoid(number: float) -> float:
    """Return the score between 0 and 1."""
    return 1 / (1 + math.exp(-number))

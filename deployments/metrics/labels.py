"""The values of labels, whose number is bounded whatever clients send and operators configure."""

from __future__ import annotations

NONE, OTHER = "none", "other"
"""No model or key is concerned; one that is unknown, or one more than the limit."""

MAX_VALUES = 100
"""Values of one label: each is a series in every replica, and costs memory in Prometheus."""


class BoundedLabel:
    """Returns the values of one label; the first `MAX_VALUES` keep their names."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """Return the value, or `OTHER` if it is one too many."""
        if value in self._known:
            return value
        if len(self._known) < MAX_VALUES:
            self._known.add(value)
            return value
        return OTHER

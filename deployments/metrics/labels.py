"""The values of labels, whose number is bounded whatever clients send and operators configure."""

from __future__ import annotations

NONE, OTHER = "none", "other"
"""No model or key is concerned; one that is unknown, or one more than the limit."""

MAX_VALUES = 100
"""Values of one label: each is a series in every replica, and costs memory in Prometheus."""


class BoundedLabel(dict[str, str]):
    """Maps each value to its label: the first `MAX_VALUES` to themselves, others to `OTHER`."""

    def __missing__(self, value: str) -> str:
        if len(self) >= MAX_VALUES:
            return OTHER
        self[value] = value
        return value

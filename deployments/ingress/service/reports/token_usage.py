"""The tokens of answered inputs, by model and by API key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from deployments.ingress.middleware.accepted_keys import AcceptedKeys
from deployments.metrics.labels import NONE, BoundedLabel
from deployments.settings.access import ApiKey

Answered = tuple[str, ApiKey | None, NDArray[np.int32]]
"""The model, the key of the request, and the tokens of each input."""

FEW = 32
"""Numbers that Python adds up faster than numpy."""


class TokenUsage:
    """Counts tokens by the labels of the model and of the key.

    ``answered`` are answers that `count` has not counted yet, as in `RequestStats`.
    """

    def __init__(self, accepted: AcceptedKeys) -> None:
        self.answered: list[Answered] = []
        self._accepted = accepted
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._models, self._keys = BoundedLabel(), BoundedLabel()

    def expect(self, models: Iterable[str]) -> None:
        """Let the series of each served model exist before its first request."""
        keys = [self._keys[key.name] for key in self._accepted.keys] or [NONE]
        for model in map(self._models.__getitem__, models):
            self._tokens.update({(model, key): 0 for key in keys})

    @property
    def tokens(self) -> Counter[tuple[str, str]]:
        """Return the tokens by model and key."""
        self.count()
        return self._tokens

    def count(self) -> None:
        """Count the answers in ``answered``."""
        answered, self.answered = self.answered, []
        for model, key, tokens in answered:
            labels = self._models[model], NONE if key is None else self._keys[key.name]
            few = len(tokens) <= FEW
            self._tokens[labels] += sum(tokens.tolist()) if few else int(tokens.sum())

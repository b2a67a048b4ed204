"""The tokens of answered inputs, by model and by API key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from deployments.ingress.middleware.accepted_keys import AcceptedKeys
from deployments.ingress.middleware.context import CURRENT_REQUEST
from deployments.metrics.labels import NONE, BoundedLabel
from embedder.core.request import Embeddings
from embedder.core.types import Priority


class TokenUsage:
    """Counts tokens, and notes in the running request which model embeds for it.

    ``tokens`` is by the labels of the model and of the key.
    """

    def __init__(self, accepted: AcceptedKeys) -> None:
        self.tokens: Counter[tuple[str, str]] = Counter()
        self._models, self._keys = BoundedLabel(), BoundedLabel()
        self._accepted = accepted

    def expect(self, models: Iterable[str]) -> None:
        """Let the series of each served model exist before its first request."""
        keys = [self._keys[key.name] for key in self._accepted.keys] or [NONE]
        for model in map(self._models.__getitem__, models):
            self.tokens.update({(model, key): 0 for key in keys})

    def begin(self, model: str, priority: Priority) -> tuple[str, str]:
        """Note that ``model`` embeds for the running request; return the labels for `count`."""
        label, request = self._models[model], CURRENT_REQUEST.get()
        if request is None:
            return label, NONE
        request.served_model, request.priority = label, priority
        return label, NONE if request.key is None else self._keys[request.key.name]

    def count(self, labels: tuple[str, str], answer: Embeddings) -> None:
        """Count the tokens of an answer."""
        # Of a few numbers, which is the usual case, numpy's sum takes ten times as long.
        self.tokens[labels] += sum(answer.token_counts.tolist())

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

    ``tokens`` is by the names of the model and of the key.
    """

    def __init__(self, accepted: AcceptedKeys) -> None:
        self.tokens: Counter[tuple[str, str]] = Counter()
        self._model, self._key = BoundedLabel(), BoundedLabel()
        self._accepted = accepted

    def expect(self, models: Iterable[str]) -> None:
        """Let the series of each served model exist before its first request."""
        keys = [self._key(key.name) for key in self._accepted.keys] or [NONE]
        for model in map(self._model, models):
            self.tokens.update({(model, key): 0 for key in keys})

    def begin(self, model: str, priority: Priority) -> None:
        """Note that ``model`` embeds for the running request."""
        if (request := CURRENT_REQUEST.get()) is not None:
            request.served_model, request.priority = self._model(model), priority

    def count(self, model: str, answer: Embeddings) -> None:
        """Count the tokens of an answer."""
        request = CURRENT_REQUEST.get()
        key = None if request is None else request.key
        label = NONE if key is None else self._key(key.name)
        # Of a few numbers, which is the usual case, numpy's sum takes ten times as long.
        self.tokens[self._model(model), label] += sum(answer.token_counts.tolist())

"""How large the batches of a model were, and how long they took."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.measurements.histogram import SECONDS, SIZES, TOKENS, Histogram


class BatchHistograms:
    """Histograms of computed batches, and the tokens of padding in them."""

    def __init__(self) -> None:
        self.inputs = Histogram(SIZES)
        self.tokens = Histogram(TOKENS)
        self.seconds = Histogram(SECONDS)
        self.padding_tokens = 0

    def record(self, lengths: Sequence[int], seconds: float, *, padded: bool) -> None:
        """Record a batch of inputs with these lengths, which took ``seconds`` on the device."""
        tokens = sum(lengths)
        self.inputs.observe(len(lengths))
        self.tokens.observe(tokens)
        self.seconds.observe(seconds)
        if padded:
            self.padding_tokens += max(lengths) * len(lengths) - tokens

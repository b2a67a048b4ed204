"""Which inputs travel in one request: about as many tokens in each, in the order of the inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Input = str | Sequence[int]
"""A text, or the token ids of one."""

CHARACTERS_PER_TOKEN = 4.0
"""The estimate before the first answer; most English texts have 4 to 5."""

WEIGHT = 0.2
"""The weight of the newest answer in the estimate."""


class TokenEstimate:
    """Estimates the tokens of an input by its characters, and learns from each answer."""

    def __init__(self) -> None:
        self._characters = CHARACTERS_PER_TOKEN

    def of(self, item: Input) -> float:
        """Return the tokens that an input probably has; of token ids, their number."""
        return 1 + (len(item) / self._characters if isinstance(item, str) else len(item))

    def learn(self, items: Sequence[Input], tokens: int) -> None:
        """Count an answer that had ``tokens`` tokens for these inputs."""
        characters = sum(len(item) for item in items if isinstance(item, str))
        if characters and tokens > 0:
            found = max(0.25, characters / tokens)
            self._characters += WEIGHT * (found - self._characters)


def batches(
    items: Iterable[Input], estimate: TokenEstimate, *, max_tokens: int, max_inputs: int
) -> Iterator[list[Input]]:
    """Yield the inputs in order, in lists of at most ``max_inputs`` and about ``max_tokens``.

    An input of more tokens has a list of its own. Each list is estimated when it is filled, so
    that what the answers taught applies to the rest.
    """
    batch: list[Input] = []
    filled = 0.0
    for item in items:
        tokens = estimate.of(item)
        if batch and (filled + tokens > max_tokens or len(batch) == max_inputs):
            yield batch
            batch, filled = [], 0.0
        batch.append(item)
        filled += tokens
    if batch:
        yield batch

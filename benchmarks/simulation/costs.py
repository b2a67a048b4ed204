"""The constants of the simulation: what each step costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class DeviceCosts:
    """What a replica's batch takes: ``batch_s``, and its tokens at ``tokens_per_s``.

    ``spread`` is the standard deviation of the logarithm of that time. Starting a replica takes
    ``start_s``.
    """

    tokens_per_s: float
    batch_s: float
    spread: float = 0.0
    start_s: float = 10.0

    def duration_s(self, tokens: int, random: Random) -> float:
        """Return the seconds of a batch; their mean does not depend on the spread."""
        seconds = self.batch_s + tokens / self.tokens_per_s
        if not self.spread:
            return seconds
        return seconds * math.exp(random.gauss(-self.spread * self.spread / 2, self.spread))


@dataclass(frozen=True, slots=True)
class IngressCosts:
    """What the one core of an ingress takes for a request and for a call to a stage.

    A request costs half of ``request_s`` before its admission and half for its answer; a refused
    one only the first half. ``hop_s`` is the delay of a message, which takes no processor time, and
    ``base_s`` such a delay of a request between client and ingress, there and back. The message of
    another ingress costs ``message_s``.
    """

    request_s: float
    call_s: float
    hop_s: float = 0.0005
    base_s: float = 0.0
    message_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """All constants."""

    ingress: IngressCosts
    encoder: DeviceCosts

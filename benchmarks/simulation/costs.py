"""The constants of the simulation: the costs of each step on one machine."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True, slots=True)
class DeviceCosts:
    """A batch of a replica takes ``batch_s``, and its tokens at ``tokens_per_s``.

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
    """The seconds that a request and a call to a stage take of the one core of an ingress.

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
class Calibration:
    """The constants of one machine, the tokens of its texts, and the largest batch."""

    ingress: IngressCosts
    encoder: DeviceCosts
    tokens: tuple[int, ...]
    max_batch_tokens: int = 2048

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a file that `write` has written.

        Raises:
            OSError: there is no such file.
            TypeError: the file holds other constants.
        """
        content = json.loads(path.read_text("utf-8"))
        ingress, encoder = content.pop("ingress"), content.pop("encoder")
        tokens = tuple(content.pop("tokens"))
        return cls(IngressCosts(**ingress), DeviceCosts(**encoder), tokens, **content)

    def write(self, path: Path) -> None:
        """Write the constants as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)) + "\n", "utf-8")


TYPICAL = Calibration(
    IngressCosts(request_s=0.0006, call_s=0.001, hop_s=0.0005),
    DeviceCosts(tokens_per_s=10_000.0, batch_s=0.002),
    tokens=(10, 15, 18, 22, 26, 35, 59),
)
"""About the costs of two quiet cores, with made-up sentences."""

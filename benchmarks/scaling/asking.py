"""Closed loops of texts that a service has not seen, or has seen in a chosen share of requests.

Texts go through the load generator, a process of its own.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

from benchmarks.bench.client import Load
from benchmarks.bench.figures import Figures
from benchmarks.bench.inputs import Supply, inputs_of
from benchmarks.bench.lines import LineProcess, NotMeasured
from benchmarks.bench.loads import TIMEOUT_S
from benchmarks.bench.sending import MOST_TEXTS_PER_S, WARM_S
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings

logger = logging.getLogger(__name__)

PATH = "/v1/embeddings"
KNOWN_TEXTS = 512
KNOWN_CLIENTS = 4
LEAST_SENTENCES = 64
START_S = 60.0


class Asker:
    """Puts a service under load with sentences of ``pool``.

    A service may know the texts of the pool itself. A new text has one word more than one of the
    pool, so that all new texts have one length.
    """

    def __init__(self, client: LineProcess, pool: Sequence[str], *, seed: int) -> None:
        self._client = client
        self._known = list(pool[:KNOWN_TEXTS])
        self._new = Supply(pool)
        self._new.spent(len(pool))
        self._chance = random.Random(seed)

    def new(self, url: str, *, clients: int, size: int, seconds: float) -> float:
        """Return the texts a second, ``size`` a request, none of which was sent before.

        Raises:
            NotMeasured: a request was neither answered nor refused with a ``Retry-After``.
        """
        texts = self._new.offer(_most(seconds))
        rate, sent = self._send(url, texts, clients=clients, size=size, seconds=seconds)
        self._new.spent(sent * size)
        return rate

    def mixed(self, url: str, share: float, *, clients: int, seconds: float) -> float:
        """Return the texts a second, one a request, if this share of them is known.

        Raises:
            NotMeasured: a request was neither answered nor refused with a ``Retry-After``.
        """
        known = [self._chance.random() < share for _ in range(_most(seconds))]
        old, new = cycle(self._known), iter(self._new.offer(known.count(False)))
        texts = [next(old) if one else next(new) for one in known]
        rate, sent = self._send(url, texts, clients=clients, size=1, seconds=seconds)
        self._new.spent(known[:sent].count(False))
        return rate

    def make_known(self, url: str) -> None:
        """Send every text once that is to be known.

        Raises:
            NotMeasured: a request was neither answered nor refused with a ``Retry-After``.
        """
        self._send(url, self._known, clients=KNOWN_CLIENTS, size=1, seconds=TIMEOUT_S)

    def _send(
        self, url: str, texts: list[str], *, clients: int, size: int, seconds: float
    ) -> tuple[float, int]:
        """Return the texts a second, and how many requests were sent."""
        load = Load(
            url=url,
            path=PATH,
            texts=texts,
            size=size,
            clients=clients,
            warm_s=WARM_S,
            seconds=seconds,
        )
        timeout_s = WARM_S + seconds + 2 * TIMEOUT_S
        answer = self._client.ask(asdict(load), timeout_s=timeout_s)
        figures = Figures(**answer["figures"])
        good, refused = (figures.statuses.get(status, 0) for status in ("200", "429"))
        if figures.errors > refused or not good:
            raise NotMeasured(f"not every request was answered: {figures.statuses}")
        if refused:
            logger.warning("  %d requests were answered, %d refused", good, refused)
        return figures.per_s, int(answer["sent"])


@contextmanager
def asker(seed: int, logs: Path) -> Iterator[Asker]:
    """Start a load generator, which writes its errors to ``logs``, and end it.

    Raises:
        NotMeasured: it does not start.
    """
    logs.mkdir(parents=True, exist_ok=True)
    files = ModelFiles.open(ModelSettings(offline=True))
    pool = inputs_of(files, LEAST_SENTENCES, seed=seed, path=None).pool.texts
    with LineProcess(
        [sys.executable, "-m", "benchmarks.bench.client"],
        log=logs / "client.log",
        environment=os.environ,
        start_s=START_S,
    ) as client:
        yield Asker(client, pool, seed=seed)


def _most(seconds: float) -> int:
    return int(MOST_TEXTS_PER_S * (WARM_S + seconds))

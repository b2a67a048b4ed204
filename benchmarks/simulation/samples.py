"""The backlogs of the stages of a simulated service, sampled at equal intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.service import SimulatedService


class Samples:
    """Samples the backlog of each pool every ``interval_s`` until ``until_s``."""

    def __init__(self, service: SimulatedService, interval_s: float, until_s: float) -> None:
        self._service = service
        self._interval_s = interval_s
        self._until_s = until_s
        self._times: list[float] = []
        self._backlogs: list[list[int]] = []
        service.events.at(0.0, self._sample)

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Return float64[n], the seconds of all samples."""
        return np.array(self._times)

    @property
    def backlog_tokens(self) -> NDArray[np.int64]:
        """Return int64[n, pools], the tokens that wait or run in each pool."""
        return np.array(self._backlogs)

    def _sample(self, _: object) -> None:
        events = self._service.events
        self._times.append(events.now)
        self._backlogs.append([pool.backlog_tokens for pool in self._service.encoders])
        if events.now + self._interval_s <= self._until_s:
            events.at(events.now + self._interval_s, self._sample)

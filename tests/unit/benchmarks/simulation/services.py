"""Small simulated services for the tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import DeviceCosts, IngressCosts
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.service import PoolSettings, ServiceSettings
from embedder.settings.model import LimitSettings

FREE = IngressCosts(0.0, 0.0, hop_s=0.0)
"""An ingress that costs nothing, so that only the queue of the replicas is left."""


def service(
    load: Load,
    *encoders: PoolSettings,
    tokens: Sequence[int] = (20,),
    ingress: IngressSettings | None = None,
    ingresses: int = 1,
    returns: int = 1,
    seed: int = 0,
) -> ServiceSettings:
    """Return a service of these encoder pools."""
    return ServiceSettings(
        ClientSettings(load, np.array(tokens), returns=returns),
        ingress or IngressSettings(FREE, None),
        encoders or (pool(),),
        ingresses=ingresses,
        seed=seed,
    )


def pool(name: str = "Encoder", replicas: int = 1, *, per_s: float = 10_000.0) -> PoolSettings:
    """Return a pool whose batches take 1 ms and their tokens."""
    return PoolSettings(name, replicas, DeviceCosts(per_s, batch_s=0.001))


def limited(**limits: float) -> IngressSettings:
    """Return an ingress with costs, and with the product's limits except for the given ones."""
    return IngressSettings(IngressCosts(0.0005, 0.0005), LimitSettings.model_validate(limits))

"""The constants of the simulation from the measurements of two loads of a real service.

One load is low, the other saturates the encoder. A batch has two constants and so has an ingress,
and the two loads give two equations for each: at the low load every request pays for a call and a
batch of its own, at the saturated one dozens share them. Then the simulation of the low load gives
the others: a delay of every request, and the spread of the time of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.scaling.fitting import fit
from benchmarks.simulation.clients import ClientSettings, Load
from benchmarks.simulation.costs import Calibration, DeviceCosts, IngressCosts
from benchmarks.simulation.figures import Figures
from benchmarks.simulation.ingress import IngressSettings
from benchmarks.simulation.measuring import Measured
from benchmarks.simulation.service import PoolSettings, ServiceSettings, SimulatedService
from embedder.settings.model import LimitSettings

SPREADS = tuple(step / 20 for step in range(21))
"""The spreads that are tried."""

SIMULATED_S = 200.0


def predicted(calibration: Calibration, rate_per_s: float, seconds: float, seed: int) -> Figures:
    """Return the figures of the measured service at another rate."""
    service = SimulatedService(
        ServiceSettings(
            ClientSettings(Load.constant(rate_per_s, seconds), np.array(calibration.tokens)),
            IngressSettings(calibration.ingress, LimitSettings()),
            (PoolSettings("Encoder", 1, calibration.encoder, calibration.max_batch_tokens),),
            seed=seed,
        )
    )
    return service.run().figures(0.0, seconds)


def calibrated(low: Measured, saturated: Measured) -> Calibration:
    """Return the constants of the machine.

    Raises:
        ValueError: a load has no answers.
    """
    ingress, encoder = constants(low, saturated)
    answers = [answer for answer in low.answers if answer.status == 200]
    tokens = tuple(answer.tokens for answer in answers)
    p50_ms, p99_ms = np.percentile([answer.seconds for answer in answers], [50, 99]) * 1000
    rate_per_s = low.sent / low.seconds

    def machine(spread: float, hop_s: float, base_s: float = 0.0) -> Calibration:
        return Calibration(
            replace(ingress, hop_s=hop_s, base_s=base_s),
            replace(encoder, spread=spread),
            tokens,
            low.budget_tokens,
        )

    def simulated(spread: float, hop_s: float, base_s: float = 0.0) -> Figures:
        return predicted(machine(spread, hop_s, base_s), rate_per_s, SIMULATED_S, seed=1)

    # The saturated load also delays messages that wait for a core, so its hop is an upper bound.
    hops = [ingress.hop_s * step / 16 for step in range(17)]
    hop_s = nearest(lambda hop_s: simulated(0.0, hop_s).p50_ms, float(p50_ms), hops)
    base_s = max(0.0, float(p50_ms) - simulated(0.0, hop_s).p50_ms) / 1000
    spread = nearest(lambda spread: simulated(spread, hop_s, base_s).p99_ms, float(p99_ms), SPREADS)
    return machine(spread, hop_s, base_s)


def constants(low: Measured, saturated: Measured) -> tuple[IngressCosts, DeviceCosts]:
    """Return the constants that the equations of both loads give.

    Raises:
        ValueError: a load has no batches.
    """
    loads = (low, saturated)
    batches = np.array([float(load.batches) for load in loads])
    tokens = np.array([float(load.tokens) for load in loads])
    sent = np.array([float(load.sent) for load in loads])
    batch_s, token_s = fit([batches, tokens], np.array([load.busy_s for load in loads]))
    request_s, call_s = fit([sent, batches], np.array([load.ingress_cpu_s for load in loads]))
    # Between two batches: the way of the answer, its handling by the ingress, and the next call.
    pause_s = (saturated.seconds - saturated.busy_s) / saturated.batches
    handling_s = call_s + saturated.sent / saturated.batches * request_s / 2
    hop_s = max(0.0, pause_s - handling_s) / 2
    return IngressCosts(request_s, call_s, hop_s), DeviceCosts(1 / token_s, batch_s)


def nearest(figure: Callable[[float], float], wanted: float, values: Sequence[float]) -> float:
    """Return the least of the rising values whose figure reaches the wanted one; else the largest.

    The figure must not fall while the values rise.
    """
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if figure(values[middle]) < wanted:
            low = middle + 1
        else:
            high = middle
    return values[low]

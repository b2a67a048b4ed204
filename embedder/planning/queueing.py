"""Waiting times of a stage with several replicas, by published approximations.

A stage is a queue with one line and ``servers`` replicas (G/G/c). Erlang's C formula gives the
probability of waiting and Allen and Cunneen's formula the mean wait (A. O. Allen, Probability,
Statistics, and Queueing Theory, 2nd edition, 1990, section 5.4). The waits of those that wait are
taken as exponential, which is exact for M/M/c.
"""

from __future__ import annotations

from math import log


def wait_probability(servers: int, load: float) -> float:
    """Return Erlang's C formula: the share of arrivals that wait, if ``load`` < ``servers``.

    ``load`` is the arrival rate times the mean service time.
    """
    blocked = 1.0
    for busy in range(1, servers + 1):  # Erlang's B formula by its recursion
        blocked = load * blocked / (busy + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def wait_quantile(
    servers: int, load: float, service_s: float, *, variability: float, exceeded: float
) -> float:
    """Return the seconds that a share ``exceeded`` of the arrivals waits longer than.

    ``variability`` is the mean of the squared coefficients of variation of arrivals and service
    times: 1 for M/M/c, 0.5 for M/D/c. Infinity if the servers cannot keep up.
    """
    if load >= servers:
        return float("inf")
    waiting = wait_probability(servers, load)
    mean_s = variability * service_s / (servers - load)
    return mean_s * max(0.0, log(waiting / exceeded)) if waiting > 0 else 0.0


def batch_latency(
    servers: int, rate: float, texts: int, alone_s: float, full_s: float, *, exceeded: float
) -> float:
    """Return the seconds that a share ``exceeded`` of the texts takes longer than, with its batch.

    A free server takes all waiting texts, at most ``texts``, as one batch; a batch of one takes
    ``alone_s`` and one of ``texts`` takes ``full_s``. While fewer than ``exceeded`` wait, a text is
    computed alone. Otherwise it waits for a running batch, because servers that start together stay
    together, then behind full batches, and is computed in a full batch. Full batches of Poisson
    arrivals have Erlang arrivals, whose squared coefficient of variation is 1 / ``texts``.
    """
    load = rate * alone_s
    if load < servers and wait_probability(servers, load) <= exceeded:
        return alone_s
    running_s = full_s if texts > 1 else 0.0
    behind_s = wait_quantile(
        servers, rate / texts * full_s, full_s, variability=0.5 / texts, exceeded=exceeded
    )
    return running_s + behind_s + full_s

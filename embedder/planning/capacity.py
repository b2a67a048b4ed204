"""Plan the capacity of a service: replicas, nodes, memory and cost for a rate of texts.

The plan is for a steady rate: the time in which replicas start does not count. At most a third of a
hundredth of the texts exceeds the planned wait of a stage, so at most a hundredth exceeds the sum
over the three stages (Boole's inequality).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.planning.calibration import Calibration
from embedder.planning.goal import GB, show
from embedder.planning.nodes import NodeShape, StageLoad, nodes_for, smallest, taken
from embedder.planning.queueing import batch_latency, wait_quantile

MOST_USED = 0.65
"""Highest share of its time for which a replica is busy. Serve sends a call to the less loaded of
two replicas, so some are idle while others have calls that wait: with 0.8 the simulated service
(`benchmarks.simulation`) takes up to 2.6 times the predicted latency, with 0.65 never longer."""

EXCEEDED = 0.01 / 3
"""Share of the texts that exceed the latency of one of the three stages."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Texts of ``tokens`` that arrive at random, each in a request of its own, ``rate`` a second.

    99 of 100 must be answered within ``p99_ms``, also after ``spare_nodes`` nodes are lost.

    Raises:
        InvalidInput: a number is below its limit.
    """

    rate: float
    p99_ms: float
    tokens: int
    spare_nodes: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "p99_ms", "tokens"):
            if not 0 < getattr(self, name) < inf:
                raise InvalidInput(
                    name, f"is {getattr(self, name)}; it must be above 0, and finite"
                )
        if self.spare_nodes < 0:
            raise InvalidInput("spare_nodes", f"is {self.spare_nodes}; it must be at least 0")


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """The replicas of a stage without spare nodes; ``used`` is the share of its time it is busy.

    ``replicas`` keep the limit, ``per_node`` is the most of them on one node, and ``latency_ms`` is
    the part of the 99th percentile in this stage.
    """

    name: str
    replicas: int
    per_node: int
    used: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The service that answers a demand on nodes of one shape.

    ``nodes`` includes the spare ones, ``batch_texts`` is the most texts of one batch,
    ``memory_gb`` is taken on the fullest node, ``bottleneck`` is the stage that saturates first, at
    ``saturated_rate`` texts per second, and ``limited_by`` the resource that decides the number of
    nodes. The cost is None without a price.
    """

    stages: tuple[PlannedStage, ...]
    nodes: int
    batch_texts: int
    p99_ms: float
    memory_gb: float
    bottleneck: str
    saturated_rate: float
    limited_by: str
    cost_per_million_tokens: float | None


def plan_capacity(
    demand: Demand,
    calibration: Calibration,
    shape: NodeShape | None = None,
    *,
    ingress_characters: float = inf,
) -> CapacityPlan:
    """Return the smallest service that answers a demand on hardware that was calibrated.

    ``shape`` None means nodes like the calibrated one. The ingress itself tokenizes texts of at
    most ``ingress_characters``. Caches and the index are not planned: no text is found in a cache,
    and their processes take as much as during the calibration.

    Raises:
        InvalidInput: the demand is impossible on this hardware, or a node is too small for it.
    """
    if demand.tokens > calibration.encoder.max_tokens:
        raise LimitExceeded("tokens", "tokens", demand.tokens, calibration.encoder.max_tokens)
    times = _Times.of(demand, calibration, ingress_characters)
    latency_s = demand.p99_ms / 1e3
    if latency_s < times.alone_s:
        reachable_ms = ceil(1e4 * times.alone_s) / 10
        raise InvalidInput(
            "p99_ms",
            f"is {show(demand.p99_ms)}; the smallest reachable is {reachable_ms:,.1f}, the time of "
            f"a text of {demand.tokens} tokens on {calibration.hardware} without any wait",
        )
    front = [_front(name, service_s, times, latency_s) for name, service_s in times.front.items()]
    left_s = latency_s - times.fixed_s - sum(stage.latency_s for stage in front)
    encoder = _encoder(calibration, times, left_s)
    shape = shape or measured_shape(calibration)
    return _spread(demand, calibration, shape, [*front, encoder], times.fixed_s)


def measured_shape(calibration: Calibration) -> NodeShape:
    """Return the shape of the calibrated machine."""
    return NodeShape(calibration.cores, calibration.memory_bytes / GB, calibration.gpus)


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds of the stages for one text of a demand.

    ``front`` has the busy time of a replica of each stage before the encoder, ``encoder_s`` is the
    time of a text that is encoded alone, and ``fixed_s`` the rest of the latency without any wait.
    """

    rate: float
    tokens: int
    front: dict[str, float]
    encoder_s: float
    fixed_s: float

    @classmethod
    def of(cls, demand: Demand, calibration: Calibration, ingress_characters: float) -> _Times:
        speed, cost, tokens = calibration.encoder, calibration.service, demand.tokens
        tokenize_s = 1 / speed.tokens_per_core_s
        # The calibration's texts were tokenized in the ingress.
        ingress_s = max(0.0, cost.ingress_s - cost.text_tokens * tokenize_s)
        in_ingress = tokens * speed.characters_per_token <= ingress_characters
        own, other = (tokens * tokenize_s, 0.0) if in_ingress else (0.0, tokens * tokenize_s)
        measured_s = cost.ingress_s + cost.call_s + speed.alone_s(round(cost.text_tokens))
        return cls(
            demand.rate,
            tokens,
            {"ingress": ingress_s + own, "tokenizer": other},
            cost.call_s + speed.alone_s(tokens),
            max(0.0, cost.alone_p99_s - measured_s),
        )

    @property
    def alone_s(self) -> float:
        return self.fixed_s + sum(self.front.values()) + self.encoder_s


@dataclass(frozen=True, slots=True)
class _Sized:
    name: str
    replicas: int
    used: float
    latency_s: float
    batch_texts: int = 1


def _front(name: str, service_s: float, times: _Times, latency_s: float) -> _Sized:
    """Size a stage whose wait may take a third of the latency that is left for waits.

    Its replicas are M/M/c: an event loop answers several requests in turn.
    """
    load, wait_s = times.rate * service_s, (latency_s - times.alone_s) / 3

    def wait(replicas: int) -> float:
        return wait_quantile(replicas, load, service_s, variability=1.0, exceeded=EXCEEDED)

    least = max(1, ceil(load / MOST_USED))
    replicas = smallest(lambda count: wait(count) <= wait_s, least)
    return _Sized(name, replicas, load / replicas, service_s + wait(replicas))


def _encoder(calibration: Calibration, times: _Times, limit_s: float) -> _Sized:
    """Size the encoders with the batch, in powers of two of texts, that takes the fewest."""
    speed, call_s = calibration.encoder, calibration.service.call_s
    most = max(1, speed.batch_tokens // times.tokens)
    best: _Sized | None = None
    for texts in [1 << power for power in range(most.bit_length())]:
        full_s = call_s + speed.batch_s(times.tokens, texts)

        def latency(replicas: int, texts: int = texts, full_s: float = full_s) -> float:
            return batch_latency(
                replicas, times.rate, texts, times.encoder_s, full_s, exceeded=EXCEEDED
            )

        load = times.rate * full_s / texts
        least = max(1, ceil(load / MOST_USED))
        if best is not None and least > best.replicas:
            continue
        replicas = smallest(lambda count: latency(count) <= limit_s + 1e-12, least)
        if best is None or replicas <= best.replicas:
            best = _Sized("encoder", replicas, load / replicas, latency(replicas), texts)
    assert best is not None
    return best


def _spread(
    demand: Demand, calibration: Calibration, shape: NodeShape, stages: list[_Sized], fixed_s: float
) -> CapacityPlan:
    """Spread the replicas over nodes."""
    service, (ingress, tokenizer, encoder) = calibration.service, stages
    # HAProxy works for an ingress in proportion to its requests. Launching the kernels of a GPU
    # takes much of a core.
    proxy = demand.rate * service.haproxy_s / ingress.replicas
    gpus = float(calibration.on_gpu)
    loads = (
        StageLoad(ingress.replicas, ingress.used + proxy, service.ingress_bytes),
        StageLoad(tokenizer.replicas, tokenizer.used, service.tokenizer_bytes),
        StageLoad(encoder.replicas, 1.0, service.encoder_bytes, gpus),
    )
    each_node = {"cpus": service.node_cores, "memory_gb": service.node_bytes / GB}
    nodes = nodes_for(loads, each_node, shape)
    held = taken(loads, each_node, nodes)
    shares = {name: held[name] / offer for name, offer in shape.offers.items() if offer}
    bottleneck = max(stages, key=lambda stage: stage.used)
    all_nodes, price = nodes + demand.spare_nodes, shape.price_per_hour
    million_tokens = demand.rate * demand.tokens * 3600 / 1e6  # in an hour
    return CapacityPlan(
        stages=tuple(
            PlannedStage(
                one.name, one.replicas, ceil(one.replicas / nodes), one.used, 1e3 * one.latency_s
            )
            for one in stages
        ),
        nodes=all_nodes,
        batch_texts=encoder.batch_texts,
        p99_ms=1e3 * (fixed_s + sum(one.latency_s for one in stages)),
        memory_gb=held["memory_gb"],
        bottleneck=bottleneck.name,
        saturated_rate=demand.rate / bottleneck.used,
        limited_by=max(shares, key=lambda name: shares[name]),
        cost_per_million_tokens=None if price is None else all_nodes * price / million_tokens,
    )

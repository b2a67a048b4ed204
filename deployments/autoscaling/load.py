"""The policy's knowledge of a stage: its measured load, its limits, and earlier decisions.

The unit of work is the stage's own: tokens of an encoder, characters of a tokenizer, requests of an
ingress.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

Recent = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class StageLoad:
    """The present measurements of a stage.

    ``queued`` is the work that waits for its replicas or runs in them, and ``arriving_per_s``
    includes work that was refused. ``replica_per_s`` is the work per second of one busy replica,
    and ``initial_per_s`` that of a replica when it started. An unknown or invalid value is 0; then
    the last known rate applies.
    """

    running: int
    arriving_per_s: float = 0.0
    queued: float = 0.0
    replica_per_s: float = 0.0
    initial_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ScalingLimits:
    """The bounds of a stage and how it scales.

    ``batches`` says that a replica does more work per second the more work waits. ``overflow``
    names the stages that can do its work: work beyond ``max_replicas`` counts as theirs, in order.
    """

    min_replicas: int
    max_replicas: int
    target_utilization: float = 0.7
    drain_s: float = 10.0
    upscale_delay_s: float = 1.0
    downscale_delay_s: float = 300.0
    batches: bool = False
    overflow: Sequence[str] = ()


class Reason(str, Enum):
    """The reason for a target."""

    STEADY = "steady"
    ARRIVALS = "arrivals"
    QUEUE = "queue"
    OVERFLOW = "overflow"
    WAKE = "wake"
    LESS_LOAD = "less load"
    IDLE = "idle"
    BOUNDS = "bounds"


@dataclass(frozen=True, slots=True)
class StageState:
    """The policy's memory of a stage; ``target`` is its decision, made at ``decided_s``.

    ``needed`` is the present need, in replicas; ``overflow_per_s`` is the part of it that comes
    from other stages. ``recent`` holds the largest need of the last ``downscale_delay_s``, then the
    largest need after that one, and so on, each with the last time at which it was the need.
    """

    target: int
    reason: Reason = Reason.STEADY
    decided_s: float | None = None
    needed: float = 0.0
    arriving_per_s: float | None = None
    overflow_per_s: float = 0.0
    replica_per_s: float = 0.0
    updated_s: float = 0.0
    above_since_s: float | None = None
    empty_since_s: float | None = None
    recent: Recent = ()

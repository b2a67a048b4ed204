"""Every error this library raises, in one tree.

    EmbedderError
    ├── InvalidInput                the input cannot be answered, however often it is sent
    │   ├── LimitExceeded           … because a size is above its limit
    │   ├── InvalidVector
    │   ├── UnsupportedTask         … because the model does not compute it
    │   └── NotFound
    │       ├── UnknownModel
    │       └── UnknownCollection
    ├── Unavailable                 the same call may succeed later
    │   ├── Overloaded
    │   ├── DeadlineExceeded
    │   └── StageUnavailable
    ├── BackendFailure              the model failed; retrying will not help
    │   └── OutOfMemory
    └── ConfigurationError          wrong settings or files, found at start
        ├── ModelNotFound
        ├── WeightsMismatch
        ├── ModelDrift
        ├── UnsafeModel
        ├── UnsupportedModel
        ├── MissingExtra
        ├── ArchiveError
        └── PoolFull

Errors are pickled between processes: ``args`` holds every field in the order of the constructor.
The ingress maps errors to HTTP statuses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar


class EmbedderError(Exception):
    """Base of every error of this library.

    ``code`` is the stable name that clients see; ``message`` is a template of the fields.
    """

    code = "embedder_error"
    message: ClassVar[str | None] = None

    def __init_subclass__(cls, *, code: str | None = None) -> None:
        if code is not None:  # Ray derives classes of its own from errors, without a code
            cls.code = code

    def __post_init__(self) -> None:
        """Make ``args`` complete for pickling, also where fields were given by keyword."""
        self.args = tuple(vars(self).values())

    def __str__(self) -> str:
        return super().__str__() if self.message is None else self.message.format(**vars(self))


@dataclass(eq=False, repr=False)
class InvalidInput(EmbedderError, code="invalid_input"):
    """The named field has an invalid value."""

    message = "'{field}' {problem}"
    field: str
    problem: str

    def with_field(self, field: str) -> InvalidInput:
        """Return the same error for another name of the field."""
        return type(self)(field, *self.args[1:])


class LimitExceeded(InvalidInput, code="limit_exceeded"):
    """The named field is larger than its limit; the size is in ``unit``."""

    def __init__(self, field: str, unit: str, size: int, limit: int) -> None:
        Exception.__init__(self, field, unit, size, limit)
        self.field = field
        self.problem = f"has {size} {unit}; the limit is {limit}"
        self.unit = unit
        self.size = size
        self.limit = limit


class InvalidVector(InvalidInput, code="invalid_vector"):
    """A vector has the wrong width, is not finite, or is zero where a direction is needed."""


class NotFound(InvalidInput, code="not_found"):
    """The named field refers to something that does not exist."""

    def __init__(self, field: str, name: str) -> None:
        Exception.__init__(self, field, name)
        self.field = field
        self.name = name
        self.problem = f"names {name!r}, which does not exist"


class UnknownModel(NotFound, code="model_not_found"):
    """The request names a model that this service does not serve; ``served`` are its models."""

    def __init__(self, field: str, name: str, served: tuple[str, ...] = ()) -> None:
        super().__init__(field, name)
        self.args = (field, name, served)
        if served:
            self.problem += f"; served: {', '.join(served)}"


class UnknownCollection(NotFound, code="collection_not_found"):
    """The request names a collection that does not exist."""


class UnsupportedTask(InvalidInput, code="unsupported_task"):
    """The model cannot do what the request asks for; ``able`` are the served models that can."""

    def __init__(self, field: str, task: str, name: str | None, able: tuple[str, ...] = ()) -> None:
        Exception.__init__(self, field, task, name, able)
        self.field = field
        others = ", ".join(able) or "none"
        named = f"names {name!r}, which cannot {task}; served models that can: {others}"
        self.problem = named if name else f"is left out, and no served model can {task}"


class Unavailable(EmbedderError, code="unavailable"):
    """The call failed for a temporary reason; the same call may succeed later."""


class Overloaded(Unavailable, code="overloaded"):
    """The queue is full; the caller may retry after ``retry_after_s``, an estimate.

    ``whole_s`` is the same in whole seconds; 0 rounds ``retry_after_s`` up.
    """

    message = "the service is full; retry in {retry_after_s:.1f} s"

    def __init__(self, retry_after_s: float, whole_s: int = 0) -> None:
        super().__init__(retry_after_s, whole_s)
        self.retry_after_s = retry_after_s
        self.whole_s = whole_s or max(1, math.ceil(retry_after_s))


@dataclass(eq=False, repr=False)
class DeadlineExceeded(Unavailable, code="deadline_exceeded"):
    """The result was not ready before the deadline of the caller."""

    message = "the deadline passed while waiting for the {stage}"
    stage: str


@dataclass(eq=False, repr=False)
class StageUnavailable(Unavailable, code="stage_unavailable"):
    """A stage of the service did not respond; ``reason`` is for the operator's log."""

    message = "the {stage} is not available"
    stage: str
    reason: str


@dataclass(eq=False, repr=False)
class BackendFailure(EmbedderError, code="backend_failure"):
    """The model failed on a valid input; ``reason`` is for the operator's log."""

    message = "the model failed on this input"
    reason: str


class OutOfMemory(BackendFailure, code="out_of_memory"):
    """A batch did not fit into the device's memory; a smaller batch may."""


class ConfigurationError(EmbedderError, code="configuration_error"):
    """Settings or files are wrong; the message says which, and how to correct them."""


@dataclass(eq=False, repr=False)
class ModelNotFound(ConfigurationError, code="weights_not_found"):
    """None of the ``places`` for weights holds the model."""

    name: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        return f"no weights for model {self.name!r}; looked in: " + "; ".join(self.places)


@dataclass(eq=False, repr=False)
class WeightsMismatch(ConfigurationError, code="weights_mismatch"):
    """The weights on disk have another digest than catalogue, settings or hub state."""

    message = "{path} has SHA-256 {actual}; expected is {expected}"
    path: str
    expected: str
    actual: str


@dataclass(eq=False, repr=False)
class ModelDrift(ConfigurationError, code="model_drift"):
    """A loaded model computes other vectors than the catalogue states."""

    message = (
        "model {name!r} computes other vectors than its published ones: {text!r} "
        "differs by {difference:.2g}; {tolerance:.2g} is allowed"
    )
    name: str
    text: str
    difference: float
    tolerance: float


class UnsafeModel(ConfigurationError, code="unsafe_model"):
    """A model directory holds a file that could run code when it is loaded."""


class UnsupportedModel(ConfigurationError, code="unsupported_model"):
    """A model directory describes a model that no backend computes."""


@dataclass(eq=False, repr=False)
class MissingExtra(ConfigurationError, code="missing_extra"):
    """A setting needs a package that is not installed; ``extra`` installs it."""

    message = "{setting} needs {package}, which is not installed: pip install 'embedder[{extra}]'"
    setting: str
    package: str
    extra: str


@dataclass(eq=False, repr=False)
class ArchiveError(ConfigurationError, code="archive_error"):
    """An archive cannot be written, or is damaged, foreign or newer; nothing of it was loaded."""

    message = "{name} {problem}"
    name: str
    problem: str


@dataclass(eq=False, repr=False)
class PoolFull(ConfigurationError, code="pool_full"):
    """A model does not fit beside the pinned models, even if all others are unloaded."""

    name: str
    needed_bytes: int
    max_bytes: int
    pinned_bytes: int

    def __str__(self) -> str:
        needed, limit, pinned = (f"{size / 2**20:,.1f} MiB" for size in self.args[1:])
        return (
            f"model {self.name!r} needs {needed}; pool.max_bytes is {limit}, of which pinned "
            f"models hold {pinned}"
        )

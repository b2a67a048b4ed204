"""Every error this library raises, in one tree.

    EmbedderError
    ├── InvalidInput                what the caller sent can never be answered
    │   ├── LimitExceeded           … because a number is above its limit
    │   ├── InvalidVector
    │   └── NotFound
    │       ├── UnknownModel
    │       └── UnknownCollection
    ├── Unavailable                 the same call may succeed later
    │   ├── Overloaded
    │   ├── DeadlineExceeded
    │   └── StageUnavailable
    ├── BackendFailure              our fault; retrying will not help
    │   └── OutOfMemory
    └── ConfigurationError          the operator's to mend, found while starting
        ├── ModelNotFound
        ├── WeightsMismatch
        ├── ModelDrift
        ├── UnsafeModel
        ├── UnsupportedModel
        ├── MissingExtra
        ├── ArchiveError
        └── PoolFull

Errors cross process boundaries, so every field goes positionally to ``Exception.__init__`` and
the sentence is built in ``__str__``. Knows nothing of HTTP: the ingress owns the status table.
"""

from __future__ import annotations

import math


class EmbedderError(Exception):
    """Base of every error of this library; ``code`` is the stable name that clients see."""

    code = "embedder_error"


class InvalidInput(EmbedderError):
    """The named field holds something that can never be answered."""

    code = "invalid_input"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"'{self.field}' {self.problem}"

    def with_field(self, field: str) -> InvalidInput:
        """Return the same error about what the caller calls ``field``."""
        renamed: InvalidInput = type(self)(field, *self.args[1:])
        return renamed


class LimitExceeded(InvalidInput):
    """The named field is larger than its limit; ``unit`` says what was counted."""

    code = "limit_exceeded"

    def __init__(self, field: str, unit: str, size: int, limit: int) -> None:
        # Not InvalidInput's constructor: unpickling calls this one with exactly these arguments.
        Exception.__init__(self, field, unit, size, limit)
        self.field = field
        self.problem = f"has {size} {unit}; the limit is {limit}"
        self.unit = unit
        self.size = size
        self.limit = limit


class InvalidVector(InvalidInput):
    """A vector has the wrong width, is not finite, or has no direction where one is needed."""

    code = "invalid_vector"


class NotFound(InvalidInput):
    """The named field refers to something that does not exist."""

    code = "not_found"

    def __init__(self, field: str, name: str) -> None:
        Exception.__init__(self, field, name)
        self.field = field
        self.name = name
        self.problem = f"names {name!r}, which does not exist"


class UnknownModel(NotFound):
    """The request names a model that this service does not serve; ``served`` are those it does."""

    code = "model_not_found"

    def __init__(self, field: str, name: str, served: tuple[str, ...] = ()) -> None:
        super().__init__(field, name)
        self.args = (field, name, served)
        if served:
            self.problem += f"; served: {', '.join(served)}"


class UnknownCollection(NotFound):
    """The request names a collection that has not been created."""

    code = "collection_not_found"


class Unavailable(EmbedderError):
    """The call failed for reasons that may pass; the same call may succeed later."""

    code = "unavailable"


class Overloaded(Unavailable):
    """More work is waiting than the service accepts; ``retry_after_s`` is an estimate.

    ``whole_s`` is for callers that wait whole seconds; 0 stands for the next one.
    """

    code = "overloaded"

    def __init__(self, retry_after_s: float, whole_s: int = 0) -> None:
        super().__init__(retry_after_s, whole_s)
        self.retry_after_s = retry_after_s
        self.whole_s = whole_s or max(1, math.ceil(retry_after_s))

    def __str__(self) -> str:
        return f"the service is full; retry in {self.retry_after_s:.1f} s"


class DeadlineExceeded(Unavailable):
    """The answer was not ready within the time that the caller allowed."""

    code = "deadline_exceeded"

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage

    def __str__(self) -> str:
        return f"the deadline passed while waiting for the {self.stage}"


class StageUnavailable(Unavailable):
    """A stage of the graph did not answer; ``reason`` is for the operator's log."""

    code = "stage_unavailable"

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(stage, reason)
        self.stage = stage
        self.reason = reason

    def __str__(self) -> str:
        return f"the {self.stage} is not available"


class BackendFailure(EmbedderError):
    """The model failed on a valid input; ``reason`` is for the operator's log."""

    code = "backend_failure"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return "the model failed on this input"


class OutOfMemory(BackendFailure):
    """A batch did not fit into the device's memory; a smaller one may."""

    code = "out_of_memory"


class ConfigurationError(EmbedderError):
    """The settings or the model's files are wrong; the sentence says which and how to mend it."""

    code = "configuration_error"


class ModelNotFound(ConfigurationError):
    """No place that weights may come from holds the model."""

    code = "weights_not_found"

    def __init__(self, name: str, places: tuple[str, ...]) -> None:
        super().__init__(name, places)
        self.name = name
        self.places = places

    def __str__(self) -> str:
        return f"no weights for model {self.name!r}; looked in: " + "; ".join(self.places)


class WeightsMismatch(ConfigurationError):
    """The weights on disk are not those that the catalogue, the settings or the hub state."""

    code = "weights_mismatch"

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(path, expected, actual)
        self.path = path
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"{self.path} has SHA-256 {self.actual}; expected is {self.expected}"


class ModelDrift(ConfigurationError):
    """A loaded model does not compute what the catalogue says that it computes."""

    code = "model_drift"

    def __init__(self, name: str, text: str, difference: float, tolerance: float) -> None:
        super().__init__(name, text, difference, tolerance)
        self.name = name
        self.text = text
        self.difference = difference
        self.tolerance = tolerance

    def __str__(self) -> str:
        return (
            f"model {self.name!r} computes other vectors than its published ones: {self.text!r} "
            f"differs by {self.difference:.2g}; {self.tolerance:.2g} is allowed"
        )


class UnsafeModel(ConfigurationError):
    """A model directory holds something that could run code when it is loaded."""

    code = "unsafe_model"


class UnsupportedModel(ConfigurationError):
    """A model directory is sound, but describes something that no backend here computes."""

    code = "unsupported_model"


class MissingExtra(ConfigurationError):
    """A setting asks for a library that is not installed; ``extra`` brings it."""

    code = "missing_extra"

    def __init__(self, setting: str, package: str, extra: str) -> None:
        super().__init__(setting, package, extra)
        self.setting = setting
        self.package = package
        self.extra = extra

    def __str__(self) -> str:
        return (
            f"{self.setting} needs {self.package}, which is not installed: "
            f"pip install 'embedder[{self.extra}]'"
        )


class ArchiveError(ConfigurationError):
    """An archive cannot be written, or is damaged, foreign or newer; nothing of it was taken."""

    code = "archive_error"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.name} {self.problem}"


class PoolFull(ConfigurationError):
    """A model does not fit beside those that are pinned, whatever else is unloaded."""

    code = "pool_full"

    def __init__(self, name: str, needed_bytes: int, max_bytes: int, pinned_bytes: int) -> None:
        super().__init__(name, needed_bytes, max_bytes, pinned_bytes)
        self.name = name
        self.needed_bytes = needed_bytes
        self.max_bytes = max_bytes
        self.pinned_bytes = pinned_bytes

    def __str__(self) -> str:
        return (
            f"model {self.name!r} needs {_mib(self.needed_bytes)}; pool.max_bytes is "
            f"{_mib(self.max_bytes)}, of which pinned models hold {_mib(self.pinned_bytes)}"
        )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"

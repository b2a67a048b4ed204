"""The choices that a machine and the operator's own settings leave open, with what each gives.

Which of them is taken depends on what is wanted, of which nothing is known here but the length of
the texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import UNMEASURED_TOKENS, Formats
from embedder.planning.machine import Machine, Speed
from embedder.planning.prediction import Choice, PlannedModel, Prediction, predict
from embedder.settings.model import EmbedderSettings

GAIN = 0.95
"""A budget that reaches this share of the largest one's throughput is large enough."""


@dataclass(frozen=True, slots=True)
class Option:
    """A choice, what it will give without a cache, and the next larger budget's option."""

    choice: Choice
    predicted: Prediction
    larger: Option | None = None


def open_options(
    model: PlannedModel, machine: Machine, settings: EmbedderSettings, tokens_per_text: int
) -> list[Option]:
    """Return every choice that may be taken; never none.

    A number format other than ``auto``, a budget and a number of threads that the settings name
    are kept. No budget is offered that is larger than it takes to come near the best throughput.

    Raises:
        ConfigurationError: the machine was not measured with what the settings name.
    """
    budgets = _budgets(machine, settings.batching.max_tokens, tokens_per_text)
    options: list[Option] = []
    for speed in _speeds(machine, settings):
        for dtype, formats in _formats(speed, settings.backend.dtype):
            choices = [Choice(dtype, formats, speed, tokens) for tokens in budgets]
            options += _useful(model, machine, choices, tokens_per_text)
    if not options:
        wanted = settings.backend
        raise ConfigurationError(
            f"backend.dtype {wanted.dtype!r} with backend.threads {wanted.threads} is not among "
            "the speeds that were measured of the machine"
        )
    return options


def _speeds(machine: Machine, settings: EmbedderSettings) -> Iterator[Speed]:
    threads = settings.backend.threads if machine.device == "cpu" else None
    dtype = settings.backend.dtype
    for speed in machine.speeds:
        if threads in (None, speed.threads) and dtype in ("auto", speed.dtype):
            yield speed


def _formats(speed: Speed, wanted: str) -> Iterator[tuple[str, Formats]]:
    """Give what the settings may say for a format: its name, or what makes sure of it."""
    if wanted == "auto" and speed.dtype == "bfloat16":
        yield "auto", Formats(("float32", "bfloat16"), "bfloat16")
    yield speed.dtype, Formats((speed.dtype,), speed.dtype)


def _budgets(machine: Machine, wanted: int | None, tokens_per_text: int) -> list[int]:
    if wanted is not None:
        return [wanted]
    largest = UNMEASURED_TOKENS[machine.device.partition(":")[0]]
    budgets = [tokens_per_text]
    power = 1 << tokens_per_text.bit_length()
    while power <= largest:
        budgets.append(power)
        power *= 2
    return budgets


def _useful(
    model: PlannedModel, machine: Machine, choices: list[Choice], tokens_per_text: int
) -> list[Option]:
    """Predict the budgets, which ascend, and leave out those that gain next to nothing."""
    predicted = [
        predict(model, machine, choice, tokens_per_text=tokens_per_text) for choice in choices
    ]
    enough = GAIN * predicted[-1].texts_per_s
    last = next(at for at, one in enumerate(predicted) if one.texts_per_s >= enough)
    options: list[Option] = []
    larger: Option | None = None
    for choice, one in zip(choices[last::-1], predicted[last::-1], strict=True):
        larger = Option(choice, one, larger)
        options.append(larger)
    return options

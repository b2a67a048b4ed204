"""A tiny model is measured by its lengths, in one process and in several."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.planning import encoder_speed
from embedder.planning.encoder_speed import RUNS, measure_encoder, typical
from embedder.settings.model import BackendSettings, BatchSettings, EmbedderSettings, ModelSettings
from tests.tiny_models import write_tiny_bert


@pytest.fixture
def settings(tmp_path: Path) -> EmbedderSettings:
    """Return the settings of a model that reads 24 tokens, with batches of 48."""
    return EmbedderSettings(
        model=ModelSettings(name=str(write_tiny_bert(tmp_path))),
        backend=BackendSettings(device="cpu", dtype="float32"),
        batching=BatchSettings(max_tokens=48),
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_every_length_up_to_the_limit_is_measured(
    settings: EmbedderSettings, processes: int
) -> None:
    speed = measure_encoder(settings, seconds=0, processes=processes)

    assert [(one.text_tokens, one.texts) for one in speed.batches] == [(8, 6), (24, 2)]
    assert (speed.device, speed.dtype, speed.max_tokens) == ("cpu", "float32", 24)
    assert speed.batch_tokens == 48
    assert all(one.alone_s > 0 and one.full_s > 0 for one in speed.batches)
    assert speed.tokens_per_core_s > 0
    assert speed.characters_per_token > 0


def test_the_times_of_several_processes_are_averaged(settings: EmbedderSettings) -> None:
    speed = measure_encoder(settings, seconds=0, processes=1)
    slow = [one.model_copy(update={"alone_s": 3.0, "full_s": 7.0}) for one in speed.batches]
    slower = [one.model_copy(update={"alone_s": 5.0, "full_s": 9.0}) for one in speed.batches]

    mean = encoder_speed.mean_speed(
        [speed.model_copy(update={"batches": tuple(batches)}) for batches in (slow, slower)]
    )

    assert {(one.alone_s, one.full_s) for one in mean.batches} == {(4.0, 8.0)}
    assert mean.tokens_per_core_s == pytest.approx(speed.tokens_per_core_s)


def test_the_typical_time_is_the_median_of_the_runs_within_the_seconds() -> None:
    now, durations = 0.0, [9.0, 1.0, 2.0, 1.0, 2.0, 2.0, 100.0]
    left = iter(durations)

    def run() -> None:
        nonlocal now
        now += next(left)

    assert typical(run, 16.5, lambda: now) == 2.0
    assert list(left) == [100.0]


def test_few_slow_runs_are_enough() -> None:
    now = 0.0

    def run() -> None:
        nonlocal now
        now += 1.0

    assert typical(run, 0.0, lambda: now) == 1.0
    assert now == RUNS

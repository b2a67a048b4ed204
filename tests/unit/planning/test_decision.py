"""A plan reaches its goals, or reports which goals it misses and by how much."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import NumberFormats, estimate
from embedder.planning.goal import GB, Goal
from embedder.planning.machine import MeasuredMachine
from embedder.planning.plan import Plan, decide
from embedder.planning.prediction import Choice, PlannedModel, predict
from embedder.settings.cache import CacheSettings
from embedder.settings.model import BackendSettings, BatchSettings, EmbedderSettings
from embedder.settings.presets import PresetName
from tests.unit.planning.models import (
    GIB,
    MODEL,
    USUAL,
    goals,
    machine,
    machines,
    models,
)


def _reason(plan: Plan, setting: str) -> str:
    (sentence,) = [reason.sentence for reason in plan.reasons if reason.setting == setting]
    return sentence


def _decide(settings: EmbedderSettings | None = None, **wanted: Any) -> Plan:
    return decide(MODEL, USUAL, Goal(**wanted), settings)


@given(model=models, machine=machines, goal=goals)
def test_a_plan_reports_exactly_the_goals_that_its_prediction_misses(
    model: PlannedModel, machine: MeasuredMachine, goal: Goal
) -> None:
    plan = decide(model, machine, goal)

    found = plan.predicted
    kept = [
        found.memory_bytes <= machine.free_bytes,
        found.memory_bytes <= (goal.max_memory_gb or 1e9) * GB,
        found.latency_ms <= (goal.target_latency_ms or 1e12),
        found.texts_per_s >= (goal.min_texts_per_s or 0),
    ]
    assert all(kept) == (plan.unmet == ())


@given(model=models, machine=machines, goal=goals)
def test_the_prediction_is_that_of_the_chosen_settings(
    model: PlannedModel, machine: MeasuredMachine, goal: Goal
) -> None:
    plan = decide(model, machine, goal)

    settings = plan.settings
    assert settings.batching.max_tokens is not None
    chosen = [
        predict(
            model,
            machine,
            Choice(settings.backend.dtype, speed, settings.batching.max_tokens),
            tokens_per_text=goal.tokens_per_text,
            cache=settings.cache.max_bytes,
        )
        for speed in machine.speeds
        if settings.backend.threads in (None, speed.threads)
        and settings.backend.dtype in ("auto", speed.dtype)
        and (settings.backend.dtype != "auto" or speed.dtype == "bfloat16")
    ]
    assert plan.predicted in chosen
    assert {reason.setting for reason in plan.reasons} >= {"backend.dtype", "cache.max_bytes"}


@given(model=models, machine=machines, goal=goals, more=st.integers(0, 64 * GIB))
def test_more_memory_never_reduces_the_throughput(
    model: PlannedModel, machine: MeasuredMachine, goal: Goal, more: int
) -> None:
    roomier = replace(machine, free_bytes=machine.free_bytes + more)
    allowed = goal.max_memory_gb and goal.max_memory_gb + more / GB
    laxer = replace(goal, max_memory_gb=allowed)

    before, after = decide(model, machine, goal), decide(model, roomier, laxer)

    assert after.predicted.texts_per_s >= before.predicted.texts_per_s


@given(machine=machines)
def test_impossible_goals_are_reported_with_their_gap(machine: MeasuredMachine) -> None:
    goal = Goal(max_memory_gb=1e-6, target_latency_ms=1e-6, min_texts_per_s=1e12)
    plan = decide(MODEL, replace(machine, free_bytes=GIB * 10**6), goal)

    gaps = {unmet.name: unmet.gap for unmet in plan.unmet}
    assert gaps == {
        "memory": pytest.approx(plan.predicted.memory_bytes / GB - 1e-6),
        "latency of one text": pytest.approx(plan.predicted.latency_ms - 1e-6),
        "texts per second": pytest.approx(1e12 - plan.predicted.texts_per_s),
    }


@given(model=models, machine=machines, goal=goals, preset=st.sampled_from(get_args(PresetName)))
def test_every_preset_gives_valid_planned_settings(
    model: PlannedModel, machine: MeasuredMachine, goal: Goal, preset: PresetName
) -> None:
    requested = EmbedderSettings(preset=preset)
    plan = decide(model, machine, goal, requested)

    assert EmbedderSettings.model_validate(plan.settings.model_dump()) == plan.settings
    assert plan.settings.cache.max_bytes <= requested.cache.max_bytes
    assert plan.settings.batching.max_items <= requested.batching.max_items
    assert requested.batching.max_tokens in (None, plan.settings.batching.max_tokens)


def test_without_goals_the_fastest_candidate_is_chosen() -> None:
    plan = _decide()

    assert plan.unmet == ()
    assert (plan.settings.backend.dtype, plan.settings.backend.threads) == ("auto", 2)
    assert plan.settings.cache == CacheSettings()
    assert "float32 150, bfloat16 380" in _reason(plan, "backend.dtype")
    assert "gain less than 5 %" in _reason(plan, "batching.max_tokens")


def test_a_machine_without_bfloat16_computes_float32() -> None:
    plan = decide(MODEL, machine(("float32", 1, 80)), Goal())

    assert (plan.settings.backend.dtype, plan.settings.backend.threads) == ("float32", 1)


def test_threads_that_slow_each_other_down_are_not_chosen() -> None:
    plan = decide(MODEL, machine(("float32", 1, 80), ("float32", 2, 40)), Goal())

    assert plan.settings.backend.threads == 1
    assert "2 cores" in _reason(plan, "backend.threads")


def test_a_latency_target_gives_smaller_batches() -> None:
    plan = _decide(target_latency_ms=30)

    free = _decide()
    assert plan.predicted.latency_ms <= 30 < free.predicted.latency_ms
    assert plan.predicted.texts_per_s < free.predicted.texts_per_s
    tokens = plan.settings.batching.max_tokens
    assert tokens is not None
    assert f"{2 * tokens} would take" in _reason(plan, "batching.max_tokens")
    assert plan.settings.batching.max_items == tokens // 3


def _peak_bytes(dtype: str) -> int:
    formats = NumberFormats.of(dtype, "packed", bfloat16=True)
    return estimate(MODEL.size, "packed", formats, tokens=256, cache=0).peak


def test_scarce_memory_shrinks_the_cache_first_and_then_drops_the_second_format() -> None:
    some = _decide(max_memory_gb=(_peak_bytes("auto") + 5_000_000) / GB)
    little = _decide(max_memory_gb=(_peak_bytes("bfloat16") + 1000) / GB)

    assert (some.settings.backend.dtype, some.unmet) == ("auto", ())
    assert 0 < some.settings.cache.max_bytes <= 5_000_000
    assert (little.settings.backend.dtype, little.unmet) == ("bfloat16", ())
    assert "auto would hold float32 beside it" in _reason(little, "backend.dtype")
    assert some.predicted.texts_per_s == pytest.approx(little.predicted.texts_per_s, rel=0.1)


def test_a_budget_is_never_below_one_text() -> None:
    short = replace(MODEL, longest=16)
    plan = decide(
        short,
        machine(("float32", 1, 80)),
        Goal(max_memory_gb=0.55, tokens_per_text=3000),
        EmbedderSettings(cache=CacheSettings(max_bytes=0)),
    )

    assert plan.settings.batching.max_tokens == 3000


@pytest.mark.parametrize(
    "named",
    [{"dtype": "float32"}, {"dtype": "bfloat16", "threads": 1}, {"threads": 1}],
)
def test_requested_settings_are_kept(named: dict[str, Any]) -> None:
    requested = EmbedderSettings(
        backend=BackendSettings(**named), batching=BatchSettings(max_tokens=100, max_items=5)
    )
    plan = _decide(requested)

    for name, value in named.items():
        assert getattr(plan.settings.backend, name) == value
        assert _reason(plan, f"backend.{name}") == "as the settings say"
    assert plan.settings.batching == requested.batching


def test_threads_that_were_not_measured_are_refused() -> None:
    requested = EmbedderSettings(backend=BackendSettings(threads=7))

    with pytest.raises(ConfigurationError, match=r"backend\.threads 7"):
        _decide(requested)


def test_a_plan_for_a_gpu_counts_device_memory_and_sets_no_threads() -> None:
    gpu = replace(USUAL, device="cuda:0", free_bytes=GIB, speeds=USUAL.speeds[2:3])
    plan = decide(MODEL, gpu, Goal())

    assert plan.settings.backend.threads is None
    assert plan.predicted.memory_bytes < _peak_bytes("bfloat16")
    assert {reason.setting for reason in plan.reasons} == {
        "backend.dtype",
        "batching.max_tokens",
        "batching.max_items",
        "cache.max_bytes",
    }

"""A preset assigns only settings that are not assigned otherwise, in any form."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.settings.cache import CacheSettings
from embedder.settings.model import BatchSettings, EmbedderSettings, PoolSettings
from embedder.settings.presets import PRESETS, PresetName, fill_in

PRESET_NAMES: tuple[PresetName, ...] = get_args(PresetName)
every_preset = pytest.mark.parametrize("preset", PRESET_NAMES)


def test_there_is_a_table_for_every_name() -> None:
    assert set(PRESETS) == set(PRESET_NAMES)


@every_preset
def test_a_preset_is_valid_and_takes_effect(preset: PresetName) -> None:
    settings = EmbedderSettings(preset=preset).model_dump()

    for section, values in PRESETS[preset].items():
        assert settings[section] == settings[section] | values
    untouched = settings.keys() - PRESETS[preset].keys() - {"preset"}
    assert all(settings[name] == EmbedderSettings().model_dump()[name] for name in untouched)


def test_balanced_equals_the_defaults() -> None:
    assert EmbedderSettings(preset="balanced") == EmbedderSettings()


@pytest.mark.parametrize(
    "batching", [{"max_items": 7}, BatchSettings(max_items=7)], ids=["mapping", "made"]
)
def test_assigned_values_go_before_the_preset(batching: Any) -> None:
    settings = EmbedderSettings(preset="low_memory", batching=batching)

    assert settings.batching == BatchSettings(max_items=7, max_tokens=512)
    assert settings.cache == CacheSettings(max_bytes=16 * 2**20)


def test_an_assigned_default_goes_before_the_preset() -> None:
    settings = EmbedderSettings(
        preset="low_memory", pool=PoolSettings(idle_unload_s=900.0), batching={"max_tokens": None}
    )

    assert settings.pool.idle_unload_s == 900
    assert settings.batching.max_tokens is None


@every_preset
def test_dumped_settings_are_loaded_unchanged(preset: PresetName) -> None:
    settings = EmbedderSettings(preset=preset, cache=CacheSettings(max_bytes=5))

    assert EmbedderSettings.model_validate_json(settings.model_dump_json()) == settings


assigned_values = st.dictionaries(
    st.sampled_from(["backend", "batching", "cache", "pool"]),
    st.dictionaries(st.sampled_from(["dtype", "max_tokens", "max_bytes", "x"]), st.integers()),
)


@every_preset
@given(assigned=assigned_values)
def test_filling_in_keeps_assigned_values_and_adds_only_the_table(
    preset: PresetName, assigned: dict[str, dict[str, int]]
) -> None:
    filled = fill_in(preset, assigned)

    table = PRESETS[preset]
    assert filled.keys() == assigned.keys() | table.keys()
    for section, values in filled.items():
        assert values == {**table.get(section, {}), **assigned.get(section, {})}


def test_an_invalid_section_is_left_for_validation() -> None:
    assert fill_in("low_memory", {"cache": 5})["cache"] == 5

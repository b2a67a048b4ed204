"""A preset fills in what nobody has said, whatever form it was said in."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.settings.model import BatchSettings, CacheSettings, EmbedderSettings, PoolSettings
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


def test_balanced_is_what_the_defaults_are() -> None:
    assert EmbedderSettings(preset="balanced") == EmbedderSettings()


@pytest.mark.parametrize(
    "batching", [{"max_items": 7}, BatchSettings(max_items=7)], ids=["mapping", "made"]
)
def test_what_was_said_goes_before_the_preset_and_the_rest_is_filled_in(batching: Any) -> None:
    settings = EmbedderSettings(preset="low_memory", batching=batching)

    assert settings.batching == BatchSettings(max_items=7, max_tokens=512)
    assert settings.cache == CacheSettings(max_bytes=16 * 2**20)


def test_saying_the_default_is_saying_something() -> None:
    settings = EmbedderSettings(
        preset="low_memory", pool=PoolSettings(idle_unload_s=900.0), batching={"max_tokens": None}
    )

    assert settings.pool.idle_unload_s == 900
    assert settings.batching.max_tokens is None


@every_preset
def test_settings_that_were_written_out_are_read_back_alike(preset: PresetName) -> None:
    settings = EmbedderSettings(preset=preset, cache=CacheSettings(max_bytes=5))

    assert EmbedderSettings.model_validate_json(settings.model_dump_json()) == settings


said = st.dictionaries(
    st.sampled_from(["backend", "batching", "cache", "pool"]),
    st.dictionaries(st.sampled_from(["dtype", "max_tokens", "max_bytes", "x"]), st.integers()),
)


@every_preset
@given(said=said)
def test_filling_in_keeps_what_was_said_and_adds_only_the_table(
    preset: PresetName, said: dict[str, dict[str, int]]
) -> None:
    filled = fill_in(preset, said)

    table = PRESETS[preset]
    assert filled.keys() == said.keys() | table.keys()
    for section, values in filled.items():
        assert values == {**table.get(section, {}), **said.get(section, {})}


def test_a_section_that_is_no_section_is_left_for_the_settings_to_refuse() -> None:
    assert fill_in("low_memory", {"cache": 5})["cache"] == 5

"""Named starting points for the settings, as plain tables below everything else.

A preset fills in what nobody has said: arguments, environment and files all go before it. Imports
nothing of ours; `config` applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel

PresetName = Literal["balanced", "high_performance", "low_memory"]

_MIB = 2**20

PRESETS: Mapping[PresetName, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "balanced": {},
        # Time is spent once, while loading, to find the batch that this machine computes fastest.
        "high_performance": {
            "backend": {"dtype": "auto"},
            "batching": {"tune_s": 3.0},
            "cache": {"max_bytes": 1024 * _MIB},
        },
        # Small batches bound the activations; the cache is what is left to give away.
        "low_memory": {
            "backend": {"dtype": "auto"},
            "batching": {"max_tokens": 512, "max_items": 64},
            "cache": {"max_bytes": 16 * _MIB},
            "pool": {"idle_unload_s": 60.0},
        },
    }
)
"""The tables by name; `balanced` is what the settings' own defaults are."""


def fill_in(preset: PresetName, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with the preset's values where it says nothing.

    A section that is a model already says what it was made with, and not its defaults.
    """
    filled = dict(given)
    for section, values in PRESETS[preset].items():
        said = filled.get(section, {})
        if isinstance(said, BaseModel):
            said = {name: getattr(said, name) for name in said.model_fields_set}
        if isinstance(said, Mapping):
            filled[section] = {**values, **said}
    return filled

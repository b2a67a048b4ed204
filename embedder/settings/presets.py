"""Presets: tables of values for settings that no argument, variable or file assigns."""

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
        # A longer measurement at start finds the batch size with the highest throughput.
        "high_performance": {
            "backend": {"dtype": "auto"},
            "batching": {"autotune_s": 3.0},
            "cache": {"max_bytes": 1024 * _MIB},
        },
        # Small batches limit the memory of activations.
        "low_memory": {
            "backend": {"dtype": "auto"},
            "batching": {"max_tokens": 512, "max_items": 64},
            "cache": {"max_bytes": 16 * _MIB},
            "pool": {"idle_unload_s": 60.0},
        },
    }
)
"""The tables by name; `balanced` has the defaults of the settings."""


def fill_in(preset: PresetName, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with the values of the preset for settings that it does not assign.

    A section that is a model assigns the fields that it was constructed with.
    """
    filled = dict(given)
    for section, values in PRESETS[preset].items():
        assigned = filled.get(section, {})
        if isinstance(assigned, BaseModel):
            assigned = {name: getattr(assigned, name) for name in assigned.model_fields_set}
        if isinstance(assigned, Mapping):
            filled[section] = {**values, **assigned}
    return filled

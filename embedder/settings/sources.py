"""Load settings from arguments, environment, file, preset and defaults, in this order of priority.

For each setting the first source that assigns it decides, and its origin is recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import yaml
from pydantic import ValidationError

from embedder.core.errors import ConfigurationError
from embedder.settings.assignments import Assignments
from embedder.settings.presets import PRESETS, PresetName
from embedder.settings.problems import IN_A_FILE, PREFIX, SEPARATOR, describe_errors
from embedder.settings.tree import Path as SettingPath
from embedder.settings.tree import Settings, is_section, settings_of, type_at

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "_FILE"
"""The end of the name of a variable whose value is the path of a file, as secrets are mounted."""

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class LoadedSettings(Generic[SettingsT]):
    """Settings, and the origin of each by its dotted path.

    An origin is ``argument``, ``environment EMBEDDER_X`` (with ``, in a file`` where the variable
    names one), ``file NAME``, ``preset NAME`` or ``default``; a mapping whose entries have several
    origins lists them all.
    """

    settings: SettingsT
    origins: Mapping[str, str]


def load(
    kind: type[SettingsT],
    *,
    arguments: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | Mapping[str, Any] | None = None,
) -> LoadedSettings[SettingsT]:
    """Load settings of a kind from all sources.

    ``arguments`` is a tree whose keys at the top may be dotted paths. ``environment`` holds
    variables like ``EMBEDDER_BATCHING__MAX_TOKENS``, in upper or lower case; None reads none.
    ``file`` is a YAML or TOML file, by its suffix, or the content of one. Texts in arguments and
    variables are parsed as JSON if they start like a list or an object and the setting is not a
    text, and ``null`` means None if the setting allows None. A variable whose name ends in `FILE`,
    like ``EMBEDDER_INDEX__URL_FILE``, holds the path of a file that holds the value.

    Mappings of several sources are merged. An empty mapping removes the entries of sources with
    less priority, except for a section.

    Raises:
        ConfigurationError: a file cannot be read, a key is unknown or a value invalid. The
            message has a line for every problem, with its origin.
    """
    assignments = Assignments(kind)
    origin = f"file {file.name}" if isinstance(file, Path) else "file"
    assignments.add((), _read(file) if isinstance(file, Path) else file or {}, origin)
    _add_variables(assignments, kind, environment or {})
    for key, value in (arguments or {}).items():
        assignments.add(tuple(key.split(".")), value, "argument", as_text=True)
    problems = assignments.problems
    try:
        settings = kind.model_validate(assignments.assembled())
    except ValidationError as error:
        problems += describe_errors(kind, assignments.origins, error)
    if problems:
        raise ConfigurationError("\n".join(problems))
    return LoadedSettings(settings, MappingProxyType(_all_origins(assignments, settings)))


def explain(loaded: LoadedSettings[SettingsT]) -> list[tuple[str, Any, str, str]]:
    """Return path, value, origin and description of every setting, in the order of definition."""
    rows = []
    for path, field in settings_of(type(loaded.settings)):
        value, dotted = reduce(getattr, path, loaded.settings), ".".join(path)
        rows.append((dotted, value, loaded.origins[dotted], field.description or ""))
    return rows


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text("utf-8")
        if path.suffix in (".yaml", ".yml"):
            content = yaml.safe_load(text)
        elif path.suffix == ".toml":
            content = tomllib.loads(text)
        else:
            raise ConfigurationError(f"{path} must end with .yaml, .yml or .toml")
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"cannot read {path}: {reason}") from error
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise ConfigurationError(f"{path} must hold names and values at its top")
    return content


def _add_variables(
    assignments: Assignments, kind: type[Settings], variables: Mapping[str, str]
) -> None:
    by_length = _by_length(variables)
    names = dict(by_length)
    for path, name in by_length:
        value, origin = variables[name], f"environment {name}"
        if (setting := _named_by_file(kind, path)) is not None:
            if (other := names.get(setting)) is not None:
                raise ConfigurationError(f"{name} and {other} are both set")
            path, value = setting, _read_value(name, Path(value))
            origin += IN_A_FILE
        assignments.add(path, value, origin, as_text=True)


def _named_by_file(kind: type[Settings], path: SettingPath) -> SettingPath | None:
    """Return the setting whose value is in the file that a variable names; None: it names none.

    A setting may itself end like that. A section has no file: an error would show its content.
    """
    *section, name = path
    setting = (*section, name.removesuffix(FILE.lower()))
    is_file = setting != path and type_at(kind, path) is None
    is_setting = type_at(kind, setting) is not None and not is_section(kind, setting)
    return setting if is_file and is_setting else None


def _read_value(name: str, path: Path) -> str:
    """Return the content of a file without the end of its last line, as editors write it."""
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{name}: cannot read {path}: {reason}") from None


def _by_length(environment: Mapping[str, str]) -> list[tuple[SettingPath, str]]:
    """Return the paths and names of variables, those of a section before those of its settings."""
    variables = [
        (tuple(name[len(PREFIX) :].lower().split(SEPARATOR)), name)
        for name in environment
        if name.upper().startswith(PREFIX)
    ]
    return sorted(variables, key=lambda one: (len(one[0]), one[1]))


def _all_origins(assignments: Assignments, settings: Settings) -> dict[str, str]:
    return {
        ".".join(path): assignments.origins(path) or _origin(settings, path)
        for path, _ in settings_of(type(settings))
    }


def _origin(settings: Settings, path: SettingPath) -> str:
    """Return the origin of a setting that no source assigns."""
    preset: PresetName = getattr(settings, "preset", "balanced")
    section = PRESETS[preset].get(path[0], {})
    return f"preset {preset}" if path[-1] in section else "default"

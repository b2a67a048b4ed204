"""Load settings from arguments, environment, file, preset and defaults, in this order of priority.

For each setting the first source that assigns it decides, and its origin is recorded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Generic, TypeVar

import yaml
from pydantic import ValidationError

from embedder.core.errors import ConfigurationError
from embedder.settings import tree
from embedder.settings.assignments import Assignment, assemble, flatten, merge, origins_at
from embedder.settings.presets import PRESETS
from embedder.settings.problems import PREFIX, SEPARATOR, describe_errors, describe_place
from embedder.settings.tree import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class LoadedSettings(Generic[SettingsT]):
    """Settings, and the origin of each by its dotted path.

    An origin is ``argument``, ``environment EMBEDDER_X``, ``file NAME``, ``preset NAME`` or
    ``default``; a mapping whose entries have several origins lists them all.
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
    text, and ``null`` means None if the setting allows None.

    Mappings of several sources are merged. An empty mapping removes the entries of sources with
    less priority, except for a section.

    Raises:
        ConfigurationError: the file cannot be read, a key is unknown or a value invalid. The
            message has a line for every problem, with its origin.
    """
    problems: list[str] = []
    texts = [*_from_environment(environment or {}), *_from_arguments(arguments or {})]
    assignments = merge([*flatten(kind, _from_file(file)), *_parse_texts(kind, texts, problems)])
    try:
        settings = kind.model_validate(assemble(assignments))
    except ValidationError as error:
        problems += describe_errors(kind, assignments, error)
    if problems:
        raise ConfigurationError("\n".join(problems))
    origins = {
        ".".join(path): _origin(assignments, path, settings) for path, _ in tree.settings_of(kind)
    }
    return LoadedSettings(settings, MappingProxyType(origins))


def explain(loaded: LoadedSettings[SettingsT]) -> list[tuple[str, Any, str, str]]:
    """Return path, value, origin and description of every setting, in the order of definition."""
    rows = []
    for path, field in tree.settings_of(type(loaded.settings)):
        value: Any = loaded.settings
        for name in path:
            value = getattr(value, name)
        dotted = ".".join(path)
        rows.append((dotted, value, loaded.origins[dotted], field.description or ""))
    return rows


def _from_file(file: Path | Mapping[str, Any] | None) -> Iterator[Assignment]:
    if isinstance(file, Path):
        content, origin = _read(file), f"file {file.name}"
    else:
        content, origin = file or {}, "file"
    return (Assignment((str(key),), value, origin) for key, value in content.items())


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


def _from_environment(environment: Mapping[str, str]) -> Iterator[Assignment]:
    """Yield the assignments of variables, those of a section before those of its settings."""
    paths = {
        name: tuple(name[len(PREFIX) :].lower().split(SEPARATOR))
        for name in environment
        if name.upper().startswith(PREFIX)
    }
    for name in sorted(paths, key=lambda name: (len(paths[name]), name)):
        yield Assignment(paths[name], environment[name], f"environment {name}")


def _from_arguments(arguments: Mapping[str, Any]) -> Iterator[Assignment]:
    return (
        Assignment(tuple(key.split(".")), value, "argument") for key, value in arguments.items()
    )


def _parse_texts(
    kind: type[Settings], assignments: Iterable[Assignment], problems: list[str]
) -> Iterator[Assignment]:
    """Yield the assignments with parsed texts; add a problem for each invalid text."""
    for assignment in flatten(kind, assignments):
        types = tree.choices(tree.type_at(kind, assignment.path))
        try:
            value = _parse(assignment.value, types)
        except ValueError as error:
            place = describe_place(assignment.path, assignment.origin)
            problems.append(f"{place}: not valid JSON: {error}")
        else:
            yield from flatten(kind, [replace(assignment, value=value)])


def _parse(value: Any, types: tuple[Any, ...]) -> Any:
    """Return the value of a text for a setting of these types; None among them: it is unknown."""
    if not isinstance(value, str) or None in types:
        return value
    if value == "null" and NoneType in types:
        return None
    return json.loads(value) if value.startswith(("{", "[")) and str not in types else value


def _origin(assignments: Iterable[Assignment], path: tree.Path, settings: Settings) -> str:
    preset = getattr(settings, "preset", None)
    value: Any = PRESETS.get(preset, {}) if preset is not None else {}
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return origins_at(assignments, path) or ("default" if value is None else f"preset {preset}")

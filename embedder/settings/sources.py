"""Where settings come from: arguments, the environment, a file, a preset and the defaults.

The first of these that says something of a setting decides it, and of every setting it is known
which that was. Works for any tree of `Settings`. Reads no environment of its own accord, prints
nothing, and knows nothing of what settings mean.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from embedder.core.errors import ConfigurationError
from embedder.settings import tree
from embedder.settings.model import Settings
from embedder.settings.presets import PRESETS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "EMBEDDER_"
"""What the names of the variables begin with."""

SEPARATOR = "__"
"""What stands between the names of a section and of a setting in it."""

SettingsT = TypeVar("SettingsT", bound=Settings)


@dataclass(frozen=True)
class LoadedSettings(Generic[SettingsT]):
    """Settings, and for the dotted path of each of them where its value comes from.

    An origin is ``argument``, ``environment EMBEDDER_X``, ``file NAME``, ``preset NAME`` or
    ``default``; a mapping whose entries come from several places has all of these.
    """

    settings: SettingsT
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Word:
    """What was said of one place of the tree, and where."""

    path: tree.Path
    value: Any
    origin: str


def load(
    kind: type[SettingsT],
    *,
    arguments: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | Mapping[str, Any] | None = None,
    foreign: Collection[str] = (),
) -> LoadedSettings[SettingsT]:
    """Make settings from everything that is said of them.

    ``arguments`` is a tree, whose keys at the top may be dotted paths instead. ``environment``
    holds variables like ``EMBEDDER_BATCHING__MAX_TOKENS`` in upper or lower case; without one none
    is read, and ``foreign`` names variables with that prefix that belong to others. ``file`` is a
    YAML or TOML file, by its suffix, or what one held. In arguments and variables, texts count
    as JSON where they begin like a list or an object and the setting is no text, and ``null``
    where it may be none.

    Mappings are laid over each other; an empty one takes away what was said below it, except at a
    section, of which it says nothing.

    Raises:
        ConfigurationError: the file cannot be read, a key is unknown or a value wrong; the
            message has a line for every problem, with where it was said.
    """
    problems: list[str] = []
    texts = [*_from_environment(environment or {}, foreign), *_from_arguments(arguments or {})]
    words = _merge([*_spread(kind, _from_file(file)), *_read_texts(kind, texts, problems)])
    try:
        settings = kind.model_validate(_assemble(words))
    except ValidationError as error:
        problems += _explain_errors(kind, words, error)
    if problems:
        raise ConfigurationError("\n".join(problems))
    origins = {".".join(path): _origin(words, path, settings) for path, _ in tree.settings_of(kind)}
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


def variable_name(path: str) -> str:
    """Return the name of the variable for the setting at a dotted path."""
    return PREFIX + path.replace(".", SEPARATOR).upper()


def _from_file(file: Path | Mapping[str, Any] | None) -> Iterator[_Word]:
    if isinstance(file, Path):
        content, origin = _read(file), f"file {file.name}"
    else:
        content, origin = file or {}, "file"
    return (_Word((str(key),), value, origin) for key, value in content.items())


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


def _from_environment(environment: Mapping[str, str], foreign: Collection[str]) -> Iterator[_Word]:
    """Give the variables' words, those of a section before those of the settings in it."""
    others = {name.upper() for name in foreign}
    found = {
        name: tuple(name[len(PREFIX) :].lower().split(SEPARATOR))
        for name in environment
        if name.upper().startswith(PREFIX) and name.upper() not in others
    }
    for name in sorted(found, key=lambda name: (len(found[name]), name)):
        yield _Word(found[name], environment[name], f"environment {name}")


def _from_arguments(arguments: Mapping[str, Any]) -> Iterator[_Word]:
    return (_Word(tuple(key.split(".")), value, "argument") for key, value in arguments.items())


def _spread(kind: type[Settings], words: Iterable[_Word]) -> Iterator[_Word]:
    """Give a word for every entry of a mapping, however deep."""
    for word in words:
        entries = word.value
        if isinstance(entries, BaseModel):
            entries = {name: getattr(entries, name) for name in entries.model_fields_set}
        if not isinstance(entries, Mapping):
            yield word
        elif entries:
            inner = (
                replace(word, path=(*word.path, str(key)), value=value)
                for key, value in entries.items()
            )
            yield from _spread(kind, inner)
        elif not tree.is_section(kind, word.path):
            yield word


def _read_texts(
    kind: type[Settings], words: Iterable[_Word], problems: list[str]
) -> Iterator[_Word]:
    """Give the words with their texts read; of what cannot be read there is a problem instead."""
    for word in _spread(kind, words):
        try:
            value = _meaning(word.value, tree.choices(tree.type_at(kind, word.path)))
        except ValueError as error:
            problems.append(f"{_place(word.path, word.origin)}: not valid JSON: {error}")
        else:
            yield from _spread(kind, [replace(word, value=value)])


def _meaning(value: Any, types: tuple[Any, ...]) -> Any:
    """Return what a text means for a setting of these types; None among them: it is unknown."""
    if not isinstance(value, str) or None in types:
        return value
    if value == "null" and NoneType in types:
        return None
    return json.loads(value) if value.startswith(("{", "[")) and str not in types else value


def _merge(words: Iterable[_Word]) -> list[_Word]:
    """Let every word take the place of what was said before at, above or below its path."""
    merged: list[_Word] = []
    for word in words:
        merged = [*(said for said in merged if not _touch(said.path, word.path)), word]
    return merged


def _touch(a: tree.Path, b: tree.Path) -> bool:
    """Tell whether one of two paths leads to the other."""
    common = min(len(a), len(b))
    return a[:common] == b[:common]


def _assemble(words: Iterable[_Word]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for word in words:
        *sections, name = word.path
        node = root
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = word.value
    return root


def _said_at(words: Iterable[_Word], path: tree.Path) -> str:
    """Return where something was said of a path or of what is below it, in words."""
    return ", ".join(dict.fromkeys(word.origin for word in words if _touch(word.path, path)))


def _origin(words: Iterable[_Word], path: tree.Path, settings: Settings) -> str:
    preset = getattr(settings, "preset", None)
    value: Any = PRESETS.get(preset, {}) if preset is not None else {}
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return _said_at(words, path) or ("default" if value is None else f"preset {preset}")


def _explain_errors(kind: type[Settings], words: list[_Word], error: ValidationError) -> list[str]:
    """Return one line a place, in pydantic's words; the choices of a union are said together."""
    sentences: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        unknown = problem["type"] == "extra_forbidden"
        path = tree.place_of(kind, problem["loc"], unknown=unknown)
        origin = _said_at(words, path)
        place = _place(path, origin)
        if unknown:
            sentence = "no such setting" + _suggestion(kind, path, origin)
        else:
            sentence = problem["msg"].removeprefix("Value error, ")
            values[place] = _shown(problem["input"], tree.choices(tree.type_at(kind, path)))
        sentences.setdefault(place, []).append(sentence)
    return [
        f"{place}: {' or '.join(said)}{values.get(place, '')}" for place, said in sentences.items()
    ]


def _place(path: tree.Path, origin: str) -> str:
    """Return a path and its origin, on one line whatever a key consists of."""
    place = ".".join(path) + (f" ({origin})" if origin else "")
    return place if place.isprintable() else repr(place)[1:-1]


def _suggestion(kind: type[Settings], path: tree.Path, origin: str) -> str:
    names = tree.nearest(kind, path)
    if origin.startswith("environment "):
        names = [f"{name} ({variable_name(name)})" for name in names]
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _shown(value: Any, types: tuple[Any, ...]) -> str:
    """Return the value in words, unless it is a secret or too large to be one value."""
    if isinstance(value, Mapping | BaseModel) or {SecretStr, SecretBytes} & set(types):
        return ""
    return f" (it is {value!r})"

"""The structure of a settings tree, read from its types.

A section is a field whose type is a node of the tree; every other field is a setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from types import UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

Path = tuple[str, ...]
"""The names from the root of a tree to a section or setting."""


class Settings(BaseModel):
    """Base of every node of a settings tree.

    Errors of pydantic do not contain values, which may be passwords; `problems` adds the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def choices(annotation: Any) -> tuple[Any, ...]:
    """Return the choices of a union, or the type itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return choices(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(chain.from_iterable(map(choices, get_args(annotation))))
    return (annotation,)


def type_at(kind: type[Settings], path: Path) -> Any:
    """Return the type at a path, or None if the path does not exist.

    A path leads through sections and into the entries of mappings and lists.
    """
    annotation: Any = kind
    for name in path:
        annotation = _entry(annotation, name)
    return annotation


def is_section(kind: type[Settings], path: Path) -> bool:
    """Return whether a path leads to a section; the root is a section."""
    return _is_node(type_at(kind, path))


def settings_of(kind: type[Settings]) -> Iterator[tuple[Path, FieldInfo]]:
    """Yield the path and field of every setting, in the order of definition."""
    for name, field in kind.model_fields.items():
        if _is_node(node := field.annotation):
            for path, inner in settings_of(node):
                yield (name, *path), inner
        else:
            yield (name,), field


def place_of(kind: type[Settings], location: tuple[int | str, ...], *, unknown: bool) -> Path:
    """Return the path for a location in an error of pydantic; an ``unknown`` key is kept.

    Locations also contain the names of the choices of unions, which are not part of the tree.
    """
    path: Path = ()
    steps = [str(step) for step in location]
    for step in steps[:-1] if unknown else steps:
        if type_at(kind, (*path, step)) is not None:
            path = (*path, step)
    return (*path, steps[-1]) if unknown else path


def suggestions(kind: type[Settings], path: Path) -> list[str]:
    """Return the dotted paths that an unknown path may mean.

    These are the most similar name in the same section, else the settings of the same name in other
    sections, else the most similar path.
    """
    *section, name = path
    node = type_at(kind, tuple(section))
    if node is None:
        return []
    siblings = [key for choice in choices(node) for key in getattr(choice, "model_fields", ())]
    if close := get_close_matches(name, siblings, n=1):
        return [".".join((*section, *close))]
    paths = [".".join(known) for known, _ in settings_of(kind)]
    namesakes = [known for known in paths if known.rpartition(".")[2] == name]
    return namesakes or get_close_matches(".".join(path), paths, n=1)


def _entry(annotation: Any, name: str) -> Any:
    """Return the type of an entry of a section, mapping or list, or None."""
    for choice in choices(annotation):
        origin = get_origin(choice)
        if _is_node(choice) and name in choice.model_fields:
            return choice.model_fields[name].annotation
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(choice)[1]
        if isinstance(origin, type) and issubclass(origin, list | tuple) and name.isdigit():
            return get_args(choice)[0]
    return None


def _is_node(annotation: Any) -> TypeGuard[type[Settings]]:
    return (
        get_origin(annotation) is None
        and isinstance(annotation, type)
        and issubclass(annotation, Settings)
    )

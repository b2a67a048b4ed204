"""The shape of a settings tree, read from its types: what there is, and what was probably meant.

A section is a field whose type is a node of the tree; every other field is a setting. Knows
nothing of values, nor of where they come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from types import UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from embedder.settings.model import Settings

Path = tuple[str, ...]
"""The names from the root of a tree to one of its places."""


def choices(annotation: Any) -> tuple[Any, ...]:
    """Return the types that a type allows: one, or those of a union, however it is written."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return choices(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return tuple(chain.from_iterable(map(choices, get_args(annotation))))
    return (annotation,)


def type_at(kind: type[Settings], path: Path) -> Any:
    """Return the type of what stands at a path, or None where there can be nothing.

    Leads through sections, and on into the entries of mappings and lists.
    """
    annotation: Any = kind
    for name in path:
        annotation = _entry(annotation, name)
    return annotation


def is_section(kind: type[Settings], path: Path) -> bool:
    """Tell whether a section stands at a path; the root is one."""
    return _is_node(type_at(kind, path))


def settings_of(kind: type[Settings]) -> Iterator[tuple[Path, FieldInfo]]:
    """Give every setting of a tree with its path, in the order of definition."""
    for name, field in kind.model_fields.items():
        if _is_node(node := field.annotation):
            for path, inner in settings_of(node):
                yield (name, *path), inner
        else:
            yield (name,), field


def place_of(kind: type[Settings], location: tuple[int | str, ...], *, unknown: bool) -> Path:
    """Return the path that a location of pydantic's means; of an ``unknown`` key, with that key.

    Pydantic adds the names of a union's choices to the way, which are nothing of the tree's.
    """
    path: Path = ()
    steps = [str(step) for step in location]
    for step in steps[:-1] if unknown else steps:
        if type_at(kind, (*path, step)) is not None:
            path = (*path, step)
    return (*path, steps[-1]) if unknown else path


def nearest(kind: type[Settings], path: Path) -> list[str]:
    """Return the dotted paths that an unknown path may have meant: its neighbours, else any.

    Beyond the neighbours a setting counts that bears the same name in another section, or whose
    whole path is written alike.
    """
    *section, name = path
    node = type_at(kind, tuple(section))
    if node is None:
        return []
    neighbours = [key for choice in choices(node) for key in getattr(choice, "model_fields", ())]
    if close := get_close_matches(name, neighbours, n=1):
        return [".".join((*section, *close))]
    paths = [known for known, _ in settings_of(kind)]
    if alike := [".".join(known) for known in paths if known[-1] == name]:
        return alike
    return get_close_matches(".".join(path), [".".join(known) for known in paths], n=1)


def _entry(annotation: Any, name: str) -> Any:
    """Return the type of an entry of whatever type has one, or None."""
    for choice in choices(annotation):
        origin = get_origin(choice)
        if origin is None and isinstance(choice, type) and issubclass(choice, BaseModel):
            if name in choice.model_fields:
                return choice.model_fields[name].annotation
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(choice)[1]
        elif isinstance(origin, type) and issubclass(origin, list | tuple) and name.isdigit():
            return get_args(choice)[0]
    return None


def _is_node(annotation: Any) -> TypeGuard[type[Settings]]:
    return (
        get_origin(annotation) is None
        and isinstance(annotation, type)
        and issubclass(annotation, Settings)
    )

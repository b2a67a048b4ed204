"""Assignments of values to paths of a settings tree, from several sources, and their merge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from embedder.settings.tree import Path, Settings, is_section


@dataclass(frozen=True, slots=True)
class Assignment:
    """A value for one path, and the source that it comes from."""

    path: Path
    value: Any
    origin: str


def flatten(kind: type[Settings], assignments: Iterable[Assignment]) -> Iterator[Assignment]:
    """Yield an assignment for every entry of a mapping, at any depth."""
    for assignment in assignments:
        entries = assignment.value
        if isinstance(entries, BaseModel):
            entries = {name: getattr(entries, name) for name in entries.model_fields_set}
        if not isinstance(entries, Mapping):
            yield assignment
        elif entries:
            inner = (
                replace(assignment, path=(*assignment.path, str(key)), value=value)
                for key, value in entries.items()
            )
            yield from flatten(kind, inner)
        elif not is_section(kind, assignment.path):
            yield assignment


def merge(assignments: Iterable[Assignment]) -> list[Assignment]:
    """Return the assignments without those that a later one at, above or below replaces."""
    merged: list[Assignment] = []
    for assignment in assignments:
        kept = (earlier for earlier in merged if not _overlap(earlier.path, assignment.path))
        merged = [*kept, assignment]
    return merged


def assemble(assignments: Iterable[Assignment]) -> dict[str, Any]:
    """Return the nested mapping that the assignments describe."""
    root: dict[str, Any] = {}
    for assignment in assignments:
        *sections, name = assignment.path
        node = root
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = assignment.value
    return root


def origins_at(assignments: Iterable[Assignment], path: Path) -> str:
    """Return the origins of the assignments at, above or below a path, joined by commas."""
    origins = (one.origin for one in assignments if _overlap(one.path, path))
    return ", ".join(dict.fromkeys(origins))


def _overlap(a: Path, b: Path) -> bool:
    """Return whether one of two paths leads to the other."""
    common = min(len(a), len(b))
    return a[:common] == b[:common]

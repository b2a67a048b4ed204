"""Assignments of values to paths of a settings tree, from several sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import NoneType
from typing import Any

from pydantic import BaseModel

from embedder.settings.problems import describe_place
from embedder.settings.tree import Path, Settings, choices, is_section, type_at


class Assignments:
    """The value of every assigned path, and its origin; ``problems`` has a line per invalid text.

    An assignment replaces the earlier ones at its path, above and below.
    """

    def __init__(self, kind: type[Settings]) -> None:
        self.problems: list[str] = []
        self._kind = kind
        self._values: dict[Path, Any] = {}
        self._origins: dict[Path, str] = {}

    def add(self, path: Path, value: Any, origin: str, *, as_text: bool = False) -> None:
        """Assign a value, or every entry of a mapping, at any depth.

        An empty mapping replaces the entries of earlier ones; for a section it assigns nothing.
        ``as_text`` parses a text by the type of its setting.
        """
        if isinstance(value, BaseModel):
            value = {name: getattr(value, name) for name in value.model_fields_set}
        if isinstance(value, Mapping) and (value or is_section(self._kind, path)):
            for key, inner in value.items():
                self.add((*path, str(key)), inner, origin, as_text=as_text)
        elif as_text and isinstance(value, str):
            try:
                self.add(path, _parse(value, choices(type_at(self._kind, path))), origin)
            except ValueError as error:
                self.problems.append(f"{describe_place(path, origin)}: not valid JSON: {error}")
        else:
            for known in [known for known in self._values if _overlap(known, path)]:
                del self._values[known], self._origins[known]
            self._values[path], self._origins[path] = value, origin

    def assembled(self) -> dict[str, Any]:
        """Return the nested mapping of all values."""
        root: dict[str, Any] = {}
        for (*sections, name), value in self._values.items():
            node = root
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = value
        return root

    def origins(self, path: Path) -> str:
        """Return the origins of the assignments at, above or below a path, joined by commas."""
        origins = (origin for known, origin in self._origins.items() if _overlap(known, path))
        return ", ".join(dict.fromkeys(origins))


def _overlap(a: Path, b: Path) -> bool:
    """Return whether one of two paths leads to the other."""
    common = min(len(a), len(b))
    return a[:common] == b[:common]


def _parse(text: str, types: tuple[Any, ...]) -> Any:
    """Return the value of a text for a setting of these types; None among them: it is unknown."""
    if None in types:
        return text
    if text == "null" and NoneType in types:
        return None
    return json.loads(text) if text.startswith(("{", "[")) and str not in types else text

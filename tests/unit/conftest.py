"""What holds for every unit test: no Ray, and the same examples in CI each time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pytest
from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("unit")


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("a unit test must not start Ray")


class _RayWithoutInit(MetaPathFinder):
    """Finds Ray as usual, and takes its ``init`` away once it has been imported."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == "ray" else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_disarm(module: ModuleType) -> None:
                execute(module)
                self._patch.setattr(module, "init", _refuse)

            self._patch.setattr(spec.loader, "exec_module", execute_and_disarm)
        return spec


@pytest.fixture(autouse=True)
def ray_cannot_be_started() -> Iterator[None]:
    """Make ``ray.init`` raise, without importing Ray where nobody else does."""
    with pytest.MonkeyPatch.context() as patch:
        if "ray" in sys.modules:
            patch.setattr("ray.init", _refuse)
        patch.setattr(sys, "meta_path", [_RayWithoutInit(patch), *sys.meta_path])
        yield

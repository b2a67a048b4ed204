"""Fixtures of the unit tests, which never start Ray and use the same examples in every CI run.

Fixtures import the library only when they are used, because most tests need no torch.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.examples import TIMES

if TYPE_CHECKING:
    from embedder import EmbeddingGenerator
    from embedder.settings.model import ModelSettings
    from tests.unit.fake_device import Device
    from tests.unit.inference.fake_loads import FakeLoads
    from tests.unit.virtual_time import VirtualTime

# The processes of pytest-xdist share the cores, for which threads of linear algebra would wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# No deadline: on a busy machine an example may take any time.
settings.register_profile(
    "unit",
    max_examples=30 * TIMES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("unit")


SHORT = "TEST_STORE" not in os.environ
LONG_STORE = "takes seconds over PostgreSQL: 'make stores' runs it"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests marked ``long_store``, and copies between two databases, to a longer run."""
    for item in items if SHORT else ():
        if item.get_closest_marker("long_store") or "[postgres-postgres" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason=LONG_STORE))


def pytest_collection_finish() -> None:
    """Exclude all modules and collected tests from further garbage collections."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def temporary_folder_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put temporary files, those of killed processes too, into a folder that goes with the run."""
    folder = str(tmp_path_factory.mktemp("tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def openvino_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the package, so that no load of a model measures which backend is faster."""
    monkeypatch.setitem(sys.modules, "openvino", None)


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("a unit test must not start Ray")


class _RayWithoutInit(MetaPathFinder):
    """Finds Ray as usual, and replaces its ``init`` after the import."""

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
    """Make ``ray.init`` raise, without importing Ray."""
    with pytest.MonkeyPatch.context() as patch:
        if "ray" in sys.modules:
            patch.setattr("ray.init", _refuse)
        finder = _RayWithoutInit(patch)
        # Into the list, not into a copy of it: packages that a test imports add their own finders.
        sys.meta_path.insert(0, finder)
        yield
        sys.meta_path.remove(finder)


@pytest.fixture(autouse=True)
def the_event_loop_is_not_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make blocking calls of the product on the event loop raise, in asynchronous tests."""
    if request.node.get_closest_marker("asyncio") is None:
        yield
        return
    from tests.unit.blocking_calls import no_blocking_calls

    with no_blocking_calls():
        yield


@pytest.fixture
def device() -> Iterator[Device]:
    """Yield a device that a test can block; its gate is opened at the end."""
    from tests.unit.fake_device import Device

    device = Device()
    yield device
    device.gate.set()


@pytest.fixture
def generator(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmbeddingGenerator]:
    """Yield a generator that computes on the device of the test."""
    from tests.unit.fake_device import make_generator

    with make_generator(monkeypatch, tmp_path, device) as generator:
        yield generator


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSettings]:
    """Return the settings of four models, by one letter each."""
    from tests.unit.inference.fake_loads import write_models

    return write_models(tmp_path_factory.mktemp("models"), "abcd")


@pytest.fixture
def loads() -> Iterator[FakeLoads]:
    """Yield loads that end when a test allows it; all end with the test."""
    from tests.unit.inference.fake_loads import FakeLoads

    loads = FakeLoads()
    yield loads
    loads.gate.set()
    for device in loads.devices.values():
        device.gate.set()


@pytest.fixture
async def virtual_time(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    """Let time pass at once while a test waits for nothing else."""
    from tests.unit.virtual_time import VirtualTime

    return VirtualTime(monkeypatch)

"""A derived file is created once, is complete or missing, and is created again if damaged."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from embedder.backends.derived_files import cache_folder, derived_file, discard
from embedder.core.errors import ConfigurationError
from tests.unit.waiting import LONG_S

KEY = "0123"
NAME = "model.onnx"


class Creator:
    """Writes a graph and its weights, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / NAME).write_bytes(b"graph")
        (folder / f"{NAME}.data").write_bytes(b"weights")


def _is_complete(graph: Path) -> bool:
    weights = graph.parent / f"{NAME}.data"
    return (graph.read_bytes(), weights.read_bytes()) == (b"graph", b"weights")


def test_a_graph_is_created_once_and_reused(tmp_path: Path) -> None:
    create = Creator()

    first = derived_file(tmp_path / "new" / "folder", KEY, NAME, create)
    again = derived_file(tmp_path / "new" / "folder", KEY, NAME, create)

    assert first == again
    assert _is_complete(first)
    assert create.calls == 1


def test_each_key_has_its_own_graph(tmp_path: Path) -> None:
    create = Creator()

    assert derived_file(tmp_path, "a", NAME, create) != derived_file(tmp_path, "b", NAME, create)
    assert create.calls == 2


def _cut(folder: Path) -> None:
    (folder / f"{NAME}.data").write_bytes(b"weigh")


def _lose_graph(folder: Path) -> None:
    (folder / NAME).unlink()


def _lose_weights(folder: Path) -> None:
    (folder / f"{NAME}.data").unlink()


def _lose_digests(folder: Path) -> None:
    next(folder.glob("*.json")).unlink()


def _garble_digests(folder: Path) -> None:
    next(folder.glob("*.json")).write_bytes(b"\xff{")


def _state_nothing(folder: Path) -> None:
    next(folder.glob("*.json")).write_text(json.dumps([]))


@pytest.mark.parametrize(
    "damage", [_cut, _lose_graph, _lose_weights, _lose_digests, _garble_digests, _state_nothing]
)
def test_a_damaged_graph_is_created_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    create = Creator()
    damage(derived_file(tmp_path, KEY, NAME, create).parent)

    graph = derived_file(tmp_path, KEY, NAME, create)

    assert _is_complete(graph)
    assert create.calls == 2


def test_a_folder_without_the_graph_is_replaced(tmp_path: Path) -> None:
    derived_file(tmp_path, KEY, NAME, lambda folder: (folder / "other").touch())
    create = Creator()

    graph = derived_file(tmp_path, KEY, NAME, create)

    assert _is_complete(graph)
    assert create.calls == 1


def test_a_failed_creation_leaves_no_files_and_can_be_repeated(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / NAME).write_bytes(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        derived_file(tmp_path, KEY, NAME, fail)
    left = [path for path in tmp_path.iterdir() if path.is_dir()]

    assert left == []
    assert _is_complete(derived_file(tmp_path, KEY, NAME, Creator()))


def test_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / f"{KEY}.writing-dead"
    abandoned.mkdir()
    (abandoned / NAME).write_bytes(b"half")

    derived_file(tmp_path, KEY, NAME, Creator())

    assert not abandoned.exists()


def test_concurrent_callers_create_a_graph_once(tmp_path: Path) -> None:
    create, barrier = Creator(), threading.Barrier(4)

    def want() -> Path:
        barrier.wait()
        return derived_file(tmp_path, KEY, NAME, create)

    with ThreadPoolExecutor(4) as pool:
        graphs = {future.result() for future in [pool.submit(want) for _ in range(4)]}

    assert create.calls == 1
    assert len(graphs) == 1
    assert all(map(_is_complete, graphs))


def test_a_caller_waits_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, lock, asked = Creator(), fcntl.flock, threading.Event()

    def lock_and_tell(file: IO[str], operation: int) -> None:
        asked.set()
        lock(file, operation)

    graph = derived_file(tmp_path, KEY, NAME, create)
    finished = graph.parent.rename(tmp_path / "finished")
    with (tmp_path / f"{KEY}.lock").open() as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)  # as another process would
        monkeypatch.setattr(fcntl, "flock", lock_and_tell)
        waiting = pool.submit(derived_file, tmp_path, KEY, NAME, create)
        assert asked.wait(LONG_S)
        finished.rename(graph.parent)
        assert not waiting.done()
        lock(file, fcntl.LOCK_UN)

        assert waiting.result(timeout=LONG_S) == graph

    assert create.calls == 1


def test_a_folder_that_is_not_writable_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"file/graphs.*backend\.cache_dir"):
        derived_file(tmp_path / "file" / "graphs", KEY, NAME, Creator())


def test_a_discarded_graph_is_created_again(tmp_path: Path) -> None:
    create = Creator()
    discard(derived_file(tmp_path, KEY, NAME, create))

    derived_file(tmp_path, KEY, NAME, create)

    assert create.calls == 2


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("/cache", "/cache"), ("", "/home/me/.cache"), ("relative", "/home/me/.cache")],
)
def test_files_are_in_the_users_cache_unless_a_folder_is_configured(
    monkeypatch: pytest.MonkeyPatch, stated: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", stated)

    assert cache_folder(None, "onnx") == Path(expected) / "embedder" / "onnx"
    assert cache_folder("/elsewhere", "onnx") == Path("/elsewhere")
    assert cache_folder("~/kept", "onnx") == Path("/home/me/kept")

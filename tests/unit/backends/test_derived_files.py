"""A kept file is made once, is whole or not there, and is made again when it is damaged."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedder.backends.derived_files import cache_folder, discard, kept
from embedder.core.errors import ConfigurationError

KEY = "0123"
NAME = "model.onnx"


class Maker:
    """Writes a graph and its weights, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, folder: Path) -> None:
        self.made += 1
        (folder / NAME).write_bytes(b"graph")
        (folder / f"{NAME}.data").write_bytes(b"weights")


def _is_whole(graph: Path) -> bool:
    weights = graph.parent / f"{NAME}.data"
    return (graph.read_bytes(), weights.read_bytes()) == (b"graph", b"weights")


def test_a_graph_is_made_once_and_found_again(tmp_path: Path) -> None:
    make = Maker()

    first = kept(tmp_path / "new" / "folder", KEY, NAME, make)
    again = kept(tmp_path / "new" / "folder", KEY, NAME, make)

    assert first == again
    assert _is_whole(first)
    assert make.made == 1


def test_two_keys_are_two_graphs(tmp_path: Path) -> None:
    make = Maker()

    assert kept(tmp_path, "a", NAME, make) != kept(tmp_path, "b", NAME, make)
    assert make.made == 2


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
def test_a_damaged_graph_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    make = Maker()
    damage(kept(tmp_path, KEY, NAME, make).parent)

    graph = kept(tmp_path, KEY, NAME, make)

    assert _is_whole(graph)
    assert make.made == 2


def test_a_folder_without_a_graph_is_not_taken_for_one(tmp_path: Path) -> None:
    kept(tmp_path, KEY, NAME, lambda folder: (folder / "other").touch())
    make = Maker()

    graph = kept(tmp_path, KEY, NAME, make)

    assert _is_whole(graph)
    assert make.made == 1


def test_what_fails_leaves_nothing_behind_and_may_be_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / NAME).write_bytes(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        kept(tmp_path, KEY, NAME, fail)
    left = [path for path in tmp_path.iterdir() if path.is_dir()]

    assert left == []
    assert _is_whole(kept(tmp_path, KEY, NAME, Maker()))


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / f"{KEY}.writing-dead"
    abandoned.mkdir()
    (abandoned / NAME).write_bytes(b"half")

    kept(tmp_path, KEY, NAME, Maker())

    assert not abandoned.exists()


def test_those_who_want_a_graph_at_once_make_it_once(tmp_path: Path) -> None:
    make, together = Maker(), threading.Barrier(4)

    def want() -> Path:
        together.wait()
        return kept(tmp_path, KEY, NAME, make)

    with ThreadPoolExecutor(4) as pool:
        graphs = {future.result() for future in [pool.submit(want) for _ in range(4)]}

    assert make.made == 1
    assert len(graphs) == 1
    assert all(map(_is_whole, graphs))


def test_nobody_writes_while_another_process_does(tmp_path: Path) -> None:
    make = Maker()
    graph = kept(tmp_path, KEY, NAME, make)
    finished = graph.parent.rename(tmp_path / "finished")
    with (tmp_path / f"{KEY}.lock").open() as file, ThreadPoolExecutor(1) as pool:
        fcntl.flock(file, fcntl.LOCK_EX)  # what another process would hold
        waiting = pool.submit(kept, tmp_path, KEY, NAME, make)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        finished.rename(graph.parent)
        fcntl.flock(file, fcntl.LOCK_UN)

        assert waiting.result(timeout=5) == graph

    assert make.made == 1


def test_a_folder_that_cannot_be_written_to_is_named_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"file/graphs.*backend\.cache_dir"):
        kept(tmp_path / "file" / "graphs", KEY, NAME, Maker())


def test_a_discarded_graph_is_made_again(tmp_path: Path) -> None:
    make = Maker()
    discard(kept(tmp_path, KEY, NAME, make))

    kept(tmp_path, KEY, NAME, make)

    assert make.made == 2


@pytest.mark.parametrize(
    ("stated", "expected"),
    [("/cache", "/cache"), ("", "/home/me/.cache"), ("relative", "/home/me/.cache")],
)
def test_files_are_kept_in_the_users_cache_unless_a_folder_is_stated(
    monkeypatch: pytest.MonkeyPatch, stated: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", stated)

    assert cache_folder(None, "onnx") == Path(expected) / "embedder" / "onnx"
    assert cache_folder("/elsewhere", "onnx") == Path("/elsewhere")
    assert cache_folder("~/kept", "onnx") == Path("/home/me/kept")

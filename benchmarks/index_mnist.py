"""Recall of every index kind on MNIST, against exact neighbours that others computed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.index_loads import merge_all, points
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Query, Spec
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

BASE = 9_000
TOP = 10
LEAST = {
    IndexKind.FLAT: 1.0,
    IndexKind.HNSW: 0.98,
    IndexKind.IVF_FLAT: 0.95,
    IndexKind.IVF_SQ8: 0.95,
    IndexKind.IVF_PQ: 0.9,
}


def recalls(source: Path, folder: Path) -> list[tuple[str, float, float]]:
    """Return kind, recall@10 of squared distances, and the least that is asked of it."""
    images = read_images(next(source.glob("*idx3*.gz")))
    exact = read_neighbours(source / "mnist-gt100.ivecs")[:, :TOP]
    return [
        (kind.value, _recall(kind, images, exact, folder / kind.value), least)
        for kind, least in LEAST.items()
    ]


def read_images(path: Path) -> Vectors:
    """Return float32[n, pixels] of a gzipped file in the IDX format."""
    with gzip.open(path) as file:
        data = file.read()
    count, height, width = (int(one) for one in np.frombuffer(data, ">i4", 3, 4))
    pixels = np.frombuffer(data, np.uint8, offset=16).reshape(count, height * width)
    return pixels.astype(np.float32)


def read_neighbours(path: Path) -> NDArray[np.int32]:
    """Return int32[queries, k] of a file in the ivecs format."""
    numbers: NDArray[np.int32] = np.fromfile(path, "<i4")
    return numbers.reshape(-1, int(numbers[0]) + 1)[:, 1:]


def _recall(kind: IndexKind, images: Vectors, exact: NDArray[np.int32], folder: Path) -> float:
    index = VectorIndex(IndexSettings(directory=str(folder)), background=False)
    index.create("mnist", Spec(Metric.L2, kind=kind))
    index.upsert("mnist", points(images[:BASE], 0))
    merge_all(index, "mnist")
    asked = [Query("mnist", image, TOP, include=()) for image in images[BASE:]]
    answers = index.search(asked)
    index.close()
    right = 0
    for hits, row, image in zip(answers, exact, images[BASE:], strict=True):
        # By distance, so that of equally near images either is right.
        farthest = np.linalg.norm(images[row[-1]].astype(np.float64) - image)
        right += sum(bool((hit.distance or 0.0) <= farthest * (1 + 1e-6)) for hit in hits)
    return right / (TOP * len(asked))

"""Sixteen threads search one collection while others change it.

``python -m tests.unit.index.search.stress SECONDS KIND DIRECTORY``. It runs in a
process of its own, because a fault in FAISS ends the process. Every hit must be of one version that
existed, points that are never deleted must always be found, and deleted points never again.
"""

from __future__ import annotations

import faulthandler
import itertools
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import merge_all, save, small_settings

SEARCHERS, FIXED, CHANGING, WIDTH = 16, 60, 60, 8
ODD = parse({"parity": 1})


class Stress:
    """The collection, and the state that the threads share."""

    def __init__(self, kind: IndexKind, directory: Path) -> None:
        settings = small_settings(directory, delta_rows=32, recovery_s=0.01)
        self.index = VectorIndex(settings)
        self.index.create("c", Spec(Metric.L2, kind=kind))
        self.gone: set[str] = set()
        self.stop = threading.Event()
        self.versions = itertools.count(1)
        self.searches = 0
        self.put([f"fixed-{number}" for number in range(FIXED)])

    def put(self, names: list[str]) -> None:
        """Set points to a new version, which their vectors, texts and metadata hold."""
        version = next(self.versions)
        rows = np.array([self.vector(name, version) for name in names], np.float32)
        texts = [f"{name}@{version}" for name in names]
        self.index.upsert("c", Points(names, rows, texts, [{"parity": version % 2}] * len(names)))

    @staticmethod
    def vector(name: str, version: int) -> list[float]:
        """Return the vector of a version of a point."""
        chance = random.Random(f"{name}@{version}")
        return [chance.randint(-8, 8) / 4 for _ in range(WIDTH - 1)] + [float(version % 97)]

    def change(self, seed: int) -> None:
        """Upsert and delete until `stop` is set."""
        chance = random.Random(seed)
        for turn in itertools.count():
            if self.stop.is_set():
                return
            names = [f"p{chance.randrange(CHANGING)}" for _ in range(6)]
            if chance.random() < 0.7:
                once = f"once-{seed}-{turn}"
                self.put([*dict.fromkeys(names), once])
                self.index.delete_points("c", [once])
                self.gone.add(once)
            else:
                self.index.delete_points("c", names)

    def maintain(self) -> None:
        """Merge and save until `stop` is set, beside the maintenance thread."""
        while not self.stop.is_set():
            merge_all(self.index, "c")
            save(self.index, "c")

    def search(self, seed: int) -> None:
        """Search and check every answer until `stop` is set."""
        chance = random.Random(seed)
        while not self.stop.is_set():
            gone = set(self.gone)
            filtered = chance.random() < 0.3
            vector = np.array(self.vector("query", chance.randrange(97)), np.float32)
            query = Query("c", vector, 1000, filter=ODD if filtered else None)
            hits = self.index.search([query])[0]
            ids = [hit.id for hit in hits]
            assert len(set(ids)) == len(ids), "a point came twice"
            assert not gone & set(ids), "a deleted point came back"
            for hit in hits:
                name, _, version = (hit.text or "").partition("@")
                exact = np.linalg.norm(vector - self.vector(name, int(version)))
                assert name == hit.id, "a text of another point"
                assert hit.metadata == {"parity": int(version) % 2}, "metadata of another version"
                assert abs(hit.score + exact) < 1e-3, "a score of another version"
                assert not filtered or hit.metadata == {"parity": 1}, "outside the filter"
            fixed = {name for name in ids if name.startswith("fixed")}
            assert len(fixed) == FIXED, "a point that was never deleted is missing"
            self.searches += 1


def main(seconds: float, kind: IndexKind, directory: Path) -> None:
    """Run all threads for some seconds, and until one has searched; a failure ends the process."""
    stress = Stress(kind, directory)
    with ThreadPoolExecutor(SEARCHERS + 5) as pool:
        running = [pool.submit(stress.search, seed) for seed in range(SEARCHERS)]
        running += [pool.submit(stress.change, seed) for seed in range(4)]
        running.append(pool.submit(stress.maintain))
        end = time.monotonic() + seconds
        while not any(one.done() for one in running):
            if stress.searches and time.monotonic() > end:
                break
            time.sleep(0.05)
        stress.stop.set()
        for one in running:
            one.result()
    assert stress.index.stats().status == "ready"
    stress.index.close()
    sys.stdout.write(f"{stress.searches}\n")


if __name__ == "__main__":
    faulthandler.enable()
    main(float(sys.argv[1]), IndexKind(sys.argv[2]), Path(sys.argv[3]))

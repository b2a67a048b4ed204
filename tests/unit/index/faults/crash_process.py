"""A process that uses an index until it is killed, and reports each step on standard output.

``python -m tests.unit.index.faults.crash_process`` imports the slow modules, then forks a child for
each line of standard input: ``{"directory", "seed", "steps", "failpoint", "plan"}``. The child
writes each step before it takes it, and ``"done"`` after the index has acknowledged it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss  # noqa: F401 - before the fork, so that no child imports it again
import numpy as np

from embedder.core.errors import EmbedderError
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Spec, StoredModel
from embedder.index.storage import failpoints
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import merge_all, save, small_settings

WIDTH = 4
IDS = 50
MAINTAIN: dict[str, Callable[[VectorIndex, str], None]] = {
    "snapshot": save,
    "optimize": merge_all,
    "run_maintenance": lambda index, _: index.run_maintenance(),
}
KINDS = [IndexKind.FLAT, IndexKind.HNSW, IndexKind.IVF_FLAT]


def report(event: object) -> None:
    """Write one line without buffering."""
    os.write(1, (json.dumps(event) + "\n").encode())


def main() -> None:
    """Fork a child for every line, and report its exit status."""
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                # By itself: a report of the parent may come after the first step.
                report({"pid": os.getpid()})
                run(job)
            except BaseException:  # noqa: BLE001 - the child must not continue as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        report({"exit": -os.WTERMSIG(status) if os.WIFSIGNALED(status) else status >> 8})


def run(job: dict[str, Any]) -> None:
    """Take the steps of the job until they are done or the process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    failpoints.arm(job["failpoint"])
    chance = random.Random(job["seed"])
    settings = small_settings(Path(job["directory"]), recovery_s=0.01)
    index = VectorIndex(settings, background=job["plan"] == "random")
    index.create(
        "c", Spec(Metric.L2, kind=chance.choice(KINDS) if not job["seed"] else IndexKind.HNSW)
    )
    for _ in range(job["steps"]):
        step = draw(chance) if job["plan"] == "random" else job["plan"].pop(0)
        report(step)
        try:
            take(index, step)
        except EmbedderError as error:
            report({"refused": error.code})
        else:
            report("done")
    index.close()
    report("closed")


def draw(chance: random.Random) -> list[Any]:
    """Return the next step."""
    name = chance.choices(
        ["upsert", "delete", "delete_matching", "snapshot", "run_maintenance", "optimize", "drop"],
        [60, 15, 6, 4, 10, 4, 1],
    )[0]
    if name == "upsert":
        ids = chance.sample(range(IDS), chance.randint(1, 20))
        return [name, [[f"p{i}", [chance.randint(-9, 9) for _ in range(WIDTH)]] for i in ids]]
    if name == "delete":
        return [name, [f"p{i}" for i in chance.sample(range(IDS), chance.randint(1, 8))]]
    if name == "delete_matching":
        return [name, chance.randint(-40, 0)]
    return [name, None]


def take(index: VectorIndex, step: list[Any]) -> None:
    """Take one step; it returns when it is acknowledged."""
    name, given = step
    if name == "upsert":
        rows = np.array([vector for _, vector in given], np.float32)
        metadata = [{"sum": sum(vector)} for _, vector in given]
        texts = [str(vector) for _, vector in given]
        index.upsert("c", Points([one for one, _ in given], rows, texts, metadata))
    elif name == "delete":
        index.delete_points("c", given)
    elif name == "delete_matching":
        index.delete_matching("c", parse({"sum": {"$lt": given}}))
    elif name == "drop":
        index.delete("c")
        index.create("c", Spec(Metric.L2, kind=IndexKind.HNSW))
    elif name == "back_up":
        index.back_up("c", Path(given))
    elif name == "restore":
        index.restore(Path(given[0]), given[1])
    elif name == "reembed":
        reembed(index, given)
    else:
        MAINTAIN[name](index, "c")


def reembed(index: VectorIndex, identity: str) -> None:
    """Compute every vector again from its text, which gives the same vector."""
    model = StoredModel("m", identity, "0" * 64, "mean")
    spec = Spec(Metric.L2, IndexKind.HNSW, WIDTH, stored=model, identity=identity)
    index.begin_staged("c", index.describe("c").identity, spec)
    points = index.outdated("c", identity, 0)
    vectors = np.array([json.loads(one.text) for one in points], np.float32)
    index.fill_staged("c", identity, points, vectors)
    index.freeze("c", identity, False)
    index.switch("c", identity)


def apply(stored: dict[str, list[int]], step: list[Any]) -> dict[str, list[int]]:
    """Return the expected points after a step, computed without the index."""
    name, given = step
    if name == "upsert":
        return {**stored, **dict(given)}
    if name == "delete":
        return {one: vector for one, vector in stored.items() if one not in given}
    if name == "delete_matching":
        return {one: vector for one, vector in stored.items() if sum(vector) >= given}
    return {} if name == "drop" else stored


if __name__ == "__main__":
    main()

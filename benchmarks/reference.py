"""Published reference data: how its tolerances read, and how vectors are compared with it.

Pure functions on arrays and parsed files.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Dtype = Literal["float32", "auto"]

LEAST_COSINE: dict[Dtype, float] = {"float32": 0.9999, "auto": 0.999}
LEAST_COSINE_TO_FLOAT16 = 0.999
UNSTATED = 1e-3
FOUR_DECIMALS = 6e-5
REDUCED_PRECISION = 4e-3
"""What a component may differ by where the hardware's own number format computes."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a check allows: a least cosine, or a largest absolute difference."""

    measure: Literal["cosine", "absolute"]
    value: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: the comparison, its worst value, and its limit.

    ``limit`` is None for a figure that is only shown; ``least`` says which side is the good one.
    """

    what: str
    dtype: str
    worst: float
    limit: float | None
    least: bool = False

    @property
    def ok(self) -> bool:
        """Return whether the limit holds; a NaN holds none."""
        if self.limit is None:
            return True
        return self.worst >= self.limit if self.least else self.worst <= self.limit

    def document(self) -> dict[str, Any]:
        """Return the finding as JSON has it, where there is no NaN."""
        worst = self.worst if np.isfinite(self.worst) else None
        return {
            "what": self.what,
            "dtype": self.dtype,
            "worst": worst,
            "limit": self.limit,
            "ok": self.ok,
        }


def limit_of(check: Mapping[str, Any], dtype: Dtype) -> Limit:
    """Read the tolerance that a published check states, for vectors in this number format.

    Raises:
        ValueError: it states one in words that mean nothing here.
    """
    stated = str(check.get("tolerance", ""))
    if "cosine" in stated:
        from_float16 = str(check.get("precision", "")).startswith("float16")
        value = LEAST_COSINE_TO_FLOAT16 if from_float16 else LEAST_COSINE[dtype]
        return Limit("cosine", value)
    absolute = _absolute(stated)
    return Limit("absolute", absolute if dtype == "float32" else max(absolute, REDUCED_PRECISION))


def _absolute(stated: str) -> float:
    if not stated:
        return UNSTATED
    if stated == "4 decimals":
        return FOUR_DECIMALS
    if number := re.match(r"abs ([0-9.]+(?:e-?[0-9]+)?)", stated):
        return float(number[1])
    raise ValueError(f"a tolerance that cannot be read: {stated!r}")


def compare(check: Mapping[str, Any], vectors: NDArray[Any], dtype: Dtype) -> Finding:
    """Compare vectors, a row for each of the check's texts, with the published ones."""
    limit = limit_of(check, dtype)
    published, found = _pair(check, vectors)
    what = f"{label(str(check['source']))}: {_content(check)}, {limit.measure}"
    if limit.measure == "cosine":
        worst = float(cosines(found, published).min())
        return Finding(what, dtype, worst, limit.value, least=True)
    return Finding(what, dtype, largest_difference(found, published), limit.value)


def _content(check: Mapping[str, Any]) -> str:
    """Return a short description of the published data."""
    if "similarity" in check:
        return "similarities"
    if "first_components" in check:
        return "first token" if check.get("pooling") == "none" else "first components"
    return f"{len(check['vectors'][0])} dimensions"


def _pair(check: Mapping[str, Any], vectors: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the published numbers, and the same numbers of ``vectors``."""
    if "similarity" in check:
        return np.asarray(check["similarity"]), vectors @ vectors.T
    if "first_components" in check:
        published = np.asarray(check["first_components"])
        return published, vectors[:, : published.shape[1]]
    return np.asarray(check["vectors"]), vectors


def label(source: str) -> str:
    """Shorten ``owner/project@commit:path (remark)`` to the project and the file's name."""
    repository, _, rest = source.partition("@")
    path = re.split(r"[ ,]", rest.partition(":")[2])[0]
    return f"{repository.rpartition('/')[2]} {path.rpartition('/')[2]}"


def cosines(left: ArrayLike, right: ArrayLike) -> NDArray[np.float64]:
    """Return the cosine of each row of one array with the same row of the other."""
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} cannot be compared with {b.shape}")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    answer: NDArray[np.float64] = (a * b).sum(axis=1) / lengths
    return answer


def largest_difference(left: ArrayLike, right: ArrayLike) -> float:
    """Return the largest absolute difference of two arrays of one shape."""
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.shape} cannot be compared with {b.shape}")
    return float(np.abs(a - b).max())


def spearman(left: ArrayLike, right: ArrayLike) -> float:
    """Return the rank correlation of two sequences; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: ArrayLike) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]


def mismatches(expected: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> list[int]:
    """Return the places at which two lists of token ids differ."""
    pairs = zip(expected, found, strict=True)
    return [place for place, (left, right) in enumerate(pairs) if list(left) != list(right)]


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_texts(path: Path, count: int, *, seed: int) -> list[str]:
    """Draw texts of a gzipped JSON-lines file, the same ones for the same seed."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [str(json.loads(line)["text"]) for line in file]
    return random.Random(seed).sample(texts, min(count, len(texts)))


def read_sts(path: Path) -> tuple[list[float], list[str], list[str]]:
    """Read scores, first and second sentences of an STS Benchmark file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [float(row[4]) for row in rows], [row[5] for row in rows], [row[6] for row in rows]

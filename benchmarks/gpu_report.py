"""The figures of one model on a GPU, as a table for people and as values for JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

PUBLISHED = {("bert-base", 50): 1_410_000, ("bert-base", 512): 1_635_000}
"""Tokens a second of Arctic Inference on one H200, by 32 replicas in a server (May 2025)."""


@dataclass(slots=True)
class Row:
    """One model with texts of one length; a figure of every list is that of one round."""

    model: str
    tokens_a_text: int
    texts_a_batch: int
    tokens_per_s: list[float] = field(default_factory=list)
    texts_per_s: list[float] = field(default_factory=list)
    teraflops: list[float] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    peer_tokens_per_s: list[float] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)

    @property
    def of_published(self) -> float | None:
        """Return the tokens a second by the most that was published for this model, if any was."""
        published = PUBLISHED.get((self.model, self.tokens_a_text))
        return statistics.median(self.tokens_per_s) / published if published else None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of one model: ``cosine`` is the least to float32, ``apart`` of others."""

    model: str
    parameters: int
    kernels: str
    cosine: float
    apart: float
    peer: str
    rows: list[Row]


def table(found: Sequence[Found]) -> str:
    """Lay out for people: medians, and the spread of the tokens a second, in thousands."""
    head = f"{'model':11}{'tokens/text':>12}{'texts/batch':>12}{'texts/s':>10}{'ktokens/s':>11}"
    head += f"{'spread':>16}{'TFLOP/s':>9}{'share':>7}{'ratio':>7}{'of published':>14}"
    lines = [head, *(_line(row) for one in found for row in one.rows)]
    for one in found:
        lines.append(f"{one.model}: {one.parameters / 1e6:.1f} M weights, {one.kernels};")
        lines.append(f"  least cosine {one.cosine:.6f} to float32, {one.apart:.3f} among others")
        lines.append(f"  ratio: to {one.peer}")
    lines.append("share: of the device's own matrix products, attention not counted")
    if any(row.of_published for one in found for row in one.rows):
        lines.append("of published: 32 replicas in a server on an H200; ours is without a server")
    return "\n".join(lines)


def _line(row: Row) -> str:
    least, most = min(row.tokens_per_s) / 1e3, max(row.tokens_per_s) / 1e3
    texts, tokens = statistics.median(row.texts_per_s), statistics.median(row.tokens_per_s)
    published = "-" if row.of_published is None else f"{row.of_published:.2f}"
    return (
        f"{row.model:11}{row.tokens_a_text:12}{row.texts_a_batch:12}"
        f"{texts:10.0f}{tokens / 1e3:11.1f}"
        f"{f'{least:.1f}–{most:.1f}':>16}{statistics.median(row.teraflops):9.1f}"
        f"{statistics.median(row.share):7.2f}{statistics.median(row.ratio):7.2f}{published:>14}"
    )


def plain(found: Found) -> dict[str, object]:
    """Return a value for JSON, which has no NaN."""
    plain = asdict(found)
    plain["cosine"] = found.cosine if np.isfinite(found.cosine) else None
    for row, described in zip(found.rows, plain["rows"], strict=True):
        described["of_published"] = row.of_published
    return plain

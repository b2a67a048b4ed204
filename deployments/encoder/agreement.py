"""Whether two processes compute the same vectors for a model."""

from __future__ import annotations

from dataclasses import replace

from embedder.core.types import ModelInfo

SAME_MODEL = (
    "digest",
    "config_digest",
    "tokenizer_digest",
    "pooling",
    "width",
    "max_tokens",
    "vocabulary_size",
    "outputs",
    "labels",
    "activation",
    "token_width",
)
"""Facts that are equal in all pools of a model. Their number formats may differ: a backend chooses
one whose vectors have a cosine of at least 0.999 to those in float32."""

SAME_BITS = ("digest", "config_digest", "dtype", "backend", "device")
"""Facts that are equal in the encoder of an ingress and in the replicas."""

ANY_FORMAT = "auto"
"""The number format of a model that each pool computes in a format of its own choice."""


def difference(facts: tuple[str, ...], here: ModelInfo, there: ModelInfo) -> str | None:
    """Return a sentence about the first of these facts that differs, or None."""
    for fact in facts:
        one, other = getattr(here, fact), getattr(there, fact)
        if one != other:
            return f"{fact} of {there.name!r} is {one!r} here, {other!r} there"
    return None


def of_several_pools(info: ModelInfo, stated_dtype: str) -> ModelInfo:
    """Return the description of a model in several pools, given that of the first to answer.

    If the settings leave the number format to each pool, the format is `ANY_FORMAT`. The format is
    part of the keys of the cache, so these vectors are never served where one format is stated.
    """
    return replace(info, dtype=ANY_FORMAT) if stated_dtype == "auto" else info

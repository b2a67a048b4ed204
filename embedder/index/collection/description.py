"""The description of a collection, from its specification and its state."""

from __future__ import annotations

from embedder.index.contract.points import CollectionInfo, Spec
from embedder.index.segments.index_state import IndexState


def described(
    name: str, spec: Spec, width: int | None, sequence: int, state: IndexState | None
) -> CollectionInfo:
    """Return what is known of a collection; ``state`` is None while there was never a vector."""
    segments = state.segments if state else ()
    largest = max(segments, key=lambda live: live.count, default=None)
    return CollectionInfo(
        name,
        spec.metric,
        spec.kind.value,
        width,
        state.count if state else 0,
        state.sequence if state else sequence,
        spec.model,
        serving=largest.segment.kind.value if largest else "flat",
        segments=len(segments),
        dead=state.dead if state else 0,
        pending=state.delta.count if state else 0,
        model_revision=spec.stored.revision if spec.stored else None,
        model_digest=spec.stored.digest if spec.stored else None,
        model_pooling=spec.stored.pooling if spec.stored else None,
        identity=str(spec.identity),
    )

"""The handles to all deployments of the application, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.rpc.handle_client import Handle


@dataclass(frozen=True, slots=True)
class Handles:
    """One handle for each deployment; ``ingress`` reaches all replicas of the ingress itself.

    ``caches`` and ``indexes`` hold the shards by deployment name, in shard order.
    """

    tokenizer: Handle
    encoder: Handle
    caches: Mapping[str, Handle]
    indexes: Mapping[str, Handle]
    ingress: Handle

    def by_name(self) -> Mapping[str, Handle]:
        """Return the handles by deployment name."""
        return {
            "Ingress": self.ingress,
            "Tokenizer": self.tokenizer,
            "Encoder": self.encoder,
            **self.caches,
            **self.indexes,
        }

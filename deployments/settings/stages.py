"""How each deployment scales, and the resources of its replicas."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from deployments.settings.placement import AUTO_CHARACTERS, Placement
from embedder.batching.packing import Slots
from embedder.settings.tree import Settings


class ReplicaSettings(Settings):
    """The resources that one replica of a deployment needs on its node."""

    num_cpus: float = Field(0.1, ge=0, description="logical CPUs that Ray reserves per replica")
    hardware: Literal["auto", "cpu", "gpu"] = Field(
        "cpu", description="auto: a GPU if the cluster has one when the service is deployed"
    )
    num_gpus: float = Field(1.0, gt=0, description="GPUs per replica on a GPU; may be a fraction")
    resources: dict[str, float] = Field(
        {}, description="Ray resources that the node must have, to keep data on disk on one node"
    )
    label_selector: dict[str, str] = Field(
        {}, description="labels that the node must have, as `ray start --labels` sets them"
    )


class StageSettings(ReplicaSettings):
    """How a stateless deployment scales."""

    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(2, ge=1)
    target_utilization: float = Field(
        0.7, gt=0, le=1, description="share of the time that autoscaling aims to keep replicas busy"
    )
    upscale_delay_s: float = Field(
        1.0, ge=0, description="seconds of too much load before replicas are added"
    )
    downscale_delay_s: float = Field(
        300.0, ge=0, description="seconds of too little load before replicas are removed"
    )
    calls_per_replica: int = Field(1, ge=1, description="concurrent calls per ingress and replica")
    max_replicas_per_node: int | None = Field(
        None, ge=1, le=100, description="spreads the replicas; those beyond wait for another node"
    )
    max_surge_percent: int = Field(
        25,
        ge=0,
        le=100,
        description="while a changed configuration replaces replicas, this share of them, at least "
        "one, starts before others stop; 0: others stop first",
    )

    @model_validator(mode="after")
    def _check_bounds(self) -> StageSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas is {self.min_replicas}, above max_replicas {self.max_replicas}"
            )
        return self

    def concurrent_calls(self, *, worth_tokens: int, replicas: int | None = None) -> Slots:
        """Return the limit of concurrent calls from one ingress to ``replicas`` of this stage.

        A call beyond one per replica must hold at least ``worth_tokens``. While the number is not
        known, as many as ``max_replicas`` get calls; one call may wait for the first replica.
        """
        count = max(1, self.max_replicas if replicas is None else replicas)
        return Slots(self.calls_per_replica * count, eager=count, worth_tokens=worth_tokens)


class IngressStage(StageSettings):
    """How the ingress scales; its replicas share their cores with those of other stages."""

    # A new replica computes for seconds before it answers. Where encoders use every core, that
    # delays more requests than it helps, unless the ingress itself is the limit.
    target_utilization: float = Field(
        0.9, gt=0, le=1, description="share of the time that autoscaling aims to keep replicas busy"
    )


class IndexStage(StageSettings):
    """How each shard of the index scales; more than one replica needs a database (index.url)."""

    max_replicas: int = Field(1, ge=1, description="of each shard; above 1 only with index.url")
    calls_per_replica: int = Field(2, ge=1, description="concurrent calls per ingress and replica")


class TokenizerStage(StageSettings):
    """How the tokenizer scales, and which requests the ingress tokenizes itself."""

    placement: Placement = Field(
        "auto",
        description="what the ingress tokenizes itself; remote: nothing; auto: requests of at most "
        f"{AUTO_CHARACTERS:,} characters; colocated: all requests",
    )

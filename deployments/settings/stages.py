"""How each deployment scales, and the resources of its replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from embedder.batching.slots import Slots
from embedder.settings.tree import Settings


class ReplicaSettings(Settings):
    """What one replica of a deployment takes from its node."""

    num_cpus: float = Field(0.1, ge=0, description="logical CPUs that Ray books for a replica")
    hardware: Literal["auto", "cpu", "gpu"] = Field(
        "cpu", description="auto: a GPU where the cluster has one when the service is deployed"
    )
    num_gpus: float = Field(1.0, gt=0, description="GPUs, or a share of one, where on a GPU")
    resources: dict[str, float] = Field(
        {}, description="resources of Ray that its node must have: pins what is kept on a disk"
    )


class StageSettings(ReplicaSettings):
    """How a stateless deployment scales."""

    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(2, ge=1)
    target_ongoing_requests: float = Field(
        2.0, gt=0, description="calls in progress at each replica that autoscaling steers for"
    )
    upscale_delay_s: float = Field(5.0, ge=0)
    downscale_delay_s: float = Field(300.0, ge=0)
    flights_per_replica: int = Field(
        1, ge=1, description="calls of one ingress in the air for each replica there may be"
    )

    @model_validator(mode="after")
    def _ordered(self) -> StageSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas is {self.min_replicas}, above max_replicas {self.max_replicas}"
            )
        return self

    def concurrent_calls(self, *, worth_tokens: int) -> Slots:
        """Return the calls to this stage that one ingress keeps in the air.

        One that comes on top of one for each replica holds ``worth_tokens`` at least.
        """
        count = self.flights_per_replica * self.max_replicas
        return Slots(count, eager=self.max_replicas, worth_tokens=worth_tokens)


class IngressStage(StageSettings):
    """How the ingress scales: it waits for others far more than it computes."""

    target_ongoing_requests: float = Field(400.0, gt=0, description="requests in progress at each")


class TokenizerStage(StageSettings):
    """How the tokenizer scales, and what never comes to it."""

    ingress_characters: int = Field(
        16_000,
        ge=0,
        description="the ingress itself tokenizes a request of so many characters or fewer: that "
        "takes less than asking for it; 0: none",
    )


class EncoderStage(StageSettings):
    """How the encoder scales: a core each, or a GPU where the cluster has one."""

    num_cpus: float = Field(0.5, ge=0, description="logical CPUs that Ray books for a replica")
    hardware: Literal["auto", "cpu", "gpu"] = "auto"
    replicas: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        "auto",
        description="auto: on CPUs one for each core that there is when the service is deployed, "
        "on GPUs min_replicas to max_replicas as calls come; null: so on CPUs too",
    )

    in_ingress: Literal["none", "idle", "all"] = Field(
        "idle",
        description="what an ingress on a CPU encodes itself, by the pinned models: idle: what "
        "comes while nothing is computed; all: everything, for one node without a GPU; then there "
        "is an ingress for each core, and the Encoder steps in where one fails",
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_to_calls(cls, given: Any) -> Any:
        """Let bounds that stand alone mean what they say on CPUs too."""
        bounds = {"min_replicas", "max_replicas"}
        if isinstance(given, Mapping) and "replicas" not in given and bounds & given.keys():
            return {**given, "replicas": None}
        return given

    @model_validator(mode="after")
    def _stated_once(self) -> EncoderStage:
        bounds = sorted({"min_replicas", "max_replicas"} & self.model_fields_set)
        if isinstance(self.replicas, int) and bounds:
            raise ValueError(f"replicas is {self.replicas}: leave {' and '.join(bounds)} out")
        return self

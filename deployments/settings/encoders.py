"""How the encoders scale: one deployment, or named pools of them on different hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from deployments.settings.placement import Placement
from deployments.settings.stages import StageSettings
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings

DEPLOYMENT = "Encoder"
"""The deployment of the encoders; that of a pool is called after the pool too."""


class EncoderReplicas(StageSettings):
    """The replicas of one deployment of encoders, and the hardware that each of them needs."""

    num_cpus: float = Field(0.5, ge=0, description="logical CPUs that Ray reserves per replica")
    min_replicas: int = Field(
        1, ge=0, description="0: no replica while there is no work, or no node for one"
    )
    max_surge_percent: int = Field(
        0,
        ge=0,
        le=100,
        description="as of the other stages; each new replica needs the memory of a model, and its "
        "CPUs or GPUs, beside the old ones, and waits until a node has them",
    )
    replicas: int | Literal["auto"] | None = None
    dollars_per_hour: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="price of one replica for an hour, for the metric of costs; null: none",
    )
    accelerator_type: str | None = Field(
        None, min_length=1, description="the kind of GPU, by Ray's name for it: L4, H100, …"
    )

    @model_validator(mode="after")
    def _check_accelerator(self) -> EncoderReplicas:
        if self.accelerator_type is not None and self.hardware == "cpu":
            raise ValueError(f"accelerator_type is {self.accelerator_type}: hardware must be gpu")
        return self

    @model_validator(mode="after")
    def _check_replicas(self) -> EncoderReplicas:
        bounds = sorted({"min_replicas", "max_replicas"} & self.model_fields_set)
        if isinstance(self.replicas, int) and bounds:
            raise ValueError(f"replicas is {self.replicas}: leave {' and '.join(bounds)} out")
        return self


class EncoderPoolSettings(EncoderReplicas):
    """A pool of encoders: a deployment with hardware and models of its own."""

    name: str = Field(
        pattern=r"^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$",
        description="the pool's deployment is called Encoder-NAME",
    )
    hardware: Literal["cpu", "gpu"] = Field("cpu", description="where its replicas compute")
    replicas: int | None = Field(
        None, ge=1, description="a fixed number; null: from min_replicas to max_replicas"
    )
    models: tuple[str, ...] | None = Field(
        None, min_length=1, description="names of the served models that it has; null: all"
    )


@dataclass(frozen=True, slots=True)
class EncoderDeployment:
    """One deployment of encoders, and the names of the models that it has; None: all."""

    deployment: str
    replicas: EncoderReplicas
    models: tuple[str, ...] | None = None

    def serves(self, model: ModelSettings) -> bool:
        """Return whether this pool has a model, by any of the model's names."""
        return self.models is None or not set(self.models).isdisjoint(model_names(model))

    def shares_models(self, other: EncoderDeployment) -> bool:
        """Return whether the other pool can do work of this one."""
        if self.models is None or other.models is None:
            return True
        return not set(self.models).isdisjoint(other.models)


class EncoderStage(EncoderReplicas):
    """How the encoder scales: one per core, or on GPUs if the cluster has some; or in pools."""

    hardware: Literal["auto", "cpu", "gpu"] = "auto"
    replicas: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        "auto",
        description="auto: on CPUs one per core of the cluster at deployment, on GPUs autoscaling "
        "from min_replicas to max_replicas; null: autoscaling on CPUs too",
    )
    placement: Placement = Field(
        "auto",
        description="batches of pinned models that an ingress on a CPU encodes itself; remote: "
        "none; auto: those that arrive while no batch is computed; colocated: all, for one node "
        "without a GPU, with an ingress per core and the Encoder as fallback; with pools: none",
    )
    pools: tuple[EncoderPoolSettings, ...] = Field(
        (),
        description="several deployments of encoders instead of one, on CPUs and on GPUs, each "
        "with replicas, hardware and models of its own; every other field but placement is then "
        "stated for each of them",
    )

    @model_validator(mode="before")
    @classmethod
    def _autoscale_between_bounds(cls, given: Any) -> Any:
        """Apply bounds that are given without ``replicas`` on CPUs too."""
        bounds = {"min_replicas", "max_replicas"}
        if isinstance(given, Mapping) and "replicas" not in given and bounds & given.keys():
            return {**given, "replicas": None}
        return given

    @model_validator(mode="after")
    def _check_pools(self) -> EncoderStage:
        if not self.pools:
            return self
        single = sorted(self.model_fields_set - {"pools", "placement"})
        if single:
            raise ValueError(f"pools are given: state {', '.join(single)} in each pool instead")
        names = [pool.name for pool in self.pools]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"several pools are called {repeated[0]!r}")
        if self.placement == "colocated":
            raise ValueError("placement is colocated, which is for one node: leave the pools out")
        return self

    @property
    def deployments(self) -> tuple[EncoderDeployment, ...]:
        """Return the deployments of encoders, in the configured order."""
        if not self.pools:
            return (EncoderDeployment(DEPLOYMENT, self),)
        return tuple(
            EncoderDeployment(f"{DEPLOYMENT}-{pool.name}", pool, pool.models) for pool in self.pools
        )


def unserved(pools: Sequence[EncoderDeployment], models: Sequence[ModelSettings]) -> str | None:
    """Return a sentence about a model that no pool has, or a name that no model has, else None."""
    for model in models:
        if not any(pool.serves(model) for pool in pools):
            return f"no pool of encoder.pools has the model {model_names(model)[0]!r}"
    served = {name for model in models for name in model_names(model)}
    for pool in pools:
        if unknown := set(pool.models or ()) - served:
            return f"pool {pool.deployment} has the model {min(unknown)!r}, which is not served"
    return None

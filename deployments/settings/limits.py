"""The limits of the ingress."""

from __future__ import annotations

from pydantic import Field

from embedder.settings.model import LimitSettings


class IngressLimits(LimitSettings):
    """The limits of one HTTP request."""

    max_body_bytes: int = Field(16 * 2**20, ge=1, description="bytes of one request body")
    max_response_bytes: int = Field(
        128 * 2**20,
        ge=1,
        description="bytes of one answer, as estimated; room for 2,048 vectors of 4,096 numbers",
    )
    max_body_containers: int = Field(
        262_144, ge=1, description="lists and objects of JSON in one request body"
    )
    min_body_bytes_per_s: int = Field(
        1024, ge=0, description="a body that comes more slowly is refused, after body_grace_s"
    )
    body_grace_s: float = Field(
        10.0,
        gt=0,
        description="seconds until the first byte of a body must have come; then, seconds in which "
        "the rest may come at any pace",
    )
    max_points: int = Field(2048, ge=1, description="points per upsert")
    max_queries: int = Field(256, ge=1, description="queries per search")
    max_similarities: int = Field(
        1_000_000, ge=1, description="numbers in one matrix of similarities"
    )
    max_clusters: int = Field(1024, ge=1, description="clusters per request")
    request_timeout_s: float = Field(
        60.0, gt=0, description="seconds until a request is given up; x-request-timeout asks less"
    )

"""The settings of an index, or of one shard of it."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from embedder.settings.tree import Settings

POSTGRES_SCHEMES = ("postgresql://", "postgres://")

SNAPSHOT_DRIVERS = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "file": "",
    "memory": "",
}
"""The schemes of ``snapshots``, and the package that each needs beside fsspec; empty for none."""

SNAPSHOT_SCHEMES = tuple(f"{scheme}://" for scheme in SNAPSHOT_DRIVERS)


class IndexSettings(Settings):
    """The directory of an index shard, and its balance of memory, speed and start time."""

    directory: str | None = Field(
        None,
        min_length=1,
        description="directory of the stored data; None: kept until the process ends",
    )
    url: SecretStr | None = Field(
        None,
        description="a PostgreSQL database that holds the points in place of directory, which then "
        "holds snapshots only; postgresql://",
    )
    snapshots: str | None = Field(
        None,
        min_length=1,
        description="s3://…, gs://…, az://… or file://…: store snapshots there too, so that a "
        "replica on another node need not read all points of url",
    )
    recovery_s: float = Field(
        5.0, gt=0, description="seconds that a start may take after a crash; snapshots bound it"
    )
    delta_rows: int = Field(
        4096, ge=1, description="new points that are searched one by one before they are a segment"
    )
    max_deleted_share: float = Field(
        0.2, gt=0, le=0.3, description="share of deleted points from which a segment is rewritten"
    )
    max_queued_bytes: int = Field(
        64 * 2**20, ge=1, description="bytes of points that wait to be written; more are refused"
    )
    reserve_bytes: int = Field(
        32 << 20,
        ge=0,
        description="disk space in reserve for deletes and starts on a full disk; twice "
        "the log of changes, and at most an eighth of the disk",
    )
    min_indexed_rows: int = Field(
        2000, ge=1, description="segments with fewer rows are flat, for every kind of collection"
    )
    auto_hnsw_rows: int = Field(
        50_000, ge=1, description="rows from which segments of kind auto are HNSW graphs"
    )
    hnsw_m: int = Field(32, ge=4, le=128, description="M of new HNSW graphs")
    hnsw_ef_construction: int = Field(
        100, ge=8, le=1000, description="efConstruction of new HNSW graphs"
    )
    hnsw_ef_search: int = Field(
        64, ge=8, le=4096, description="lowest efSearch of a search; 3 × top_k if that is more"
    )
    ivf_probes: int | None = Field(
        None,
        ge=1,
        description="lowest number of inverted lists read per query; None: an eighth of them",
    )
    search_threads: int = Field(
        1, ge=1, description="FAISS threads of one search; several searches run in parallel"
    )
    build_threads: int = Field(1, ge=1, description="FAISS threads that build a segment")

    @field_validator("url")
    @classmethod
    def _is_of_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(POSTGRES_SCHEMES):
            raise ValueError(f"must begin with {' or '.join(POSTGRES_SCHEMES)}")
        return url

    @field_validator("snapshots")
    @classmethod
    def _has_no_credentials(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not url.startswith(SNAPSHOT_SCHEMES) or "::" in url:
            raise ValueError(f"must begin with one of {', '.join(SNAPSHOT_SCHEMES)}")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError("must be a URL") from None  # without the part that is wrong
        if parts.password is not None or parts.query or parts.fragment:
            raise ValueError(
                "must have no password and no options: the driver of an object store reads them "
                "from its environment variables or its configuration file"
            )
        return url

    @model_validator(mode="after")
    def _check_snapshots(self) -> IndexSettings:
        if self.snapshots is not None and self.url is None:
            raise ValueError("snapshots is set without url: only points in a database need it")
        return self

"""Calibrations: the measurements of one machine in a file, to plan capacity on equal machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from pydantic import Field

from embedder.core.errors import ConfigurationError
from embedder.settings.sources import load
from embedder.settings.tree import Settings


class BatchTimes(Settings):
    """Seconds of two batches of texts of one length."""

    text_tokens: int = Field(ge=1)
    alone_s: float = Field(gt=0, description="a batch of one text")
    texts: int = Field(ge=1, description="in the full batch")
    full_s: float = Field(gt=0, description="the full batch, while every replica is busy")


class ServiceCost(Settings):
    """The cost of a running service on this machine, without the model's computation."""

    text_tokens: float = Field(gt=0, description="of the texts that were sent")
    ingress_s: float = Field(gt=0, description="core seconds of an ingress for a request")
    haproxy_s: float = Field(ge=0, description="core seconds of HAProxy for a request")
    call_s: float = Field(ge=0, description="seconds between two batches of a busy encoder")
    alone_p99_s: float = Field(gt=0, description="latency of requests that come one at a time")
    node_cores: float = Field(ge=0, description="cores of all other processes of a node")
    ingress_bytes: int = Field(gt=0, description="memory of one replica")
    tokenizer_bytes: int = Field(gt=0, description="memory of one replica")
    encoder_bytes: int = Field(gt=0, description="memory of one replica")
    node_bytes: int = Field(gt=0, description="memory of all other processes of a node")


class EncoderSpeed(Settings):
    """The speed of one encoder replica and of one tokenizer, without a service.

    ``batches`` are by ascending text length. ``max_tokens`` is the model's limit of a text.
    """

    model: str
    dtype: str
    device: str
    max_tokens: int = Field(ge=1)
    batch_tokens: int = Field(ge=1, description="token budget of a full batch")
    batches: tuple[BatchTimes, ...] = Field(min_length=1)
    tokens_per_core_s: float = Field(gt=0, description="tokenized by one core in a second")
    characters_per_token: float = Field(gt=0)

    def alone_s(self, text_tokens: int) -> float:
        """Return the seconds of a batch of one text."""
        return self._between(text_tokens, [one.alone_s for one in self.batches])

    def batch_s(self, text_tokens: int, texts: int) -> float:
        """Return the seconds of a batch of ``texts``, which grow by the same time for each."""
        each = [
            max(0.0, one.full_s - one.alone_s) / (one.texts - 1) if one.texts > 1 else one.alone_s
            for one in self.batches
        ]
        return self.alone_s(text_tokens) + (texts - 1) * self._between(text_tokens, each)

    def _between(self, text_tokens: int, values: Sequence[float]) -> float:
        lengths = [one.text_tokens for one in self.batches]
        return float(np.interp(text_tokens, lengths, values))


class Calibration(Settings):
    """The measurements of one machine with one model."""

    hardware: str = Field(min_length=1, description="the name that --hardware chooses it by")
    date: str
    versions: Mapping[str, str]
    cores: int = Field(ge=1)
    gpus: int = Field(ge=0)
    memory_bytes: int = Field(ge=1)
    encoder: EncoderSpeed
    service: ServiceCost

    @property
    def on_gpu(self) -> bool:
        """Return whether an encoder replica takes a GPU; otherwise it takes a core."""
        return self.encoder.device != "cpu"

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            ConfigurationError: it cannot be written.
        """
        try:
            path.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def choose(paths: Sequence[Path], hardware: str | None, model: str | None) -> Calibration:
    """Return the calibration of ``hardware`` and ``model`` from files; None accepts any.

    Raises:
        ConfigurationError: a file is no calibration, or not exactly one matches.
    """
    found = [_read(path) for path in paths]
    matching = [
        one
        for one in found
        if hardware in (None, one.hardware) and model in (None, one.encoder.model)
    ]
    if len(matching) == 1:
        return matching[0]
    measured = "; ".join(f"{one.hardware!r} with {one.encoder.model}" for one in found)
    wanted = repr(hardware) if hardware else "the hardware"
    if matching:
        raise ConfigurationError(
            f"several calibrations match; choose one by --hardware and --model: {measured}"
        )
    raise ConfigurationError(
        f"{wanted} was not measured with {model or 'any model'}; measured: {measured}. Run there: "
        f"embedder plan --measure FILE, and pass the file by --calibration"
    )


def _read(path: Path) -> Calibration:
    try:
        return load(Calibration, file=path).settings
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path} is no calibration, which 'embedder plan --measure FILE' writes:\n{error}"
        ) from error

"""Calibrate this machine for capacities: encoders alone, then a whole service."""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import version

import torch

from deployments.operations.service_cost import measure_service
from embedder.measurements.host import available_bytes, hardware_name, usable_cores
from embedder.planning.calibration import Calibration
from embedder.planning.encoder_speed import measure_encoder
from embedder.settings.model import EmbedderSettings

PACKAGES = ("embedder", "ray", "torch")


def calibrate(settings: EmbedderSettings, hardware: str | None = None) -> Calibration:
    """Measure this machine with a model; ``hardware`` None is the name of its GPU or processor.

    Raises:
        ConfigurationError: the model cannot be loaded, or the service cannot start.
        Unavailable: the service fails a request.
    """
    cores, memory_bytes = usable_cores(), available_bytes("cpu")
    encoder = measure_encoder(settings)
    return Calibration(
        hardware=hardware or hardware_name(encoder.device),
        date=date.today().isoformat(),
        versions={"python": platform.python_version()} | {one: version(one) for one in PACKAGES},
        cores=cores,
        gpus=torch.cuda.device_count(),
        memory_bytes=memory_bytes,
        encoder=encoder,
        service=measure_service(settings),
    )

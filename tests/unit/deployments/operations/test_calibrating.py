"""A calibration names the machine, and joins both measurements."""

from __future__ import annotations

import pytest

from deployments.operations import calibrating
from embedder.settings.model import EmbedderSettings
from tests.unit.planning.calibrations import ENCODER, SERVICE


def test_both_measurements_become_one_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "measure_encoder", lambda settings: ENCODER)
    monkeypatch.setattr(calibrating, "measure_service", lambda settings: SERVICE)

    calibration = calibrating.calibrate(EmbedderSettings(), "a rack server")

    assert (calibration.encoder, calibration.service) == (ENCODER, SERVICE)
    assert calibration.hardware == "a rack server"
    assert calibration.cores >= 1
    assert set(calibration.versions) == {"python", "embedder", "ray", "torch"}

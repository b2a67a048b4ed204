"""Fixtures of admission control."""

from tests.unit.pipeline.measured_admission import admission, clock

__all__ = ["admission", "clock"]

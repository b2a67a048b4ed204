"""OpenVINO without its telemetry: the package would report every import to its maker."""

from __future__ import annotations

import sys
from typing import Any, cast

# The import of this package fails then, and OpenVINO uses a stub that sends nothing.
sys.modules.setdefault("openvino_telemetry", cast("Any", None))

import openvino as ov  # noqa: E402
import openvino.opset15 as ops  # noqa: E402

__all__ = ["ops", "ov"]

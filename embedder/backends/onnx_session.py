"""An ONNX Runtime session of a graph, on a CPU or a CUDA GPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from embedder.core.errors import ConfigurationError

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"

_SLOW_OPTIMIZERS = ["SkipLayerNormFusion"]
"""An optimization of ONNX Runtime that makes its CPU operators a tenth slower."""


def choose_device(configured: str, dtype: str) -> str:
    """Return the device for ``backend.device``; int8 is computed on the CPU only.

    Raises:
        ConfigurationError: the device is missing, or does not compute ``dtype``.
    """
    has_cuda = _CUDA in onnxruntime.get_available_providers()
    if configured == "auto":
        return "cuda" if has_cuda and dtype != "int8" else "cpu"
    if configured == "cpu":
        return configured
    if not has_cuda or not configured.startswith("cuda"):
        available = "cpu and cuda" if has_cuda else "cpu"
        raise ConfigurationError(
            f"backend.device is {configured!r}; onnxruntime here supports {available}"
        )
    if dtype == "int8":
        raise ConfigurationError(
            f"backend.device is {configured!r}; the onnx backend computes int8 on the cpu only"
        )
    return configured


def open_session(device: str, threads: int, graph: Path) -> onnxruntime.InferenceSession:
    """Start a session.

    Raises:
        ConfigurationError: the device cannot be used.
        ValueError: ONNX Runtime refuses the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as well
    # It would store a memory plan of about 25 KB for every block shape.
    options.enable_mem_pattern = False
    # Waiting threads must not spin: other replicas need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[str | tuple[str, dict[str, str]]] = [_CPU]
    if device != "cpu":
        providers.insert(0, (_CUDA, {"device_id": device.partition(":")[2] or "0"}))
    try:
        session = onnxruntime.InferenceSession(
            graph, options, providers=providers, disabled_optimizers=_SLOW_OPTIMIZERS
        )
    except Exception as error:
        raise ValueError(f"onnxruntime refuses it: {error}") from error
    if device != "cpu" and _CUDA not in session.get_providers():
        raise ConfigurationError(f"backend.device is {device!r}, which onnxruntime cannot use")
    return session

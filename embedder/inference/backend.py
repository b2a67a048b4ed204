"""Which backend computes a model: what the settings name, or what can.

Backends are imported when one is chosen, so that none costs who does not use it. Knows nothing of
how any of them computes.
"""

from __future__ import annotations

import importlib.util
import logging

from embedder.backends.protocol import Backend
from embedder.core.errors import MissingExtra, UnsupportedModel
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings

logger = logging.getLogger(__name__)


def load_backend(files: ModelFiles, settings: BackendSettings) -> Backend:
    """Load a model; the backend's notes say what was decided.

    A backend that is named is never replaced by another.

    Raises:
        ConfigurationError: the device or a library is not there, or nothing computes the model.
    """
    if settings.name == "onnx":
        return _load_onnx(files, settings, "backend.name 'onnx'")
    if settings.name == "auto" and settings.dtype == "int8":
        backend = _load_onnx(files, settings, "backend.dtype 'int8'")
        return _noted(backend, "onnx: torch does not compute int8 here")
    try:
        return _load_torch(files, settings)
    except UnsupportedModel as error:
        if settings.name == "torch" or not _brings_onnx(files):
            raise
        # Notes are shown to clients: the error's sentence, which may hold a path, goes to the log.
        logger.info("%s: torch refuses it: %s", files.name, error)
        kind = files.config.get("model_type")
        note = f"onnx: torch does not compute this {kind!r}"
        return _noted(_load_onnx(files, settings, "backend.name"), note)


def _load_torch(files: ModelFiles, settings: BackendSettings) -> Backend:
    from embedder.backends.torch.backend import TorchBackend

    return TorchBackend.load(files, settings)


def _load_onnx(files: ModelFiles, settings: BackendSettings, setting: str) -> Backend:
    if (package := _missing_package()) is not None:
        raise MissingExtra(setting, package, "onnx")
    from embedder.backends.onnx.backend import OnnxBackend

    backend: Backend = OnnxBackend.load(files, settings)
    return backend


def _brings_onnx(files: ModelFiles) -> bool:
    """Tell whether a model has a graph of its own, and what runs it is there."""
    if _missing_package() is not None:
        return False
    from embedder.backends.onnx.bundled_graph import bundled_graph

    return bundled_graph(files) is not None


def _missing_package() -> str | None:
    """Return the first package that the ONNX backend needs and that is not installed."""
    needed = ("onnxruntime", "onnx")
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def _noted(backend: Backend, note: str) -> Backend:
    backend.notes = (note, *backend.notes)
    return backend
